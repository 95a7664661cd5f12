//! The PROXY header of a proxy before this one: whom it makes the client, and what becomes of a connection without it.

use std::io::Write;
use std::net::TcpStream;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::http2;
use crate::support::backend::Backend;
use crate::support::client::Client;
use crate::support::over_tls::dial_behind;
use crate::support::proxy::merge;
use crate::support::scene::{SITE, Scene, get, request, with_body};
use crate::support::secure_scene::Certificates;
use crate::support::streams;
use crate::support::wait;

const TEXT: &[u8] = b"PROXY TCP4 203.0.113.9 192.0.2.1 4000 8443\r\n";

/// A header of version 2.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, rest].concat()
}

/// The same as [`TEXT`], and extensions.
fn binary_ipv4(extensions: &[u8]) -> Vec<u8> {
    binary(0x21, 0x11, &[&[203, 0, 113, 9, 192, 0, 2, 1, 0x0f, 0xa0, 0x20, 0xfb], extensions].concat())
}

/// Connections from here begin with a header.
fn expecting(more: Value) -> Value {
    let mut config = json!({ "server": { "trustedProxies": ["127.0.0.1"], "proxyProtocol": true } });
    merge(&mut config, more);
    config
}

fn scene(backend: &Backend, more: Value) -> Scene {
    Scene::with(expecting(more), &[&backend.url()])
}

/// What the backend of `scene` is told of the client that `header` introduces: address and port.
fn told(scene: &Scene, backend: &Backend, header: &[u8]) -> (String, String) {
    assert_eq!(scene.ask([header, get("/").as_bytes()].concat()).text(), "fine");
    let head = backend.requests().pop().unwrap().head;
    let field = |name| head.get(name).unwrap().to_owned();
    assert_eq!(field("x-forwarded-for"), field("x-real-ip"));
    (field("x-real-ip"), field("x-forwarded-port"))
}

#[test]
fn the_client_is_whom_the_header_names() {
    let backend = Backend::saying("fine");
    let scene = scene(&backend, json!({}));
    let own = scene.proxy.address().port().to_string();
    let ipv6 = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[9], &[0; 15], &[1, 0, 7, 0, 80]].concat();
    let headers: [(&[u8], &str, &str); 8] = [
        (TEXT, "203.0.113.9", "8443"),
        (b"PROXY TCP6 2001:db8::9 ::1 7 80\r\n", "2001:db8::9", "80"),
        (b"PROXY TCP6 ::ffff:10.0.0.1 ::1 7 80\r\n", "10.0.0.1", "80"),
        (b"PROXY UNKNOWN ff ff 1 2\r\n", "127.0.0.1", &own),
        (&binary_ipv4(&[]), "203.0.113.9", "8443"),
        (&binary_ipv4(&[3, 0, 4, 1, 2, 3, 4, 4, 0, 2, 0, 0]), "203.0.113.9", "8443"),
        (&binary(0x21, 0x21, &ipv6), "2001:db8::9", "80"),
        (&binary(0x20, 0x11, &[]), "127.0.0.1", &own),
    ];
    for (header, address, port) in headers {
        let expected = (address.to_owned(), port.to_owned());
        assert_eq!(told(&scene, &backend, header), expected, "{}", header.escape_ascii());
    }
    let lines = scene.proxy.wait_for_access(headers.len());
    for (_, address, _) in headers {
        assert!(lines.iter().any(|line| line.contains(&format!("{address} "))), "{address}: {lines:?}");
    }
}

#[test]
fn nothing_behind_the_header_is_lost_however_it_is_split() {
    let backend = Backend::echoing();
    let scene = scene(&backend, json!({}));
    let body = "b".repeat(300);
    for header in [TEXT.to_vec(), binary_ipv4(&[9; 90])] {
        let whole = [&header[..], with_body("POST", "/", &body).as_bytes()].concat();
        for size in [1, 2, 3, 16, 43, 44, 107, whole.len()] {
            let mut client = scene.connect();
            assert_eq!(client.send_in_pieces(&whole, size).response().text(), body, "{size}");
            assert_eq!(client.ask(with_body("POST", "/", "again")).text(), "again");
        }
        let mut client = scene.connect();
        for cut in 1..whole.len().min(130) {
            client = scene.connect();
            client.send(&whole[..cut]).send(&whole[cut..]);
            assert_eq!(client.response().text(), body, "cut at {cut}");
        }
        let long = "l".repeat(400_000);
        drop(client);
        let whole = [&header[..], with_body("POST", "/", &long).as_bytes(), get("/2").as_bytes()].concat();
        let mut client = scene.connect();
        assert!(client.ask(whole).text() == long && client.response().status == 200);
    }
}

#[test]
fn fields_are_believed_where_the_client_that_is_named_is_trusted() {
    let forwarded = request("GET", "/", "X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n");
    for (trusted, addresses, scheme, logged) in [
        (&["127.0.0.0/8"][..], "203.0.113.9", "http", "203.0.113.9 "),
        (&["127.0.0.0/8", "203.0.113.9"], "198.51.100.7, 203.0.113.9", "https", "198.51.100.7 "),
    ] {
        let backend = Backend::saying("fine");
        let scene = scene(&backend, json!({ "server": { "trustedProxies": trusted } }));
        scene.ask([TEXT, forwarded.as_bytes()].concat());
        let head = backend.request().head;
        assert_eq!(head.get("x-forwarded-for"), Some(addresses));
        assert_eq!(head.get("x-forwarded-proto"), Some(scheme));
        assert!(scene.proxy.wait_for_access(1)[0].contains(logged));
    }
}

#[test]
fn from_others_no_header_is_expected_nor_taken() {
    let backend = Backend::saying("fine");
    let scene = scene(&backend, json!({ "server": { "trustedProxies": ["10.0.0.0/8"] } }));
    assert_eq!(scene.ask(get("/")).text(), "fine");
    assert_eq!(scene.ask([TEXT, get("/").as_bytes()].concat()).status, 505);
    assert_eq!(backend.request().head.get("x-real-ip"), Some("127.0.0.1"));
}

#[test]
fn without_a_good_header_the_connection_is_closed_and_told_of() {
    let backend = Backend::saying("fine");
    let scene = scene(&backend, json!({}));
    let endless = [b"PROXY TCP4 ", &[b'1'; 96][..]].concat();
    let begun = b"PROXY TCP4 1.2.3.4";
    let bad: [(&[u8], &str); 6] = [
        (b"GET / HTTP/1.1\r\n\r\n", "it does not begin with a PROXY header"),
        (&endless, "its PROXY line does not end within 107 bytes"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", "its PROXY line is malformed"),
        (&binary(0x21, 0x11, &[1, 2, 3]), "its PROXY v2 header is shorter than its addresses"),
        (&binary(0x21, 0x11, &[0; 5000]), "its PROXY v2 header has more than 4096 bytes"),
        (begun, "it was closed within its PROXY header"),
    ];
    for (bytes, why) in bad {
        let mut client = scene.connect();
        client.send(bytes);
        if bytes == begun {
            client.finish();
        }
        client.expect_end();
        let line = scene.proxy.wait_for_log(why);
        assert!(line.contains("127.0.0.1:") && line.contains("Have it send one"), "{line}");
    }
    assert_eq!(backend.requests().len(), 0);
    told(&scene, &backend, TEXT);
}

#[test]
fn one_that_never_sends_is_closed_in_time_while_others_are_served() {
    let backend = Backend::saying("fine");
    let scene = scene(&backend, json!({ "server": { "timeouts": { "clientHeader": 0.5 } } }));
    let mut silent: Vec<Client> = (0..300).map(|_| scene.connect()).collect();
    silent[7].send(&TEXT[..20]);
    told(&scene, &backend, TEXT);
    silent.iter_mut().for_each(Client::expect_end);
    scene.proxy.wait_for_log("its PROXY header did not come within server.timeouts.clientHeader");
    scene.proxy.wait_for_log("more failures in this second, not shown");
    told(&scene, &backend, TEXT);
}

#[test]
fn a_look_whether_somebody_listens_is_not_told_of() {
    let backend = Backend::saying("fine");
    let scene = scene(&backend, json!({}));
    for _ in 0..20 {
        scene.connect().finish().expect_end();
        scene.connect().reset();
    }
    scene.connect().send(get("/")).expect_end();
    scene.proxy.wait_for_log("it does not begin with a PROXY header");
    assert_eq!(scene.proxy.count_in_log("Have it send one"), 1);
}

#[test]
fn it_comes_before_tls() {
    let backend = Backend::saying("fine");
    let certificates = Certificates::new();
    let scene = Scene::with(expecting(certificates.config(json!({}))), &[&backend.url()]);
    for header in [TEXT.to_vec(), binary_ipv4(&[7; 200])] {
        let address = scene.proxy.https_address();
        let mut dialled = dial_behind(&header, address, &certificates.client(), SITE).unwrap();
        assert_eq!(dialled.client.ask(get("/")).text(), "fine");
        let head = backend.requests().pop().unwrap().head;
        assert_eq!(head.get("x-real-ip"), Some("203.0.113.9"));
        assert_eq!(head.get("x-forwarded-proto"), Some("https"));
    }
    assert!(dial_behind(b"", scene.proxy.https_address(), &certificates.client(), SITE).is_err());
    scene.proxy.wait_for_log("it does not begin with a PROXY header");
}

#[test]
fn it_comes_before_http_2() {
    let backend = Backend::saying("fine");
    let scene = http2::scene(expecting(json!({})), &[&backend.url()]);
    for header in [TEXT.to_vec(), binary_ipv4(&[])] {
        let mut socket = TcpStream::connect(scene.proxy.address()).unwrap();
        socket.write_all(&header).unwrap();
        streams::over_socket(socket, 65_535, async |client| {
            for _ in 0..3 {
                assert_eq!(client.get("/").await.text(), "fine");
            }
        });
    }
    assert!(backend.requests().iter().all(|request| request.head.get("x-real-ip") == Some("203.0.113.9")));
    assert_eq!(backend.requests().len(), 6);
}

#[test]
fn it_follows_a_reload() {
    let backend = Backend::saying("fine");
    let scene = Scene::with(json!({ "server": { "trustedProxies": ["127.0.0.1"] } }), &[&backend.url()]);
    let mut before = scene.connect();
    assert_eq!(before.ask(get("/")).text(), "fine");
    scene.proxy.reload(json!({ "server": { "proxyProtocol": true } }));
    wait::until("a header is expected", || {
        scene.connect().send([TEXT, get("/").as_bytes()].concat()).response().status == 200
    });
    assert_eq!(before.ask(get("/")).text(), "fine");
}

#[test]
fn a_stop_does_not_wait_for_a_header() {
    let backend = Backend::saying("fine");
    let times = json!({ "gracefulWait": 300, "timeouts": { "clientHeader": 300 } });
    let mut scene = scene(&backend, json!({ "server": times }));
    let mut silent = scene.connect();
    told(&scene, &backend, TEXT);
    scene.proxy.signal(Signal::SIGTERM);
    silent.expect_end();
    assert!(scene.proxy.wait_for_exit().success());
}

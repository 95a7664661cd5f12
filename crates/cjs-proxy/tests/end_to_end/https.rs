//! HTTP/1.1 over TLS: everything is as over plain TCP, and the backend learns how the client came.

use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use serde_json::json;

use super::routing::for_host;
use crate::support::authority::Authority;
use crate::support::backend::{Backend, ok};
use crate::support::over_tls::{believing, dial, with_versions};
use crate::support::programs;
use crate::support::scene::{SITE, get, request, with_body};
use crate::support::secure_scene::Certificates;
use crate::support::wait::{DEADLINE, Gate};

#[test]
fn serves_both_versions_and_tells_the_backend() {
    let certificates = Certificates::new();
    let backend = Backend::saying("hello");
    let scene = certificates.scene(json!({}), &[&backend.url()]);
    let address = scene.proxy.https_address();
    for version in [&TLS12, &TLS13] {
        let mut client = with_versions(&certificates.authority, &[version], None);
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut dialled = dial(address, &Arc::new(client), SITE).unwrap();
        assert_eq!(dialled.version, version.version);
        assert_eq!(dialled.protocol.as_deref(), Some(&b"http/1.1"[..]));
        let response = dialled.client.ask(get("/"));
        assert_eq!((response.status, response.text()), (200, "hello".into()));
        assert_eq!(response.head.get("strict-transport-security"), None);
    }
    let head = backend.requests().remove(0).head;
    assert_eq!(head.get("x-forwarded-proto"), Some("https"));
    assert_eq!(head.get("x-forwarded-protocol"), Some("https"));
    assert_eq!(head.get("x-forwarded-port"), Some(address.port().to_string().as_str()));
    assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
}

/// A client that gathers small writes sends its first request once it has an acknowledgement, which tickets carry.
#[test]
fn tickets_do_not_wait_for_a_request() {
    let certificates = Certificates::new();
    let scene = certificates.scene(json!({}), &[&Backend::saying("hello").url()]);
    let name = ServerName::try_from(SITE).unwrap();
    let mut client = ClientConnection::new(certificates.client(), name).unwrap();
    let mut socket = TcpStream::connect(scene.proxy.https_address()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    while client.is_handshaking() || client.wants_write() {
        client.complete_io(&mut socket).unwrap();
    }
    while client.tls13_tickets_received() == 0 {
        assert_ne!(client.read_tls(&mut socket).unwrap(), 0);
        client.process_new_packets().unwrap();
    }
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    let certificates = Certificates::new();
    let backend = Backend::echoing();
    let scene = certificates.scene(json!({}), &[&backend.url()]);
    let mut client = certificates.connect(&scene).client;
    for number in 0..50 {
        let body = format!("number {number}");
        assert_eq!(client.ask(with_body("POST", "/", &body)).text(), body);
    }
    // All at once, and then in pieces of records.
    let bodies: Vec<String> = (0..20).map(|number| format!("pipelined {number}")).collect();
    let requests: String = bodies.iter().map(|body| with_body("POST", "/", body)).collect();
    client.send(&requests);
    bodies.iter().for_each(|body| assert_eq!(client.response().text(), *body));
    client.send_in_pieces(&requests, 7);
    bodies.iter().for_each(|body| assert_eq!(client.response().text(), *body));
    assert_eq!(client.ask(request("GET", "/", "Connection: close\r\n")).status, 200);
    client.expect_end();
}

#[test]
fn large_bodies_pass_both_ways_unchanged() {
    let certificates = Certificates::new();
    let backend = Backend::echoing();
    let scene = certificates.scene(json!({}), &[&backend.url()]);
    let body: String = (0..1_500_000).map(|number| char::from(b'a' + (number * 7 % 26) as u8)).collect();
    for version in [&TLS12, &TLS13] {
        let client = Arc::new(with_versions(&certificates.authority, &[version], None));
        let mut client = dial(scene.proxy.https_address(), &client, SITE).unwrap().client;
        let mut writer = client.writer();
        let request = with_body("POST", "/", &body);
        let sending = std::thread::spawn(move || std::io::Write::write_all(&mut writer, request.as_bytes()));
        assert!(client.response().text() == body);
        sending.join().unwrap().unwrap();
    }
}

#[test]
fn a_websocket_is_a_tunnel() {
    let certificates = Certificates::new();
    let backend = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        loop {
            let piece = peer.wire.some();
            if piece.is_empty() {
                return;
            }
            peer.send(piece);
        }
    });
    let scene = certificates.scene(json!({ "hsts": 60 }), &[&backend.url()]);
    let mut client = certificates.connect(&scene).client;
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let answer = client.ask(request("GET", "/chat", fields));
    assert_eq!((answer.status, answer.head.get("upgrade")), (101, Some("websocket")));
    for size in [1, 125, 70_000] {
        let message = vec![b'm'; size];
        client.send(&message);
        assert!(client.exactly(size) == message);
    }
    client.finish().expect_end();
}

#[test]
fn a_body_that_was_cut_does_not_end_in_order() {
    let certificates = Certificates::new();
    let backend = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.0 200 OK\r\n\r\nhalf");
        peer.reset();
    });
    let scene = certificates.scene(json!({}), &[&backend.url()]);
    let mut client = certificates.connect(&scene).client;
    client.send(format!("GET / HTTP/1.0\r\nHost: {SITE}\r\n\r\n"));
    let Ok(response) = client.try_response(false) else { return };
    panic!("it looks whole: {response:?}");
}

#[test]
fn a_body_that_ends_with_the_connection_ends_in_order() {
    let certificates = Certificates::new();
    let backend = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.0 200 OK\r\n\r\nwhole");
        peer.finish();
    });
    let scene = certificates.scene(json!({}), &[&backend.url()]);
    let mut client = certificates.connect(&scene).client;
    client.send(format!("GET / HTTP/1.0\r\nHost: {SITE}\r\n\r\n"));
    assert_eq!(client.try_response(false).unwrap().text(), "whole");
}

#[test]
fn a_client_that_vanishes_takes_its_request_along() {
    let certificates = Certificates::new();
    let gate = Gate::default();
    let backend = Backend::gated(&gate);
    let scene = certificates.scene(json!({}), &[&backend.url()]);
    let mut client = certificates.connect(&scene).client;
    client.send(get("/"));
    backend.wait_for_requests(1);
    client.reset();
    // The backend's connection ends before it has answered.
    let line = &scene.proxy.wait_for_access(1)[0];
    assert!(line.contains("\" 499 "), "{line}");
    gate.open();
}

#[test]
fn strict_transport_security_is_asked_for_over_https_alone() {
    let certificates = Certificates::new();
    let own = Backend::answering(
        "HTTP/1.1 200 OK\r\nstrict-transport-security: max-age=1; preload\r\nContent-Length: 0\r\n\r\n",
    );
    let backend = Backend::saying("a");
    let scene = certificates.scene(json!({ "hsts": 31_536_000 }), &[&backend.url()]);
    scene.redis.route("own.example", &["own", &own.url()]);
    let mut client = certificates.connect(&scene).client;
    let all = |response: crate::support::client::Response| -> Vec<String> {
        response.head.all("strict-transport-security").into_iter().map(str::to_owned).collect()
    };
    assert_eq!(all(client.ask(get("/"))), ["max-age=31536000"]);
    assert_eq!(all(client.ask(for_host("own.example"))), ["max-age=1; preload"], "the backend's own counts");
    assert_eq!(all(client.ask(for_host("unknown.example"))), ["max-age=31536000"], "with an error too");
    assert_eq!(all(scene.ask(get("/"))), Vec::<String>::new());
}

#[test]
fn plain_requests_are_sent_to_https() {
    let certificates = Certificates::new();
    let backend = Backend::saying("a");
    let scene = certificates.scene(json!({ "redirect": true, "hsts": 60 }), &[&backend.url()]);
    let port = scene.proxy.https_address().port();
    let response = scene.ask(get("/a?b=c"));
    assert_eq!(
        (response.status, response.head.get("location")),
        (301, Some(&*format!("https://{SITE}:{port}/a?b=c")))
    );
    assert_eq!(response.head.get("strict-transport-security"), None);
    let response = scene.ask(with_body("POST", "/a", "body"));
    assert_eq!(
        (response.status, response.head.get("location")),
        (308, Some(&*format!("https://{SITE}:{port}/a")))
    );
    assert_eq!(scene.ask(for_host("__ping__")).status, 200);
    assert_eq!(scene.ask(for_host("unknown.example")).status, 400);
    assert_eq!(certificates.connect(&scene).client.ask(get("/a?b=c")).text(), "a");
    assert!(scene.proxy.log().iter().all(|line| !line.contains("ERROR")));
}

#[test]
fn a_host_may_be_sent_to_https_alone() {
    let certificates = Certificates::new();
    let backend = Backend::saying("a");
    let scene = certificates.scene(json!({}), &[&backend.url()]);
    assert_eq!(scene.ask(get("/")).status, 200);
    scene.redis.command(&format!("HSET options:{SITE} httpsRedirect true"));
    super::reload::wait_until_all(&scene, &get("/"), |response| response.status == 301);
    assert_eq!(certificates.connect(&scene).client.ask(get("/")).text(), "a");
}

/// Runs a client of the system; what it prints.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = programs::output(Command::new(program).args(arguments));
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Pairs of each kind, self-signed, by openssl: the name of its files, and what makes its key.
const KINDS: [(&str, &[&str]); 3] = [
    ("rsa", &["rsa:2048"]),
    ("p256", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ("ed25519", &["ed25519"]),
];

#[test]
fn clients_of_the_system_are_content() {
    let certificates = Certificates::new();
    let backend = Backend::answering(ok("served"));
    for (kind, key) in KINDS {
        let file = |end: &str| certificates.file(&format!("{kind}.{end}")).display().to_string();
        let (cert, private) = (file("crt"), file("key"));
        let name = ["-subj", "/CN=test", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-nodes"];
        let made = [&["req", "-x509", "-newkey"], key, &["-keyout", &private, "-out", &cert], &name].concat();
        run("openssl", &made);
        let scene = certificates.scene(json!({ "cert": cert, "key": private }), &[&backend.url()]);
        scene.redis.route("127.0.0.1", &["address", &backend.url()]);
        let (address, url) =
            (scene.proxy.https_address(), format!("https://{}/", scene.proxy.https_address()));
        for version in ["1.2", "1.3"] {
            let curl = ["-sS", "--cacert", &cert, &format!("--tlsv{version}"), "--tls-max", version, &url];
            assert_eq!(run("curl", &curl), "served", "{kind} {version}");
            let flag = format!("-tls{}", version.replace('.', "_"));
            let shown = run(
                "openssl",
                &["s_client", "-brief", &flag, "-CAfile", &cert, "-connect", &address.to_string()],
            );
            assert!(
                shown.contains("Verification: OK") && shown.contains(&format!("TLSv{version}")),
                "{shown}"
            );
        }
        let script = "import ssl,sys,urllib.request as u\n\
                      print(u.urlopen(sys.argv[1],context=ssl.create_default_context(cafile=sys.argv[2])).read().decode())";
        assert_eq!(run("python3", &["-c", script, &url, &cert]).trim(), "served", "{kind}");
    }
}

#[test]
fn a_stranger_does_not_believe_it() {
    let certificates = Certificates::new();
    let backend = Backend::saying("a");
    let scene = certificates.scene(json!({}), &[&backend.url()]);
    let stranger = Arc::new(believing(&Authority::new()));
    let refused = dial(scene.proxy.https_address(), &stranger, SITE).err().unwrap();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    assert_eq!(certificates.connect(&scene).client.ask(get("/")).text(), "a");
}

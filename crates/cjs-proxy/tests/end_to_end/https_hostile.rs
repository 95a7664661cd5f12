//! What comes to a port of HTTPS beside clients that mean well; and that no key is ever told.

use std::net::TcpStream;
use std::process::Command;

use serde_json::json;

use crate::support::backend::Backend;
use crate::support::client::Client;
use crate::support::over_tls::dial;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene, get};
use crate::support::secure_scene::Certificates;
use crate::support::wait;

#[test]
fn plain_http_is_told_where_it_is() {
    let certificates = Certificates::new();
    let scene = certificates.scene(json!({}), &[]);
    for text in [get("/"), format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(100_000))] {
        let mut client = Client::to(scene.proxy.https_address());
        let response = client.ask(text);
        assert_eq!(response.status, 400);
        assert!(response.text().starts_with("This port speaks HTTPS"));
        client.finish().expect_end();
    }
}

#[test]
fn garbage_ends_its_connection_alone() {
    let certificates = Certificates::new();
    let backend = Backend::saying("a");
    let scene = certificates.scene(json!({}), &[&backend.url()]);
    let mut steady = certificates.connect(&scene).client;
    let long = [&[22, 3, 1, 0x40, 0, 1, 0, 0xFF, 0xFF][..], &vec![0; 200_000]].concat();
    let cases: [&[u8]; 7] = [
        b"\0",
        b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10",
        b"SSH-2.0-x\r\n",
        &[22, 3, 1, 0, 4, 1, 0, 0, 0],
        &[21, 3, 1, 0, 2, 2, 40],
        &[0xFF; 5000],
        &long,
    ];
    for bytes in cases {
        let mut client = Client::to(scene.proxy.https_address());
        client.send(bytes).finish();
        let cut = client.end();
        assert!(cut.got.len() < 400, "{:?} is answered by {:?}", &bytes[..2.min(bytes.len())], cut.got);
        assert_eq!(steady.ask(get("/")).text(), "a");
    }
    assert_eq!(scene.proxy.count_in_log("ERROR") + scene.proxy.count_in_log("TLS:"), 0, "no line for each");
}

#[test]
fn a_handshake_has_its_time() {
    let certificates = Certificates::new();
    let backend = Backend::saying("a");
    let mut config = certificates.config(json!({}));
    config["server"]["timeouts"] = json!({ "clientHeader": 1 });
    let scene = Scene::with(config, &[&backend.url()]);
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
        Client::to(scene.proxy.https_address()).send(begun).expect_end();
    }
    assert_eq!(certificates.connect(&scene).client.ask(get("/")).text(), "a");
}

#[test]
fn half_open_handshakes_are_bounded() {
    let certificates = Certificates::new();
    let backend = Backend::saying("a");
    let mut config = certificates.config(json!({}));
    config["server"]["workers"] = 1.into();
    let scene = Scene::with(config, &[&backend.url()]);
    let mut steady = certificates.connect(&scene).client;
    assert_eq!(steady.ask(get("/")).text(), "a");
    let before = scene.proxy.resident_kilobytes();
    let many: Vec<TcpStream> =
        (0..4_200).map(|_| TcpStream::connect(scene.proxy.https_address()).unwrap()).collect();
    scene.proxy.wait_for_log("connections over TLS were closed at once: 4096 handshakes are under way");
    assert_eq!(steady.ask(get("/")).text(), "a", "those there are go on");
    assert_eq!(scene.ask(get("/")).text(), "a", "so does plain HTTP");
    assert!(scene.proxy.resident_kilobytes() - before < 60_000);
    drop(many);
    wait::until("there is room again", || {
        let dialled = dial(scene.proxy.https_address(), &certificates.client(), SITE);
        dialled.is_ok_and(|mut dialled| dialled.client.ask(get("/")).text() == "a")
    });
}

#[test]
fn no_key_is_ever_told() {
    let (certificates, redis) = (Certificates::new(), Redis::start());
    certificates.put_host("a.example");
    let key = std::fs::read_to_string(certificates.file("site.key")).unwrap();
    let secrets: Vec<&str> = key.lines().filter(|line| !line.starts_with('-')).collect();
    let mut config = certificates.config(json!({ "certDir": certificates.file("dir") }));
    config["server"]["debug"] = true.into();
    config["redis"]["port"] = redis.port.into();
    let variables = [("RUST_LOG", "trace".into())];
    let proxy = Proxy::launch_with(tempfile::tempdir().unwrap(), config, &variables).serving();
    drop(dial(proxy.https_address(), &certificates.client(), SITE));
    // Keys where certificates should be, and torn ones.
    std::fs::write(certificates.file("dir/b.example.crt"), &key).unwrap();
    std::fs::write(certificates.file("dir/b.example.key"), key.replace("-----END", "-----XXX")).unwrap();
    proxy.wait_for_log("b.example.");
    let file = proxy.dir().join("config.json");
    let checked =
        Command::new(env!("CARGO_BIN_EXE_cjs-proxy")).arg("check").arg("-c").arg(file).output().unwrap();
    let said = [proxy.log().concat().into_bytes(), checked.stdout, checked.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("site.key"), "its name is");
    assert!(secrets.iter().all(|secret| !said.contains(secret)));
}

//! WebSocket and other protocols: a tunnel after a 101, and only then.

use std::io::Write;

use crate::support::backend::{Backend, Peer, ok};
use crate::support::client::Client;
use crate::support::scene::{SITE, Scene, get, request};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn handshake() -> String {
    let fields = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    request("GET", "/chat", fields)
}

/// A backend that agrees to switch and then does as told.
fn switching(then: impl Fn(&mut Peer) + Send + Sync + 'static) -> Backend {
    Backend::run(move |peer| {
        peer.request();
        peer.send(SWITCH);
        then(peer);
    })
}

fn echo(peer: &mut Peer) {
    loop {
        let piece = peer.wire.some();
        if piece.is_empty() {
            return;
        }
        peer.send(piece);
    }
}

fn open(scene: &Scene) -> Client {
    let mut client = scene.connect();
    assert_eq!(client.ask(handshake()).status, 101);
    client
}

#[test]
fn the_handshake_passes_both_ways() {
    let backend = switching(|peer| peer.hold());
    let scene = Scene::of(&backend);
    let response = scene.ask(handshake());
    assert_eq!(response.status, 101);
    assert_eq!(response.head.get("upgrade"), Some("websocket"));
    assert_eq!(response.head.get("connection").map(str::to_lowercase), Some("upgrade".into()));
    assert_eq!(response.head.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let head = backend.request().head;
    assert_eq!(head.get("connection").map(str::to_lowercase), Some("upgrade".into()));
    assert_eq!((head.get("upgrade"), head.get("sec-websocket-version")), (Some("websocket"), Some("13")));
}

#[test]
fn bytes_pass_both_ways() {
    let backend = switching(echo);
    let scene = Scene::of(&backend);
    let mut client = open(&scene);
    for round in 0..500_u16 {
        let message = round.to_be_bytes().repeat(1 + usize::from(round));
        assert_eq!(client.send(&message).exactly(message.len()), message);
    }
    client.finish().expect_end();
}

#[test]
fn many_tunnels_do_not_mix() {
    let backend = switching(echo);
    let scene = Scene::of(&backend);
    let mut clients: Vec<Client> = (0..20).map(|_| open(&scene)).collect();
    for round in 0..20_u8 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send([number as u8, round]);
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.exactly(2), [number as u8, round]);
        }
    }
}

#[test]
fn bytes_right_behind_the_heads_are_not_lost() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.send(SWITCH.to_owned() + "server first");
        assert_eq!(peer.wire.exactly(12).unwrap(), b"client first");
        peer.send("!");
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    assert_eq!(client.ask(handshake() + "client first").status, 101);
    assert_eq!(client.exactly(13), b"server first!");
    client.expect_end();
}

#[test]
fn a_handshake_may_be_split_anywhere() {
    let backend = switching(echo);
    let scene = Scene::of(&backend);
    let whole = handshake() + "early";
    for cut in (1..whole.len()).step_by(7) {
        let mut client = scene.connect();
        client.send(&whole[..cut]).send(&whole[cut..]);
        assert_eq!(client.response().status, 101, "split at {cut}");
        assert_eq!(client.exactly(5), b"early", "split at {cut}");
    }
}

#[test]
fn megabytes_pass_both_ways_at_once() {
    let backend = switching(echo);
    let scene = Scene::of(&backend);
    let mut client = open(&scene);
    let sent: Vec<u8> = (0..3_000_000_u32).map(|place| (place % 251) as u8).collect();
    let mut writer = client.writer();
    let copy = sent.clone();
    let upload = std::thread::spawn(move || writer.write_all(&copy).unwrap());
    assert!(client.exactly(sent.len()) == sent);
    upload.join().unwrap();
}

#[test]
fn the_client_may_end_its_side_first() {
    let backend = switching(|peer| {
        let said = peer.wire.rest();
        assert!(!said.by_reset);
        peer.send([b"heard: ", said.got.as_slice()].concat());
    });
    let scene = Scene::of(&backend);
    let mut client = open(&scene);
    client.send("question").finish();
    assert_eq!(String::from_utf8(client.end().got).unwrap(), "heard: question");
}

#[test]
fn the_backend_may_end_its_side_first() {
    let (tell, heard) = std::sync::mpsc::channel();
    let backend = switching(move |peer| {
        peer.send("goodbye");
        peer.finish();
        tell.send(peer.wire.rest().got).unwrap();
    });
    let scene = Scene::of(&backend);
    let mut client = open(&scene);
    assert_eq!(client.end().got, b"goodbye");
    client.send("last words").finish();
    assert_eq!(heard.recv().unwrap(), b"last words");
}

#[test]
fn a_reset_ends_the_other_side() {
    let backend = switching(|peer| peer.hold());
    let scene = Scene::of(&backend);
    open(&scene).reset();
    backend.wait_for_end(0);
    let resetting = switching(Peer::reset);
    scene.redis.route("reset.example", &["reset", &resetting.url()]);
    let mut client = scene.connect();
    client.ask(handshake().replace(SITE, "reset.example"));
    client.expect_end();
}

#[test]
fn a_refused_upgrade_stays_http() {
    let backend = Backend::run(|peer| {
        while let Some(request) = peer.request() {
            let is_refused = request.target() == "/chat" && request.head.get("x").is_none();
            let refusal = "HTTP/1.1 426 Upgrade Required\r\nUpgrade: other\r\nContent-Length: 2\r\n\r\nno";
            peer.send(if is_refused { refusal.into() } else { ok("plain") });
        }
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    let refused = client.ask(handshake());
    assert_eq!((refused.status, refused.text().as_str()), (426, "no"));
    assert_eq!(client.ask(handshake().replace("\r\n\r\n", "\r\nX: y\r\n\r\n")).text(), "plain");
    assert_eq!(client.ask(get("/")).text(), "plain");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn bytes_behind_a_refused_upgrade_are_a_request() {
    let backend = Backend::saying("plain");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    client.send(handshake() + &get("/next"));
    assert_eq!((client.response().text(), client.response().text()), ("plain".into(), "plain".into()));
    assert_eq!(backend.requests()[1].target(), "/next");
}

#[test]
fn http_1_0_cannot_upgrade() {
    let backend = Backend::run(|peer| {
        if let Some(request) = peer.request() {
            let asks = request.head.get("upgrade").is_some();
            peer.send(if asks { SWITCH.into() } else { ok("plain") });
        }
    });
    let scene = Scene::of(&backend);
    assert_eq!(scene.ask(handshake().replace("HTTP/1.1", "HTTP/1.0")).text(), "plain");
}

#[test]
fn upgrade_without_connection_is_no_upgrade() {
    let backend = Backend::run(|peer| {
        while let Some(request) = peer.request() {
            assert_eq!(request.head.get("upgrade"), None);
            peer.send(ok("plain"));
        }
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    assert_eq!(client.ask(request("GET", "/", "Upgrade: websocket\r\n")).text(), "plain");
    assert_eq!(client.ask(request("GET", "/", "Connection: Upgrade\r\n")).text(), "plain");
}

#[test]
fn a_tunnel_is_logged_when_it_ends() {
    let backend = switching(|peer| peer.send("12345"));
    let scene = Scene::of(&backend);
    let mut client = open(&scene);
    client.exactly(5);
    assert_eq!(std::fs::read_to_string(scene.proxy.access_log()).unwrap(), "");
    client.finish().expect_end();
    let line = scene.proxy.wait_for_access(1).remove(0);
    assert!(line.contains("\"GET /chat HTTP/1.1\" 101 "), "{line}");
}

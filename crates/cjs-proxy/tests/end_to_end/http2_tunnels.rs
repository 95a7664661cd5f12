//! WebSocket over HTTP/2 (RFC 8441): an extended CONNECT becomes an upgrade towards the backend.

use bytes::Bytes;
use serde_json::json;

use super::http2::scene;
use crate::support::backend::Backend;
use crate::support::streams::{self, request};

const WINDOW: u32 = 1024 * 1024;
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

/// Agrees, says hello, and sends back what comes.
pub(super) fn echo() -> Backend {
    Backend::run(|peer| {
        let head = peer.head().unwrap();
        assert_eq!(head.get("upgrade"), Some("websocket"));
        peer.body_of(head);
        peer.send([SWITCHING.as_bytes(), b"hello"].concat());
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = std::io::Read::read(&mut peer.wire.stream, &mut piece) {
            peer.send(&piece[..count]);
        }
    })
}

#[test]
fn a_tunnel_carries_bytes_both_ways_to_their_end() {
    let backend = echo();
    let scene = scene(json!({}), &[&backend.url()]);
    streams::over(scene.proxy.address(), WINDOW, async |client| {
        let (response, mut stream) = client.open("/chat").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
        for absent in ["upgrade", "connection", "sec-websocket-accept", "content-length"] {
            assert!(!response.headers().contains_key(absent), "{absent}");
        }
        let mut back = response.into_body();
        assert_eq!(streams::next(&mut back).await.unwrap().unwrap(), "hello");
        let body: Vec<u8> = (0..3_000_000).map(|at| (at / 7) as u8).collect();
        let sent = streams::send(&mut stream, body.clone(), true);
        let received = async {
            let mut received = Vec::new();
            while let Some(piece) = streams::next(&mut back).await {
                received.extend_from_slice(&piece.unwrap());
            }
            received
        };
        assert!(tokio::join!(sent, received).1 == body);
    });
    let head = backend.request().head;
    assert_eq!(head.start_line(), "GET /chat HTTP/1.1");
    assert_eq!(head.get("sec-websocket-key").unwrap().len(), 24);
    let line = &scene.proxy.wait_for_access(1)[0];
    assert!(line.contains("\"GET /chat HTTP/2.0\" 101 "), "{line}");
}

#[test]
fn a_refused_upgrade_is_passed_on() {
    let backend = Backend::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let scene = scene(json!({}), &[&backend.url()]);
    streams::over(scene.proxy.address(), WINDOW, async |client| {
        let (response, _stream) = client.open("/chat").await;
        assert_eq!(response.status(), 403);
        assert_eq!(streams::whole(response).await.unwrap().text(), "no");
        assert_eq!(client.ask(request("GET", "/")).await.status, 403);
    });
}

#[test]
fn a_tunnel_ends_with_either_side() {
    let backend = echo();
    let scene = scene(json!({}), &[&backend.url()]);
    streams::over(scene.proxy.address(), WINDOW, async |client| {
        let (response, mut stream) = client.open("/chat").await;
        let mut back = response.into_body();
        stream.send_data(Bytes::from_static(b"x"), false).unwrap();
        assert_eq!(streams::next(&mut back).await.unwrap().unwrap(), "hello");
        stream.send_reset(h2::Reason::CANCEL);
        tokio::task::spawn_blocking(move || backend.wait_for_end(0)).await.unwrap();
    });
}

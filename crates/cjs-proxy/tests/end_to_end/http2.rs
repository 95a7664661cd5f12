//! HTTP/2 from clients: the same exchange as over HTTP/1.1, many at once over one connection. TLS is left out here, as
//! what lies under the frames makes no difference to them; `http2_clients.rs` and those of other clients have it.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Request};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::backend::{Backend, ok};
use crate::support::frames::{self, Frames, asking};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene};
use crate::support::streams::{self, Streams, request};
use crate::support::wait::{self, Gate};

const WINDOW: u32 = 1024 * 1024;

/// A site whose proxy takes every connection for HTTP/2.
pub(super) fn scene(config: Value, backends: &[&str]) -> Scene {
    let redis = Redis::start();
    redis.route(SITE, &[&["site"], backends].concat());
    let mut whole = config;
    whole["redis"]["port"] = redis.port.into();
    let variables = [("CJS_PROXY_HTTP_2", "1".into())];
    let proxy = Proxy::launch_with(tempfile::tempdir().unwrap(), whole, &variables).serving();
    Scene { proxy, redis }
}

/// Runs `talk` over one connection to the site of `backend`.
fn talk<T, F: Future<Output = T>>(backend: &Backend, talk: impl FnOnce(Streams) -> F) -> T {
    let scene = scene(json!({}), &[&backend.url()]);
    streams::over(scene.proxy.address(), WINDOW, talk)
}

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + seed + at / 251) as u8).collect()
}

#[test]
fn a_request_is_translated_and_its_answer_back() {
    let backend = Backend::answering(
        "HTTP/1.1 200 Fine\r\nServer: b\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
         Set-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 5\r\n\r\nhello",
    );
    let scene = scene(json!({}), &[&backend.url()]);
    let answer = streams::over(scene.proxy.address(), WINDOW, async |client| {
        let asked = Request::builder()
            .uri(format!("https://{SITE}/a%20b?c=d"))
            .header("cookie", "a=1")
            .header("x-dup", "1")
            .header("cookie", "b=2")
            .header("x-dup", "2")
            .header("te", "trailers")
            .header("x-forwarded-for", "9.9.9.9");
        client.ask(asked.body(()).unwrap()).await
    });
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    assert_eq!((answer.get("server"), answer.get("content-length")), (Some("b"), Some("5")));
    assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
    assert!(["connection", "x-hop", "keep-alive"].iter().all(|name| answer.get(name).is_none()));
    let seen = backend.request().head;
    assert_eq!(seen.start_line(), "GET /a%20b?c=d HTTP/1.1");
    assert_eq!(seen.get("host"), Some(SITE));
    assert_eq!(seen.get("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.get("x-forwarded-for"), Some("127.0.0.1"));
    assert!(seen.raw.contains("x-dup: 1\r\nx-dup: 2\r\n") && seen.get("te").is_none(), "{}", seen.raw);
    assert!(seen.get("content-length").is_none() && seen.get("transfer-encoding").is_none());
    let line = &scene.proxy.wait_for_access(1)[0];
    let size =
        answer.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>() + 5;
    assert!(line.contains(&format!("\"GET /a%20b?c=d HTTP/2.0\" 200 {size} ")), "{line}");
}

#[test]
fn a_hundred_streams_share_a_connection() {
    let backend = Backend::echoing();
    talk(&backend, async |client| {
        let ask = |number: usize| {
            let client = client.clone();
            tokio::spawn(async move {
                let body = pattern(1000 * number, number);
                let answer = client.ask_with(request("POST", "/"), body.clone()).await;
                assert!(answer.status == 200 && answer.body == body, "stream {number}");
            })
        };
        let streams: Vec<_> = (1..=100).map(ask).collect();
        for stream in streams {
            stream.await.unwrap();
        }
    });
    assert_eq!(backend.requests().len(), 100);
}

#[test]
fn backends_keep_their_connections() {
    let backend = Backend::saying("fine");
    talk(&backend, async |client| {
        for _ in 0..10 {
            assert_eq!(client.get("/").await.text(), "fine");
        }
    });
    assert!(backend.connections() <= 2, "one for each core: {}", backend.connections());
}

#[test]
fn bodies_arrive_whole_with_and_without_a_length() {
    let backend = Backend::echoing();
    let body = pattern(20_000_000, 7);
    talk(&backend, async |client| {
        let mut sized = request("PUT", "/sized");
        sized.headers_mut().insert("content-length", body.len().into());
        assert!(client.ask_with(sized, body.clone()).await.body == body);
        assert!(client.ask_with(request("PUT", "/unsized"), body.clone()).await.body == body);
    });
    let seen = backend.requests();
    assert_eq!(seen[0].head.get("content-length"), Some("20000000"));
    assert_eq!(seen[1].head.get("transfer-encoding"), Some("chunked"));
}

#[test]
fn answers_without_a_body_have_none() {
    let backend = Backend::run(|peer| {
        while let Some(request) = peer.request() {
            let status = request.target().trim_start_matches('/').to_owned();
            let length =
                if request.head.start_line().starts_with("HEAD") { "Content-Length: 7\r\n" } else { "" };
            peer.send(format!("HTTP/1.1 {status} Status\r\n{length}\r\n"));
        }
    });
    talk(&backend, async |client| {
        for (method, target, length) in
            [("HEAD", "/200", Some("7")), ("GET", "/204", None), ("GET", "/304", None)]
        {
            let answer = client.ask(request(method, target)).await;
            assert_eq!(answer.status.to_string(), target[1..]);
            assert_eq!((answer.body.len(), answer.get("content-length")), (0, length));
        }
    });
}

#[test]
fn trailers_pass_both_ways() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\nHost: evil\r\n\r\n",
    );
    let answer = talk(&backend, async |client| {
        let (response, mut stream) = client.begin(request("POST", "/"), false).await;
        stream.send_data(Bytes::from_static(b"body"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-check", "1".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
        streams::whole(response.await.unwrap()).await.unwrap()
    });
    let trailers = answer.trailers.unwrap();
    assert_eq!((trailers.len(), trailers["x-sum"].to_str().unwrap()), (1, "6"));
    assert_eq!(backend.request().trailers, ["x-check: 1"]);
}

#[test]
fn the_proxys_own_answers_have_their_form() {
    let backend = Backend::saying("fine");
    let scene = scene(json!({}), &[&backend.url()]);
    streams::over(scene.proxy.address(), WINDOW, async |client| {
        let unknown =
            Request::builder().uri("https://unknown.example/").header("x-debug", "1").body(()).unwrap();
        let answer = client.ask(unknown).await;
        assert_eq!((answer.status, answer.get("content-type")), (400, Some("text/html")));
        assert_eq!(answer.get("content-length"), Some(answer.body.len().to_string().as_str()));
        assert!(answer.get("x-debug-error").is_some() && answer.get("connection").is_none());
        let ping = Request::builder().method("HEAD").uri("https://__ping__/").body(()).unwrap();
        let answer = client.ask(ping).await;
        assert_eq!((answer.status, answer.get("content-length"), answer.body.len()), (200, Some("2"), 0));
        let connect = Request::builder().method("CONNECT").uri("site.example:443").body(()).unwrap();
        assert_eq!(client.ask(connect).await.status, 405);
        // The connection is none the worse for it.
        assert_eq!(client.get("/").await.text(), "fine");
    });
    let lines = scene.proxy.wait_for_access(4);
    assert!(
        lines.iter().any(|line| line.contains("\"CONNECT site.example:443 HTTP/2.0\" 405 ")),
        "{lines:#?}"
    );
}

const LENGTH: usize = 60_000_000;

/// Sends a long answer, and opens `stopped` when nobody takes more of it.
fn pour(stream: &mut TcpStream, sent: &AtomicUsize, stopped: &Gate) {
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").as_bytes()).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    while sent.load(Ordering::SeqCst) < LENGTH {
        let left = LENGTH - sent.load(Ordering::SeqCst);
        match stream.write(&[b'x'; 50_000][..left.min(50_000)]) {
            Ok(count) => drop(sent.fetch_add(count, Ordering::SeqCst)),
            Err(_) => stopped.open(),
        }
    }
}

#[test]
fn a_slow_reader_stops_its_backend_and_nobody_else() {
    let (stopped, sent) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
    let backend = {
        let (stopped, sent) = (stopped.clone(), Arc::clone(&sent));
        Backend::run(move |peer| {
            while let Some(request) = peer.request() {
                match request.target() {
                    "/long" => pour(&mut peer.wire.stream, &sent, &stopped),
                    _ => peer.send(ok("short")),
                }
            }
        })
    };
    talk(&backend, async |client| {
        let (response, _) = client.begin(request("GET", "/long"), true).await;
        let response = response.await.unwrap();
        tokio::task::spawn_blocking(move || stopped.pass()).await.unwrap();
        assert!(sent.load(Ordering::SeqCst) < LENGTH / 2);
        // Its windows are full; another stream has a window of its own, but shares that of the connection.
        let answer = streams::whole(response).await.unwrap();
        assert_eq!(answer.body.len(), LENGTH);
        assert_eq!(client.get("/short").await.text(), "short");
    });
}

#[test]
fn a_body_waits_for_a_backend_within_its_window() {
    let gate = Gate::default();
    let backend = {
        let gate = gate.clone();
        Backend::run(move |peer| {
            let head = peer.head().unwrap();
            gate.pass();
            let request = peer.body_of(head).unwrap();
            peer.send(ok(request.body.len().to_string()));
        })
    };
    let scene = scene(json!({}), &[&backend.url()]);
    let mut client = Frames::to(scene.proxy.address(), &[]);
    client.head(1, 0, &asking("POST", "/"));
    // The connection's window is opened wide; that of a stream has 256 KB.
    assert_eq!(client.next_of(frames::WINDOW_UPDATE).unwrap().stream, 0);
    for _ in 0..16 {
        client.send(frames::DATA, 0, 1, &[b'x'; 16_384]);
    }
    gate.open();
    client.send(frames::DATA, frames::END_STREAM, 1, b"");
    let head = client.next_of(frames::HEADERS).unwrap();
    assert_eq!(head.status(), Some(200));
    assert_eq!(client.next_of(frames::DATA).unwrap().payload, b"262144");
}

#[test]
fn a_stream_that_is_reset_ends_its_backends_work() {
    let backend = Backend::silent();
    let scene = scene(json!({}), &[&backend.url()]);
    streams::over(scene.proxy.address(), WINDOW, async |client| {
        let (response, mut stream) = client.begin(request("GET", "/"), true).await;
        let waiting = tokio::task::spawn_blocking(move || {
            backend.wait_for_requests(1);
            backend
        });
        let backend = waiting.await.unwrap();
        stream.send_reset(Reason::CANCEL);
        drop(response);
        tokio::task::spawn_blocking(move || backend.wait_for_end(0)).await.unwrap();
    });
    let line = &scene.proxy.wait_for_access(1)[0];
    assert!(line.contains("HTTP/2.0\" 499 "), "{line}");
}

#[test]
fn an_answer_that_breaks_off_resets_its_stream() {
    for framing in ["Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"] {
        let backend = Backend::run(move |peer| {
            let request = peer.request().unwrap();
            match request.target() {
                "/" => peer.send(ok("fine")),
                _ => peer.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n5\r\nhello\r\n")),
            }
        });
        talk(&backend, async |client| {
            let (response, _) = client.begin(request("GET", "/broken"), true).await;
            // The reset may overtake the head.
            let broken = async { streams::whole(response.await?).await };
            let error = broken.await.unwrap_err();
            assert!(error.is_reset() && error.reason() == Some(Reason::INTERNAL_ERROR), "{error}");
            assert_eq!(client.get("/").await.text(), "fine");
        });
    }
}

#[test]
fn an_answer_ends_an_upload_that_nobody_wants() {
    let backend = Backend::run(|peer| {
        peer.head().unwrap();
        peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        peer.hold();
    });
    talk(&backend, async |client| {
        let (response, _stream) = client.begin(request("POST", "/"), false).await;
        let answer = streams::whole(response.await.unwrap()).await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    });
}

#[test]
fn a_panic_costs_its_stream_alone() {
    let gate = Gate::default();
    let backend = Backend::gated(&gate);
    talk(&backend, async |client| {
        let (other, _) = client.begin(request("GET", "/"), true).await;
        let hook = Request::builder().uri("https://__hook__/panic").body(()).unwrap();
        let (panics, _) = client.begin(hook, true).await;
        assert!(panics.await.unwrap_err().is_reset());
        gate.open();
        assert_eq!(streams::whole(other.await.unwrap()).await.unwrap().text(), "late");
    });
}

#[test]
fn a_drain_says_goaway_and_lets_streams_end() {
    let gate = Gate::default();
    let backend = Backend::gated(&gate);
    let mut scene = scene(json!({}), &[&backend.url()]);
    let mut client = Frames::to(scene.proxy.address(), &[]);
    client.head(1, frames::END_STREAM, &asking("GET", "/"));
    backend.wait_for_requests(1);
    scene.proxy.signal(Signal::SIGTERM);
    let goaway = client.next_of(frames::GOAWAY).unwrap();
    assert_eq!(goaway.code(), 0);
    gate.open();
    assert_eq!(client.next_of(frames::HEADERS).unwrap().status(), Some(200));
    assert_eq!(client.next_of(frames::DATA).unwrap().payload, b"late");
    while client.next().is_some() {}
    assert_eq!(scene.proxy.wait_for_exit().code(), Some(0));
}

#[test]
fn idle_connections_are_told_to_go() {
    let backend = Backend::saying("fine");
    let scene = scene(json!({ "server": { "timeouts": { "clientIdle": 1 } } }), &[&backend.url()]);
    let mut client = Frames::to(scene.proxy.address(), &[]);
    client.head(1, frames::END_STREAM, &asking("GET", "/"));
    assert_eq!(client.next_of(frames::HEADERS).unwrap().status(), Some(200));
    assert_eq!(client.next_of(frames::GOAWAY).unwrap().code(), 0);
    while client.next().is_some() {}
}

#[test]
fn other_requests_go_on_where_one_client_takes_nothing() {
    let backend = Backend::answering(ok(vec![b'x'; 100_000]));
    let scene = scene(json!({ "server": { "timeouts": { "clientBody": 1 } } }), &[&backend.url()]);
    // No window at all: the head comes, and when patience is over, a reset.
    let mut client = Frames::to(scene.proxy.address(), &[(4, 0)]);
    client.head(1, frames::END_STREAM, &asking("GET", "/"));
    assert_eq!(client.fate_of(1).unwrap().kind, frames::HEADERS);
    let window = 200_000_u32.to_be_bytes();
    client.head(3, frames::END_STREAM, &asking("GET", "/"));
    client.send(frames::WINDOW_UPDATE, 0, 3, &window).send(frames::WINDOW_UPDATE, 0, 0, &window);
    let (mut received, mut is_reset, mut is_whole) = (0, false, false);
    while !(is_reset && is_whole) {
        let frame = client.next().unwrap();
        received += if (frame.kind, frame.stream) == (frames::DATA, 3) { frame.payload.len() } else { 0 };
        is_whole |= frame.stream == 3 && frame.ends_stream();
        is_reset |= (frame.kind, frame.stream) == (frames::RST_STREAM, 1);
    }
    assert_eq!(received, 100_000);
    wait::until("both are logged", || scene.proxy.wait_for_access(2).len() == 2);
}

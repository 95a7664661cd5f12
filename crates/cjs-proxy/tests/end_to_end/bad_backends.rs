//! Backends that answer badly: 502 and a dropped connection before the answer has begun, a visibly incomplete
//! transfer after.

use crate::support::backend::{Backend, ok};
use crate::support::message::Cut;
use crate::support::scene::{SITE, Scene, get, request};

const BAD_ANSWERS: [&str; 33] = [
    "",
    "\r\n\r\n",
    "hello\r\n\r\n",
    "<html></html>\r\n\r\n",
    "HTTP/1.1 200",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
    "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\n\r\nhi",
    "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 000 Zero\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 600 High\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 999 High\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 20 Short\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 2000 Long\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 abc No\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 700 X\r\n\r\n",
];

#[test]
fn bad_answers_become_502_and_end_their_connection() {
    let backend = Backend::run(|peer| {
        let Some(request) = peer.request() else { return };
        let answer = BAD_ANSWERS[request.target()[1..].parse::<usize>().unwrap()];
        peer.send(answer);
        if answer.ends_with("\r\n\r\n") || answer.ends_with("hi") {
            peer.hold();
        }
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for (number, answer) in BAD_ANSWERS.iter().enumerate() {
        let mut response = client.ask(get(&format!("/{number}")));
        if response.status == 100 {
            response = client.response();
        }
        assert_eq!(response.status, 502, "{answer:?}");
        assert_eq!(response.head.get("content-type"), Some("text/html"));
        backend.wait_for_end(number);
        assert_eq!(backend.connections(), number + 1, "each on a connection of its own");
    }
}

#[test]
fn a_head_beyond_the_limit_becomes_502() {
    let backend = Backend::run(|peer| {
        while let Some(request) = peer.request() {
            let fields = match request.target() {
                "/long" => format!("X: {}\r\n", "y".repeat(70_000)),
                "/many" => "X: y\r\n".repeat(101),
                _ => String::new(),
            };
            peer.send(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n"));
        }
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for (target, status) in [("/long", 502), ("/fine", 200), ("/many", 502), ("/fine", 200)] {
        assert_eq!(client.ask(get(target)).status, status, "{target}");
    }
}

#[test]
fn endless_interim_answers_become_502() {
    let backend = Backend::run(|peer| {
        peer.request();
        while peer.try_send("HTTP/1.1 102 Processing\r\n\r\n") {}
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    client.send(get("/"));
    let statuses: Vec<u16> =
        std::iter::repeat_with(|| client.response().status).take_while(|&s| s == 102).collect();
    assert!(statuses.len() < 1000);
    backend.wait_for_end(0);
    assert_eq!(scene.proxy.wait_for_access(1).len(), 1);
}

#[test]
fn an_answer_may_lack_its_reason() {
    for line in ["HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.0 200"] {
        let backend = Backend::answering(format!("{line}\r\nContent-Length: 2\r\n\r\nhi"));
        let response = Scene::of(&backend).ask(get("/"));
        assert_eq!((response.status, response.text().as_str()), (200, "hi"), "{line:?}");
    }
}

/// What a client gets of an answer that its backend breaks off.
fn broken(answer: &'static str, request: &str) -> Cut {
    let backend = Backend::run(move |peer| {
        if peer.request().is_some_and(|request| request.target() == "/fine") {
            peer.send(ok("fine"));
            return;
        }
        peer.send(answer);
    });
    let scene = Scene::of(&backend);
    let cut = scene.connect().send(request).try_response(false).expect_err("an incomplete transfer");
    backend.wait_for_end(0);
    assert_eq!(scene.ask(self::request("GET", "/fine", "")).text(), "fine");
    cut
}

#[test]
fn a_broken_answer_of_known_length_is_visibly_incomplete() {
    let cut = broken("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this", &get("/"));
    assert_eq!(String::from_utf8_lossy(&cut.got), "only this");
}

#[test]
fn a_broken_chunked_answer_is_visibly_incomplete() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for rest in ["", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n", "5\r\nhello\r\n0", "5\r\nhello\r\n0\r\n"] {
        broken((HEAD.to_owned() + rest).leak(), &get("/"));
    }
}

#[test]
fn a_broken_chunked_answer_is_visibly_incomplete_to_http_1_0() {
    let request = format!("GET / HTTP/1.0\r\nHost: {SITE}\r\n\r\n");
    for rest in ["5\r\nhel", "5\r\nhello\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{rest}");
        assert!(broken(answer.leak(), &request).by_reset, "{rest:?}");
    }
}

#[test]
fn a_bad_chunk_that_comes_with_the_head_is_a_bad_answer() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz";
    let backend = Backend::run(move |peer| {
        peer.head();
        peer.send(answer);
        peer.hold();
    });
    let scene = Scene::of(&backend);
    assert_eq!(scene.ask(get("/")).status, 502);
}

#[test]
fn a_reset_in_an_answer_without_length_is_visible() {
    let backend = Backend::run(|peer| {
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\n\r\nsome");
        // The client has it, so the reset cannot overtake it.
        peer.wire.exactly(1).unwrap();
        peer.reset();
    });
    let scene = Scene::of(&backend);
    for version in ["1.0", "1.1"] {
        let mut client = scene.connect();
        client.send(format!("POST / HTTP/{version}\r\nHost: {SITE}\r\nContent-Length: 2\r\n\r\n"));
        client.head();
        client.send("x");
        let cut = client.end();
        assert!(cut.by_reset || version == "1.1", "{cut:?}");
        assert!(!cut.got.ends_with(b"0\r\n\r\n"), "{cut:?}");
    }
}

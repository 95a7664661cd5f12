//! Each time-out of the config, with small values, and what the client is told.

use serde_json::{Value, json};

use crate::support::backend::{Backend, Blackhole, ok};
use crate::support::scene::{SITE, Scene, get, request, with_body};
use crate::support::wait;

/// A config with this one time-out in seconds.
fn within(name: &str, seconds: f64) -> Value {
    json!({ "server": { "timeouts": { name: seconds } } })
}

#[test]
fn a_head_that_does_not_end_becomes_408() {
    let backend = Backend::saying("fine");
    let scene = Scene::with(within("clientHeader", 0.5), &[&backend.url()]);
    let mut client = scene.connect();
    let response = client.ask("GET / HTTP/1.1\r\nHost: si");
    assert!(response.status == 408 && response.says_close(), "{}", response.head.raw);
    client.expect_end();
    assert_eq!(scene.ask(get("/")).text(), "fine");
    assert_eq!(backend.requests().len(), 1);
}

#[test]
fn a_dripped_head_becomes_408() {
    let backend = Backend::saying("fine");
    let scene = Scene::with(within("clientHeader", 0.5), &[&backend.url()]);
    let mut client = scene.connect();
    client.send("GET / HTTP/1.1\r\nX: ");
    wait::until("an answer to a dripped head", || {
        client.send("y");
        client.has_news()
    });
    assert_eq!(client.response().status, 408);
    assert_eq!(backend.requests().len(), 0);
}

#[test]
fn the_time_for_a_head_begins_anew_with_each_request() {
    let backend = Backend::saying("fine");
    let scene = Scene::with(within("clientHeader", 0.5), &[&backend.url()]);
    let mut client = scene.connect();
    assert_eq!(client.ask(get("/")).status, 200);
    assert_eq!(client.ask("GET").status, 408);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let backend = Backend::saying("fine");
    let scene = Scene::with(within("clientIdle", 0.3), &[&backend.url()]);
    let mut untouched = scene.connect();
    let mut used = scene.connect();
    assert_eq!(used.ask(get("/")).status, 200);
    untouched.expect_end();
    used.expect_end();
}

#[test]
fn a_body_that_stops_becomes_408() {
    let backend = Backend::saying("fine");
    let scene = Scene::with(within("clientBody", 0.5), &[&backend.url()]);
    for fields in ["Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut client = scene.connect();
        let response = client.ask(request("POST", "/", fields) + "5\r\nhel");
        assert!(response.status == 408 && response.says_close(), "{fields}: {}", response.head.raw);
        client.expect_end();
    }
    assert_eq!(backend.requests().len(), 0, "no body was whole");
    backend.wait_for_end(0);
    backend.wait_for_end(1);
}

#[test]
fn a_body_that_comes_slowly_but_steadily_is_served() {
    let backend = Backend::echoing();
    let scene = Scene::with(within("clientBody", 2.0), &[&backend.url()]);
    let mut client = scene.connect();
    client.send(request("POST", "/", "Content-Length: 500\r\n"));
    let mut sent = 0;
    wait::until("500 bytes in 5 ms steps", || {
        client.send("x");
        sent += 1;
        sent == 500
    });
    assert_eq!(client.response().text(), "x".repeat(500));
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n\r\n");
        while peer.try_send([b'x'; 65_536]) {}
    });
    let scene = Scene::with(within("clientBody", 0.5), &[&backend.url()]);
    let mut client = scene.connect();
    client.send(get("/"));
    backend.wait_for_end(0);
    let cut = client.try_response(false).unwrap_err();
    assert!(cut.got.len() > 10_000, "{} bytes", cut.got.len());
}

#[test]
fn a_backend_that_does_not_accept_becomes_504() {
    let (blackhole, good) = (Blackhole::new(), Backend::saying("fine"));
    let scene = Scene::with(within("connect", 0.5), &[&blackhole.url()]);
    let mut client = scene.connect();
    assert_eq!(client.ask(get("/")).status, 504);
    scene.redis.route("other.example", &["other", &good.url()]);
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: other.example\r\n\r\n").text(), "fine");
}

#[test]
fn another_backend_serves_when_one_does_not_accept() {
    let (blackhole, good) = (Blackhole::new(), Backend::echoing());
    let scene = Scene::with(within("connect", 0.3), &[&blackhole.url(), &good.url()]);
    for _ in 0..8 {
        assert_eq!(scene.ask(with_body("POST", "/", "body")).text(), "body");
    }
}

#[test]
fn a_backend_that_does_not_answer_becomes_504() {
    let backend = Backend::silent();
    let scene = Scene::with(within("backendHeader", 0.5), &[&backend.url()]);
    let mut client = scene.connect();
    for (number, request) in [get("/"), with_body("POST", "/", "body")].iter().enumerate() {
        assert_eq!(client.ask(request).status, 504);
        backend.wait_for_end(number);
    }
    assert_eq!(backend.requests().len(), 2);
}

#[test]
fn half_a_head_is_no_answer() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nContent-Le");
    let scene = Scene::with(within("backendHeader", 0.5), &[&backend.url()]);
    assert_eq!(scene.ask(get("/")).status, 504);
    backend.wait_for_end(0);
}

#[test]
fn an_interim_answer_is_no_answer() {
    let backend = Backend::answering("HTTP/1.1 100 Continue\r\n\r\n");
    let scene = Scene::with(within("backendHeader", 0.5), &[&backend.url()]);
    let mut client = scene.connect();
    let response = client.ask(request("POST", "/", "Expect: 100-continue\r\nContent-Length: 2\r\n") + "ab");
    assert_eq!((response.status, client.response().status), (100, 504));
}

#[test]
fn the_backends_time_begins_when_the_request_is_whole() {
    let backend = Backend::echoing();
    let scene = Scene::with(within("backendHeader", 1.0), &[&backend.url()]);
    let mut client = scene.connect();
    client.send(request("POST", "/", "Content-Length: 400\r\n"));
    let mut sent = 0;
    wait::until("400 bytes in 5 ms steps", || {
        client.send("x");
        sent += 1;
        sent == 400
    });
    assert_eq!(client.response().text(), "x".repeat(400));
}

#[test]
fn an_answer_that_stops_is_visibly_incomplete() {
    for fields in ["Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n", ""] {
        let backend = Backend::answering(format!("HTTP/1.1 200 OK\r\n{fields}\r\n5\r\nhello\r\n"));
        let scene = Scene::with(within("backendBody", 0.5), &[&backend.url()]);
        scene.connect().send(get("/")).try_response(false).expect_err(fields);
        backend.wait_for_end(0);
    }
}

#[test]
fn an_answer_that_stops_is_visibly_incomplete_to_http_1_0() {
    for fields in ["Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n", ""] {
        let backend = Backend::answering(format!("HTTP/1.1 200 OK\r\n{fields}\r\n5\r\nhello\r\n"));
        let scene = Scene::with(within("backendBody", 0.5), &[&backend.url()]);
        let mut client = scene.connect();
        client.send(format!("GET / HTTP/1.0\r\nHost: {SITE}\r\n\r\n")).try_response(false).expect_err(fields);
    }
}

#[test]
fn an_answer_that_comes_slowly_but_steadily_arrives() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
        let mut sent = 0;
        wait::until("500 bytes in 5 ms steps", || {
            peer.send("x");
            sent += 1;
            sent == 500
        });
        peer.hold();
    });
    let scene = Scene::with(within("backendBody", 2.0), &[&backend.url()]);
    assert_eq!(scene.ask(get("/")).body.len(), 500);
}

#[test]
fn a_backend_that_takes_nothing_is_given_up() {
    let gate = wait::Gate::default();
    let backend = {
        let gate = gate.clone();
        Backend::run(move |peer| {
            peer.head();
            gate.pass();
        })
    };
    let scene = Scene::with(within("backendBody", 0.5), &[&backend.url()]);
    let mut client = scene.connect();
    let mut writer = client.writer();
    client.send(request("POST", "/", "Content-Length: 100000000\r\n"));
    let upload = std::thread::spawn(move || {
        use std::io::Write;
        while writer.write_all(&[b'x'; 65_536]).is_ok() {}
    });
    let status = client.try_response(false).map(|response| response.status);
    assert!(matches!(status, Ok(502 | 504)), "{status:?}");
    gate.open();
    drop(client);
    upload.join().unwrap();
}

#[test]
fn an_idle_tunnel_is_closed_on_both_sides() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
        peer.hold();
    });
    let scene = Scene::with(within("tunnelIdle", 0.5), &[&backend.url()]);
    let mut client = scene.connect();
    assert_eq!(client.ask(request("GET", "/", "Connection: Upgrade\r\nUpgrade: x\r\n")).status, 101);
    client.expect_end();
    backend.wait_for_end(0);
}

#[test]
fn a_tunnel_lives_while_one_side_speaks() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
        let mut sent = 0;
        wait::until("500 bytes in 5 ms steps", || {
            peer.send("x");
            sent += 1;
            sent == 500
        });
    });
    let scene = Scene::with(within("tunnelIdle", 2.0), &[&backend.url()]);
    let mut client = scene.connect();
    client.ask(request("GET", "/", "Connection: Upgrade\r\nUpgrade: x\r\n"));
    assert_eq!(client.end().got.len(), 500);
}

#[test]
fn a_tcp_timeout_bounds_those_that_are_not_set() {
    let backend = Backend::silent();
    let scene = Scene::with(json!({ "server": { "tcpTimeout": 0.5 } }), &[&backend.url()]);
    assert_eq!(scene.ask(get("/")).status, 504);
    scene.connect().expect_end();
}

#[test]
fn without_time_outs_things_work() {
    let backend = Backend::answering(ok("fine"));
    let none = json!({ "clientHeader": 0, "clientIdle": 0, "connect": 0 });
    let scene = Scene::with(json!({ "server": { "tcpTimeout": 0, "timeouts": none } }), &[&backend.url()]);
    let mut client = scene.connect();
    for _ in 0..3 {
        assert_eq!(client.ask(with_body("POST", "/", "body")).text(), "fine");
    }
}

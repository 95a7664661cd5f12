//! Connections on both sides: kept, reused, pipelined, closed.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::support::backend::{Backend, ok};
use crate::support::scene::{SITE, Scene, get, request, with_body};
use crate::support::wait;

#[test]
fn connections_are_reused_on_both_sides() {
    let backend = Backend::echoing();
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for round in 0..20 {
        let body = round.to_string();
        assert_eq!(client.ask(with_body("POST", "/", &body)).text(), body);
    }
    assert_eq!((backend.connections(), backend.requests().len()), (1, 20));
}

#[test]
fn a_client_that_asks_to_close_is_closed() {
    let backend = Backend::saying("bye");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    let response = client.ask(request("GET", "/", "Connection: close\r\n"));
    assert!(response.says_close() && response.text() == "bye");
    client.expect_end();
    assert_eq!(backend.request().head.get("connection"), None);
}

#[test]
fn a_backend_that_closes_costs_the_client_nothing() {
    let backend =
        Backend::answering_once("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for _ in 0..3 {
        let response = client.ask(get("/"));
        assert_eq!((response.text().as_str(), response.head.get("connection")), ("hi", None));
    }
    assert_eq!(backend.connections(), 3);
}

#[test]
fn a_backend_of_http_1_0_may_keep_its_connection() {
    let backend =
        Backend::answering("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for _ in 0..3 {
        assert_eq!(client.ask(get("/")).text(), "hi");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn http_1_0_closes_unless_it_asks_otherwise() {
    let backend = Backend::saying("hi");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    let kept = client.ask(format!("GET / HTTP/1.0\r\nHost: {SITE}\r\nConnection: Keep-Alive\r\n\r\n"));
    assert!(kept.head.get("connection").unwrap().eq_ignore_ascii_case("keep-alive"));
    let last = client.ask(format!("GET / HTTP/1.0\r\nHost: {SITE}\r\n\r\n"));
    assert_eq!(last.text(), "hi");
    client.expect_end();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::run(|peer| {
        while let Some(request) = peer.request() {
            peer.send(ok(format!("{} {}", request.target(), String::from_utf8_lossy(&request.body))));
        }
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    let chunked = request("POST", "/4", "Transfer-Encoding: chunked\r\n") + "1\r\nd\r\n0\r\n\r\n";
    let all = [get("/1"), with_body("PUT", "/2", "bb"), get("/3"), chunked, get("/5")].concat();
    client.send(all);
    for expected in ["/1 ", "/2 bb", "/3 ", "/4 d", "/5 "] {
        assert_eq!(client.response().text(), expected);
    }
}

#[test]
fn pipelined_requests_may_be_split_anywhere() {
    let backend = Backend::echoing();
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    let all = [get("/1"), with_body("POST", "/2", "two"), get("/3")].concat();
    for cut in 1..all.len() {
        client.send(&all[..cut]).send(&all[cut..]);
        let texts = [client.response().text(), client.response().text(), client.response().text()];
        assert_eq!(texts, ["", "two", ""], "split at {cut}");
    }
}

#[test]
fn requests_behind_a_closing_one_are_not_served() {
    let backend = Backend::saying("once");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    client.send(request("GET", "/", "Connection: close\r\n") + &get("/second"));
    assert_eq!(client.response().text(), "once");
    client.expect_end();
    assert_eq!(backend.request().target(), "/");
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    let backend = Backend::saying("x");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    client.send(format!("\r\n\r\n{}\r\n{}", get("/1"), get("/2")));
    assert_eq!((client.response().status, client.response().status), (200, 200));
}

#[test]
fn a_client_may_end_its_side_after_its_request() {
    let backend = Backend::echoing();
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    client.send(with_body("POST", "/", "last words")).finish();
    assert_eq!(client.response().text(), "last words");
    client.expect_end();
}

#[test]
fn backend_connections_are_not_kept_when_told_so() {
    let backend = Backend::saying("x");
    let scene = Scene::with(json!({ "server": { "httpKeepAlive": false } }), &[&backend.url()]);
    let mut client = scene.connect();
    for _ in 0..3 {
        assert_eq!(client.ask(get("/")).status, 200);
    }
    assert_eq!(backend.connections(), 3);
    backend.wait_for_end(2);
}

#[test]
fn an_answer_with_bytes_behind_it_ends_its_backend_connection() {
    let backend = Backend::answering([ok("one"), ok("unasked")].concat());
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for _ in 0..3 {
        assert_eq!(client.ask(get("/")).text(), "one");
    }
    assert_eq!(backend.connections(), 3);
}

#[test]
fn a_backend_that_speaks_unasked_is_not_used_again() {
    let (tell, spoken) = std::sync::mpsc::channel();
    let backend = Backend::run(move |peer| {
        while peer.request().is_some() {
            peer.send(ok("fine"));
            peer.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
            tell.send(()).unwrap();
        }
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for _ in 0..10 {
        let response = client.ask(get("/"));
        assert_eq!((response.status, response.text().as_str()), (200, "fine"));
        spoken.recv().unwrap();
    }
}

#[test]
fn a_client_that_leaves_in_mid_answer_ends_its_backend_connection() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n\r\n");
        while peer.try_send([b'x'; 65_536]) {}
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    client.send(get("/"));
    client.head();
    drop(client);
    backend.wait_for_end(0);
    let line = scene.proxy.wait_for_access(1).remove(0);
    assert!(line.contains("\" 200 "), "{line}");
}

#[test]
fn a_client_that_resets_ends_its_backend_connection() {
    let backend = Backend::silent();
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    client.send(get("/"));
    backend.wait_for_requests(1);
    client.reset();
    backend.wait_for_end(0);
    let line = scene.proxy.wait_for_access(1).remove(0);
    assert!(line.contains("\" 499 "), "{line}");
}

#[test]
fn a_client_that_leaves_in_mid_upload_leaves_no_whole_request() {
    let backend = Backend::saying("x");
    let scene = Scene::of(&backend);
    for (number, (fields, part)) in [
        ("Content-Length: 100\r\n", "only a part"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = scene.connect();
        client.send(request("POST", "/", fields) + part);
        wait::until("the beginning at the backend", || backend.connections() > number);
        client.finish().expect_end();
        backend.wait_for_end(number);
    }
    assert_eq!(backend.requests().len(), 0);
}

#[test]
fn hundreds_of_pipelined_requests_are_answered() {
    let backend = Backend::run(|peer| {
        while let Some(request) = peer.request() {
            peer.send(ok(request.target()));
        }
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    let mut writer = client.writer();
    let all: String = (0..1000).map(|number| get(&format!("/{number}"))).collect();
    let sending = std::thread::spawn(move || writer.write_all(all.as_bytes()).unwrap());
    for number in 0..1000 {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
    sending.join().unwrap();
}

#[test]
fn many_clients_are_served_at_once() {
    let backend = Backend::echoing();
    let scene = Scene::of(&backend);
    let talk = &|number: usize| {
        let mut client = scene.connect();
        for round in 0..20 {
            let body = format!("{number}/{round}");
            assert_eq!(client.ask(with_body("POST", "/", &body)).text(), body);
        }
    };
    std::thread::scope(|scope| {
        for number in 0..50 {
            scope.spawn(move || talk(number));
        }
    });
    assert_eq!(backend.requests().len(), 1000);
}

#[test]
fn a_client_that_takes_nothing_holds_its_backend_back() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let backend = Backend::run(move |peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n\r\n");
        while peer.try_send([b'x'; 65_536]) && count.fetch_add(65_536, Ordering::Relaxed) < 1_000_000_000 {}
    });
    let config = json!({ "server": { "timeouts": { "clientBody": 1 } } });
    let scene = Scene::with(config, &[&backend.url()]);
    let mut client = scene.connect();
    client.send(get("/"));
    backend.wait_for_end(0);
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent < 50_000_000, "{sent} bytes lie in buffers");
}

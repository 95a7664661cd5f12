//! Requests and answers that overlap: interim answers, early answers, long bodies both ways.

use std::io::Write;

use crate::support::backend::{Backend, ok};
use crate::support::scene::{SITE, Scene, get, request};

/// Bytes that repeat only after a prime, so that a lost or doubled piece shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place % 251) as u8).collect()
}

#[test]
fn the_client_is_told_to_continue_by_the_backend() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.head() {
            assert_eq!(head.get("expect"), Some("100-continue"));
            peer.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = peer.body_of(head).unwrap().body;
            peer.send(ok(body));
        }
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    let head = request("PUT", "/", "Expect: 100-continue\r\nContent-Length: 4\r\n");
    for _ in 0..2 {
        assert_eq!(client.ask(&head).status, 100);
        assert_eq!(client.ask("body").text(), "body");
    }
}

#[test]
fn a_backend_may_refuse_instead_of_continue() {
    let backend = Backend::run(|peer| {
        peer.head();
        peer.send("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
        peer.hold();
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    let head = request("PUT", "/", "Expect: 100-continue\r\nContent-Length: 4\r\n");
    let response = client.ask(head);
    assert_eq!(response.status, 417);
    assert!(response.says_close(), "the body may or may not come: {}", response.head.raw);
    client.expect_end();
}

#[test]
fn an_http_1_0_client_gets_no_interim_answer() {
    let backend = Backend::run(|peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
            peer.send(ok("done"));
        }
    });
    let scene = Scene::of(&backend);
    let request =
        "POST / HTTP/1.0\r\nHost: site.example\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab";
    let response = scene.ask(request);
    assert_eq!((response.status, response.text().as_str()), (200, "done"));
}

#[test]
fn interim_answers_are_passed_on_in_order() {
    let backend = Backend::answering(
        [b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_vec(), ok("x")]
            .concat(),
    );
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    assert_eq!(client.ask(get("/")).status, 102);
    let hints = client.response();
    assert_eq!((hints.status, hints.head.get("link")), (103, Some("</a>")));
    assert_eq!(client.response().text(), "x");
}

#[test]
fn an_answer_may_come_before_the_request_is_whole() {
    let backend = Backend::run(|peer| {
        peer.head();
        peer.send("HTTP/1.1 413 Too much\r\nContent-Length: 3\r\n\r\nno!");
        peer.hold();
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    let response = client.ask(request("POST", "/", "Content-Length: 10000000\r\n") + "only the beginning");
    assert_eq!((response.status, response.text().as_str()), (413, "no!"));
    assert!(response.says_close(), "what else the client sends is no request: {}", response.head.raw);
    client.expect_end();
}

#[test]
fn an_early_answer_arrives_though_the_client_goes_on_sending() {
    let backend = Backend::run(|peer| {
        peer.head();
        peer.send("HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    let mut writer = client.writer();
    client.send(request("POST", "/", "Content-Length: 1000000\r\n"));
    let upload = std::thread::spawn(move || {
        // May be cut short, which is the point.
        let _ = writer.write_all(&vec![b'x'; 1_000_000]);
    });
    assert_eq!(client.response().status, 403);
    upload.join().unwrap();
    scene.proxy.wait_for_access(1);
}

#[test]
fn a_long_upload_is_streamed() {
    let backend = Backend::run(|peer| {
        let head = peer.head().unwrap();
        assert_eq!(
            peer.wire.exactly(100_000).unwrap(),
            pattern(100_000),
            "before the client has sent it all"
        );
        peer.send("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(peer.wire.exactly(100_000).unwrap(), pattern(100_000));
        peer.send(ok(head.get("content-length").unwrap()));
        peer.hold();
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    client.send(request("POST", "/", "Content-Length: 200000\r\n")).send(pattern(100_000));
    assert_eq!(client.response().status, 100);
    assert_eq!(client.ask(pattern(100_000)).text(), "200000");
}

#[test]
fn five_megabytes_pass_both_ways_unchanged() {
    let body = pattern(5_000_000);
    let backend = Backend::echoing();
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for chunked in [false, true] {
        let mut writer = client.writer();
        let sent = body.clone();
        let upload = std::thread::spawn(move || send_body(&mut writer, &sent, chunked));
        let response = client.response();
        upload.join().unwrap();
        assert!(response.body == body, "chunked {chunked}: {} bytes came back", response.body.len());
    }
    assert!(backend.requests().iter().all(|request| request.body == body));
}

fn send_body(to: &mut impl Write, body: &[u8], chunked: bool) {
    if !chunked {
        to.write_all(request("POST", "/", &format!("Content-Length: {}\r\n", body.len())).as_bytes())
            .unwrap();
        to.write_all(body).unwrap();
        return;
    }
    to.write_all(request("POST", "/", "Transfer-Encoding: chunked\r\n").as_bytes()).unwrap();
    for chunk in body.chunks(77_777) {
        to.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).unwrap();
        to.write_all(chunk).unwrap();
        to.write_all(b"\r\n").unwrap();
    }
    to.write_all(b"0\r\n\r\n").unwrap();
}

#[test]
fn five_megabytes_in_chunks_come_down_unchanged() {
    let backend = Backend::run(|peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for chunk in pattern(5_000_000).chunks(33_333) {
                peer.send([format!("{:X}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
            }
            peer.send("0\r\n\r\n");
        }
    });
    let response = Scene::of(&backend).ask(get("/"));
    assert!(response.body == pattern(5_000_000), "{} bytes", response.body.len());
}

#[test]
fn an_answer_before_a_reset_is_relayed() {
    let backend = Backend::run(|peer| {
        peer.head();
        peer.send("HTTP/1.1 413 Too much\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!");
        peer.reset();
    });
    let scene = Scene::of(&backend);
    for _ in 0..20 {
        let mut client = scene.connect();
        client.send(request("POST", "/", "Content-Length: 100000\r\n")).send(pattern(100_000));
        let response = client.response();
        assert_eq!((response.status, response.text().as_str()), (413, "no!"));
    }
}

#[test]
fn a_large_last_answer_arrives_whole() {
    let body = pattern(5_000_000);
    let answer = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), body.clone()].concat();
    let (backend, closing) = (Backend::answering(ok(&body)), Backend::answering_once(answer));
    let scene = Scene::of(&backend);
    scene.redis.route("closing.example", &["closing", &closing.url()]);
    let last = request("GET", "/", "Connection: close\r\n");
    let old = last.replace("HTTP/1.1", "HTTP/1.0");
    for request in
        [&last, &old, &last.replace(SITE, "closing.example"), &old.replace(SITE, "closing.example")]
    {
        let mut client = scene.connect();
        let response = client.send(request).finish().response();
        assert!(response.body == body, "{} bytes of {request}", response.body.len());
        client.expect_end();
    }
}

#[test]
fn long_bodies_do_not_grow_the_proxy() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.head() {
            let length = head.get("content-length").unwrap().parse().unwrap();
            peer.skip(length);
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
            (0..length / 50_000).for_each(|_| peer.send([b'x'; 50_000]));
        }
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    let mut pass = |length: usize| {
        client.send(request("POST", "/", &format!("Content-Length: {length}\r\n")));
        (0..length / 50_000).for_each(|_| {
            client.send([b'x'; 50_000]);
        });
        assert_eq!(client.response().body.len(), length);
    };
    pass(5_000_000);
    let before = scene.proxy.resident_kilobytes();
    pass(50_000_000);
    let grown = scene.proxy.resident_kilobytes().saturating_sub(before);
    assert!(grown < 8 * 1024, "grown by {grown} KB");
}

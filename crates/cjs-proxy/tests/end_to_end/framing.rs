//! Where messages begin and end, in both directions.

use std::io::Write;

use crate::support::backend::{Backend, ok};
use crate::support::client::Framing;
use crate::support::scene::{SITE, Scene, get, request, with_body};

const CHUNKED_POST: &str = "POST /c HTTP/1.1\r\nHost: site.example\r\nTransfer-Encoding: chunked\r\n\r\n\
                            3;e=\"x\"\r\nabc\r\n0a\r\n0123456789\r\n0\r\nX-Sum: 42\r\nX-Sum: 43\r\n\r\n";

/// Bytes that repeat only after a prime, so that a lost or doubled piece shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place % 251) as u8).collect()
}

#[test]
fn a_get_is_answered() {
    let backend = Backend::saying("hello");
    let scene = Scene::of(&backend);
    let response = scene.ask(get("/a?b=c"));
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    assert_eq!(backend.request().head.start_line(), "GET /a?b=c HTTP/1.1");
}

#[test]
fn an_answer_to_head_has_its_length_and_no_body() {
    let backend = Backend::run(|peer| {
        while let Some(request) = peer.request() {
            let is_head = request.head.start_line().starts_with("HEAD");
            peer.send(if is_head {
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec()
            } else {
                ok("hello")
            });
        }
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    let response = client.send(request("HEAD", "/", "")).response_to_head();
    assert_eq!((response.status, response.head.get("content-length")), (200, Some("5")));
    assert_eq!(client.ask(get("/")).text(), "hello");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_chunked_answer_to_head_has_no_body() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for _ in 0..2 {
        assert_eq!(client.send(request("HEAD", "/", "")).response_to_head().status, 200);
    }
}

#[test]
fn an_answer_to_head_may_lack_a_length() {
    let backend = Backend::run(|peer| {
        while let Some(request) = peer.request() {
            let is_head = request.head.start_line().starts_with("HEAD");
            peer.send(if is_head { b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n".to_vec() } else { ok("hello") });
        }
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for _ in 0..2 {
        assert_eq!(client.send(request("HEAD", "/", "")).response_to_head().head.get("x"), Some("y"));
        assert_eq!(client.ask(get("/")).text(), "hello");
    }
}

#[test]
fn a_length_where_none_may_stand_is_taken_off() {
    let backend = Backend::answering("HTTP/1.1 204 None\r\nContent-Length: 5\r\nX: y\r\n\r\n");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for _ in 0..2 {
        let response = client.ask(get("/"));
        assert_eq!((response.status, response.head.get("content-length")), (204, None));
    }
}

#[test]
fn a_body_of_known_length_arrives() {
    let backend = Backend::echoing();
    let scene = Scene::of(&backend);
    assert_eq!(scene.ask(with_body("POST", "/", "name=value")).text(), "name=value");
    let request = backend.request();
    assert_eq!(
        (request.head.get("content-length"), request.body.as_slice()),
        (Some("10"), &b"name=value"[..])
    );
}

#[test]
fn an_empty_body_of_known_length_keeps_its_length() {
    let backend = Backend::echoing();
    let scene = Scene::of(&backend);
    assert_eq!(scene.ask(with_body("POST", "/", "")).text(), "");
    assert_eq!(backend.request().head.get("content-length"), Some("0"));
}

#[test]
fn a_chunked_body_arrives_chunked_with_its_trailers() {
    let backend = Backend::echoing();
    let scene = Scene::of(&backend);
    assert_eq!(scene.ask(CHUNKED_POST).text(), "abc0123456789");
    let request = backend.request();
    assert_eq!(request.head.get("transfer-encoding"), Some("chunked"));
    assert_eq!(request.trailers, ["X-Sum: 42", "X-Sum: 43"]);
}

#[test]
fn a_chunked_body_may_come_byte_by_byte() {
    let backend = Backend::echoing();
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    assert_eq!(client.send_in_pieces(CHUNKED_POST, 1).response().text(), "abc0123456789");
    assert_eq!(backend.request().trailers, ["X-Sum: 42", "X-Sum: 43"]);
    assert_eq!(client.ask(CHUNKED_POST).status, 200);
}

#[test]
fn a_chunked_request_may_be_split_anywhere() {
    let backend = Backend::echoing();
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for cut in 1..CHUNKED_POST.len() {
        let (first, second) = CHUNKED_POST.split_at(cut);
        let response = client.send(first).send(second).response();
        assert_eq!((response.status, response.text().as_str()), (200, "abc0123456789"), "split at {cut}");
    }
    for request in backend.requests() {
        assert_eq!(request.trailers, ["X-Sum: 42", "X-Sum: 43"]);
    }
}

#[test]
fn a_chunked_answer_may_be_split_anywhere() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                          3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 1\r\n\r\n";
    let backend = Backend::run(|peer| {
        while let Some(request) = peer.request() {
            let (first, second) = ANSWER.split_at(request.target()[1..].parse().unwrap());
            peer.send(first);
            peer.send(second);
        }
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for cut in 1..ANSWER.len() {
        let response = client.ask(get(&format!("/{cut}")));
        assert_eq!(
            (response.text().as_str(), response.trailers.as_slice()),
            ("abcdefg", &["X-Sum: 1".into()][..])
        );
    }
}

#[test]
fn trailers_of_an_answer_are_passed_on() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n",
    );
    let response = Scene::of(&backend).ask(get("/"));
    assert_eq!((response.framing, response.text().as_str()), (Framing::Chunked, "hi"));
    assert_eq!((response.head.get("trailer"), response.trailers[0].as_str()), (Some("X-Sum"), "X-Sum: 1"));
}

#[test]
fn trailers_cannot_change_how_a_message_is_read() {
    let backend = Backend::echoing();
    let scene = Scene::of(&backend);
    let trailers = "Content-Length: 9\r\nX-Good: 1\r\nHost: evil\r\nTransfer-Encoding: x\r\nX-Forwarded-For: 6.6.6.6\r\n";
    let body = format!("1\r\na\r\n0\r\n{trailers}\r\n");
    assert_eq!(scene.ask(request("POST", "/", "Transfer-Encoding: chunked\r\n") + &body).status, 200);
    assert_eq!(backend.request().trailers, ["X-Good: 1"]);
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
fn answers_without_a_body_end_with_their_head() {
    let backend = Backend::run(|peer| {
        while let Some(request) = peer.request() {
            peer.send(format!("HTTP/1.1 {} X\r\nETag: a\r\n\r\n", &request.target()[1..]));
        }
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for status in [204, 304, 204] {
        let response = client.ask(get(&format!("/{status}")));
        assert_eq!((response.status, response.head.get("etag")), (status, Some("a")));
        assert_eq!(response.head.get("transfer-encoding"), None);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_304_with_a_length_has_no_body() {
    let backend = Backend::answering("HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for _ in 0..2 {
        assert_eq!(client.ask(get("/")).status, 304);
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_is_chunked_for_http_1_1() {
    let backend = Backend::answering_once("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for _ in 0..2 {
        let response = client.ask(get("/"));
        assert_eq!((response.framing, response.text().as_str()), (Framing::Chunked, "until the end"));
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_does_so_for_http_1_0() {
    let backend = Backend::answering_once("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    let request = format!("GET / HTTP/1.0\r\nHost: {SITE}\r\nConnection: keep-alive\r\n\r\n");
    let response = Scene::of(&backend).ask(request);
    assert_eq!((response.framing, response.text().as_str()), (Framing::UntilClose, "until the end"));
    assert_ne!(response.head.get("connection"), Some("keep-alive"));
}

#[test]
fn a_chunked_answer_reaches_http_1_0_without_chunks() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n",
    );
    let scene = Scene::of(&backend);
    let response = scene.ask(format!("GET / HTTP/1.0\r\nHost: {SITE}\r\nConnection: keep-alive\r\n\r\n"));
    assert_eq!((response.framing, response.text().as_str()), (Framing::UntilClose, "hi"));
    assert_eq!(response.head.get("transfer-encoding"), None);
}

#[test]
fn a_backend_of_http_1_0_is_understood() {
    let backend = Backend::answering_once("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for _ in 0..2 {
        assert_eq!(client.ask(get("/")).text(), "hi");
    }
    assert_eq!(backend.connections(), 2, "HTTP/1.0 closes unless it says otherwise");
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

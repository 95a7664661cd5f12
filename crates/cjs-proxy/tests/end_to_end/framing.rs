//! Where messages begin and end, in both directions.

use crate::support::backend::{Backend, ok};
use crate::support::client::Framing;
use crate::support::scene::{SITE, Scene, get, request, with_body};

const CHUNKED_POST: &str = "POST /c HTTP/1.1\r\nHost: site.example\r\nTransfer-Encoding: chunked\r\n\r\n\
                            3;e=\"x\"\r\nabc\r\n0a\r\n0123456789\r\n0\r\nX-Sum: 42\r\nX-Sum: 43\r\n\r\n";

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
fn an_answer_may_come_byte_by_byte() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let backend = Backend::run(|peer| {
        while peer.request().is_some() {
            ANSWER.as_bytes().iter().for_each(|byte| peer.send([*byte]));
        }
    });
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for _ in 0..10 {
        assert_eq!(client.ask(get("/")).text(), "abc");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn thousands_of_tiny_chunks_arrive() {
    let body: String = (0..20_000).map(|number| char::from(b'a' + (number % 26) as u8)).collect();
    let chunks: String = body.chars().map(|byte| format!("1\r\n{byte}\r\n")).collect();
    let chunks = chunks + "0\r\n\r\n";
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    let backend = Backend::answering(answer);
    let scene = Scene::of(&backend);
    let response = scene.ask(request("POST", "/", "Transfer-Encoding: chunked\r\n") + &chunks);
    assert!(response.text() == body && backend.request().body == body.as_bytes());
}

#[test]
fn an_empty_chunked_answer_is_empty() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for _ in 0..3 {
        let response = client.ask(get("/"));
        assert_eq!((response.framing, response.body.len()), (Framing::Chunked, 0));
    }
}

#[test]
fn a_large_answer_head_passes() {
    let fields = format!("X: {}\r\n", "y".repeat(10_000)).repeat(6);
    let backend = Backend::answering(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nhi"));
    let response = Scene::of(&backend).ask(get("/"));
    assert_eq!((response.text().as_str(), response.head.raw.len() > 60_000), ("hi", true));
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

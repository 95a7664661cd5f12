//! Requests hidden in others, and what follows a request that is over: each is routed by its own head or not at all.

use super::hostile::{Fortress, hiding};
use crate::support::backend::Backend;
use crate::support::scene::{SITE, get, request};

#[test]
fn classic_smuggling_reaches_no_backend() {
    let fortress = Fortress::new();
    let hidden = get("/hidden");
    let cl_te = format!("0\r\n\r\n{hidden}");
    let length = cl_te.len();
    fortress.refuses(
        400,
        request("POST", "/", &format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n")) + &cl_te,
    );
    let te_cl = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    fortress
        .refuses(400, request("POST", "/", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n") + &te_cl);
    let te_te = "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\nContent-Length: 4\r\n";
    fortress.refuses(400, request("POST", "/", te_te) + &te_cl);
    fortress.refuses(400, request("GET", "/", &format!("X: y\r\n\r{hidden}")));
    assert!(!fortress.backend.bytes().windows(7).any(|window| window == b"/hidden"));
}

#[test]
fn a_request_in_a_chunk_extension_stays_there() {
    let fortress = Fortress::new();
    let body = format!("5;x=GET /hidden HTTP/1.1 Host: {SITE}\r\nhello\r\n0;y\r\n\r\n");
    let mut client = fortress.scene.connect();
    assert_eq!(client.ask(request("POST", "/", "Transfer-Encoding: chunked\r\n") + &body).text(), "fine");
    assert_eq!(fortress.backend.request().body, b"hello");
    assert!(!fortress.backend.bytes().windows(7).any(|window| window == b"/hidden"));
    assert_eq!(client.ask(get("/next")).status, 200);
}

#[test]
fn what_follows_the_last_chunk_is_a_request_of_its_own() {
    let (fortress, other) = (Fortress::new(), Backend::saying("other"));
    fortress.scene.redis.route("other.example", &["other", &other.url()]);
    let first = request("POST", "/", "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n";
    let mut client = fortress.scene.connect();
    client.send(first + "GET /second HTTP/1.1\r\nHost: other.example\r\n\r\n");
    assert_eq!((client.response().text(), client.response().text()), ("fine".into(), "other".into()));
    assert_eq!(fortress.backend.request().body, b"");
    assert_eq!(other.request().target(), "/second");
}

#[test]
fn what_follows_a_body_of_known_length_is_a_request_of_its_own() {
    let fortress = Fortress::new();
    let mut client = fortress.scene.connect();
    client.send(hiding("Content-Length: 3\r\n", "abc"));
    assert_eq!((client.response().status, client.response().status), (200, 200));
    let requests = fortress.backend.requests();
    assert_eq!((requests[0].body.as_slice(), requests[1].target()), (&b"abc"[..], "/hidden"));
}

#[test]
fn a_body_of_get_is_no_second_request() {
    let fortress = Fortress::new();
    let hidden = get("/hidden");
    let mut client = fortress.scene.connect();
    client.send(request("GET", "/", &format!("Content-Length: {}\r\n", hidden.len())) + &hidden);
    assert_eq!(client.response().status, 200);
    assert_eq!(client.ask(get("/next")).status, 200);
    let targets: Vec<String> =
        fortress.backend.requests().iter().map(|request| request.target().into()).collect();
    assert_eq!(targets, ["/", "/next"]);
    assert_eq!(fortress.backend.requests()[0].body, hidden.as_bytes());
}

#[test]
fn a_refused_request_takes_what_is_pipelined_behind_it_along() {
    let fortress = Fortress::new();
    let mut client = fortress.scene.connect();
    client.send(get("/first") + "GET / HTTP/1.1\r\nHost: a b\r\n\r\n" + &get("/third"));
    assert_eq!((client.response().status, client.response().status), (200, 400));
    client.expect_end();
    assert_eq!(fortress.backend.request().target(), "/first");
}

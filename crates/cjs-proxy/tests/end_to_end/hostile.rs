//! Hostile input from raw sockets: each kind gets its status and a closed connection, no backend sees a request it
//! should not, and the proxy goes on serving.

use serde_json::json;

use crate::support::backend::Backend;
use crate::support::scene::{SITE, Scene, get, request};

/// A site whose backend must see no request but well-behaved ones.
pub(super) struct Fortress {
    pub(super) backend: Backend,
    pub(super) scene: Scene,
}

impl Fortress {
    pub(super) fn new() -> Self {
        Self::with(json!({}))
    }

    pub(super) fn with(config: serde_json::Value) -> Self {
        let backend = Backend::saying("fine");
        let scene = Scene::with(config, &[&backend.url()]);
        Self { backend, scene }
    }

    /// `bytes` get `status` and a closed connection, the backend sees nothing, others are served.
    pub(super) fn refuses(&self, status: u16, bytes: impl AsRef<[u8]>) {
        self.refuses_as(&[status], bytes);
    }

    fn refuses_as(&self, statuses: &[u16], bytes: impl AsRef<[u8]>) {
        let shown: String = String::from_utf8_lossy(bytes.as_ref()).chars().take(200).collect();
        let before = self.backend.requests().len();
        let mut client = self.scene.connect();
        let response = client.ask(bytes);
        assert!(statuses.contains(&response.status), "{}, not {statuses:?}: {shown:?}", response.status);
        assert!(response.says_close(), "{shown:?}: {}", response.head.raw);
        assert_eq!(response.head.get("content-type"), Some("text/html"));
        client.expect_end();
        assert_eq!(self.backend.requests().len(), before, "the backend saw {shown:?}");
        self.serves();
    }

    pub(super) fn serves(&self) {
        assert_eq!(self.scene.ask(get("/")).text(), "fine");
    }
}

/// A request to the site with these header lines and a body that hides another request.
pub(super) fn hiding(fields: &str, body: &str) -> String {
    request("POST", "/", fields) + body + &get("/hidden")
}

#[test]
fn ambiguous_lengths_are_refused() {
    let fortress = Fortress::new();
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\ncontent-length: 0\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 5,5\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length:\r\n",
        "Content-Length: five\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 99999999999999999999999999\r\n",
        "Content-Length: \u{665}\r\n",
    ] {
        fortress.refuses(400, hiding(fields, "0\r\n\r\n"));
    }
}

#[test]
fn odd_transfer_codings_are_refused() {
    let fortress = Fortress::new();
    for fields in [
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding:\u{b}chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "Transfer-Encoding\r\n : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Content-Length: 5\r\nX: y\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nX: y\rTransfer-Encoding: chunked\r\n",
    ] {
        fortress.refuses(400, hiding(fields, "0\r\n\r\n"));
    }
    fortress.refuses(
        400,
        format!("POST / HTTP/1.0\r\nHost: {SITE}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    );
}

#[test]
fn malformed_lines_are_refused() {
    let fortress = Fortress::new();
    for field in [
        "X: y\n",
        "X: y\n\r\n",
        "X: a\rb\r\n",
        "X: y\r\r\n",
        "X : y\r\n",
        "X\t: y\r\n",
        " X: y\r\n",
        "X: y\r\n folded\r\n",
        "X: y\r\n\tfolded\r\n",
        "X: a\0b\r\n",
        "X: a\u{1}b\r\n",
        "X: a\u{8}b\r\n",
        "X: a\u{b}b\r\n",
        "X: a\u{1b}b\r\n",
        "X: a\u{7f}b\r\n",
        "X\0: y\r\n",
        "X(: y\r\n",
        "X\u{e9}: y\r\n",
        ": y\r\n",
        "no colon\r\n",
    ] {
        fortress.refuses(400, request("GET", "/", field));
        fortress.refuses(400, format!("GET / HTTP/1.1\r\n{field}Host: {SITE}\r\n\r\n"));
    }
}

#[test]
fn malformed_request_lines_are_refused() {
    let fortress = Fortress::new();
    for line in [
        "GET",
        "GET /",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /\0 HTTP/1.1",
        "GET /\u{7f} HTTP/1.1",
        "GET /\u{1} HTTP/1.1",
        "G(T / HTTP/1.1",
        "G\u{e9}T / HTTP/1.1",
        "G\0T / HTTP/1.1",
        " / HTTP/1.1",
        "GET x HTTP/1.1",
        "GET * HTTP/1.1",
        "GET ?x HTTP/1.1",
        "GET ftp://site.example/ HTTP/1.1",
        "GET http:/site.example/ HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET http://user@site.example/ HTTP/1.1",
    ] {
        // Where the version stands elsewhere, it is a matter of taste which of the two is wrong.
        fortress.refuses_as(&[400, 505], format!("{line}\r\nHost: {SITE}\r\n\r\n"));
    }
    fortress.refuses(400, format!("GET / HTTP/1.1\nHost: {SITE}\n\n"));
    fortress.refuses(400, format!("GET / HTTP/1.1\nHost: {SITE}\r\n\r\n"));
}

#[test]
fn other_versions_are_refused() {
    let fortress = Fortress::new();
    for version in
        ["HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "HTTP/3.0", "http/1.1", "HTTP/1.10", "HTTP/01.1", "HTTP/1.", "X"]
    {
        fortress.refuses_as(&[400, 505], format!("GET / {version}\r\nHost: {SITE}\r\n\r\n"));
    }
    fortress.refuses(505, format!("GET / HTTP/2.0\r\nHost: {SITE}\r\n\r\n"));
    fortress.refuses(505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0");
}

#[test]
fn what_is_not_http_is_refused() {
    let fortress = Fortress::new();
    fortress.refuses(400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xff\n\r\n\r\n");
    fortress.refuses(400, b"\x16\x03\x01");
    fortress.refuses(400, b"\0");
    fortress.refuses(400, b"\xff\xff\xff\xff\r\n\r\n");
    fortress.refuses(400, "\n\n");
    fortress.refuses(400, "*1\r\n$4\r\nPING\r\n\r\n");
}

#[test]
fn there_must_be_one_good_host() {
    let fortress = Fortress::new();
    fortress.scene.redis.route("*", &["all", &fortress.backend.url()]);
    for fields in [
        "",
        "Host: site.example\r\nHost: site.example\r\n",
        "Host: site.example\r\nhost: evil.example\r\n",
        "Host:\r\n",
        "Host: *\r\n",
        "Host: *.example\r\n",
        "Host: a b\r\n",
        "Host: user@site.example\r\n",
        "Host: site.example/x\r\n",
        "Host: site.example:x\r\n",
        "Host: site.example:80:80\r\n",
        "Host: site.example:99999\r\n",
        "Host: site.example:-1\r\n",
        "Host: [::1\r\n",
        "Host: [zz]\r\n",
        "Host: .\r\n",
        "Host: a\u{e9}.example\r\n",
    ] {
        fortress.refuses(400, format!("GET / HTTP/1.1\r\n{fields}\r\n"));
    }
    fortress.refuses(400, format!("GET / HTTP/1.0\r\nHost: {SITE}\r\nHost: {SITE}\r\n\r\n"));
}

#[test]
fn malformed_chunks_are_refused() {
    let fortress = Fortress::new();
    for body in [
        "g\r\n",
        "\r\n",
        "-1\r\na\r\n",
        "+1\r\na\r\n",
        "0x1\r\na\r\n",
        " 1\r\na\r\n",
        "1 \r\na\r\n",
        "1\na\r\n",
        "1\r\nab\r\n",
        "1\r\na0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\na\r0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "10000000000000001\r\na\r\n",
        "1;\na\r\n",
        "1;x\r\ra\r\n",
        "1;\0\r\na\r\n",
        ";1\r\na\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\n X: y\r\n\r\n",
    ] {
        fortress.refuses(400, hiding("Transfer-Encoding: chunked\r\n", body));
    }
    let head = request("POST", "/", "Transfer-Encoding: chunked\r\n");
    fortress.refuses(400, format!("{head}1;{}\r\na\r\n", "x".repeat(10_000)));
    fortress.refuses(400, format!("{head}0\r\nX: {}\r\n\r\n", "x".repeat(20_000)));
    fortress.refuses(400, format!("{head}0\r\n{}\r\n", "X: y\r\n".repeat(5_000)));
}

#[test]
fn a_body_that_turns_out_malformed_is_never_taken_for_whole() {
    let fortress = Fortress::new();
    let mut client = fortress.scene.connect();
    client.send(request("POST", "/", "Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n");
    crate::support::wait::until("the backend gets the body's beginning", || {
        fortress.backend.bytes().windows(5).any(|window| window == b"hello")
    });
    assert_eq!(client.ask("zz\r\n").status, 400);
    client.expect_end();
    fortress.backend.wait_for_end(0);
    assert_eq!(fortress.backend.requests().len(), 0);
    fortress.serves();
}

#[test]
fn heads_beyond_their_limits_are_refused() {
    let fortress = Fortress::with(
        json!({ "server": { "limits": { "headerBytes": 4096, "headers": 20, "uriBytes": 512 } } }),
    );
    fortress.refuses(431, request("GET", "/", &format!("X: {}\r\n", "y".repeat(5_000))));
    fortress.refuses(431, request("GET", "/", &"X: y\r\n".repeat(20)));
    fortress.refuses(431, format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(100_000)));
    fortress.refuses(414, get(&format!("/{}", "x".repeat(512))));
    fortress.refuses(414, format!("GET /{}", "x".repeat(10_000)));
    assert_eq!(fortress.scene.ask(get(&format!("/{}", "x".repeat(511)))).status, 200);
    assert_eq!(fortress.scene.ask(request("GET", "/", &"X: y\r\n".repeat(19))).status, 200);
}

#[test]
fn the_built_in_limits_hold_too() {
    let fortress = Fortress::new();
    fortress.refuses(431, request("GET", "/", &format!("X: {}\r\n", "y".repeat(65_536))));
    fortress.refuses(431, request("GET", "/", &"X: y\r\n".repeat(100)));
    fortress.refuses(414, get(&format!("/{}", "x".repeat(16_384))));
    assert_eq!(fortress.scene.ask(get(&format!("/{}", "x".repeat(16_383)))).status, 200);
    assert_eq!(
        fortress.scene.ask(request("GET", "/", &format!("X: {}\r\n", "y".repeat(60_000)))).status,
        200
    );
}

#[test]
fn bodies_beyond_their_limit_are_refused() {
    let fortress = Fortress::with(json!({ "server": { "limits": { "bodyBytes": 1000 } } }));
    fortress.refuses(413, request("POST", "/", "Content-Length: 1001\r\n"));
    fortress.refuses(413, request("POST", "/", "Expect: 100-continue\r\nContent-Length: 1001\r\n"));
    let chunked = request("POST", "/", "Transfer-Encoding: chunked\r\n");
    fortress.refuses(413, format!("{chunked}3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001)));
    fortress.refuses(
        413,
        format!("{chunked}{}0\r\n\r\n", "64\r\n".to_owned() + &"x".repeat(100) + "\r\n")
            .replace("0\r\n\r\n", &("3e8\r\n".to_owned() + &"x".repeat(1000) + "\r\n0\r\n\r\n")),
    );
    let fits = request("POST", "/", "Content-Length: 1000\r\n") + &"x".repeat(1000);
    assert_eq!(fortress.scene.ask(fits).status, 200);
}

#[test]
fn a_streamed_body_beyond_its_limit_is_cut_off() {
    let fortress = Fortress::with(json!({ "server": { "limits": { "bodyBytes": 300_000 } } }));
    let mut client = fortress.scene.connect();
    client.send(request("POST", "/", "Transfer-Encoding: chunked\r\n"));
    for _ in 0..4 {
        client.send(format!("186a0\r\n{}\r\n", "x".repeat(100_000)));
    }
    assert_eq!(client.response().status, 413);
    fortress.backend.wait_for_end(0);
    assert_eq!(fortress.backend.requests().len(), 0);
    fortress.serves();
}

#[test]
fn clients_that_vanish_at_any_byte_harm_nobody() {
    let fortress = Fortress::new();
    let whole = request("POST", "/", "Content-Length: 5\r\n") + "hello";
    for cut in 0..whole.len() {
        let mut client = fortress.scene.connect();
        client.send(&whole[..cut]);
        if cut % 2 == 0 {
            client.reset();
        }
    }
    fortress.serves();
    assert_eq!(fortress.backend.requests().len(), 1);
}

//! Backends behind TLS: whom the proxy believes, what it says where it does not, and that everything else is as over
//! plain HTTP.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::reload::wait_until_all;
use super::routing::for_host;
use crate::support::authority::{Authority, Identity};
use crate::support::backend::{Backend, ok};
use crate::support::mortal::mortal;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene, get, request, with_body};
use crate::support::secured::{Manners, Secured};
use crate::support::wait::Gate;

/// An authority, and the file that names it to the proxy.
struct Trusted {
    authority: Authority,
    folder: TempDir,
}

impl Trusted {
    fn new() -> Self {
        let trusted = Self { authority: Authority::new(), folder: tempfile::tempdir().unwrap() };
        trusted.authority.write(&trusted.file());
        trusted
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn config(&self) -> Value {
        json!({ "server": { "backendCa": self.file(), "workers": 1 } })
    }

    /// A certificate for what the tests call their backends.
    fn identity(&self) -> Identity {
        self.authority.issue(&["localhost", "127.0.0.1"])
    }

    fn secured(&self, backend: Backend) -> Secured {
        Secured::before(backend, &self.identity())
    }

    fn scene(&self, backends: &[&str]) -> Scene {
        Scene::with(self.config(), backends)
    }
}

/// So many bytes in which every place can be told.
fn pattern(count: usize) -> Vec<u8> {
    (0..count as u64).map(|place| (place.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

#[test]
fn serves_from_a_backend_whose_certificate_is_verified() {
    let trusted = Trusted::new();
    let secured = trusted.secured(Backend::saying("secret"));
    let scene = trusted.scene(&[&secured.url()]);
    let response = scene.ask(get("/"));
    assert_eq!((response.status, response.text()), (200, "secret".into()));
    let handshake = &secured.handshakes()[0];
    assert_eq!(handshake.version, ProtocolVersion::TLSv1_3);
    assert_eq!(handshake.name.as_deref(), Some("localhost"));
    let lines = secured.backend.request().head.raw;
    assert!(lines.contains("X-Forwarded-Proto: http\r\n"), "what the client spoke: {lines}");
}

#[test]
fn an_address_needs_a_certificate_for_it() {
    let trusted = Trusted::new();
    let (with, without) = (trusted.secured(Backend::saying("a")), trusted.authority.issue(&["localhost"]));
    let without = Secured::before(Backend::saying("b"), &without);
    let url = |secured: &Secured| format!("https://127.0.0.1:{}", secured.port());
    let scene = trusted.scene(&[&url(&with)]);
    assert_eq!(scene.ask(get("/")).text(), "a");
    assert_eq!(with.handshakes()[0].name, None);
    scene.redis.route("b.example", &["b", &url(&without)]);
    assert_eq!(scene.ask(for_host("b.example")).status, 502);
    scene.proxy.wait_for_log("TLS: the certificate is not for 127.0.0.1 but for localhost");
}

#[test]
fn a_certificate_that_proves_nothing_is_a_502_and_a_line_in_the_log() {
    let (trusted, stranger) = (Trusted::new(), Authority::new());
    let cases = [
        (trusted.authority.issue(&["other.example"]), "is not for localhost but for other.example"),
        (trusted.authority.issue_until(&["localhost"], 2001), "expired "),
        (stranger.issue(&["localhost"]), "was issued by nobody who is trusted"),
    ];
    for (identity, reason) in cases {
        let secured = Secured::before(Backend::saying("secret"), &identity);
        let scene = trusted.scene(&[&secured.url()]);
        assert_eq!(scene.ask(get("/")).status, 502);
        let line = scene.proxy.wait_for_log("backend unreachable");
        let said = format!("backend {}: backend unreachable: TLS: the certificate {reason}", secured.url());
        assert!(line.contains(&said), "{line}");
        assert!(secured.backend.bytes().is_empty(), "nothing is sent to whom nobody knows");
    }
}

/// A proxy that goes by the authorities of the system, which are those of `file`.
fn on_a_system_with(file: &Path, redis: &Redis) -> Proxy {
    let variables = [("SSL_CERT_FILE", file.to_owned()), ("SSL_CERT_DIR", PathBuf::new())];
    let config = json!({ "redis": { "port": redis.port } });
    Proxy::launch_with(tempfile::tempdir().unwrap(), config, &variables).serving()
}

#[test]
fn without_a_file_the_authorities_of_the_system_count() {
    let (trusted, redis) = (Trusted::new(), Redis::start());
    let secured = trusted.secured(Backend::saying("secret"));
    redis.route(SITE, &["site", &secured.url()]);
    let proxy = on_a_system_with(&trusted.file(), &redis);
    assert_eq!(proxy.connect().ask(get("/")).text(), "secret");
    Authority::new().write(&trusted.file());
    let other = on_a_system_with(&trusted.file(), &redis);
    assert_eq!(other.connect().ask(get("/")).status, 502);
    other.wait_for_log("was issued by nobody who is trusted");
}

#[test]
fn a_system_without_authorities_is_told_of_where_they_are_needed() {
    let (trusted, redis, plain) = (Trusted::new(), Redis::start(), Backend::saying("plain"));
    let secured = trusted.secured(Backend::saying("secret"));
    redis.route(SITE, &["site", &plain.url()]);
    redis.route("verified.example", &["verified", &secured.url()]);
    redis.route("insecure.example", &["insecure", &format!("{}#insecure", secured.url())]);
    let proxy = on_a_system_with(Path::new("/nowhere/ca.pem"), &redis);
    assert_eq!(proxy.connect().ask(get("/")).text(), "plain");
    assert_eq!(proxy.connect().ask(for_host("insecure.example")).text(), "secret");
    assert_eq!(proxy.count_in_log("authorities"), 0);
    assert_eq!(proxy.connect().ask(for_host("verified.example")).status, 502);
    let line = proxy.wait_for_log("no certificate authorities on this machine");
    assert!(line.contains(&secured.url()) && line.contains("ca-certificates"), "{line}");
}

#[test]
fn an_insecure_backend_is_asked_whatever_it_shows() {
    let trusted = Trusted::new();
    for version in [&TLS12, &TLS13] {
        let identity = Authority::new().issue_until(&["other.example"], 2001);
        let config = identity.serving(&[version]);
        let secured = Secured::with(Backend::saying("a"), config, Manners::Polite);
        let scene = trusted.scene(&[&format!("{}#insecure", secured.url())]);
        assert_eq!(scene.ask(get("/")).text(), "a");
    }
}

#[test]
fn many_requests_take_one_handshake() {
    let trusted = Trusted::new();
    let secured = trusted.secured(Backend::echoing());
    let scene = trusted.scene(&[&secured.url()]);
    let mut client = scene.connect();
    for number in 0..50 {
        let body = format!("number {number}");
        assert_eq!(client.ask(with_body("POST", "/", &body)).text(), body);
    }
    assert_eq!((secured.handshakes().len(), secured.backend.connections()), (1, 1));
}

#[test]
fn a_connection_that_was_closed_is_resumed() {
    let trusted = Trusted::new();
    for version in [&TLS12, &TLS13] {
        let config = trusted.identity().serving(&[version]);
        let secured = Secured::with(Backend::answering_once(ok("a")), config, Manners::Polite);
        let scene = trusted.scene(&[&secured.url()]);
        for number in 0..3 {
            assert_eq!(scene.ask(get("/")).text(), "a");
            let last = secured.handshakes().pop().unwrap();
            assert_eq!((last.version, last.resumed), (version.version, number > 0));
        }
    }
}

#[test]
fn speaks_the_older_version_where_it_must() {
    let trusted = Trusted::new();
    let config = trusted.identity().serving(&[&TLS12]);
    let secured = Secured::with(Backend::echoing(), config, Manners::Polite);
    let scene = trusted.scene(&[&secured.url()]);
    let body = "x".repeat(100_000);
    assert!(scene.ask(with_body("POST", "/", &body)).text() == body);
    assert_eq!(secured.handshakes()[0].version, ProtocolVersion::TLSv1_2);
}

#[test]
fn large_bodies_pass_both_ways_unchanged() {
    let trusted = Trusted::new();
    let secured = trusted.secured(Backend::echoing());
    let scene = trusted.scene(&[&secured.url()]);
    let body = pattern(10_000_000);
    let mut client = scene.connect();
    for _ in 0..2 {
        client.send(request("POST", "/", "Content-Length: 10000000\r\n")).send(&body);
        assert!(client.response().body == body);
    }
    assert_eq!(secured.handshakes().len(), 1);
}

#[test]
fn chunks_and_trailers_pass() {
    let trusted = Trusted::new();
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n";
    let secured = trusted.secured(Backend::answering(answer));
    let scene = trusted.scene(&[&secured.url()]);
    let chunked = "3\r\nabc\r\n2\r\nde\r\n0\r\nX-End: yes\r\n\r\n";
    let response = scene.ask(request("POST", "/", "Transfer-Encoding: chunked\r\n") + chunked);
    assert_eq!((response.text(), response.trailers), ("hello".into(), vec!["X-Sum: 1".to_owned()]));
    let asked = secured.backend.request();
    assert_eq!((&asked.body[..], &asked.trailers[..]), (&b"abcde"[..], &["X-End: yes".to_owned()][..]));
}

#[test]
fn a_body_waits_for_the_backend_to_want_it() {
    let trusted = Trusted::new();
    let secured = trusted.secured(Backend::run(|peer| {
        let head = peer.head().unwrap();
        peer.send("HTTP/1.1 100 Continue\r\n\r\n");
        let request = peer.body_of(head).unwrap();
        peer.send(ok(request.body));
    }));
    let scene = trusted.scene(&[&secured.url()]);
    let mut client = scene.connect();
    let head = request("POST", "/", "Expect: 100-continue\r\nContent-Length: 5\r\n");
    assert_eq!(client.ask(head).status, 100);
    assert_eq!(client.ask("hello").text(), "hello");
}

#[test]
fn a_tunnel_carries_bytes_both_ways_and_each_end() {
    let trusted = Trusted::new();
    let secured = trusted.secured(Backend::run(|peer| {
        peer.head().unwrap();
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello");
        loop {
            match peer.wire.some() {
                bytes if bytes.is_empty() => break peer.send("bye"),
                bytes => peer.send(bytes),
            }
        }
    }));
    let scene = trusted.scene(&[&secured.url()]);
    let mut client = scene.connect();
    let upgrade = request("GET", "/", "Connection: upgrade\r\nUpgrade: echo\r\n");
    assert_eq!(client.ask(upgrade).status, 101);
    assert_eq!(client.exactly(5), b"hello");
    for size in [1, 1000, 50_000] {
        client.send(pattern(size));
        assert!(client.exactly(size) == pattern(size));
    }
    client.finish();
    assert_eq!(client.end().got, b"bye", "the end of one side is passed on as such");
    secured.wait_for_farewells(1);
}

#[test]
fn a_cut_is_not_taken_for_the_end_of_an_answer() {
    let trusted = Trusted::new();
    let answer = "HTTP/1.1 200 OK\r\n\r\nhalf";
    for (manners, is_whole) in [(Manners::Polite, true), (Manners::Curt, false)] {
        let config = trusted.identity().serving(&[&TLS13]);
        let secured = Secured::with(Backend::answering_once(answer), config, manners);
        let scene = trusted.scene(&[&secured.url()]);
        // To a client of HTTP/1.0 the end of the answer is the end of the connection.
        let mut client = scene.connect();
        client.send("GET / HTTP/1.0\r\nHost: site.example\r\n\r\n");
        let outcome = client.try_response(false);
        assert_eq!(outcome.as_ref().is_ok_and(|response| response.text() == "half"), is_whole, "{outcome:?}");
    }
}

#[test]
fn a_whole_answer_needs_no_farewell() {
    let trusted = Trusted::new();
    let config = trusted.identity().serving(&[&TLS12, &TLS13]);
    let secured = Secured::with(Backend::answering_once(ok("whole")), config, Manners::Curt);
    let scene = trusted.scene(&[&secured.url()]);
    let mut client = scene.connect();
    for _ in 0..5 {
        assert_eq!(client.ask(get("/")).text(), "whole");
    }
}

#[test]
fn a_handshake_that_hangs_is_given_up() {
    // It takes connections and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let trusted = Trusted::new();
    let mut config = trusted.config();
    config["server"]["timeouts"] = json!({ "connect": 0.2 });
    let scene = Scene::with(config, &[&format!("https://{}", mute.local_addr().unwrap())]);
    assert_eq!(scene.ask(get("/")).status, 504);
    scene.proxy.wait_for_log("backend timed out");
}

#[test]
fn another_backend_is_tried_and_the_bad_one_avoided() {
    let trusted = Trusted::new();
    let good = trusted.secured(Backend::echoing());
    let bad = Secured::before(Backend::saying("bad"), &Authority::new().issue(&["localhost"]));
    let scene = trusted.scene(&[&bad.url(), &good.url()]);
    for _ in 0..20 {
        assert_eq!(scene.ask(with_body("POST", "/", "mine")).text(), "mine");
    }
    assert_eq!(scene.proxy.count_in_log("nobody who is trusted"), 1, "it is dead after that");
}

#[test]
fn what_speaks_no_tls_is_told_from_what_does() {
    let trusted = Trusted::new();
    let plain = Backend::run(|peer| {
        peer.wire.some();
        peer.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let scene = trusted.scene(&[&format!("https://{}", plain.address())]);
    assert_eq!(scene.ask(get("/")).status, 502);
    scene.proxy.wait_for_log("does it speak TLS on this port?");
}

#[test]
fn a_backend_that_wants_a_certificate_is_said_to() {
    let trusted = Trusted::new();
    let config = trusted.identity().serving_members(&trusted.authority);
    let secured = Secured::with(Backend::saying("members only"), config, Manners::Polite);
    let scene = trusted.scene(&[&secured.url()]);
    assert_eq!(scene.ask(get("/")).status, 502);
    scene.proxy.wait_for_log("TLS: the peer refuses: it wants a certificate of us, and we have none");
}

#[test]
fn one_port_is_reached_in_each_way_apart() {
    let trusted = Trusted::new();
    let secured = Secured::before(Backend::saying("a"), &trusted.authority.issue(&["other.example"]));
    let scene = trusted.scene(&[&format!("{}#insecure", secured.url())]);
    scene.redis.route("verified.example", &["verified", &secured.url()]);
    scene.redis.route("plain.example", &["plain", &secured.url().replace("https", "http")]);
    for _ in 0..3 {
        assert_eq!(scene.ask(get("/")).text(), "a");
        assert_eq!(scene.ask(for_host("verified.example")).status, 502, "the certificate is for another");
        assert_eq!(scene.ask(for_host("plain.example")).status, 502, "TLS is no answer");
    }
    assert_eq!(secured.handshakes().len(), 1, "the insecure connection rests meanwhile and is used again");
}

#[test]
fn idle_connections_are_ended_in_order() {
    let trusted = Trusted::new();
    let secured = trusted.secured(mortal("a"));
    let scene = trusted.scene(&[&secured.url()]);
    assert_eq!(scene.ask(get("/")).text(), "a");
    scene.proxy.reload(json!({ "server": { "backendCa": null } }));
    secured.wait_for_farewells(1);
}

#[test]
fn other_authorities_count_from_a_reload_on() {
    let trusted = Trusted::new();
    let secured = trusted.secured(Backend::saying("a"));
    let scene = trusted.scene(&[&secured.url()]);
    assert_eq!(scene.ask(get("/")).status, 200);
    Authority::new().write(&trusted.file());
    scene.proxy.reload(json!({}));
    wait_until_all(&scene, &get("/"), |response| response.status == 502);
    std::fs::write(trusted.file(), "nothing").unwrap();
    scene.proxy.reload(json!({}));
    scene.proxy.wait_for_log("no certificate in it");
    trusted.authority.write(&trusted.file());
    scene.proxy.reload(json!({}));
    wait_until_all(&scene, &get("/"), |response| response.status == 200);
}

#[test]
fn a_connection_in_use_at_such_a_reload_is_not_used_again() {
    let (trusted, gate) = (Trusted::new(), Gate::default());
    let (held, other) = (trusted.secured(Backend::gated(&gate)), trusted.secured(Backend::saying("a")));
    let scene = trusted.scene(&[&held.url()]);
    scene.redis.route("other.example", &["other", &other.url()]);
    let mut client = scene.connect();
    client.send(get("/"));
    held.backend.wait_for_requests(1);
    Authority::new().write(&trusted.file());
    scene.proxy.reload(json!({}));
    wait_until_all(&scene, &for_host("other.example"), |response| response.status == 502);
    gate.open();
    assert_eq!(client.response().text(), "late");
    assert_eq!(client.ask(get("/")).status, 502);
}

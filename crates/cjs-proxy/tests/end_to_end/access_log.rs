//! The access log, to the letter.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::backend::{Backend, Refusing, ok};
use crate::support::client::Client;
use crate::support::proxy::wait_for_lines;
use crate::support::scene::{SITE, Scene, get, request, with_body};

/// One line, taken apart.
#[derive(Debug)]
struct Line {
    client: String,
    time: String,
    request: String,
    status: u16,
    bytes: usize,
    referer: String,
    agent: String,
    vhost: String,
    total: f64,
    backend: f64,
}

impl Line {
    /// Panics where `text` is not the format.
    fn parse(text: &str) -> Self {
        let parts: Vec<&str> = text.split('"').collect();
        let [front, request, numbers, referer, " ", agent, " ", vhost, times] = parts.as_slice() else {
            panic!("{text}")
        };
        let (client, time) = front.split_once(" - - [").unwrap();
        let (status, bytes) = numbers.trim().split_once(' ').unwrap();
        let (total, backend) = times.trim_start().split_once(' ').unwrap();
        for seconds in [total, backend] {
            assert_eq!(seconds.split_once('.').unwrap().1.len(), 3, "{text}");
        }
        let owned = |text: &&str| (*text).to_owned();
        Self {
            client: client.into(),
            time: time.strip_suffix("] ").unwrap().into(),
            request: owned(request),
            status: status.parse().unwrap(),
            bytes: bytes.parse().unwrap(),
            referer: owned(referer),
            agent: owned(agent),
            vhost: owned(vhost),
            total: total.parse().unwrap(),
            backend: backend.parse().unwrap(),
        }
    }
}

/// The line that one request leaves in the log, and the bytes its client got.
fn logged(request: &str) -> (Line, usize) {
    let backend = Backend::saying("hello");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    let got = client.send(request).finish().end().got.len();
    (Line::parse(&scene.proxy.wait_for_access(1)[0]), got)
}

#[test]
fn a_request_leaves_one_line() {
    let (line, got) = logged(&request("GET", "/a?b=c", "Referer: http://r/\r\nUser-Agent: curl/8\r\n"));
    assert_eq!(line.client, "::ffff:127.0.0.1");
    assert_eq!((line.request.as_str(), line.status, line.bytes), ("GET /a?b=c HTTP/1.1", 200, got));
    assert_eq!(
        (line.referer.as_str(), line.agent.as_str(), line.vhost.as_str()),
        ("http://r/", "curl/8", "site")
    );
    assert!(line.total >= line.backend && line.total < 20.0, "{line:?}");
}

#[test]
fn the_time_is_utc_in_the_usual_form() {
    let (line, _) = logged(&get("/"));
    let pattern: String = line.time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(pattern.replacen(&line.time[3..6], "Mon", 1), "99/Mon/9999:99:99:99 +9999");
    assert!(line.time.ends_with(" +0000"));
    let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    assert!(months.contains(&line.time[3..6]), "{}", line.time);
}

#[test]
fn methods_versions_and_statuses_are_as_sent() {
    let (line, got) = logged(&format!("HEAD /x HTTP/1.0\r\nHost: {SITE}\r\n\r\n"));
    assert_eq!((line.request.as_str(), line.status), ("HEAD /x HTTP/1.0", 200));
    assert!(line.bytes >= got, "{line:?}");
    let (line, got) = logged("GET / HTTP/1.1\r\nHost: unknown.example\r\n\r\n");
    assert_eq!((line.status, line.bytes, line.vhost.as_str(), line.backend), (400, got, "", 0.0));
    let (line, _) = logged("GET http://site.example/abs HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(
        (line.request.as_str(), line.vhost.as_str()),
        ("GET http://site.example/abs HTTP/1.1", "site")
    );
}

#[test]
fn refused_requests_are_logged_as_far_as_they_were_read() {
    let (line, _) = logged("GET /bad HTTP/1.1\r\nHost: a b\r\n\r\n");
    assert_eq!((line.request.as_str(), line.status, line.backend), ("GET /bad HTTP/1.1", 400, 0.0));
    let (line, _) = logged("\x16\x03\x01");
    assert_eq!((line.request.as_str(), line.status), ("-", 400));
}

#[test]
fn a_client_cannot_break_its_line() {
    let fields = "User-Agent: a\" 200 \\x\t\u{e9}\r\nReferer: \"\r\n";
    let (line, _) = logged(&request("GET", "/\"x\\", fields));
    assert_eq!(line.request, "GET /\\x22x\\x5C HTTP/1.1");
    assert_eq!((line.agent.as_str(), line.referer.as_str()), ("a\\x22 200 \\x5Cx\\x09\u{e9}", "\\x22"));
}

#[test]
fn failures_of_backends_are_logged_with_their_status() {
    let refusing = Refusing::new();
    let scene = Scene::with(json!({}), &[&refusing.url()]);
    scene.ask(with_body("POST", "/", "x"));
    let line = Line::parse(&scene.proxy.wait_for_access(1)[0]);
    assert_eq!((line.request.as_str(), line.status, line.vhost.as_str()), ("POST / HTTP/1.1", 502, "site"));
}

#[test]
fn times_and_bytes_grow_with_the_answer() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        let mut steps = 0;
        crate::support::wait::until("100 steps of 5 ms", || {
            peer.send([b'x'; 10_000]);
            steps += 1;
            steps == 100
        });
        peer.hold();
    });
    let scene = Scene::of(&backend);
    assert_eq!(scene.ask(get("/")).body.len(), 1_000_000);
    let line = Line::parse(&scene.proxy.wait_for_access(1)[0]);
    assert!(line.bytes > 1_000_000 && line.bytes < 1_010_000, "{line:?}");
    assert!(line.total > 0.3 && line.backend > 0.3 && line.total >= line.backend, "{line:?}");
}

#[test]
fn a_trusted_proxy_names_the_client() {
    let backend = Backend::saying("x");
    let scene = Scene::with(json!({ "server": { "trustedProxies": ["127.0.0.1"] } }), &[&backend.url()]);
    let mut client = scene.connect();
    for forwarded in ["1.2.3.4", "9.9.9.9, 2001:db8::1", "nonsense"] {
        client.ask(request("GET", "/", &format!("X-Forwarded-For: {forwarded}\r\n")));
    }
    let lines = scene.proxy.wait_for_access(3);
    let clients: Vec<String> = lines.iter().map(|line| Line::parse(line).client).collect();
    assert_eq!(clients, ["::ffff:1.2.3.4", "2001:db8::1", "::ffff:127.0.0.1"]);
}

#[test]
fn every_request_of_a_connection_has_its_line() {
    let backend = Backend::saying("x");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for number in 0..300 {
        client.ask(get(&format!("/{number}")));
    }
    let lines = scene.proxy.wait_for_access(300);
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(Line::parse(line).request, format!("GET /{number} HTTP/1.1"));
    }
}

#[test]
fn the_log_is_opened_anew_on_sigusr1() {
    let backend = Backend::saying("x");
    let scene = Scene::of(&backend);
    scene.ask(get("/old"));
    scene.proxy.wait_for_access(1);
    let renamed = scene.proxy.dir().join("access.log.1");
    std::fs::rename(scene.proxy.access_log(), &renamed).unwrap();
    scene.proxy.signal(Signal::SIGUSR1);
    crate::support::wait::until("a new access log", || scene.proxy.access_log().exists());
    scene.ask(get("/new"));
    assert!(scene.proxy.wait_for_access(1)[0].contains("/new"));
    assert!(wait_for_lines(&renamed, 1).iter().all(|line| line.contains("/old")));
}

#[test]
fn the_log_may_go_to_stdout_or_nowhere() {
    let backend = Backend::answering(ok("x"));
    let scene = Scene::with(json!({ "server": { "accessLog": "stdout" } }), &[&backend.url()]);
    scene.ask(get("/here"));
    assert_eq!(Line::parse(&scene.proxy.wait_for_output("/here")).status, 200);
    assert!(!scene.proxy.access_log().exists());
    let scene = Scene::with(json!({ "server": { "accessLog": null } }), &[&backend.url()]);
    assert_eq!(scene.ask(get("/")).status, 200);
    assert_eq!(scene.proxy.output(), [""; 0]);
}

#[test]
fn an_ipv6_client_stands_without_a_prefix() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("this machine has no ::1");
        return;
    }
    let backend = Backend::saying("x");
    let scene = Scene::with(json!({ "server": { "bind": "::1" } }), &[&backend.url()]);
    assert!(matches!(scene.proxy.address(), SocketAddr::V6(_)));
    assert_eq!(Client::to(scene.proxy.address()).ask(get("/")).status, 200);
    assert_eq!(Line::parse(&scene.proxy.wait_for_access(1)[0]).client, "::1");
    assert_eq!(backend.request().head.get("x-forwarded-for"), Some("::1"));
}

//! The clients of nghttp2 over TLS: nghttp, which shows every frame, and h2load, which counts.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::support::backend::{Backend, ok};
use crate::support::programs;
use crate::support::scene::Scene;
use crate::support::secure_scene::Certificates;

struct Site {
    certificates: Certificates,
    scene: Scene,
}

impl Site {
    fn of(backend: &Backend) -> Self {
        let certificates = Certificates::new();
        let scene = certificates.scene(json!({}), &[]);
        // They ask for the address that they connect to.
        scene.redis.route("127.0.0.1", &["site", &backend.url()]);
        Self { certificates, scene }
    }

    /// What the program prints with these arguments, asking for `target`.
    fn ask(&self, program: &str, arguments: &[&str], target: &str) -> String {
        let url = format!("https://{}{target}", self.scene.proxy.https_address());
        programs::stdout(Command::new(program).args(arguments).arg(url))
    }

    fn nghttp(&self, arguments: &[&str], target: &str) -> String {
        self.ask("nghttp", arguments, target)
    }

    /// A file with this in it.
    fn file(&self, text: &str) -> PathBuf {
        let file = self.certificates.file("body");
        std::fs::write(&file, text).unwrap();
        file
    }
}

fn letters(length: usize) -> String {
    (0..length).map(|at| char::from(b'a' + (at * 7 % 26) as u8)).collect()
}

#[test]
fn nghttp_asks_many_times_at_once() {
    let backend = Backend::saying("fine");
    let site = Site::of(&backend);
    let shown = site.nghttp(&["-v", "-n", "-m", "200"], "/x");
    assert_eq!(shown.matches(") :status: 200").count(), 200, "{shown}");
    assert_eq!(shown.matches("recv RST_STREAM").count() + shown.matches("recv GOAWAY").count(), 0, "{shown}");
    assert_eq!(backend.requests().len(), 200);
    let lines = site.scene.proxy.wait_for_access(200);
    assert!(lines.iter().all(|line| line.contains("\"GET /x HTTP/2.0\" 200 ")));
}

#[test]
fn nghttp_sends_and_gets_trailers() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n",
    );
    let site = Site::of(&backend);
    let body = site.file("body").display().to_string();
    let shown = site.nghttp(&["-v", "-d", &body, "--trailer", "x-check: 1", "--no-content-length"], "/");
    let (head, end) = shown.split_once("recv DATA").unwrap();
    assert!(head.contains(":status: 200") && end.contains(") x-sum: 6"), "{shown}");
    let request = backend.request();
    assert_eq!((request.body, request.trailers), (b"body".to_vec(), vec!["x-check: 1".into()]));
}

#[test]
fn nghttp_may_choose_odd_sizes() {
    let backend = Backend::echoing();
    let site = Site::of(&backend);
    for (length, arguments) in [
        // A window of one byte; no table for heads; heads in two frames and all frames padded; the largest windows.
        (300, &["-w", "1"][..]),
        (100_000, &["-w", "7", "-c", "0"]),
        (100_000, &["-c", "65536", "--encoder-header-table-size", "0"]),
        (100_000, &["--continuation", "-b", "255"]),
        (1_000_000, &["-W", "30", "-w", "30"]),
    ] {
        let body = letters(length);
        let file = site.file(&body).display().to_string();
        assert!(site.nghttp(&[arguments, &["-d", &file]].concat(), "/") == body, "{arguments:?}");
    }
}

#[test]
fn nghttp_waits_for_a_continue() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.head() {
            assert_eq!(head.get("expect"), Some("100-continue"));
            peer.send("HTTP/1.1 100 Continue\r\n\r\n");
            let request = peer.body_of(head).unwrap();
            peer.send(ok(request.body));
        }
    });
    let site = Site::of(&backend);
    let body = site.file("body").display().to_string();
    let shown = site.nghttp(&["-v", "--expect-continue", "-d", &body], "/");
    let (head, end) = shown.split_once(":status: 100").unwrap();
    assert!(
        !head.contains("send DATA") && end.contains("send DATA") && end.contains(":status: 200"),
        "{shown}"
    );
}

/// Requests of each run of h2load, over few connections.
const REQUESTS: usize = 2000;
const OVER_HTTP2: &[&str] = &["-n", "2000", "-c", "4", "-m", "100"];
const OVER_HTTP1: &[&str] = &["--h1", "-n", "2000", "-c", "8", "-m", "4"];

/// Runs h2load, whose every request is to be answered by 200 and `length` bytes.
fn load(backend: &Backend, arguments: &[&str], body: Option<&str>, length: usize) {
    let site = Site::of(backend);
    let file = site.file(body.unwrap_or_default()).display().to_string();
    let sent = if body.is_some() { &["-d", &file][..] } else { &[] };
    let version = if arguments.contains(&"--h1") { "HTTP/1.1" } else { "HTTP/2.0" };
    let shown = site.ask("h2load", &[arguments, sent].concat(), "/");
    let data = REQUESTS * length;
    for counted in [
        "2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout".to_owned(),
        "2000 2xx, 0 3xx, 0 4xx, 0 5xx".to_owned(),
        format!(" ({data}) data"),
    ] {
        assert!(shown.contains(&counted), "{counted} is not in {shown}");
    }
    let requests = backend.requests();
    assert_eq!(requests.len(), REQUESTS);
    assert!(requests.iter().all(|request| request.body == body.unwrap_or_default().as_bytes()));
    let lines = site.scene.proxy.wait_for_access(REQUESTS);
    let method = if body.is_some() { "POST" } else { "GET" };
    assert!(lines.iter().all(|line| line.contains(&format!("\"{method} / {version}\" 200 "))));
}

#[test]
fn h2load_has_every_request_answered() {
    for arguments in [OVER_HTTP2, OVER_HTTP1] {
        load(&Backend::saying(&letters(1000)), arguments, None, 1000);
    }
}

#[test]
fn h2load_has_every_body_echoed() {
    for arguments in [OVER_HTTP2, OVER_HTTP1] {
        load(&Backend::echoing(), arguments, Some(&letters(5000)), 5000);
    }
}

#[test]
fn h2load_may_have_small_windows() {
    // 127 bytes for a stream.
    let arguments = [OVER_HTTP2, &["-w", "7", "-W", "16"]].concat();
    load(&Backend::echoing(), &arguments, Some(&letters(1000)), 1000);
}

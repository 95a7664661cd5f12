//! Clients in Python over TLS: httpx, and h2 frame by frame. What they ask and expect stands in `tests/clients`.

use serde_json::json;

use super::http2_tunnels;
use crate::support::backend::{Backend, Request, ok};
use crate::support::proxy::Proxy;
use crate::support::scene::Scene;
use crate::support::secure_scene::Certificates;
use crate::support::{programs, python};

/// A site with a certificate, and who signed it.
struct Site {
    certificates: Certificates,
    scene: Scene,
}

impl Site {
    fn of(backend: &Backend) -> Self {
        let certificates = Certificates::new();
        let scene = certificates.scene(json!({}), &[&backend.url()]);
        Self { certificates, scene }
    }

    /// Lets the client in the file `name` ask as `case` says.
    fn visit(&self, name: &str, case: &str, more: &[&str]) -> &Proxy {
        let proxy = &self.scene.proxy;
        let mut client = python::client(name);
        client.args([case, &proxy.https_address().port().to_string()]);
        programs::stdout(client.arg(self.certificates.file("ca.pem")).args(more));
        assert_eq!(proxy.count_in_log("ERROR"), 0);
        proxy
    }

    fn visit_by_httpx(&self, case: &str) -> &Proxy {
        self.visit("httpx_client.py", case, &[])
    }

    fn visit_by_h2(&self, case: &str) -> &Proxy {
        let process = self.scene.proxy.id().to_string();
        self.visit("h2_client.py", case, &[&process])
    }
}

/// Gives as many bytes as the target says, as the clients count them.
fn counting() -> Backend {
    Backend::run(|peer| {
        while let Some(request) = peer.request() {
            let length: usize = request.target()[1..].parse().unwrap();
            let body: Vec<u8> = (0..length).map(|at| (at * 31 + at / 251) as u8).collect();
            peer.send(ok(body));
        }
    })
}

#[test]
fn httpx_asks_many_times_at_once() {
    let backend = Backend::echoing();
    let site = Site::of(&backend);
    let lines = site.visit_by_httpx("many").wait_for_access(128);
    for version in ["HTTP/2.0", "HTTP/1.1"] {
        let served = lines.iter().filter(|line| line.contains(&format!(" {version}\" 200 "))).count();
        assert_eq!(served, 64, "{version}");
    }
    assert_eq!(backend.requests().len(), 128);
}

#[test]
fn httpx_streams_up_and_down() {
    Site::of(&Backend::echoing()).visit_by_httpx("streams");
}

#[test]
fn httpx_keeps_fields_and_cookies() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nX-Several: a\r\nSet-Cookie: session=1; Path=/; Secure; HttpOnly\r\n\
         Set-Cookie: theme=dark\r\nX-Several: b, c\r\nContent-Length: 0\r\n\r\n",
    );
    Site::of(&backend).visit_by_httpx("fields");
    let requests = backend.requests();
    assert_eq!(requests.len(), 4);
    let cookie = |request: &Request| request.head.get("cookie").map(str::to_owned);
    for pair in requests.chunks(2) {
        assert!(pair.iter().all(|request| request.target() == "/a%20b?c=d"));
        assert!(pair.iter().all(|request| request.head.all("x-dup") == ["1", "2"]));
        assert_eq!(cookie(&pair[0]), None);
        assert_eq!(cookie(&pair[1]).as_deref(), Some("session=1; theme=dark"));
    }
}

#[test]
fn httpx_believes_the_sites_certificate_alone() {
    let backend = Backend::saying("a");
    Site::of(&backend).visit_by_httpx("trust");
    assert_eq!(backend.requests().len(), 1);
}

#[test]
fn h2_sends_and_gets_trailers() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n",
    );
    Site::of(&backend).visit_by_h2("trailers");
    let request = backend.request();
    assert_eq!(
        (request.body.as_slice(), request.trailers),
        (&b"body"[..], vec!["x-check: 1".into(), "x-more: 2".into()])
    );
}

#[test]
fn h2_is_sent_no_byte_beyond_its_windows() {
    let backend = counting();
    let site = Site::of(&backend);
    site.visit_by_h2("byte_by_byte");
    site.visit_by_h2("shared_window");
}

#[test]
fn h2_uploads_as_it_is_let() {
    Site::of(&Backend::echoing()).visit_by_h2("upload");
}

#[test]
fn h2_may_state_priorities() {
    Site::of(&counting()).visit_by_h2("priorities");
}

#[test]
fn h2_may_resize_its_table() {
    Site::of(&counting()).visit_by_h2("tables");
}

#[test]
fn h2_has_as_many_streams_as_it_may() {
    Site::of(&Backend::echoing()).visit_by_h2("as_many_as_allowed");
}

#[test]
fn h2_sees_a_drain_to_its_end() {
    let backend = Backend::echoing();
    let mut site = Site::of(&backend);
    site.visit_by_h2("drain");
    assert_eq!(site.scene.proxy.wait_for_exit().code(), Some(0));
}

#[test]
fn h2_opens_a_tunnel() {
    let backend = http2_tunnels::echo();
    let line = &Site::of(&backend).visit_by_h2("tunnel").wait_for_access(1)[0];
    assert!(line.contains("\"GET /chat HTTP/2.0\" 101 "), "{line}");
}

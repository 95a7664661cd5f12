//! HTTP/2 as curl speaks it, over TLS.

use std::process::Command;

use serde_json::json;

use crate::support::authority::Authority;
use crate::support::backend::{Backend, ok};
use crate::support::programs;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::scene::SITE;

/// A site over HTTPS.
struct Secure {
    proxy: Proxy,
    _redis: Redis,
}

impl Secure {
    fn of(backend: &Backend) -> Self {
        let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
        redis.route(SITE, &["site", &backend.url()]);
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let authority = Authority::new();
        authority.issue(&[SITE]).write(&cert, &key);
        authority.write(&dir.path().join("ca.pem"));
        let config = json!({
            "redis": { "port": redis.port },
            "https": { "port": 0, "bind": "127.0.0.1", "cert": cert, "key": key },
        });
        Self { proxy: Proxy::launch_in(dir, config).serving(), _redis: redis }
    }

    fn port(&self) -> u16 {
        let log = self.proxy.log();
        let line = log.iter().find(|line| line.ends_with(" for HTTPS")).unwrap();
        let address = line.split_once("listening on ").unwrap().1.trim_end_matches(" for HTTPS");
        address.parse::<std::net::SocketAddr>().unwrap().port()
    }

    /// What curl prints with these arguments, asking for `target`.
    fn curl(&self, arguments: &[&str], target: &str) -> Vec<u8> {
        let port = self.port();
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--http2", "--max-time", "60", "--cacert"])
            .arg(self.proxy.dir().join("ca.pem"))
            .args(["--resolve", &format!("{SITE}:{port}:127.0.0.1")])
            .args(arguments)
            .arg(format!("https://{SITE}:{port}{target}"));
        let output = programs::output(&mut curl);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

#[test]
fn curl_asks_and_is_answered() {
    let backend = Backend::saying("hello");
    let secure = Secure::of(&backend);
    let text = String::from_utf8(secure.curl(&["-i"], "/x")).unwrap();
    assert!(text.starts_with("HTTP/2 200") && text.ends_with("\r\n\r\nhello"), "{text}");
    let head = backend.request().head;
    assert_eq!(head.get("x-forwarded-proto"), Some("https"));
    assert_eq!(head.get("x-forwarded-port"), Some(secure.port().to_string().as_str()));
    let line = &secure.proxy.wait_for_access(1)[0];
    assert!(line.contains("\"GET /x HTTP/2.0\" 200 "), "{line}");
    let text = String::from_utf8(secure.curl(&["-i", "--http1.1"], "/x")).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
}

#[test]
fn curl_sends_and_fetches_long_bodies() {
    let backend = Backend::echoing();
    let secure = Secure::of(&backend);
    let body: Vec<u8> = (0..10_000_000_u32).map(|at| (at * 7 + at / 253) as u8).collect();
    let file = secure.proxy.dir().join("body");
    std::fs::write(&file, &body).unwrap();
    let sized = secure.curl(&["--data-binary", &format!("@{}", file.display())], "/");
    assert!(sized == body, "{} bytes", sized.len());
}

#[test]
fn curl_sees_early_hints_and_a_continue() {
    let backend = Backend::run(|peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 103 Early Hints\r\nLink: l\r\n\r\n");
            peer.send(ok("late"));
        }
    });
    let text = String::from_utf8(Secure::of(&backend).curl(&["-i"], "/")).unwrap();
    assert!(
        text.starts_with("HTTP/2 103") && text.contains("link: l") && text.contains("HTTP/2 200"),
        "{text}"
    );
}

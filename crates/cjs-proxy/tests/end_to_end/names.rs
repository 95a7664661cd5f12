//! Backends by name: every address is used, one that refuses is passed over, and new ones are taken. The proxy is given
//! an /etc/hosts of its own; where the kernel does not let users have that, nothing is tested here.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use crate::support::backend::{Backend, Blackhole, ok};
use crate::support::proxy::{HOSTS, Proxy, can_have_hosts};
use crate::support::redis::Redis;
use crate::support::scene::{SITE, get};
use crate::support::wait;

/// A proxy to which `names.test` is what the test says.
struct Named {
    proxy: Proxy,
    hosts: PathBuf,
    _redis: Redis,
    _folder: TempDir,
}

impl Named {
    /// `None`: not on this machine.
    fn start(port: u16, addresses: &[&str]) -> Option<Self> {
        if !can_have_hosts() {
            return None;
        }
        let (redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
        let hosts = folder.path().join("hosts");
        write(&hosts, addresses);
        redis.route(SITE, &["site", &format!("http://names.test:{port}")]);
        let config = json!({ "redis": { "port": redis.port }, "server": { "workers": 1, "timeouts": { "connect": 1 } } });
        let proxy = Proxy::launch_with(tempfile::tempdir().unwrap(), config, &[(HOSTS, hosts.clone())]);
        Some(Self { proxy: proxy.serving(), hosts, _redis: redis, _folder: folder })
    }

    fn ask(&self) -> (u16, String) {
        let response = self.proxy.connect().ask(get("/"));
        (response.status, response.text())
    }
}

fn write(hosts: &Path, addresses: &[&str]) {
    let lines: Vec<String> = addresses.iter().map(|address| format!("{address} names.test\n")).collect();
    std::fs::write(hosts, lines.concat()).unwrap();
}

/// Says `answer` once on each connection, so that every request asks for a new one.
fn once(address: &str, port: u16, answer: &str) -> Backend {
    let answer = ok(answer);
    Backend::run_on(TcpListener::bind((address, port)).unwrap(), move |peer| {
        if peer.request().is_some() {
            peer.send(&answer);
        }
    })
}

#[test]
fn every_address_of_a_name_is_used() {
    let first = once("127.0.0.1", 0, "first");
    let port = first.address().port();
    let _others = (once("127.0.0.2", port, "second"), once("::1", port, "third"));
    let Some(named) = Named::start(port, &["127.0.0.1", "127.0.0.2", "::1"]) else { return };
    for expected in ["first", "second", "third"] {
        wait::until(&format!("the {expected} address is used"), || named.ask() == (200, expected.into()));
    }
}

#[test]
fn an_address_that_refuses_is_passed_over() {
    let backend = once("127.0.0.1", 0, "fine");
    let addresses = ["127.0.0.2", "127.0.0.3", "::1", "127.0.0.1"];
    let Some(named) = Named::start(backend.address().port(), &addresses) else { return };
    for _ in 0..20 {
        assert_eq!(named.ask(), (200, "fine".into()));
    }
}

#[test]
fn an_address_that_does_not_answer_leaves_time_for_another() {
    let backend = once("127.0.0.1", 0, "fine");
    let port = backend.address().port();
    let _blackhole = Blackhole::at(([127, 0, 0, 2], port).into());
    let Some(named) = Named::start(port, &["127.0.0.2", "127.0.0.1"]) else { return };
    for _ in 0..10 {
        assert_eq!(named.ask(), (200, "fine".into()));
    }
}

#[test]
fn a_name_that_led_nowhere_is_asked_for_again() {
    let backend = once("127.0.0.1", 0, "fine");
    let Some(named) = Named::start(backend.address().port(), &["127.0.0.2"]) else { return };
    assert_eq!(named.ask().0, 502);
    write(&named.hosts, &["127.0.0.1"]);
    wait::until("the new address is used", || named.ask() == (200, "fine".into()));
    // Nobody knows the name any more; what was known serves.
    write(&named.hosts, &[]);
    for _ in 0..20 {
        assert_eq!(named.ask(), (200, "fine".into()));
    }
}

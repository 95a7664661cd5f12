//! Redis behind TLS: a real server, verified or refused.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::routing::for_host;
use crate::support::authority::Authority;
use crate::support::backend::Backend;
use crate::support::command::Config;
use crate::support::mortal::{ask_until_reached, dead};
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, free_port};
use crate::support::scene::{SITE, get};
use crate::support::wait;

/// A server that takes connections over TLS on a port of its own, and the authority that vouches for it.
struct Secured {
    redis: Redis,
    port: u16,
    folder: TempDir,
}

impl Secured {
    /// Its certificate names `name`.
    fn named(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (ca, certificate, key) = (file("ca.pem"), file("redis.crt"), file("redis.key"));
        let authority = Authority::new();
        authority.write(ca.as_ref());
        authority.issue(&[name]).write(certificate.as_ref(), key.as_ref());
        let port = free_port();
        let options = [
            ["--tls-port", &port.to_string()],
            ["--tls-cert-file", &certificate],
            ["--tls-key-file", &key],
            ["--tls-ca-cert-file", &ca],
            ["--tls-auth-clients", "no"],
        ];
        let redis = Redis::start_with(&options.concat());
        Self { redis, port, folder }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn by_keys(&self) -> Value {
        json!({ "redis": { "tls": true, "ca": self.ca(), "port": self.port } })
    }
}

#[test]
fn routes_are_followed_and_deaths_told_over_tls() {
    let secured = Secured::named("127.0.0.1");
    let (dead, live) = (dead(), Backend::saying("live"));
    secured.redis.route(SITE, &["site", &dead.url(), &live.url()]);
    let by_url = json!({
        "driver": format!("rediss://127.0.0.1:{}", secured.port), "redis": { "ca": secured.ca() },
    });
    for config in [secured.by_keys(), by_url] {
        secured.redis.command(&format!("DEL dead:{SITE}"));
        let proxy = Proxy::start(config);
        proxy.wait_for_log("routes are followed live");
        ask_until_reached(&proxy, &dead, &get("/"));
        wait::until("the death is marked", || secured.redis.marks(SITE) == [0]);
        let host = "new.example";
        assert_eq!(proxy.connect().ask(for_host(host)).status, 400);
        secured.redis.route(host, &["new", &live.url()]);
        wait::until("the change is in force", || proxy.connect().ask(for_host(host)).status == 200);
        secured.redis.command(&format!("DEL frontend:{host}"));
        wait::until("the removal is in force", || proxy.connect().ask(for_host(host)).status == 400);
    }
}

#[test]
fn large_lists_and_many_hosts_come_whole() {
    let secured = Secured::named("127.0.0.1");
    let live = Backend::saying("live");
    // Some hundred kilobytes in one answer, and many in a row.
    let url = format!("{}/{}", live.url(), "x".repeat(500));
    secured.redis.route(SITE, &[&["site"][..], &vec![url.as_str(); 1_000]].concat());
    let proxy = Proxy::start(secured.by_keys());
    assert_eq!(proxy.connect().ask(get("/")).status, 200);
    for number in 0..300 {
        secured.redis.route(&format!("h{number}.example"), &["host", &live.url()]);
    }
    let mut client = proxy.connect();
    for number in 0..300 {
        assert_eq!(client.ask(for_host(&format!("h{number}.example"))).status, 200);
    }
}

#[test]
fn a_server_that_cannot_prove_itself_is_not_used() {
    let (secured, misnamed) = (Secured::named("127.0.0.1"), Secured::named("redis.example"));
    let live = Backend::saying("live");
    let unknown = json!({ "redis": { "tls": true, "ca": misnamed.ca(), "port": secured.port } });
    let plain = json!({ "redis": { "tls": true, "ca": secured.ca(), "port": secured.redis.port } });
    for (config, reason) in [
        (unknown, "nobody who is trusted (redis.ca names"),
        (misnamed.by_keys(), "redis.example"),
        (plain, "TLS"),
    ] {
        secured.redis.route(SITE, &["site", &live.url()]);
        let proxy = Proxy::start(config);
        let line = proxy.wait_for_log(reason);
        assert!(line.contains("not usable"), "{line}");
        assert_eq!(proxy.connect().ask(get("/")).status, 503);
    }
}

#[test]
fn routes_are_edited_over_tls() {
    let secured = Secured::named("127.0.0.1");
    let config = Config::of(secured.by_keys());
    config.routes(&["add", "a.example", "http://h1", "http://h2"]).done();
    let lines: Vec<String> =
        (0..5_000).map(|number| format!("\"h{number}.example\": [\"app\", \"http://10.0.0.1\"]")).collect();
    let counts = config.routes_reading(&["import", "-"], &format!("{{{}}}", lines.join(","))).done();
    assert_eq!(counts, "5000 added, 0 changed, 0 unchanged, 0 removed\n");
    assert_eq!(config.routes(&["list"]).done().lines().count(), 5_002);
    assert_eq!(config.routes(&["show", "a.example", "--json"]).json()["store"]["freshness"], "tracking");
    let told =
        Config::of(json!({ "redis": { "tls": true, "port": secured.port } })).routes(&["list"]).failed();
    let begin = format!("redis 127.0.0.1:{}: ", secured.port);
    assert!(told.starts_with(&begin) && told.contains("redis.ca names a file"), "{told}");
    let other = Secured::named("other.example");
    let told = Config::of(other.by_keys()).routes(&["list"]).failed();
    assert!(told.contains("other.example"), "{told}");
    let plain =
        Config::of(json!({ "redis": { "tls": true, "ca": secured.ca(), "port": secured.redis.port } }));
    assert!(plain.routes(&["list"]).failed().contains("does it speak TLS on this port?"));
}

//! Where routes come from: Redis that is away, comes back or asks for a password, a table file, the demo.

use nix::sys::signal::Signal;
use serde_json::json;

use super::routing::{answer, for_host, wait_for};
use crate::support::backend::Backend;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene, get};

#[test]
fn ping_is_answered_with_or_without_redis() {
    let mut redis = Redis::start();
    let proxy = Proxy::start(json!({ "redis": { "port": redis.port } }));
    let mut client = proxy.connect();
    assert_eq!(answer(&mut client, "__ping__"), (200, "ok".into()));
    proxy.wait_for_log("followed live");
    redis.kill();
    proxy.wait_for_log("connection lost");
    assert_eq!(answer(&mut client, "__ping__"), (200, "ok".into()));
    let absent = Proxy::start(json!({ "redis": { "port": redis.port } }));
    assert_eq!(answer(&mut absent.connect(), "__ping__"), (200, "ok".into()));
}

#[test]
fn known_routes_outlive_redis() {
    let backend = Backend::saying("fine");
    let mut scene = Scene::with(json!({ "server": { "workers": 1 } }), &[&backend.url()]);
    let mut client = scene.connect();
    assert_eq!(answer(&mut client, SITE).0, 200);
    scene.proxy.wait_for_log("followed live");
    scene.redis.kill();
    scene.proxy.wait_for_log("connection lost");
    assert_eq!(answer(&mut client, SITE), (200, "fine".into()));
    let unknown = client.ask(for_host("unknown.example"));
    assert_eq!(unknown.status, 503);
    assert!(unknown.head.get("retry-after").is_some() && !unknown.says_close());
    scene.redis.run();
    scene.redis.route("unknown.example", &["late", &backend.url()]);
    wait_for(&scene.proxy, "unknown.example", "fine");
    // What Redis lost while it was down is gone.
    wait_for(&scene.proxy, SITE, "400");
}

#[test]
fn requests_for_known_hosts_cost_redis_nothing() {
    let backend = Backend::saying("fine");
    let scene = Scene::with(json!({ "server": { "workers": 1 } }), &[&backend.url()]);
    let mut client = scene.connect();
    for host in [SITE, "unknown.example"] {
        answer(&mut client, host);
    }
    scene.redis.command("CONFIG RESETSTAT");
    for _ in 0..2000 {
        assert_eq!(answer(&mut client, SITE).0, 200);
        assert_eq!(answer(&mut client, "unknown.example").0, 400);
    }
    let mut calls = scene.redis.calls();
    // The test's own, and the proxy's sign of life once in a while.
    for own in ["config|resetstat", "select", "hello", "ping", "client|setinfo", "info"] {
        calls.remove(own);
    }
    assert!(calls.values().sum::<usize>() < 20, "{calls:?}");
}

#[test]
fn routes_that_expire_or_are_swapped_away_are_followed() {
    let (backend, other) = (Backend::saying("fine"), Backend::saying("other"));
    let scene = Scene::of(&backend);
    wait_for(&scene.proxy, SITE, "fine");
    scene.redis.command(&format!("PEXPIRE frontend:{SITE} 50"));
    wait_for(&scene.proxy, SITE, "400");
    scene.redis.command(&format!("-n 1 RPUSH frontend:{SITE} site {}", other.url()));
    scene.redis.command("SWAPDB 0 1");
    wait_for(&scene.proxy, SITE, "other");
}

#[test]
fn a_killed_connection_to_redis_is_made_anew() {
    let (backend, other) = (Backend::saying("fine"), Backend::saying("other"));
    let scene = Scene::of(&backend);
    wait_for(&scene.proxy, SITE, "fine");
    scene.redis.command("CLIENT KILL TYPE pubsub");
    scene.redis.route(SITE, &["site", &other.url()]);
    wait_for(&scene.proxy, SITE, "other");
    scene.proxy.wait_for_log("connection lost");
}

#[test]
fn a_redis_that_hangs_is_noticed() {
    let (backend, other) = (Backend::saying("fine"), Backend::saying("other"));
    let scene = Scene::of(&backend);
    wait_for(&scene.proxy, SITE, "fine");
    scene.redis.signal(Signal::SIGSTOP);
    let status = scene.ask(for_host("unknown.example")).status;
    scene.proxy.wait_for_log("connection lost");
    assert_eq!((status, scene.ask(get("/")).status), (503, 200));
    scene.redis.signal(Signal::SIGCONT);
    scene.redis.route(SITE, &["site", &other.url()]);
    wait_for(&scene.proxy, SITE, "other");
}

#[test]
fn redis_may_come_after_the_proxy() {
    let backend = Backend::saying("fine");
    let mut redis = Redis::absent();
    let proxy = Proxy::start(json!({ "redis": { "port": redis.port } }));
    assert_eq!(proxy.connect().ask(get("/")).status, 503);
    assert!(proxy.log().iter().any(|line| line.contains(&redis.port.to_string())), "{:?}", proxy.log());
    redis.run();
    redis.route(SITE, &["site", &backend.url()]);
    wait_for(&proxy, SITE, "fine");
}

#[test]
fn database_prefix_and_password_are_those_of_the_config() {
    let backend = Backend::saying("fine");
    let redis = Redis::start_with(&["--requirepass", "s3cret"]);
    redis.command(&format!("-n 3 RPUSH blue:frontend:{SITE} site {}", backend.url()));
    redis.command("-n 3 RPUSH frontend:bare.example bare http://127.0.0.1:1");
    let by_keys = json!({ "port": redis.port, "password": "s3cret", "db": 3, "prefix": "blue:" });
    let by_url = json!(format!("redis://:s3cret@127.0.0.1:{}/3#blue:", redis.port));
    for config in [json!({ "redis": by_keys }), json!({ "driver": by_url })] {
        let proxy = Proxy::start(config);
        wait_for(&proxy, SITE, "fine");
        wait_for(&proxy, "bare.example", "400");
    }
}

#[test]
fn a_wrong_password_is_told_and_leaves_the_proxy_running() {
    let redis = Redis::start_with(&["--requirepass", "s3cret"]);
    let proxy = Proxy::start(json!({ "redis": { "port": redis.port, "password": "wrong" } }));
    proxy.wait_for_log("WRONGPASS");
    assert_eq!(proxy.connect().ask(get("/")).status, 503);
    assert!(!proxy.log().iter().any(|line| line.contains("wrong,") || line.contains("\"wrong\"")));
}

/// A proxy whose routes are in `routes.json` of its folder.
fn with_table(table: &str) -> Proxy {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("routes.json"), table).unwrap();
    let proxy = Proxy::launch_in(dir, json!({ "driver": "file:routes.json" }));
    proxy.wait_for_log("serving on ");
    proxy
}

#[test]
fn a_table_file_is_followed() {
    let backend = Backend::saying("fine");
    let table = |host: &str| json!({ host: ["name", backend.url()] }).to_string();
    let proxy = with_table(&table("a.example"));
    let file = proxy.dir().join("routes.json");
    assert_eq!(answer(&mut proxy.connect(), "a.example").1, "fine");
    std::fs::write(&file, table("*.b.example")).unwrap();
    wait_for(&proxy, "x.b.example", "fine");
    wait_for(&proxy, "a.example", "400");
    std::fs::write(proxy.dir().join("new"), table("c.example")).unwrap();
    std::fs::rename(proxy.dir().join("new"), &file).unwrap();
    wait_for(&proxy, "c.example", "fine");
}

#[test]
fn a_broken_table_file_changes_nothing() {
    let backend = Backend::saying("fine");
    let proxy = with_table(&json!({ "a.example": ["name", backend.url()] }).to_string());
    std::fs::write(proxy.dir().join("routes.json"), "{ broken").unwrap();
    let line = proxy.wait_for_log("ERROR");
    assert!(line.contains("routes.json"), "{line}");
    assert_eq!(answer(&mut proxy.connect(), "a.example").1, "fine");
    std::fs::remove_file(proxy.dir().join("routes.json")).unwrap();
    assert_eq!(answer(&mut proxy.connect(), "a.example").1, "fine");
    std::fs::write(proxy.dir().join("routes.json"), json!({ "b.example": ["b", backend.url()] }).to_string())
        .unwrap();
    wait_for(&proxy, "b.example", "fine");
}

#[test]
fn the_demo_serves_what_it_prints() {
    let proxy = Proxy::spawn(tempfile::tempdir().unwrap(), &["demo"]);
    proxy.wait_for_log("serving on ");
    proxy.wait_for_output("Access log");
    let mut tried = 0;
    for line in proxy.output().iter().filter(|line| line.contains("curl ")) {
        let host = line.split("Host: ").nth(1).unwrap().split('\'').next().unwrap();
        assert!(line.contains(&format!("http://{}/", proxy.address())), "{line}");
        let status = if line.contains("400") { 400 } else { 200 };
        assert_eq!(answer(&mut proxy.connect(), host).0, status, "{line}");
        tried += 1;
    }
    assert_eq!(tried, 3);
    proxy.wait_for_output("\"GET / HTTP/1.1\" 200 ");
}

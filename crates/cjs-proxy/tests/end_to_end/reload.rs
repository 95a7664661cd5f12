//! SIGHUP: what of a changed config file comes into force while requests go on, and what waits for a restart.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::routing::{answer, for_host, wait_for};
use crate::support::backend::{Backend, ok};
use crate::support::client::{Client, Response};
use crate::support::mortal::{ask_until_reached, dead, mortal};
use crate::support::scene::{SITE, Scene, get, get_from, request};
use crate::support::wait::{self, Gate};

/// Waits until every core answers the request as `expected` says: connections are spread over them by chance.
pub(super) fn wait_until_all(scene: &Scene, request: &str, expected: impl Fn(&Response) -> bool) {
    let mut steady = 0;
    wait::until("all cores answer by the new settings", || {
        steady = if expected(&scene.ask(request)) { steady + 1 } else { 0 };
        steady == 10
    });
}

fn server(key: &str, value: impl Into<Value>) -> Value {
    json!({ "server": { key: value.into() } })
}

/// How many of four failing backends a request for a host of its own is tried on.
fn attempts(scene: &Scene, failing: &[Backend], number: usize) -> usize {
    let urls: Vec<String> = failing.iter().map(Backend::url).collect();
    let list: Vec<&str> = std::iter::once("name").chain(urls.iter().map(String::as_str)).collect();
    let host = format!("h{number}.example");
    scene.redis.route(&host, &list);
    let asked = || failing.iter().map(|backend| backend.requests().len()).sum::<usize>();
    let before = asked();
    assert_eq!(scene.ask(for_host(&host)).status, 502);
    asked() - before
}

#[test]
fn connections_outlive_a_reload() {
    let gate = Gate::default();
    let passes = gate.clone();
    let backend = Backend::run(move |peer| {
        while let Some(request) = peer.request() {
            if request.target() == "/late" {
                passes.pass();
            }
            peer.send(ok(request.target()));
        }
    });
    let scene = Scene::with(server("debugHeader", true), &[&backend.url()]);
    let mut clients: Vec<Client> = (0..8).map(|_| scene.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(get("/first")).text(), "/first");
    }
    for client in &mut clients[..4] {
        client.send(get("/late"));
    }
    backend.wait_for_requests(12);
    scene.proxy.reload(server("debugHeader", false));
    let debug = request("GET", "/", "X-Debug: 1\r\n");
    wait_until_all(&scene, &debug, |response| response.head.get("x-debug-vhost").is_none());
    gate.open();
    for (number, client) in clients.iter_mut().enumerate() {
        if number < 4 {
            assert_eq!(client.response().text(), "/late");
        }
        let next = client.ask(&debug);
        assert!(next.text() == "/" && !next.says_close() && next.head.get("x-debug-vhost").is_none());
    }
}

#[test]
fn no_request_is_lost_over_many_reloads() {
    let backend = mortal("a");
    let scene = Scene::of(&backend);
    let done = AtomicBool::new(false);
    let load = || {
        let mut client = scene.connect();
        while !done.load(Ordering::Relaxed) {
            assert_eq!(client.ask(get("/")).text(), "a");
            assert_eq!(scene.ask(get("/")).text(), "a");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(load);
        }
        for retries in 0..10 {
            let before = backend.requests().len();
            scene.proxy.reload(server("retryOnError", retries));
            wait::until("some requests", || backend.requests().len() > before + 20);
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn error_pages_are_read_anew() {
    let pages = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(pages.path().join(name), text).unwrap();
    write("error_400.html", "old 400");
    write("error_default.html", "old default");
    let scene = Scene::with(json!({ "server": { "staticDir": pages.path() } }), &["http://"]);
    wait_for(&scene.proxy, "unknown.example", "old 400");
    write("error_400.html", "new 400, longer than before");
    write("error_502.html", "new 502");
    scene.proxy.reload(json!({}));
    wait_for(&scene.proxy, "unknown.example", "new 400, longer than before");
    wait_for(&scene.proxy, SITE, "new 502");
    std::fs::remove_file(pages.path().join("error_502.html")).unwrap();
    scene.proxy.reload(json!({}));
    wait_for(&scene.proxy, SITE, "old default");
    scene.proxy.reload(server("staticDir", Value::Null));
    wait_until_all(&scene, &for_host("unknown.example"), |page| !page.text().contains("new 400"));
}

#[test]
fn retries_follow_a_reload() {
    let failing: Vec<Backend> = (0..4).map(|_| dead()).collect();
    let scene = Scene::with(server("retryOnError", 0), &["http://"]);
    assert_eq!(attempts(&scene, &failing, 0), 1);
    scene.proxy.reload(server("retryOnError", 2));
    let mut number = 0;
    wait::until("up to two more backends are tried", || {
        number += 1;
        attempts(&scene, &failing, number) == 3
    });
}

#[test]
fn time_outs_follow_a_reload() {
    let slow = Backend::slow(Duration::from_millis(600));
    let scene = Scene::with(json!({ "server": { "timeouts": { "backendHeader": 0.2 } } }), &[&slow.url()]);
    assert_eq!(scene.ask(get("/")).status, 504);
    scene.proxy.reload(json!({ "server": { "timeouts": { "backendHeader": 20 } } }));
    wait::until("it is waited for", || scene.ask(get("/")).status == 200);
    scene.proxy.reload(json!({ "server": { "timeouts": { "backendHeader": 0.2 } } }));
    wait::until("it is waited for no longer", || scene.ask(get("/")).status == 504);
}

#[test]
fn the_idle_time_follows_a_reload() {
    let backend = mortal("a");
    let scene = Scene::of(&backend);
    scene.proxy.reload(json!({ "server": { "timeouts": { "clientIdle": 0.3 } } }));
    // By the old settings the connection would stay for a minute.
    wait::until("idle connections are closed soon", || {
        let (mut client, begun) = (scene.connect(), wait::now());
        assert_eq!(client.ask(get("/")).status, 200);
        wait::until("an end, or not soon", || client.has_news() || begun.elapsed().as_secs() >= 3);
        client.has_news()
    });
}

#[test]
fn trust_follows_a_reload() {
    let backend = Backend::run(|peer| {
        while let Some(request) = peer.request() {
            peer.send(ok(request.head.get("x-forwarded-for").unwrap()));
        }
    });
    let scene = Scene::of(&backend);
    let forwarded = request("GET", "/", "X-Forwarded-For: 1.2.3.4\r\n");
    let mut client = scene.connect();
    assert_eq!(client.ask(&forwarded).text(), "127.0.0.1");
    scene.proxy.reload(server("trustedProxies", json!(["127.0.0.0/8"])));
    wait_until_all(&scene, &forwarded, |response| response.text() == "1.2.3.4, 127.0.0.1");
    assert_eq!(client.ask(&forwarded).text(), "1.2.3.4, 127.0.0.1", "an old connection follows too");
    scene.proxy.reload(server("trustedProxies", json!([])));
    wait_until_all(&scene, &forwarded, |response| response.text() == "127.0.0.1");
}

#[test]
fn the_format_of_the_access_log_follows_a_reload() {
    let backend = mortal("a");
    let scene = Scene::of(&backend);
    scene.ask(get("/"));
    assert!(scene.proxy.wait_for_access(1)[0].contains("\"GET / HTTP/1.1\" 200"));
    let mut lines = 1;
    for (format, begin) in [("json", "{"), ("nginx", "::ffff:")] {
        scene.proxy.reload(server("accessLogFormat", format));
        let mut steady = 0;
        wait::until("lines in the new format", || {
            scene.ask(get("/"));
            lines += 1;
            let is_new = scene.proxy.wait_for_access(lines)[lines - 1].starts_with(begin);
            steady = if is_new { steady + 1 } else { 0 };
            steady == 10
        });
    }
}

#[test]
fn the_access_log_may_move() {
    let backend = mortal("a");
    let scene = Scene::of(&backend);
    scene.ask(get("/old"));
    scene.proxy.wait_for_access(1);
    let moved = scene.proxy.dir().join("moved.log");
    scene.proxy.reload(json!({ "server": { "accessLog": moved } }));
    wait::until("a line in the new file", || {
        scene.ask(get("/new"));
        std::fs::read_to_string(&moved).is_ok_and(|text| text.contains("/new"))
    });
    assert!(std::fs::read_to_string(scene.proxy.access_log()).unwrap().contains("/old"));
}

#[test]
fn a_new_access_log_that_cannot_be_opened_is_told_and_the_old_one_goes_on() {
    let backend = mortal("a");
    let scene = Scene::of(&backend);
    scene.proxy.reload(json!({ "server": { "accessLog": "/no/such/folder/access.log", "retryOnError": 1 } }));
    let line = scene.proxy.wait_for_log("/no/such/folder/access.log");
    assert!(line.contains("ERROR") || line.contains("WARN"), "{line}");
    scene.ask(get("/later"));
    assert!(scene.proxy.wait_for_access(1)[0].contains("/later"));
}

#[test]
fn of_many_reloads_the_last_one_counts() {
    let backend = mortal("a");
    let scene = Scene::of(&backend);
    for number in 0..20 {
        scene.proxy.reload(server("debugHeader", number % 2 == 0));
    }
    let debug = request("GET", "/", "X-Debug: 1\r\n");
    wait_until_all(&scene, &debug, |told| told.head.get("x-debug-vhost").is_none());
}

#[test]
fn a_reload_does_not_disturb_a_drain() {
    let gate = Gate::default();
    let backend = Backend::gated(&gate);
    let mut scene = Scene::of(&backend);
    let mut client = scene.connect();
    client.send(get("/"));
    backend.wait_for_requests(1);
    scene.proxy.signal(Signal::SIGTERM);
    scene.proxy.wait_for_log("draining");
    scene.proxy.reload(server("retryOnError", 1));
    let address = scene.proxy.address();
    wait::until("new connections are refused", || TcpStream::connect(address).is_err());
    gate.open();
    assert_eq!(client.response().text(), "late");
    assert_eq!(scene.proxy.wait_for_exit().code(), Some(0));
}

#[test]
fn the_time_of_marks_follows_a_reload() {
    let (dead, good) = (dead(), mortal("good"));
    let scene = Scene::with(server("deadBackendTTL", 20), &[&good.url()]);
    let mut number = 0;
    let mut ttl = || {
        number += 1;
        let host = format!("h{number}.example");
        scene.redis.route(&host, &["name", &dead.url(), &good.url()]);
        ask_until_reached(&scene.proxy, &dead, &get_from(&host, "/"));
        wait::until("a mark", || scene.redis.marks(&host) == [0]);
        scene.redis.query::<i64>(&format!("TTL dead:{host}"))
    };
    assert!((1..=20).contains(&ttl()));
    scene.proxy.reload(server("deadBackendTTL", 300));
    wait::until("marks last longer", || (100..=300).contains(&ttl()));
}

#[test]
fn balance_and_versions_follow_a_reload() {
    let (a, b, version) = (mortal("a"), mortal("b"), mortal("version"));
    let config = json!({ "server": { "workers": 1, "apiVersions": false } });
    let scene = Scene::with(config, &[&a.url(), &b.url()]);
    scene.redis.route("site.example:1-2-3", &["version", &version.url()]);
    let mut client = scene.connect();
    let mut alternates = || {
        let served: Vec<String> = (0..40).map(|_| answer(&mut client, SITE).1).collect();
        served.windows(2).all(|pair| pair[0] != pair[1])
    };
    assert!(!alternates());
    assert_ne!(scene.ask(get("/1-2-3/x")).text(), "version");
    scene.proxy.reload(json!({ "server": { "balance": "roundRobin", "apiVersions": true } }));
    wait::until("in turn", alternates);
    wait::until("versions", || scene.ask(get("/1-2-3/x")).text() == "version");
}

#[test]
fn a_bad_config_is_told_and_the_old_one_stays() {
    let pages = tempfile::tempdir().unwrap();
    std::fs::write(pages.path().join("error_400.html"), "page").unwrap();
    let config = json!({ "server": { "debugHeader": true, "staticDir": pages.path() } });
    let backend = mortal("a");
    let scene = Scene::with(config, &[&backend.url()]);
    let good = std::fs::read_to_string(scene.proxy.dir().join("config.json")).unwrap();
    for (number, bad) in [
        "",
        "{",
        "[]",
        "{\"server\": {\"debugHeader\": false, \"prot\": 1}}",
        "{\"server\": {\"debugHeader\": false, \"retryOnError\": -1}}",
        "{\"server\": {\"debugHeader\": false, \"trustedProxies\": [\"here\"]}}",
    ]
    .into_iter()
    .enumerate()
    {
        scene.proxy.reload_text(bad);
        wait::until(&format!("{bad:?} is told, and that the old one stays"), || {
            let log = scene.proxy.log();
            log.iter().filter(|line| line.contains("ERROR") && line.contains("stays")).count() > number
        });
        let debug = request("GET", "/", "X-Debug: 1\r\n");
        assert_eq!(scene.ask(debug).head.get("x-debug-vhost"), Some("site"));
        assert_eq!(scene.ask(for_host("unknown.example")).text(), "page");
    }
    let log = scene.proxy.log().join("\n");
    assert!(log.contains("server.prot") && log.contains("server.retryOnError"), "{log}");
    std::fs::write(pages.path().join("error_400.html"), "new page").unwrap();
    scene.proxy.reload_text(&good);
    wait_for(&scene.proxy, "unknown.example", "new page");
}

#[test]
fn a_config_file_that_is_gone_changes_nothing() {
    let backend = mortal("a");
    let scene = Scene::of(&backend);
    std::fs::remove_file(scene.proxy.dir().join("config.json")).unwrap();
    scene.proxy.signal(Signal::SIGHUP);
    let line = scene.proxy.wait_for_log("ERROR");
    assert!(line.contains("config.json"), "{line}");
    assert_eq!(scene.ask(get("/")).text(), "a");
}

#[test]
fn what_takes_a_restart_is_named_and_the_rest_acts() {
    let backend = mortal("a");
    let scene = Scene::of(&backend);
    let address = scene.proxy.address();
    let debug = request("GET", "/", "X-Debug: 1\r\n");
    for (change, key) in [
        (json!({ "server": { "port": 1, "debugHeader": false } }), "server.port"),
        (json!({ "server": { "bind": "127.0.0.2", "debugHeader": true } }), "server.bind"),
        (json!({ "server": { "workers": 1, "debugHeader": false } }), "server.workers"),
        (json!({ "redis": { "port": 1 }, "server": { "debugHeader": true } }), "redis"),
    ] {
        let is_debug = change["server"]["debugHeader"] == true;
        let before = scene.proxy.log().len();
        scene.proxy.reload(change);
        wait::until(&format!("{key} is named"), || {
            let log = scene.proxy.log();
            log[before..].iter().any(|line| line.contains(key) && line.contains("restart"))
        });
        wait_until_all(&scene, &debug, |told| told.head.get("x-debug-vhost").is_some() == is_debug);
    }
    assert_eq!(Client::to(address).ask(get("/")).text(), "a");
    assert_eq!(scene.proxy.addresses(), [address]);
}

#[test]
fn a_change_that_waits_for_nothing_is_not_said_to() {
    let backend = mortal("a");
    let scene = Scene::of(&backend);
    scene.proxy.reload(server("retryOnError", 1));
    scene.proxy.wait_for_log("SIGHUP");
    let debug = request("GET", "/", "X-Debug: 1\r\n");
    scene.proxy.reload(server("debugHeader", false));
    wait_until_all(&scene, &debug, |told| told.head.get("x-debug-vhost").is_none());
    assert!(!scene.proxy.log().iter().any(|line| line.contains("restart")), "{:#?}", scene.proxy.log());
}

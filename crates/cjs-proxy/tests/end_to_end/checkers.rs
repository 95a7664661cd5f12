//! Together with an external active checker, hipache-hchecker's double: the proxy tells, the checker decides.

use std::time::Duration;

use serde_json::json;

use crate::support::backend::{Backend, Refusing};
use crate::support::hchecker::Checker;
use crate::support::mortal::{ask_until_reached, live, mortal, wait_until_avoided};
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene, get, get_from};
use crate::support::wait;

/// What the checker's three seconds are shortened to.
const INTERVAL: Duration = Duration::from_millis(50);

/// A Redis where a checker has given a sign of life so many seconds ago.
fn pinged(ago: u64) -> Redis {
    let redis = Redis::start();
    redis.command(&format!("SET hchecker_ping {}", wait::unix_time().as_secs() - ago));
    redis
}

/// How many backends of `frontend` the checker has marked; the double's own proof.
fn told(redis: &Redis, frontend: &str, url: &str, count: u32) -> usize {
    redis.route(frontend, &["name", url, "http://127.0.0.1:1"]);
    redis.command(&format!("PUBLISH dead {frontend};{url};0;{count}"));
    redis.marks(frontend).len()
}

#[test]
fn the_double_keeps_to_the_protocol() {
    let redis = Redis::start();
    redis.command("HSET hchecker http://left.over 1");
    let checker = Checker::start(&redis, INTERVAL);
    assert_eq!(redis.query::<usize>("EXISTS hchecker"), 0, "it empties its locks at the start");
    let ping: u64 = redis.query("GET hchecker_ping");
    assert!(wait::unix_time().as_secs().abs_diff(ping) < 20);
    let status =
        |status: u16| Backend::answering(format!("HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n"));
    for (code, dead) in
        [(500, 1), (501, 1), (502, 1), (599, 1), (200, 0), (302, 0), (404, 0), (503, 0), (499, 0)]
    {
        let (backend, name) = (status(code), format!("s{code}"));
        told(&redis, &name, &backend.url(), 2);
        let request = &backend.wait_for_requests(1)[0];
        assert_eq!(request.head.start_line(), "HEAD /CloudHealthCheck HTTP/1.1");
        assert_eq!((request.head.get("host"), request.head.get("connection")), (Some("ping"), Some("close")));
        // Two more checks: what the first one found has been written by then.
        backend.wait_for_requests(3);
        assert_eq!(redis.marks(&name).len(), dead, "{code}");
    }
    let ttl: i64 = redis.query("TTL dead:s500");
    assert!((31..=60).contains(&ttl), "{ttl}");
    let refusing = Refusing::new();
    wait::until("a closed port is death", || told(&redis, "closed", &refusing.url(), 2) == 1);
    let before = checker.checks().len();
    redis.command("PUBLISH dead undefined;undefined;undefined;undefined");
    redis.command("PUBLISH dead only;http://127.0.0.1:1;0;1");
    redis.command("PUBLISH dead too;few;fields");
    wait::until("the last line", || checker.warnings() == ["too;few;fields"]);
    redis.command("PUBLISH dead moved;http://127.0.0.1:2;0;2");
    wait::until("the moved one is checked", || checker.checks().contains(&"http://127.0.0.1:2".into()));
    assert!(!checker.checks()[before..].iter().any(|url| url.contains("undefined") || url.ends_with(":1")));
    wait::until("the lock is given up", || redis.query::<usize>("HEXISTS hchecker http://127.0.0.1:2") == 0);
    assert_eq!(redis.marks("moved").len(), 0, "the list has no such backend");
}

#[test]
fn while_a_checker_is_active_the_proxy_only_tells() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::on(pinged(0), json!({}), &[&first.url(), &second.url()]);
    scene.proxy.wait_for_log("followed live");
    let heard = scene.redis.subscribe("dead");
    let response = ask_until_reached(&scene.proxy, &first, &get("/die/first"));
    assert_eq!(response.text(), "second");
    assert_eq!(heard.wait_for(1)[0], format!("{SITE};{};0;2", first.url()));
    // What goes with PUBLISH is in one transaction with it.
    assert_eq!(scene.redis.query::<usize>(&format!("EXISTS dead:{SITE}")), 0);
}

#[test]
fn without_a_fresh_sign_of_life_the_proxy_marks() {
    let nonsense = ["never", "-5", "1e9"].map(|ping| {
        let redis = Redis::start();
        redis.command(&format!("SET hchecker_ping {ping}"));
        redis
    });
    for redis in [Redis::start(), pinged(32), pinged(100_000)].into_iter().chain(nonsense) {
        let (first, second) = (mortal("first"), mortal("second"));
        let scene = Scene::on(redis, json!({}), &[&first.url(), &second.url()]);
        ask_until_reached(&scene.proxy, &first, &get("/die/first"));
        wait::until("a mark", || scene.redis.marks(SITE) == [0]);
    }
}

#[test]
fn a_checker_that_falls_silent_is_no_longer_relied_on() {
    let (first, second) = (mortal("first"), mortal("second"));
    let config = json!({ "server": { "deadBackendTTL": 1 } });
    let scene = Scene::on(pinged(27), config, &[&first.url(), &second.url()]);
    wait::until("the proxy marks itself", || {
        scene.ask(get("/die/first"));
        scene.redis.marks(SITE) == [0]
    });
}

#[test]
fn a_backend_dies_and_comes_back_as_the_checker_says() {
    let redis = Redis::start();
    let _checker = Checker::start(&redis, INTERVAL);
    let (refusing, good) = (Refusing::new(), mortal("good"));
    let config = json!({ "server": { "deadBackendTTL": 600 } });
    let scene = Scene::on(redis, config, &[&format!("{}/#weight=3", refusing.url()), &good.url()]);
    let other = scene.another_proxy(json!({ "server": { "deadBackendTTL": 600 } }));
    wait::until("the checker has marked it", || {
        assert_eq!(scene.ask(get("/")).text(), "good");
        scene.redis.marks(SITE) == [0]
    });
    let ttl: i64 = scene.redis.query(&format!("TTL dead:{SITE}"));
    assert!((31..=60).contains(&ttl), "not the checker's: {ttl}");
    let back = Backend::run_on(refusing.listen(), |peer| live(peer, "back"));
    wait::until("the checker has taken the mark away", || scene.redis.marks(SITE).is_empty());
    for (proxy, which) in [(&scene.proxy, "told"), (&other, "idle")] {
        wait::until(&format!("it is used again by the {which} proxy"), || {
            proxy.connect().ask(get("/")).text() == "back"
        });
    }
    assert!(back.requests()[0].target() == "/CloudHealthCheck");
}

#[test]
fn what_the_checker_marks_all_proxies_avoid() {
    let redis = Redis::start();
    let _checker = Checker::start(&redis, INTERVAL);
    // For the checker it is dead, for clients it lives: only the checker's mark keeps them away.
    let sick = Backend::run(|peer| {
        while let Some(request) = peer.request() {
            match request.target() {
                "/CloudHealthCheck" => return peer.reset(),
                "/501" => peer.send("HTTP/1.1 501 Not Implemented\r\nContent-Length: 4\r\n\r\nsick"),
                _ => peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsick"),
            }
        }
    });
    let good = Backend::saying("good");
    let scene = Scene::on(redis, json!({}), &[&good.url(), &sick.url()]);
    let other = scene.another_proxy(json!({}));
    assert_eq!(other.connect().ask(get("/")).status, 200);
    wait::until("the checker has marked it", || {
        scene.ask(get("/501"));
        scene.redis.marks(SITE).contains(&1)
    });
    let for_clients =
        |backend: &Backend| backend.requests().iter().filter(|request| request.target() == "/").count();
    wait::until("the other proxy avoids it", || {
        let before = for_clients(&sick);
        (0..40).all(|_| other.connect().ask(get("/")).status == 200 && for_clients(&sick) == before)
    });
}

#[test]
fn what_the_checker_holds_dead_the_proxys_own_time_does_not_revive() {
    let (first, second) = (mortal("first"), mortal("second"));
    let config = json!({ "server": { "deadBackendTTL": 1 } });
    let scene = Scene::on(pinged(0), config, &[&first.url(), &second.url()]);
    scene.proxy.wait_for_log("followed live");
    let heard = scene.redis.subscribe("dead");
    ask_until_reached(&scene.proxy, &first, &get("/die/first"));
    heard.wait_for(1);
    scene.redis.command(&format!("SADD dead:{SITE} 0"));
    scene.redis.command(&format!("EXPIRE dead:{SITE} 60"));
    wait_until_avoided(&scene.proxy, &first, &get("/"));
    let (before, begun) = (first.requests().len(), wait::now());
    wait::until("more than the proxy's own time", || {
        assert_eq!(scene.ask(get("/")).text(), "second");
        begun.elapsed() > Duration::from_millis(2500)
    });
    assert_eq!(first.requests().len(), before);
}

#[test]
fn a_death_that_the_checker_does_not_confirm_leaves_no_mark() {
    let redis = Redis::start();
    let checker = Checker::start(&redis, INTERVAL);
    let (first, second) = (mortal("first"), mortal("second"));
    let config = json!({ "server": { "deadBackendTTL": 1 } });
    let scene = Scene::on(redis, config, &[&first.url(), &second.url()]);
    scene.proxy.wait_for_log("followed live");
    ask_until_reached(&scene.proxy, &first, &get("/die/first"));
    wait::until("it has been checked", || checker.checks().len() > 2);
    assert_eq!(scene.redis.marks(SITE), [0; 0]);
    ask_until_reached(&scene.proxy, &first, &get("/"));
}

#[test]
fn a_checker_under_a_wildcard_finds_the_backend_by_the_matched_key() {
    let redis = Redis::start();
    let _checker = Checker::start(&redis, INTERVAL);
    let (refusing, good) = (Refusing::new(), mortal("good"));
    let scene = Scene::on(redis, json!({}), &[&good.url()]);
    scene.redis.route("*.wild.example", &["wild", &good.url(), &refusing.url()]);
    wait::until("the checker has marked it", || {
        assert_eq!(scene.ask(get_from("one.wild.example", "/")).text(), "good");
        scene.redis.marks("*.wild.example") == [1]
    });
}

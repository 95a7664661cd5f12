//! A backend that is marked dead is avoided: by whom, for how long, and what ends it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::routing::{answer, for_host};
use crate::support::backend::{Backend, Peer};
use crate::support::client::Client;
use crate::support::mortal::{ask_until_reached, dead, live, mortal, wait_until_avoided};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene, get, request};
use crate::support::wait::{self, Gate};

fn ttl(seconds: u32, cores: u32) -> Value {
    json!({ "server": { "deadBackendTTL": seconds, "workers": cores } })
}

fn wait_until_used(scene: &Scene, backend: &Backend) {
    ask_until_reached(&scene.proxy, backend, &get("/"));
}

/// Waits until both cores follow Redis.
fn wait_until_followed(proxy: &Proxy) {
    wait::until("both cores follow Redis", || {
        proxy.log().iter().filter(|line| line.contains("followed live")).count() >= 2
    });
}

/// Has `backend`, called `name`, fail once, and waits until that was told.
fn kill(scene: &Scene, backend: &Backend, name: &str) {
    let heard = scene.redis.subscribe("dead");
    let answer = ask_until_reached(&scene.proxy, backend, &get(&format!("/die/{name}")));
    assert_eq!(answer.status, 200, "another one has answered");
    assert!(heard.wait_for(1)[0].contains(&backend.url()));
}

#[test]
fn what_one_core_saw_is_avoided_by_all_cores_and_proxies() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::with(ttl(600, 2), &[&first.url(), &second.url()]);
    let other = scene.another_proxy(ttl(600, 2));
    for proxy in [&scene.proxy, &other] {
        ask_until_reached(proxy, &first, &get("/"));
    }
    // It lives on for whoever asks it anything else: only the mark keeps the others away.
    kill(&scene, &first, "first");
    for proxy in [&other, &scene.proxy] {
        wait_until_avoided(proxy, &first, &get("/"));
        assert_eq!(proxy.connect().ask(get("/")).text(), "second");
    }
    // One that starts now has only Redis to go by.
    wait_until_avoided(&scene.another_proxy(ttl(600, 2)), &first, &get("/"));
    assert_eq!(scene.redis.marks(SITE), [0]);
}

#[test]
fn a_mark_ends_after_its_time() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::with(ttl(1, 2), &[&first.url(), &second.url()]);
    for _ in 0..3 {
        kill(&scene, &first, "first");
        wait_until_used(&scene, &first);
    }
    wait::until("no mark is left", || scene.redis.marks(SITE).is_empty());
    assert_eq!(scene.ask(get("/")).status, 200);
}

#[test]
fn a_mark_in_force_is_not_asked_before_its_time() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::with(ttl(2, 2), &[&first.url(), &second.url()]);
    kill(&scene, &first, "first");
    let begun = wait::now();
    let rest = Duration::from_millis(scene.redis.query(&format!("PTTL dead:{SITE}")));
    wait_until_avoided(&scene.proxy, &first, &get("/"));
    wait_until_used(&scene, &first);
    // The core counts from the failure, Redis from when it was told.
    let avoided = begun.elapsed() + Duration::from_millis(500);
    assert!(avoided > rest, "used again {:?} before its time", rest - avoided);
}

/// A backend that resets its first connection, hands the second to `probed` and serves all others; and a site where
/// its mark has just been made.
fn dead_once(probed: impl Fn(&mut Peer) + Send + Sync + 'static) -> (Scene, Backend, Backend) {
    let dead = Backend::run(move |peer| match peer.number {
        0 => {
            peer.request();
            peer.reset();
        }
        1 => probed(peer),
        _ => live(peer, "back"),
    });
    let good = mortal("good");
    let scene = Scene::with(ttl(1, 1), &[&dead.url(), &good.url()]);
    ask_until_reached(&scene.proxy, &dead, &get("/"));
    (scene, dead, good)
}

/// The client whose request asks whether `dead` is back.
fn probing(scene: &Scene, dead: &Backend, request: &str) -> Client {
    wait::until_some("a request that asks whether it is back", || {
        let mut client = scene.connect();
        client.send(request);
        wait::until("an answer or a probe", || client.has_news() || dead.connections() == 2);
        (dead.connections() == 2).then_some(client)
    })
}

#[test]
fn one_request_alone_finds_out_whether_a_backend_is_back() {
    let gate = Gate::default();
    let passes = gate.clone();
    let (scene, dead, _good) = dead_once(move |peer| {
        peer.request();
        passes.pass();
        peer.reset();
    });
    let mut probing = probing(&scene, &dead, &get("/probe"));
    for _ in 0..50 {
        assert_eq!(scene.ask(get("/")).text(), "good");
    }
    assert_eq!(dead.connections(), 2, "all others are kept away meanwhile");
    gate.open();
    assert_eq!(probing.response().text(), "good");
}

#[test]
fn where_the_client_of_a_probe_leaves_another_finds_out() {
    let (scene, dead, _good) = dead_once(|peer| peer.hold());
    probing(&scene, &dead, &get("/probe")).reset();
    dead.wait_for_end(1);
    wait::until("it is used again", || scene.ask(get("/")).text() == "back");
}

#[test]
fn a_backend_is_back_as_soon_as_an_answer_begins() {
    let (scene, dead, _good) = dead_once(|peer| {
        peer.request();
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
        peer.hold();
    });
    let upgrade = request("GET", "/", "Connection: Upgrade\r\nUpgrade: x\r\n");
    let mut tunnel = probing(&scene, &dead, &upgrade);
    assert_eq!(tunnel.response().status, 101);
    wait::until("others use it too", || scene.ask(get("/")).text() == "back");
}

#[test]
fn a_dead_backend_costs_one_request_per_core_and_ttl() {
    let (dead, good) = (dead(), mortal("good"));
    let scene = Scene::with(ttl(1, 2), &[&dead.url(), &good.url()]);
    ask_until_reached(&scene.proxy, &dead, &get("/"));
    wait_until_avoided(&scene.proxy, &dead, &get("/"));
    let (begun, before, done) = (wait::now(), dead.connections(), AtomicBool::new(false));
    let load = || {
        while !done.load(Ordering::Relaxed) {
            assert_eq!(scene.ask(get("/")).status, 200);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(load);
        }
        wait::until("some periods", || begun.elapsed() > Duration::from_secs(3));
        done.store(true, Ordering::Relaxed);
    });
    let (asked, periods) = (dead.connections() - before, begun.elapsed().as_secs() as usize + 1);
    assert!((1..=2 * periods).contains(&asked), "asked {asked} times in {periods} periods");
}

#[test]
fn each_mark_keeps_its_own_time() {
    let (first, second, third) = (mortal("first"), mortal("second"), mortal("third"));
    let scene = Scene::with(ttl(4, 2), &[&first.url(), &second.url(), &third.url()]);
    kill(&scene, &first, "first");
    wait::until("most of its time is over", || scene.redis.query::<i64>(&format!("PTTL dead:{SITE}")) < 1500);
    kill(&scene, &second, "second");
    wait_until_used(&scene, &first);
    // EXPIRE has renewed the whole set; the first mark has ended all the same.
    assert!(scene.redis.marks(SITE).contains(&1), "the first was avoided for as long as the set was there");
}

#[test]
fn a_mark_is_void_once_its_index_holds_another_backend() {
    let (dead, good, new) = (dead(), mortal("good"), mortal("new"));
    let scene = Scene::with(ttl(600, 2), &[&dead.url(), &good.url()]);
    ask_until_reached(&scene.proxy, &dead, &get("/"));
    wait_until_avoided(&scene.proxy, &dead, &get("/"));
    scene.redis.route(SITE, &["site", &new.url(), &good.url()]);
    for _ in 0..5 {
        wait_until_used(&scene, &new);
    }
    assert_eq!(scene.redis.marks(SITE), [0]);
}

#[test]
fn a_list_in_another_order_leaves_no_live_backend_out() {
    let (dead, good) = (dead(), mortal("good"));
    let scene = Scene::with(ttl(600, 2), &[&dead.url(), &good.url()]);
    ask_until_reached(&scene.proxy, &dead, &get("/"));
    wait_until_avoided(&scene.proxy, &dead, &get("/"));
    scene.redis.route(SITE, &["site", &good.url(), &dead.url()]);
    for _ in 0..100 {
        assert_eq!(scene.ask(get("/")).text(), "good");
    }
    wait_until_avoided(&scene.proxy, &dead, &get("/"));
    assert_eq!(scene.ask(get("/")).text(), "good");
}

#[test]
fn removing_a_mark_of_ones_own_revives_its_backend() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::with(ttl(600, 2), &[&first.url(), &second.url()]);
    for removal in ["SREM dead:site.example 0", "DEL dead:site.example"] {
        kill(&scene, &first, "first");
        wait_until_avoided(&scene.proxy, &first, &get("/"));
        scene.redis.command(removal);
        wait_until_used(&scene, &first);
    }
}

#[test]
fn a_removal_is_known_to_a_proxy_that_was_idle_meanwhile() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::with(ttl(600, 2), &[&first.url(), &second.url()]);
    let (idle, new) = (scene.another_proxy(ttl(600, 2)), scene.another_proxy(ttl(600, 2)));
    ask_until_reached(&idle, &first, &get("/"));
    wait_until_followed(&new);
    kill(&scene, &first, "first");
    scene.redis.command(&format!("SREM dead:{SITE} 0"));
    // Both have heard of the death; one knows the site, the other was never asked for it.
    for proxy in [&idle, &new] {
        ask_until_reached(proxy, &first, &get("/"));
    }
}

#[test]
fn under_a_wildcard_a_death_is_marked_and_told_for_the_matched_key() {
    let (dead, good) = (dead(), mortal("good"));
    let scene = Scene::with(json!({}), &[&good.url()]);
    scene.redis.route("*.wild.example", &["wild", &dead.url(), &good.url()]);
    let heard = scene.redis.subscribe("dead");
    ask_until_reached(&scene.proxy, &dead, &for_host("one.wild.example:8080"));
    assert_eq!(heard.wait_for(1)[0], format!("*.wild.example;{};0;2", dead.url()));
    assert_eq!(scene.redis.query::<Vec<String>>("KEYS dead:*"), ["dead:*.wild.example"]);
    wait_until_avoided(&scene.proxy, &dead, &for_host("other.wild.example"));
}

/// Has `first` fail once; from then on it is passed over.
fn expect_local_avoidance(proxy: &Proxy, first: &Backend) {
    ask_until_reached(proxy, first, &get("/die/first"));
    let before = first.requests().len();
    for _ in 0..40 {
        assert_eq!(proxy.connect().ask(get("/")).text(), "second");
    }
    assert_eq!(first.requests().len(), before);
}

#[test]
fn a_dead_backend_is_avoided_while_redis_is_down() {
    let (first, second) = (mortal("first"), mortal("second"));
    let mut scene = Scene::with(ttl(600, 1), &[&first.url(), &second.url()]);
    wait_until_used(&scene, &first);
    scene.redis.kill();
    scene.proxy.wait_for_log("connection lost");
    expect_local_avoidance(&scene.proxy, &first);
}

#[test]
fn a_dead_backend_is_avoided_before_redis_has_answered() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::with(ttl(600, 1), &[&first.url(), &second.url()]);
    wait_until_used(&scene, &first);
    scene.redis.signal(Signal::SIGSTOP);
    expect_local_avoidance(&scene.proxy, &first);
    scene.redis.signal(Signal::SIGCONT);
}

#[test]
fn a_redis_that_refuses_the_mark_costs_only_that_others_know() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::with(ttl(600, 1), &[&first.url(), &second.url()]);
    wait_until_used(&scene, &first);
    scene.redis.command("CONFIG SET maxmemory 1");
    expect_local_avoidance(&scene.proxy, &first);
    assert_eq!(scene.redis.marks(SITE), [0; 0]);
    scene.proxy.wait_for_log("OOM");
    scene.redis.command("CONFIG SET maxmemory 0");
    assert_eq!(answer(&mut scene.connect(), SITE).0, 200);
}

#[test]
fn with_a_table_file_deaths_are_known_to_the_core_alone() {
    let (first, second) = (mortal("first"), mortal("second"));
    let dir = tempfile::tempdir().unwrap();
    let table = json!({ SITE: ["site", first.url(), second.url()] });
    std::fs::write(dir.path().join("routes.json"), table.to_string()).unwrap();
    let config = json!({ "driver": "file:routes.json", "server": { "workers": 1 } });
    let proxy = Proxy::launch_in(dir, config);
    proxy.wait_for_log("serving on ");
    expect_local_avoidance(&proxy, &first);
}

#[test]
fn marks_stand_behind_the_prefix_and_in_the_database_of_the_config() {
    let (first, second) = (mortal("first"), mortal("second"));
    let redis = Redis::start();
    redis.command(&format!("-n 3 RPUSH blue:frontend:{SITE} site {} {}", first.url(), second.url()));
    let proxy = Proxy::start(json!({ "redis": { "port": redis.port, "db": 3, "prefix": "blue:" } }));
    wait_until_followed(&proxy);
    redis.command(&format!("-n 3 SADD blue:dead:{SITE} 1"));
    redis.command(&format!("-n 3 SADD dead:{SITE} 0"));
    redis.command(&format!("SADD blue:dead:{SITE} 0"));
    wait_until_avoided(&proxy, &second, &get("/"));
    redis.command(&format!("-n 3 DEL blue:dead:{SITE}"));
    ask_until_reached(&proxy, &first, &get("/die/first"));
    wait::until("a mark", || redis.query::<Vec<usize>>(&format!("-n 3 SMEMBERS blue:dead:{SITE}")) == [0]);
    wait_until_avoided(&proxy, &first, &get("/"));
}

#[test]
fn marks_of_one_host_say_nothing_of_another() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::with(ttl(600, 2), &[&first.url(), &second.url()]);
    scene.redis.route("other.example", &["other", &first.url(), &second.url()]);
    kill(&scene, &first, "first");
    wait_until_avoided(&scene.proxy, &first, &get("/"));
    ask_until_reached(&scene.proxy, &first, &for_host("other.example"));
}

#[test]
fn upgrades_pass_over_dead_backends_and_tell_of_deaths() {
    let switching = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
        peer.hold();
    });
    let dead = dead();
    let scene = Scene::with(ttl(600, 1), &[&dead.url(), &switching.url()]);
    let upgrade = request("GET", "/", "Connection: Upgrade\r\nUpgrade: x\r\n");
    wait::until("a mark", || {
        assert_eq!(scene.ask(&upgrade).status, 101);
        scene.redis.marks(SITE) == [0]
    });
    for _ in 0..20 {
        assert_eq!(scene.ask(&upgrade).status, 101);
    }
    assert_eq!(dead.connections(), 1);
}

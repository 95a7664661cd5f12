//! One Redis that goes away and comes back, in every way it may: known hosts are served meanwhile, and what it says
//! on its return is soon in force. More on the store in `route_stores`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::routing::{answer, for_host, wait_for};
use crate::support::backend::Backend;
use crate::support::mortal::{ask_until_reached, mortal, wait_until_avoided};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::relay::Relay;
use crate::support::scene::{SITE, Scene, get};
use crate::support::wait;

/// From Redis's return to the last answer that goes by what it no longer says.
const RETURN: Duration = Duration::from_millis(1500);
/// The same over a link that fell silent, from the change on: it has to be noticed first.
const NOTICED: Duration = Duration::from_secs(3);

fn at(port: u16) -> Value {
    json!({ "redis": { "port": port } })
}

/// Has every core look the site up, so that it is known to all.
fn make_known(proxy: &Proxy, expected: &str) {
    wait_for(proxy, SITE, expected);
}

/// Waits until no core gives another answer than `expected`; fails where one was given later than `bound` after
/// `since`.
fn in_force_within(proxy: &Proxy, expected: &str, since: Instant, bound: Duration) {
    let (mut steady, mut last_other) = (0, since);
    wait::until(&format!("the site is answered {expected:?}"), || {
        let asked = wait::now();
        let (status, text) = answer(&mut proxy.connect(), SITE);
        if text == expected || status.to_string() == expected {
            steady += 1;
        } else {
            (steady, last_other) = (0, asked);
        }
        steady == 20
    });
    let late = last_other.duration_since(since);
    assert!(late <= bound, "answered otherwise {late:?} after the return");
}

/// Known hosts are served as before, unknown ones get 503 with Retry-After.
fn expect_outage(proxy: &Proxy, known: &str) {
    for round in 0..10 {
        let mut client = proxy.connect();
        assert_eq!(answer(&mut client, SITE), (200, known.into()));
        let unknown = client.ask(for_host(&format!("unknown{round}.example")));
        let patience = unknown.head.get("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
        assert!(unknown.status == 503 && patience.is_some_and(|seconds| seconds > 0), "{}", unknown.head.raw);
        assert_eq!(answer(&mut client, SITE).0, 200, "the connection stays");
    }
}

fn count_of(proxy: &Proxy, part: &str) -> usize {
    proxy.log().iter().filter(|line| line.contains(part)).count()
}

/// Waits until both cores have lost their connections.
fn wait_until_lost(proxy: &Proxy) {
    wait::until("both connections are lost", || count_of(proxy, "connection lost") >= 2);
}

/// A server that keeps what was acknowledged over a crash.
fn lasting() -> Redis {
    Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
}

#[test]
fn killed_it_is_done_without() {
    let backend = mortal("a");
    let mut scene = Scene::of(&backend);
    make_known(&scene.proxy, "a");
    scene.redis.kill();
    wait_until_lost(&scene.proxy);
    expect_outage(&scene.proxy, "a");
}

#[test]
fn restarted_empty_its_routes_are_gone() {
    let backend = mortal("a");
    let mut scene = Scene::of(&backend);
    for _ in 0..2 {
        make_known(&scene.proxy, "a");
        scene.redis.kill();
        scene.redis.run();
        in_force_within(&scene.proxy, "400", wait::now(), RETURN);
        scene.redis.route(SITE, &["site", &backend.url()]);
        wait_for(&scene.proxy, SITE, "a");
    }
}

#[test]
fn restarted_full_what_changed_meanwhile_is_in_force() {
    let (old, new) = (mortal("old"), mortal("new"));
    let mut scene = Scene::on(lasting(), json!({}), &[&old.url()]);
    make_known(&scene.proxy, "old");
    scene.redis.kill();
    wait_until_lost(&scene.proxy);
    scene.redis.while_unreachable(|redis| redis.route(SITE, &["site", &new.url()]));
    expect_outage(&scene.proxy, "old");
    scene.redis.run();
    in_force_within(&scene.proxy, "new", wait::now(), RETURN);
    // What had not changed has not been lost either, and changes are followed again.
    scene.redis.route(SITE, &["site", &old.url()]);
    wait_for(&scene.proxy, SITE, "old");
}

#[test]
fn restarted_full_nothing_that_stayed_fails() {
    let backend = mortal("a");
    let mut scene = Scene::on(lasting(), json!({}), &[&backend.url()]);
    make_known(&scene.proxy, "a");
    let (proxy, redis, done) = (&scene.proxy, &mut scene.redis, AtomicBool::new(false));
    let load = || {
        while !done.load(Ordering::Relaxed) {
            assert_eq!(answer(&mut proxy.connect(), SITE), (200, "a".into()));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(load);
        }
        for round in 1..=2 {
            redis.kill();
            wait::until("the loss is noticed", || count_of(proxy, "connection lost") >= 2 * round);
            redis.run();
            wait::until("it is followed again", || count_of(proxy, "followed live") >= 2 * (round + 1));
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn marks_that_changed_meanwhile_are_in_force_too() {
    let (first, second) = (mortal("first"), mortal("second"));
    let mut scene = Scene::on(lasting(), json!({}), &[&first.url(), &second.url()]);
    for backend in [&first, &second] {
        ask_until_reached(&scene.proxy, backend, &get("/"));
    }
    scene.redis.kill();
    wait_until_lost(&scene.proxy);
    scene.redis.while_unreachable(|redis| drop(redis.command(&format!("SADD dead:{SITE} 0"))));
    scene.redis.run();
    wait_until_avoided(&scene.proxy, &first, &get("/"));
    scene.redis.kill();
    scene.redis.while_unreachable(|redis| drop(redis.command(&format!("DEL dead:{SITE}"))));
    scene.redis.run();
    ask_until_reached(&scene.proxy, &first, &get("/"));
}

#[test]
fn halted_it_is_done_without_and_followed_when_it_goes_on() {
    let (old, new) = (mortal("old"), mortal("new"));
    let scene = Scene::of(&old);
    make_known(&scene.proxy, "old");
    scene.redis.signal(Signal::SIGSTOP);
    for _ in 0..20 {
        assert_eq!(answer(&mut scene.proxy.connect(), SITE), (200, "old".into()), "before it is noticed");
    }
    wait_until_lost(&scene.proxy);
    expect_outage(&scene.proxy, "old");
    scene.redis.signal(Signal::SIGCONT);
    scene.redis.route(SITE, &["site", &new.url()]);
    in_force_within(&scene.proxy, "new", wait::now(), RETURN);
}

#[test]
fn halted_for_a_moment_it_costs_nothing() {
    let (old, new) = (mortal("old"), mortal("new"));
    let scene = Scene::of(&old);
    make_known(&scene.proxy, "old");
    for (backend, name) in [(&new, "new"), (&old, "old"), (&new, "new")] {
        scene.redis.signal(Signal::SIGSTOP);
        assert_eq!(answer(&mut scene.proxy.connect(), SITE).0, 200);
        scene.redis.signal(Signal::SIGCONT);
        scene.redis.route(SITE, &["site", &backend.url()]);
        in_force_within(&scene.proxy, name, wait::now(), RETURN);
    }
}

/// A proxy that reaches its Redis over a link that can fall silent.
fn over_a_link(backend: &Backend, name: &str) -> (Redis, Relay, Proxy) {
    let redis = Redis::start();
    redis.route(SITE, &["site", &backend.url()]);
    let link = Relay::to(redis.port);
    let proxy = Proxy::start(at(link.port()));
    make_known(&proxy, name);
    (redis, link, proxy)
}

#[test]
fn over_a_link_that_fell_silent_changes_are_in_force_within_three_seconds() {
    let (old, new) = (mortal("old"), mortal("new"));
    let (redis, link, proxy) = over_a_link(&old, "old");
    let before = link.links();
    // Nothing is closed and nothing comes: only new connections work.
    link.silence_present();
    redis.route(SITE, &["site", &new.url()]);
    in_force_within(&proxy, "new", wait::now(), NOTICED);
    assert!(link.links() > before, "new connections were made");
}

#[test]
fn over_a_link_that_stays_silent_known_hosts_are_served() {
    let (old, new) = (mortal("old"), mortal("new"));
    let (redis, link, proxy) = over_a_link(&old, "old");
    link.silence();
    redis.route(SITE, &["site", &new.url()]);
    wait_until_lost(&proxy);
    expect_outage(&proxy, "old");
    link.resume();
    in_force_within(&proxy, "new", wait::now(), NOTICED);
}

#[test]
fn what_a_silent_link_held_back_does_no_harm() {
    let (old, new) = (mortal("old"), mortal("new"));
    let (redis, link, proxy) = over_a_link(&old, "old");
    link.silence_present();
    redis.route(SITE, &["site", &new.url()]);
    wait_for(&proxy, SITE, "new");
    // Old pushes and answers come late, on connections that were given up.
    link.resume();
    for _ in 0..40 {
        assert_eq!(answer(&mut proxy.connect(), SITE).1, "new");
    }
    redis.route(SITE, &["site", &old.url()]);
    wait_for(&proxy, SITE, "old");
}

#[test]
fn a_password_that_is_corrected_in_redis_is_picked_up() {
    let backend = mortal("a");
    let mut redis = Redis::start_with(&["--requirepass", "other"]);
    redis.route(SITE, &["site", &backend.url()]);
    let proxy = Proxy::start(json!({ "redis": { "port": redis.port, "password": "s3cret" } }));
    proxy.wait_for_log("WRONGPASS");
    assert_eq!(proxy.connect().ask(get("/")).status, 503);
    redis.set_password("s3cret");
    wait_for(&proxy, SITE, "a");
}

#[test]
fn a_password_that_is_changed_under_the_proxy_costs_nothing_known() {
    let (old, new) = (mortal("old"), mortal("new"));
    let mut redis = Redis::start_with(&["--requirepass", "s3cret"]);
    redis.route(SITE, &["site", &old.url()]);
    let proxy = Proxy::start(json!({ "redis": { "port": redis.port, "password": "s3cret" } }));
    wait_for(&proxy, SITE, "old");
    redis.set_password("other");
    redis.command("CLIENT KILL SKIPME yes");
    proxy.wait_for_log("WRONGPASS");
    expect_outage(&proxy, "old");
    redis.route(SITE, &["site", &new.url()]);
    redis.set_password("s3cret");
    in_force_within(&proxy, "new", wait::now(), RETURN);
}

#[test]
fn absent_at_the_start_it_is_picked_up_with_its_marks_and_options() {
    let (first, second) = (mortal("first"), mortal("second"));
    let mut redis = Redis::absent();
    let proxy = Proxy::start(at(redis.port));
    let refused = proxy.connect().ask(get("/"));
    assert!(refused.status == 503 && refused.head.get("retry-after").is_some());
    redis.run();
    redis.command(&format!("SADD dead:{SITE} 0"));
    redis.command(&format!("HSET options:{SITE} sticky cookie"));
    redis.route(SITE, &["site", &first.url(), &second.url()]);
    wait_for(&proxy, SITE, "second");
    wait_until_avoided(&proxy, &first, &get("/"));
    assert!(proxy.connect().ask(get("/")).head.get("set-cookie").is_some());
}

#[test]
fn while_it_loads_its_data_known_hosts_are_served() {
    let (old, new) = (mortal("old"), mortal("new"));
    let mut scene = Scene::on(lasting(), json!({}), &[&old.url()]);
    make_known(&scene.proxy, "old");
    scene.redis.kill();
    wait_until_lost(&scene.proxy);
    scene.redis.while_unreachable(|redis| {
        redis.route(SITE, &["site", &new.url()]);
        (0..200).for_each(|key| drop(redis.command(&format!("SET key:{key} {}", "x".repeat(2_000)))));
    });
    // Ten milliseconds a key: it takes connections long before it knows anything.
    let slowly = ["--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024"];
    scene.redis.take_connections_with(&slowly);
    let mut seen_loading = false;
    wait::until("it has loaded, and what changed is in force", || {
        let (status, text) = answer(&mut scene.proxy.connect(), SITE);
        assert_eq!(status, 200, "{text}");
        seen_loading |= text == "old";
        text == "new"
    });
    assert!(seen_loading, "it loaded too fast to show anything");
    in_force_within(&scene.proxy, "new", wait::now(), RETURN);
}

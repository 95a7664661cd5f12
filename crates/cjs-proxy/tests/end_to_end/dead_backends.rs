//! A backend that is marked dead is avoided: by whom, for how long, and what ends it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::routing::for_host;
use crate::support::backend::Backend;
use crate::support::mortal::{ask_until_reached, dead, mortal, wait_until_avoided};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene, get};
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

/// Has `backend`, called `name`, fail once, and waits for its mark.
fn kill(scene: &Scene, backend: &Backend, name: &str) {
    let marks = scene.redis.marks(SITE).len();
    let answer = ask_until_reached(&scene.proxy, backend, &get(&format!("/die/{name}")));
    assert_eq!(answer.status, 200, "another one has answered");
    wait::until("a mark", || scene.redis.marks(SITE).len() > marks);
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

#[test]
fn one_request_alone_finds_out_whether_a_backend_is_back() {
    let gate = Gate::default();
    let passes = gate.clone();
    let dead = Backend::run(move |peer| {
        peer.request();
        if peer.number > 0 {
            passes.pass();
        }
        peer.reset();
    });
    let good = mortal("good");
    let scene = Scene::with(ttl(1, 1), &[&dead.url(), &good.url()]);
    ask_until_reached(&scene.proxy, &dead, &get("/"));
    let mut probing = wait::until_some("a request that asks whether it is back", || {
        let mut client = scene.connect();
        client.send(get("/probe"));
        wait::until("an answer or a probe", || client.has_news() || dead.connections() == 2);
        (dead.connections() == 2).then_some(client)
    });
    for _ in 0..50 {
        assert_eq!(scene.ask(get("/")).text(), "good");
    }
    assert_eq!(dead.connections(), 2, "all others are kept away meanwhile");
    gate.open();
    assert_eq!(probing.response().text(), "good");
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
fn marks_of_others_are_honoured_and_their_removal_too() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::with(ttl(600, 2), &[&first.url(), &second.url()]);
    for _ in 0..3 {
        wait_until_used(&scene, &first);
        scene.redis.command(&format!("SADD dead:{SITE} 0"));
        wait_until_avoided(&scene.proxy, &first, &get("/"));
        scene.redis.command(&format!("SREM dead:{SITE} 0"));
        wait_until_used(&scene, &first);
        scene.redis.command(&format!("SADD dead:{SITE} 1"));
        wait_until_avoided(&scene.proxy, &second, &get("/"));
        scene.redis.command(&format!("DEL dead:{SITE}"));
        wait_until_used(&scene, &second);
    }
    scene.redis.command(&format!("SADD dead:{SITE} 0 1"));
    wait::until("none is left", || scene.ask(get("/")).status == 502);
    scene.redis.command(&format!("SREM dead:{SITE} 1"));
    wait::until("one is back", || scene.ask(get("/")).text() == "second");
}

#[test]
fn a_death_as_hipache_tells_it_is_honoured() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::with(ttl(600, 2), &[&first.url(), &second.url()]);
    // Hipache and PlanB, which tells last, write the URL as Node and Go print it.
    for printed in [format!("{}/", first.url()), first.url()] {
        wait_until_used(&scene, &first);
        scene.redis.command(&format!("SADD dead:{SITE} 0"));
        scene.redis.command(&format!("EXPIRE dead:{SITE} 600"));
        scene.redis.command(&format!("PUBLISH dead {SITE};{printed};0;2"));
        wait_until_avoided(&scene.proxy, &first, &get("/"));
        scene.redis.command(&format!("DEL dead:{SITE}"));
    }
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
fn a_mark_of_others_ends_with_its_key() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::with(ttl(600, 2), &[&first.url(), &second.url()]);
    scene.redis.command(&format!("SADD dead:{SITE} 0"));
    wait_until_avoided(&scene.proxy, &first, &get("/"));
    scene.redis.command(&format!("PEXPIRE dead:{SITE} 300"));
    wait_until_used(&scene, &first);
}

#[test]
fn marks_that_were_there_before_the_proxy_hold_from_its_first_request() {
    let redis = Redis::start();
    redis.command(&format!("SADD dead:{SITE} 0"));
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::on(redis, json!({}), &[&first.url(), &second.url()]);
    scene.proxy.wait_for_log("followed live");
    for _ in 0..40 {
        assert_eq!(scene.ask(get("/")).text(), "second");
    }
}

#[test]
fn even_an_only_backend_is_left_alone_where_others_marked_it() {
    let backend = mortal("only");
    let scene = Scene::of(&backend);
    scene.redis.command(&format!("SADD dead:{SITE} 0"));
    wait::until("it is left alone", || scene.ask(get("/")).status == 502);
    scene.redis.command(&format!("DEL dead:{SITE}"));
    wait::until("it is asked again", || scene.ask(get("/")).status == 200);
}

#[test]
fn under_a_wildcard_marks_of_the_key_and_of_the_host_count() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::with(ttl(600, 2), &[&second.url()]);
    scene.redis.route("*.wild.example", &["wild", &first.url(), &second.url()]);
    let (one, other) = (for_host("one.wild.example"), for_host("other.wild.example"));
    for key in ["dead:one.wild.example", "dead:*.wild.example"] {
        for request in [&one, &other] {
            ask_until_reached(&scene.proxy, &first, request);
        }
        scene.redis.command(&format!("SADD {key} 0"));
        wait_until_avoided(&scene.proxy, &first, &one);
        wait_until_avoided(&scene.proxy, &first, &for_host("ONE.wild.example.:8080"));
        if key.contains('*') {
            wait_until_avoided(&scene.proxy, &first, &other);
        } else {
            ask_until_reached(&scene.proxy, &first, &other);
        }
        scene.redis.command(&format!("DEL {key}"));
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

#[test]
fn a_dead_backend_is_avoided_while_redis_is_down() {
    let (first, second) = (mortal("first"), mortal("second"));
    let mut scene = Scene::with(ttl(600, 1), &[&first.url(), &second.url()]);
    wait_until_used(&scene, &first);
    scene.redis.kill();
    scene.proxy.wait_for_log("connection lost");
    ask_until_reached(&scene.proxy, &first, &get("/die/first"));
    let before = first.requests().len();
    for _ in 0..40 {
        assert_eq!(scene.ask(get("/")).text(), "second");
    }
    assert_eq!(first.requests().len(), before);
}

#[test]
fn what_others_put_on_the_channel_or_under_the_keys_does_no_harm() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::with(json!({}), &[&first.url(), &second.url()]);
    let url = first.url();
    let long = "x".repeat(100_000);
    for line in [
        "undefined;undefined;undefined;undefined".into(),
        ";;;".into(),
        "site.example".into(),
        format!("site.example;{url};0"),
        format!("site.example;{url};0;2;9"),
        format!("site.example;{url};-1;2"),
        format!("site.example;{url};99999999999999999999;2"),
        format!("site.example;{url};7;8"),
        format!("site.example;{url};zero;two"),
        "site.example;http://elsewhere/;0;2".into(),
        format!("site.example;{long};0;2"),
        long,
    ] {
        scene.redis.command(&format!("PUBLISH dead {line}"));
    }
    scene.redis.command("SADD dead:undefined undefined");
    scene.redis.command("EXPIRE dead:undefined 30");
    scene.redis.command(&format!("SET dead:{SITE}:{url} 1"));
    scene.redis.command(&format!("SADD dead:{SITE} undefined -1 2 99999999999999999999 0x1 1.0"));
    let mut served = BTreeMap::new();
    for _ in 0..60 {
        *served.entry(scene.ask(get("/")).text()).or_insert(0) += 1;
    }
    assert_eq!(served.keys().collect::<Vec<_>>(), ["first", "second"], "{served:?}");
    assert_eq!(scene.ask(for_host("undefined")).status, 400);
    scene.redis.command(&format!("DEL dead:{SITE}"));
    scene.redis.command(&format!("SET dead:{SITE} 0"));
    for backend in [&first, &second] {
        wait_until_used(&scene, backend);
    }
    assert!(!scene.proxy.log().iter().any(|line| line.contains("panic")), "{:#?}", scene.proxy.log());
}

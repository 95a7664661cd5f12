//! Marks and messages that other programs put into Redis: Hipache, PlanB, ConcussionJS proxy, an operator.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::routing::for_host;
use crate::support::backend::Backend;
use crate::support::mortal::{ask_until_reached, mortal, wait_until_avoided};
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene, get};
use crate::support::wait;

/// The proxy's own time for a mark is longer than any test.
fn lasting() -> Value {
    json!({ "server": { "deadBackendTTL": 600 } })
}

fn wait_until_used(scene: &Scene, backend: &Backend) {
    ask_until_reached(&scene.proxy, backend, &get("/"));
}

#[test]
fn marks_of_others_are_honoured_and_their_removal_too() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::with(lasting(), &[&first.url(), &second.url()]);
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
    let scene = Scene::with(lasting(), &[&first.url(), &second.url()]);
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
fn a_mark_of_others_ends_with_its_key() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::with(lasting(), &[&first.url(), &second.url()]);
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
    let scene = Scene::with(lasting(), &[&second.url()]);
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

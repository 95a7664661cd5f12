//! Rate limits as clients and operators meet them. The window is a day, so that no use leaves it during a test.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::reload::wait_until_all;
use crate::support::backend::{Backend, ok};
use crate::support::client::{Client, Response};
use crate::support::command::Config;
use crate::support::redis::Redis;
use crate::support::scene::{Scene, get, get_from, request};
use crate::support::streams;
use crate::support::wait;

const DAY: u64 = 86_400;

/// Limits of 20, and of 50 for who is in the set `gold`; `more` beside it. Loopback's X-Forwarded-For is believed. What
/// Redis does not answer in time, on a machine that is busy, is refused: so the counts are exact.
fn limited(more: Value) -> Value {
    let mut limit = json!({ "window": DAY, "tiers": { "basic": 20, "gold": 50 }, "onStoreError": "deny" });
    limit.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "rateLimit": limit, "server": { "trustedProxies": ["127.0.0.0/8"], "staticDir": null } })
}

fn scene(more: Value) -> (Backend, Scene) {
    let backend = Backend::saying("fine");
    let scene = Scene::with(limited(more), &[&backend.url()]);
    (backend, scene)
}

fn from(address: &str) -> String {
    request("GET", "/", &format!("X-Forwarded-For: {address}\r\n"))
}

/// Asks over connections of their own, at each proxy in turn, until it was refused thirty times in a row, so that no core
/// has anything left; how often it was admitted.
fn admitted(proxies: &[SocketAddr], request: &str) -> usize {
    let (mut admitted, mut refused) = (0, 0);
    for proxy in proxies.iter().cycle() {
        match Client::to(*proxy).ask(request).status {
            200 => (admitted, refused) = (admitted + 1, 0),
            429 => refused += 1,
            503 => {}
            other => panic!("answered {other}"),
        }
        if refused == 30 {
            return admitted;
        }
        assert!(admitted < 1000, "nothing is limited");
    }
    unreachable!("the proxies are asked in turn without end")
}

/// The answer, once Redis was asked in time.
fn counted(client: &mut Client, request: &str) -> Response {
    wait::until_some("an answer that was counted", || {
        Some(client.ask(request)).filter(|answer| answer.status != 503)
    })
}

fn ask(scene: &Scene, request: impl AsRef<str>) -> Response {
    counted(&mut scene.connect(), request.as_ref())
}

fn until_refused(scene: &Scene, request: &str) -> usize {
    admitted(&[scene.proxy.address()], request)
}

#[test]
fn all_cores_of_all_proxies_share_a_limit() {
    let (backend, scene) = scene(json!({}));
    let other = scene.another_proxy(limited(json!({})));
    let both = [scene.proxy.address(), other.address()];
    assert_eq!(admitted(&both, &from("10.0.0.1")), 20);
    assert_eq!(backend.requests().len(), 20, "what is refused reaches no backend");
    assert_eq!(admitted(&both, &from("10.0.0.2")), 20, "each client has its own");
    assert_eq!(ask(&scene, from("10.0.0.1")).status, 429);
}

#[test]
fn who_is_refused_is_told_why_and_for_how_long() {
    let (_backend, scene) = scene(json!({}));
    let first = ask(&scene, from("10.0.0.1"));
    assert_eq!(first.head.get("RateLimit-Policy"), Some("\"basic\";q=20;w=86400"));
    assert!(first.head.get("RateLimit").unwrap().starts_with("\"basic\";r=19;t="), "{:?}", first.head);
    until_refused(&scene, &from("10.0.0.1"));
    let refused = ask(&scene, from("10.0.0.1"));
    assert_eq!((refused.status, refused.head.get("content-type")), (429, Some("text/html")));
    assert!(refused.text().contains("429 Too Many Requests"));
    let after: u64 = refused.head.get("Retry-After").unwrap().parse().unwrap();
    assert!((DAY - 60..DAY * 5 / 4 + 1100).contains(&after), "{after}");
    assert!(refused.head.get("RateLimit").unwrap().starts_with("\"basic\";r=0;t="));
    let asked = request("GET", "/", "X-Forwarded-For: 10.0.0.1\r\nAccept: application/problem+json\r\n");
    let problem = ask(&scene, asked);
    assert_eq!(problem.head.get("content-type"), Some("application/problem+json"));
    let problem: Value = serde_json::from_str(&problem.text()).unwrap();
    assert_eq!((&problem["status"], &problem["violated-policies"]), (&json!(429), &json!(["basic"])));
    // The connection goes on.
    let mut client = scene.connect();
    for _ in 0..3 {
        assert_eq!(counted(&mut client, &from("10.0.0.1")).status, 429);
    }
    assert_eq!(counted(&mut client, &from("10.0.0.9")).status, 200);
}

#[test]
fn the_headers_of_admitted_answers_can_be_left_out() {
    let (_backend, scene) = scene(json!({ "headers": false }));
    assert_eq!(ask(&scene, from("10.0.0.1")).head.get("RateLimit"), None);
    until_refused(&scene, &from("10.0.0.1"));
    assert!(ask(&scene, from("10.0.0.1")).head.get("RateLimit").is_some());
}

#[test]
fn the_set_of_a_tier_is_followed() {
    let (_backend, scene) = scene(json!({}));
    let keyed = request("GET", "/", "X-Api-Key: k1\r\n");
    let is_of = |tier: &'static str| {
        move |answer: &Response| {
            answer.head.get("RateLimit-Policy").is_some_and(|policy| policy.contains(tier))
        }
    };
    assert!(is_of("basic")(&ask(&scene, &keyed)));
    scene.redis.command("SADD gold k1");
    wait_until_all(&scene, &keyed, is_of("gold"));
    scene.redis.command("SREM gold k1");
    wait_until_all(&scene, &keyed, is_of("basic"));
}

#[test]
fn the_tiers_of_one_address_count_apart() {
    let (_backend, scene) = scene(json!({}));
    scene.redis.command("SADD gold k1");
    // A core that cannot read the set in time takes its first request for one of the first tier.
    let of_gold = until_refused(&scene, &request("GET", "/", "X-Api-Key: k1\r\n"));
    assert!((50..60).contains(&of_gold), "{of_gold}");
    assert_eq!(of_gold + until_refused(&scene, &get("/")), 70);
}

#[test]
fn hosts_of_referer_and_origin_are_names_too() {
    let (_backend, scene) = scene(json!({}));
    scene.redis.command("SADD gold partner.example");
    for field in ["Referer: https://Partner.example:8443/page\r\n", "Origin: http://partner.example\r\n"] {
        let is_gold =
            |answer: &Response| answer.head.get("RateLimit-Policy") == Some("\"gold\";q=50;w=86400");
        wait_until_all(&scene, &request("GET", "/", field), is_gold);
    }
    let answer = ask(&scene, request("GET", "/", "Referer: https://other.example/partner.example\r\n"));
    assert_eq!(answer.head.get("RateLimit-Policy"), Some("\"basic\";q=20;w=86400"));
}

#[test]
fn a_name_can_be_counted_wherever_it_comes_from() {
    let (_backend, scene) = scene(json!({ "key": "identity" }));
    scene.redis.command("SADD gold k1");
    let keyed = |key: &str, address: &str| {
        request("GET", "/", &format!("X-Api-Key: {key}\r\nX-Forwarded-For: {address}\r\n"))
    };
    let mut last = 0;
    let spent = (0..).take_while(|number| {
        last = *number;
        ask(&scene, keyed("k1", &format!("10.0.1.{number}"))).status == 200
    });
    assert!((25..=50).contains(&spent.count()), "{last} addresses with one key");
    // Keys that are made up count for nothing: the address does.
    let mut number = 0;
    wait::until("the address is refused", || {
        number += 1;
        assert!(number < 100);
        ask(&scene, keyed(&format!("made-up-{number}"), "10.0.2.1")).status == 429
    });
}

#[test]
fn a_site_of_ipv6_is_one_client() {
    let (_backend, scene) = scene(json!({}));
    let mut number = 0;
    wait::until("the site is refused", || {
        number += 1;
        assert!(number < 100);
        ask(&scene, from(&format!("2001:db8:0:1::{number:x}"))).status == 429
    });
    assert_eq!(ask(&scene, from("2001:db8:0:2::1")).status, 200);
}

#[test]
fn the_client_is_the_one_before_the_trusted_proxies() {
    let (_backend, scene) = scene(json!({}));
    until_refused(&scene, &from("10.0.0.1, 127.0.0.5, 127.0.0.6"));
    assert_eq!(ask(&scene, from("10.0.0.1")).status, 429);
    assert_eq!(ask(&scene, from("10.0.0.1, 10.0.0.2, 127.0.0.1")).status, 200);
    // What a client writes itself does not count.
    assert_eq!(ask(&scene, from("9.9.9.9, 10.0.0.1")).status, 429);
}

#[test]
fn who_is_allowed_is_not_limited() {
    let (_backend, scene) = scene(json!({}));
    until_refused(&scene, &from("10.0.0.1"));
    scene.redis.command("SADD allow:ip 10.0.0.0/30");
    wait_until_all(&scene, &from("10.0.0.1"), |answer| answer.status == 200);
    for _ in 0..60 {
        let answer = ask(&scene, from("10.0.0.1"));
        assert_eq!((answer.status, answer.head.get("RateLimit")), (200, None));
    }
    scene.redis.command("DEL allow:ip");
    wait_until_all(&scene, &from("10.0.0.1"), |answer| answer.status == 429);
}

#[test]
fn a_dry_run_counts_and_refuses_nobody() {
    let (_backend, scene) = scene(json!({ "dryRun": true }));
    for _ in 0..60 {
        let answer = ask(&scene, from("10.0.0.1"));
        assert_eq!((answer.status, answer.head.get("RateLimit")), (200, None));
    }
    scene.proxy.wait_for_log("dry run: 10.0.0.1 of tier basic: over the limit");
}

#[test]
fn what_is_not_a_request_for_a_backend_is_not_counted() {
    let (_backend, scene) = scene(json!({}));
    for _ in 0..40 {
        assert_eq!(ask(&scene, get_from("__ping__", "/")).status, 200);
    }
    assert_eq!(until_refused(&scene, &get("/")), 20);
    assert_eq!(ask(&scene, get_from("__ping__", "/")).status, 200);
}

#[test]
fn streams_of_http_2_are_requests_like_others() {
    let backend = Backend::saying("fine");
    let scene = super::http2::scene(limited(json!({})), &[&backend.url()]);
    streams::over(scene.proxy.address(), 65_535, async |client| {
        let mut admitted = 0;
        let refused = loop {
            let answer = client.get("/").await;
            match answer.status {
                200 => admitted += 1,
                429 => break answer,
                other => assert_eq!(other, 503),
            }
        };
        assert_eq!(admitted, 20, "one connection is on one core");
        assert!(refused.get("retry-after").is_some() && refused.text().contains("429 Too Many Requests"));
        assert!(refused.get("ratelimit").unwrap().starts_with("\"basic\";r=0;t="));
    });
}

#[test]
fn the_page_of_the_operator_is_sent() {
    let pages = tempfile::tempdir().unwrap();
    std::fs::write(pages.path().join("error_429.html"), "slow down").unwrap();
    let (backend, mut config) = (Backend::saying("fine"), limited(json!({})));
    config["server"]["staticDir"] = json!(pages.path());
    let scene = Scene::with(config, &[&backend.url()]);
    until_refused(&scene, &get("/"));
    assert_eq!(ask(&scene, get("/")).text(), "slow down");
}

#[test]
fn a_tunnel_is_one_request() {
    let backend = Backend::run(|peer| {
        if peer.head().is_some() {
            peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
            while peer.try_send("tick") {}
        }
    });
    let scene = Scene::with(limited(json!({ "tiers": { "basic": 2 } })), &[&backend.url()]);
    let switch = request("GET", "/", "Connection: Upgrade\r\nUpgrade: x\r\n");
    let open = || {
        let mut tunnel = scene.connect();
        tunnel.send(&switch);
        Some(tunnel.head()).filter(|head| head.start_line().contains("101")).map(|_| tunnel)
    };
    let mut tunnels = [(); 2].map(|()| wait::until_some("a tunnel", open));
    for tunnel in &mut tunnels {
        assert_eq!(tunnel.exactly(40), b"tick".repeat(10));
    }
    wait_until_all(&scene, &switch, |answer| answer.status == 429);
    assert_eq!(tunnels[0].exactly(40), b"tick".repeat(10));
}

#[test]
fn while_redis_is_away_each_mode_does_what_it_says() {
    let known = |scene: &Scene| wait_until_all(scene, &from("10.9.9.9"), |answer| answer.status != 503);
    for (mode, range) in [("local", 20..=20), ("allow", 200..=200), ("deny", 0..=0)] {
        let backend = Backend::saying("fine");
        let mut scene = Scene::with(limited(json!({ "onStoreError": mode })), &[&backend.url()]);
        known(&scene);
        scene.redis.kill();
        let answers: Vec<Response> = (0..200).map(|_| scene.ask(from("10.0.0.1"))).collect();
        let admitted = answers.iter().filter(|answer| answer.status == 200).count();
        assert!(range.contains(&admitted), "{mode}: {admitted}");
        let refused = if mode == "deny" { 503 } else { 429 };
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!(answer.status, refused, "{mode}");
            assert!(answer.head.get("Retry-After").is_some());
        }
        scene.proxy.wait_for_log("limits are not counted (");
        // Once it is back its counters are in force again.
        scene.redis.run();
        scene.redis.route(crate::support::scene::SITE, &["site", &backend.url()]);
        wait_until_all(&scene, &from("10.0.0.2"), |answer| matches!(answer.status, 200 | 429));
    }
}

#[test]
fn an_error_of_redis_is_an_error() {
    let (_backend, scene) = scene(json!({ "onStoreError": "deny" }));
    wait_until_all(&scene, &from("10.0.0.1"), |answer| answer.status == 200);
    scene.redis.command("CONFIG SET maxmemory 1");
    wait_until_all(&scene, &from("10.0.0.2"), |answer| answer.status == 503);
    scene.proxy.wait_for_log("limits are not counted (OOM");
    scene.redis.command("CONFIG SET maxmemory 0");
    wait_until_all(&scene, &from("10.0.0.2"), |answer| matches!(answer.status, 200 | 429));
}

#[test]
fn a_counter_that_cannot_be_used_is_of_one_client_alone() {
    let (_backend, scene) = scene(json!({}));
    scene.redis.command("SET limit:86400:basic:10.0.0.1 text");
    for _ in 0..5 {
        assert_eq!(scene.ask(from("10.0.0.1")).status, 503);
    }
    scene.proxy.wait_for_log("limits are not counted (10.0.0.1: WRONGTYPE");
    assert_eq!(until_refused(&scene, &from("10.0.0.2")), 20);
}

#[test]
fn a_counter_that_is_lost_is_restored() {
    let (_backend, scene) = scene(json!({}));
    let mut client = scene.connect();
    for _ in 0..15 {
        assert_eq!(counted(&mut client, &from("10.0.0.1")).status, 200);
    }
    scene.redis.command("DEL limit:86400:basic:10.0.0.1");
    // The tokens that the core has in hand are spent before it learns of it.
    let after = (0..100).filter(|_| counted(&mut client, &from("10.0.0.1")).status == 200).count();
    assert!((1..=20).contains(&after), "{after}");
    let whole = until_refused(&scene, &from("10.0.0.1"));
    assert!(15 + after + whole <= 40, "{after} and {whole}");
}

#[test]
fn commands_show_and_forget_what_was_used() {
    let (_backend, scene) = scene(json!({}));
    let mut config = limited(json!({}));
    config["redis"]["port"] = scene.redis.port.into();
    let config = Config::of(config);
    assert!(config.limits(&["reset", "10.0.0.1"]).failed().contains("10.0.0.1 has used nothing"));
    assert_eq!(until_refused(&scene, &from("10.0.0.1")), 20);
    let shown = config.limits(&["show", "10.0.0.1", "--json"]).json();
    let basic = &shown["tiers"][0];
    assert_eq!((&basic["tier"], &basic["used"], &basic["left"]), (&json!("basic"), &json!(20), &json!(0)));
    assert_eq!(shown["tiers"][1]["used"], json!(0));
    let text = config.limits(&["show", "10.0.0.1"]).done();
    assert!(text.starts_with("10.0.0.1, requests in 86400 s\nTIER "), "{text}");
    config.limits(&["reset", "10.0.0.1"]).done();
    wait_until_all(&scene, &from("10.0.0.1"), |answer| answer.status == 200);
    let again = 10 + until_refused(&scene, &from("10.0.0.1"));
    assert!((15..=20).contains(&again), "{again} after the reset");
}

#[test]
fn commands_without_limits_say_so() {
    let redis = Redis::start();
    let failed = Config::redis(redis.port).limits(&["show", "10.0.0.1"]).failed();
    assert!(failed.contains("nobody is limited"), "{failed}");
}

#[test]
fn limits_follow_a_reload() {
    let (_backend, scene) = scene(json!({}));
    assert_eq!(until_refused(&scene, &from("10.0.0.1")), 20);
    scene.proxy.reload(json!({ "rateLimit": { "tiers": { "basic": 40, "gold": 50 } } }));
    wait_until_all(&scene, &from("10.0.0.2"), |answer| {
        answer.head.get("RateLimit-Policy") == Some("\"basic\";q=40;w=86400")
    });
    assert_eq!(until_refused(&scene, &from("10.0.0.1")), 20, "what was used still counts");
    scene.proxy.reload(json!({ "rateLimit": { "tiers": { "basic": 40, "silver": 60 } } }));
    scene.proxy.wait_for_log("the new value of rateLimit.tiers (names) takes a restart");
    scene.proxy.reload(json!({ "rateLimit": null }));
    scene.proxy.wait_for_log("the new value of rateLimit (on or off) takes a restart");
}

#[test]
fn a_busy_client_costs_redis_next_to_nothing() {
    let backend = Backend::run(|peer| {
        while peer.request().is_some() {
            peer.send(ok("fine"));
        }
    });
    let scene = Scene::with(limited(json!({ "tiers": { "basic": 1_000_000 } })), &[&backend.url()]);
    let mut client = scene.connect();
    (0..50).for_each(|_| assert_eq!(counted(&mut client, &get("/")).status, 200));
    let calls = || scene.redis.calls().get("evalsha").copied().unwrap_or(0);
    let before = calls();
    (0..1_000).for_each(|_| assert_eq!(counted(&mut client, &get("/")).status, 200));
    assert!(calls() - before <= 20, "{} calls for 1000 requests", calls() - before);
}

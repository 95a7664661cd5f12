//! Frontends and backends as the admin listener tells of them: what each core knows, put together while it serves.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::admin::{address, fetch, on, read, scrape};
use crate::support::client::Client;
use crate::support::mortal::mortal;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene, get, get_from};
use crate::support::wait;

/// State and reason of each backend of the first frontend that is told of.
fn states(at: SocketAddr, asked: &str) -> Vec<(String, String)> {
    let told = read(at, &format!("/api/v1/frontends{asked}"));
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let Some(backends) = told["frontends"][0]["backends"].as_array() else { return Vec::new() };
    backends.iter().map(|seen| (text(&seen["state"]), text(&seen["why"]))).collect()
}

fn keys(at: SocketAddr, asked: &str) -> (Value, Vec<String>) {
    let told = read(at, &format!("/api/v1/frontends{asked}"));
    let all = told["frontends"].as_array().unwrap();
    let keys = all.iter().map(|frontend| frontend["key"].as_str().unwrap().to_owned()).collect();
    (told["matching"].clone(), keys)
}

#[test]
fn a_backend_that_died_is_told_of_with_its_reason() {
    let (live, dying) = (mortal("a"), mortal("b"));
    let urls = [live.url(), dying.url()];
    let scene = Scene::with(on(json!({})), &[&urls[0], &urls[1], "ftp://x"]);
    let admin = address(&scene.proxy);
    assert_eq!(scene.ask(get("/")).status, 200);
    let alive = || ("alive".to_owned(), "-".to_owned());
    assert_eq!(states(admin, ""), [alive(), alive()]);
    drop(dying);
    let is_dead = || {
        assert_eq!(scene.ask(get("/")).text(), "a");
        states(admin, "?state=dead").last().is_some_and(|(_, why)| why.contains("refused"))
    };
    wait::until("the death is told of", is_dead);
    let told = read(admin, "/api/v1/frontends");
    let frontend = &told["frontends"][0];
    assert_eq!((&frontend["key"], &frontend["identifier"]), (&json!(SITE), &json!("site")));
    let (first, second) = (&frontend["backends"][0], &frontend["backends"][1]);
    assert_eq!(
        (&first["url"], &first["weight"], &first["drain"]),
        (&json!(urls[0]), &json!(1), &json!(false))
    );
    assert!(second["until"].as_u64().unwrap() > 1_700_000_000 && first["until"].is_null());
    assert!(frontend["invalid"][0]["why"].as_str().unwrap().contains("scheme"), "{frontend}");
    let backends = read(admin, "/api/v1/backends?state=dead");
    let dead = &backends["backends"][0];
    assert_eq!((&backends["matching"], &dead["url"], &dead["dead"]), (&json!(1), &json!(urls[1]), &json!(1)));
    assert!(dead["why"].as_str().unwrap().contains("refused"), "{dead}");
}

#[test]
fn a_death_that_another_proxy_saw_has_its_reason_too() {
    let (live, dying) = (mortal("a"), mortal("b"));
    let urls = [live.url(), dying.url()];
    let scene = Scene::with(json!({}), &[&urls[0], &urls[1]]);
    let other = scene.another_proxy(on(json!({})));
    let admin = address(&other);
    assert_eq!(other.connect().ask(get("/")).status, 200);
    drop(dying);
    wait::until("the first finds it dead", || {
        assert_eq!(scene.ask(get("/")).text(), "a");
        scene.redis.marks(SITE) == [1]
    });
    let is_told =
        || states(admin, "").last().is_some_and(|(state, why)| state == "dead" && why.contains("refused"));
    wait::until("the other tells why", is_told);
    let is_told = || read(admin, "/api/v1/backends?state=dead")["backends"][0]["why"].is_string();
    wait::until("of the backend as well", is_told);
}

#[test]
fn frontends_are_searched_and_none_is_left_out_unsaid() {
    let backend = mortal("a");
    let scene = Scene::with(on(json!({ "server": { "workers": 1 } })), &[&backend.url()]);
    let admin = address(&scene.proxy);
    for host in ["one.example", "two.example", "<b>.example"] {
        scene.redis.route(host, &[&host.to_uppercase(), &backend.url()]);
    }
    scene.redis.route("*.wild.example", &["wild", &backend.url()]);
    let hosts = ["one.example", "two.example", "x.wild.example", "y.wild.example", "none.example"];
    hosts.iter().for_each(|host| drop(scene.ask(get_from(host, "/"))));
    let all = ["*.wild.example", "one.example", "two.example"].map(str::to_owned);
    assert_eq!(keys(admin, ""), (json!(3), all.to_vec()));
    assert_eq!(keys(admin, "?limit=1"), (json!(3), all[..1].to_vec()));
    assert_eq!(keys(admin, "?search=tWo"), (json!(1), all[2..].to_vec()));
    assert_eq!(keys(admin, "?search=%3Cb"), (json!(0), vec![]));
    let backends = read(admin, "/api/v1/backends");
    assert_eq!(
        (&backends["backends"][0]["frontends"], &backends["backends"][0]["alive"]),
        (&json!(3), &json!(3))
    );
    let core = &backends["cores"][0];
    assert_eq!((&core["store"], &core["hosts"]), (&json!("tracking"), &json!(hosts.len())));
    let redis = backends["store"].as_str().unwrap();
    assert!(redis.ends_with(&format!("127.0.0.1:{}", scene.redis.port)), "{redis}");
    for asked in ["?limit=x", "?limit=10001", "?state=ill", "?sort=key"] {
        assert_eq!(fetch(admin, &format!("/api/v1/frontends{asked}")).status, 400, "{asked}");
    }
}

#[test]
fn a_core_that_gives_no_answer_is_named() {
    let mut redis = Redis::absent();
    let proxy = Proxy::start(on(json!({ "redis": { "port": redis.port } })));
    let admin = address(&proxy);
    let away =
        || read(admin, "/api/v1/frontends")["cores"][1]["why"].as_str().is_some_and(|why| !why.is_empty());
    wait::until("it is said why the store is away", away);
    redis.run();
    let follows = || read(admin, "/api/v1/frontends")["cores"][1]["store"] == "tracking";
    wait::until("it is said that the store is followed", follows);
    proxy.connect().send(get_from("__hook__", "/hang"));
    let cores = || read(admin, "/api/v1/frontends")["cores"].as_array().unwrap().clone();
    wait::until("one is missing", || cores().iter().filter(|core| core["missing"] == true).count() == 1);
    wait::until("another stands in for it", || cores().iter().all(|core| core["store"] == "tracking"));
    proxy.signal(Signal::SIGKILL);
}

#[test]
fn who_asks_and_leaves_does_not_keep_the_cores_busy() {
    let scene = Scene::with(on(json!({ "server": { "workers": 1 } })), &[]);
    let admin = address(&scene.proxy);
    let frontends = || fetch(admin, "/api/v1/frontends").status;
    wait::until("it is answered", || frontends() == 200);
    // Nobody answers for a core that hangs: what was asked of it stays under way.
    scene.proxy.connect().send(get_from("__hook__", "/hang"));
    scene.proxy.wait_for_log("this core stands still from now on");
    for _ in 0..4 {
        let mut leaving = Client::to(admin);
        leaving.send("GET /api/v1/backends HTTP/1.1\r\n\r\n");
        // By then it has been read: one thread does both.
        assert_eq!(fetch(admin, "/healthz").status, 200);
        leaving.reset();
    }
    wait::until("further ones are turned away", || frontends() == 503);
    assert_eq!(fetch(admin, "/healthz").status, 200);
    wait::until("they are answered again", || frontends() == 200);
    scene.proxy.signal(Signal::SIGKILL);
}

#[test]
fn what_is_told_does_not_count_as_memory_of_the_cores() {
    let backend = mortal("a");
    let scene = Scene::with(json!({}), &[&backend.url()]);
    // It has not seen the deaths itself, so that it asks Redis why.
    let other = scene.another_proxy(on(json!({ "server": { "workers": 1, "deadBackendTTL": 600 } })));
    let admin = address(&other);
    for number in 0..300 {
        let host = format!("host{number}.example");
        scene.redis.route(&host, &[&host, &backend.url(), "http://127.0.0.1:1"]);
        scene.redis.command(&format!("SADD dead:{host} 1"));
        scene.redis.command(&format!("EXPIRE dead:{host} 600"));
        assert_eq!(other.connect().ask(get_from(&host, "/")).status, 200);
    }
    let held = || scrape(admin).sum("cjs_proxy_core_memory_bytes", &[]);
    let ask = || {
        for of in ["frontends", "backends"].repeat(100) {
            let told = fetch(admin, &format!("/api/v1/{of}?limit=10000&search=http")).text();
            assert!(told.contains("\"dead\""), "{told}");
        }
    };
    ask();
    let before = held();
    (0..3).for_each(|_| ask());
    // Each answer to the six hundred takes some 100 KB.
    let grown = held() - before;
    assert!(grown.abs() < 500_000.0, "{grown}");
}

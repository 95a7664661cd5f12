//! Hosts to backends, through a real Redis and through a table file.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::backend::{Backend, ok};
use crate::support::client::Client;
use crate::support::proxy::Proxy;
use crate::support::scene::{SITE, Scene, get};
use crate::support::wait;

/// A backend that answers with the target it was asked for.
fn mirror() -> Backend {
    Backend::run(|peer| {
        while let Some(request) = peer.request() {
            peer.send(ok(request.target()));
        }
    })
}

pub(super) fn for_host(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// What `host` is answered: status and text.
pub(super) fn answer(client: &mut Client, host: &str) -> (u16, String) {
    let response = client.ask(for_host(host));
    (response.status, response.text())
}

/// Waits until every core answers `host` with `expected` in it.
pub(super) fn wait_for(proxy: &Proxy, host: &str, expected: &str) {
    let mut steady = 0;
    wait::until(&format!("{host} is answered {expected:?}"), || {
        // Connections are spread over the cores by chance.
        let (status, text) = answer(&mut proxy.connect(), host);
        steady = if text.contains(expected) || status.to_string() == expected { steady + 1 } else { 0 };
        steady == 10
    });
}

#[test]
fn the_most_specific_key_wins() {
    let (backend, scene_backend) = (mirror(), Backend::saying(""));
    let scene = Scene::of(&scene_backend);
    let keys = ["www.example.tld:8080", "www.example.tld", "*.example.tld", "*.tld", "*"];
    for (number, key) in keys.iter().enumerate() {
        scene.redis.route(key, &["name", &format!("{}/{number}", backend.url())]);
    }
    for (number, key) in keys.iter().enumerate() {
        wait_for(&scene.proxy, "Www.Example.TLD.:8080", &format!("/{number}/"));
        scene.redis.command(&format!("DEL frontend:{key}"));
    }
    wait_for(&scene.proxy, "www.example.tld:8080", "400");
}

#[test]
fn hosts_are_matched_in_one_spelling() {
    let backend = Backend::saying("fine");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for host in [
        "site.example",
        "SITE.Example",
        "site.example.",
        "site.example:80",
        "Site.example.:8080",
        "site.example:",
    ] {
        assert_eq!(answer(&mut client, host), (200, "fine".into()), "{host}");
    }
    for host in ["site.example.tld", "example", "xsite.example", "sub.site.example"] {
        assert_eq!(answer(&mut client, host).0, 400, "{host}");
    }
}

#[test]
fn wildcards_stand_for_any_number_of_labels() {
    let backend = mirror();
    let scene = Scene::of(&backend);
    scene.redis.route("*.example.tld", &["wild", &format!("{}/wild", backend.url())]);
    let mut client = scene.connect();
    for (host, status) in [
        ("a.example.tld", 200),
        ("a.b.c.example.tld", 200),
        ("example.tld", 400),
        ("a.example.tld:99", 200),
        ("aexample.tld", 400),
    ] {
        assert_eq!(answer(&mut client, host).0, status, "{host}");
    }
}

#[test]
fn at_most_five_parent_labels_make_wildcards() {
    let backend = mirror();
    let scene = Scene::of(&backend);
    scene.redis.route("*.2.3.4.5.6.tld", &["six", &format!("{}/six", backend.url())]);
    let mut client = scene.connect();
    assert_eq!(answer(&mut client, "1.2.3.4.5.6.tld").0, 400);
    scene.redis.route("*.3.4.5.6.tld", &["five", &format!("{}/five", backend.url())]);
    wait_for(&scene.proxy, "1.2.3.4.5.6.tld", "/five/");
}

#[test]
fn the_catch_all_takes_what_nobody_else_does() {
    let (backend, all) = (Backend::saying("site"), Backend::saying("all"));
    let scene = Scene::of(&backend);
    scene.redis.route("*", &["all", &all.url()]);
    let mut client = scene.connect();
    for (host, text) in
        [(SITE, "site"), ("x", "all"), ("a.b", "all"), ("127.0.0.1:8080", "all"), ("[::1]:8080", "all")]
    {
        assert_eq!(answer(&mut client, host).1, text, "{host}");
    }
}

#[test]
fn an_identifier_without_backends_becomes_502() {
    let backend = Backend::saying("");
    let scene = Scene::of(&backend);
    scene.redis.route("empty.example", &["empty"]);
    scene.redis.route("invalid.example", &["invalid", "ftp://127.0.0.1/", "http://", "::"]);
    let mut client = scene.connect();
    assert_eq!(answer(&mut client, "empty.example").0, 502);
    assert_eq!(answer(&mut client, "invalid.example").0, 502);
}

#[test]
fn an_invalid_url_is_skipped_and_reported() {
    let backend = Backend::saying("fine");
    let scene = Scene::with(json!({}), &["ftp://nowhere/", &backend.url(), "http://bad host/"]);
    let mut client = scene.connect();
    for _ in 0..20 {
        assert_eq!(answer(&mut client, SITE), (200, "fine".into()));
    }
    let line = scene.proxy.wait_for_log("ftp://nowhere/");
    assert!(line.contains(SITE), "{line}");
}

#[test]
fn backends_may_be_named_without_scheme_or_by_name() {
    let backend = Backend::saying("fine");
    let port = backend.address().port();
    for url in [
        format!("127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
        format!("{}/#weight=2", backend.url()),
    ] {
        let scene = Scene::with(json!({}), &[&url]);
        assert_eq!(scene.ask(get("/")).text(), "fine", "{url}");
    }
}

#[test]
fn a_backend_name_that_does_not_resolve_becomes_502() {
    let good = Backend::saying("fine");
    let scene = Scene::with(json!({}), &["http://no-such-name.invalid:80", &good.url()]);
    for _ in 0..8 {
        assert_eq!(scene.ask(get("/")).text(), "fine");
    }
    scene.redis.route("lost.example", &["lost", "http://no-such-name.invalid:80"]);
    assert_eq!(scene.ask(for_host("lost.example")).status, 502);
}

#[test]
fn all_backends_of_a_frontend_are_used() {
    let backends: Vec<Backend> = (0..3).map(|_| Backend::saying("fine")).collect();
    let scene = Scene::with(json!({}), &[&backends[0].url(), &backends[1].url(), &backends[2].url()]);
    let mut client = scene.connect();
    for _ in 0..300 {
        assert_eq!(answer(&mut client, SITE).0, 200);
    }
    for backend in &backends {
        assert!(backend.requests().len() > 50, "{} of 300", backend.requests().len());
        assert!(backend.connections() == 1);
    }
}

#[test]
fn an_unknown_host_gets_the_400_page_and_may_go_on() {
    let backend = Backend::saying("fine");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    let response = client.ask(for_host("unknown.example"));
    assert_eq!((response.status, response.head.get("content-type")), (400, Some("text/html")));
    assert_eq!(response.head.get("cache-control"), Some("no-cache"));
    assert!(!response.body.is_empty());
    let head = client.send("HEAD / HTTP/1.1\r\nHost: unknown.example\r\n\r\n").response_to_head();
    assert_eq!(head.head.get("content-length"), Some(response.body.len().to_string().as_str()));
    assert_eq!(client.ask(get("/")).text(), "fine");
}

#[test]
fn error_pages_come_from_the_static_dir() {
    let pages = tempfile::tempdir().unwrap();
    std::fs::write(pages.path().join("error_400.html"), "own 400 page").unwrap();
    std::fs::write(pages.path().join("error_default.html"), "own default page").unwrap();
    let scene = Scene::with(json!({ "server": { "staticDir": pages.path() } }), &["http://"]);
    assert_eq!(scene.ask(for_host("unknown.example")).text(), "own 400 page");
    let other = scene.ask(get("/"));
    assert_eq!((other.status, other.text().as_str()), (502, "own default page"));
}

#[test]
fn changes_in_redis_are_followed() {
    let (first, second) = (Backend::saying("first"), Backend::saying("second"));
    let scene = Scene::of(&first);
    wait_for(&scene.proxy, SITE, "first");
    scene.redis.command(&format!("RPUSH frontend:{SITE} {}", second.url()));
    wait_for_both(&scene);
    scene.redis.command(&format!("LREM frontend:{SITE} 0 {}", first.url()));
    wait_for(&scene.proxy, SITE, "second");
    scene.redis.command(&format!("RENAME frontend:{SITE} frontend:moved.example"));
    wait_for(&scene.proxy, "moved.example", "second");
    wait_for(&scene.proxy, SITE, "400");
    scene.redis.command("FLUSHALL");
    wait_for(&scene.proxy, "moved.example", "400");
}

fn wait_for_both(scene: &Scene) {
    for expected in ["second", "first"] {
        wait::until("both backends are used", || scene.ask(get("/")).text() == expected);
    }
}

#[test]
fn changes_under_load_cost_no_request() {
    let (first, second) = (Backend::saying("first"), Backend::saying("second"));
    let scene = Scene::of(&first);
    let done = AtomicBool::new(false);
    let load = || {
        let mut client = scene.connect();
        while !done.load(Ordering::Relaxed) {
            let response = client.ask(get("/"));
            assert_eq!(response.status, 200, "{}", response.text());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(load);
        }
        for backend in [&second, &first].into_iter().cycle().take(100) {
            scene.redis.route(SITE, &["site", &backend.url()]);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(!first.requests().is_empty() && !second.requests().is_empty());
}

#[test]
fn a_key_of_another_kind_is_no_route() {
    let backend = Backend::saying("fine");
    let scene = Scene::of(&backend);
    scene.redis.command("SET frontend:text.example http://127.0.0.1:1");
    assert!(matches!(scene.ask(for_host("text.example")).status, 400 | 502 | 503));
    assert_eq!(scene.ask(get("/")).text(), "fine");
}

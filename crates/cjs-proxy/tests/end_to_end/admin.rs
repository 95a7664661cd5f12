//! The admin listener: health, readiness and metrics, as scrapers and probes see them.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::admin::{address, fetch, fetch_with, on, read, scrape};
use crate::support::backend::Backend;
use crate::support::client::Client;
use crate::support::mortal::mortal;
use crate::support::proxy::{Proxy, merge};
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene, get, get_from};
use crate::support::secure_scene::Certificates;
use crate::support::{programs, python, wait};

#[test]
fn requests_are_counted_exactly_over_all_cores() {
    let backend = mortal("a");
    let scene = Scene::with(on(json!({})), &[&backend.url()]);
    let admin = address(&scene.proxy);
    for _ in 0..40 {
        assert_eq!(scene.ask(get("/")).status, 200);
    }
    for _ in 0..3 {
        assert_eq!(scene.ask(get_from("nobody.example", "/")).status, 400);
    }
    let done = || {
        let seen = scrape(admin);
        (seen.sum("cjs_proxy_requests_total", &["class=\"2xx\""]) == 40.0).then_some(seen)
    };
    let seen = wait::until_some("forty are counted", done);
    let requests = |class| seen.sum("cjs_proxy_requests_total", &[class]);
    assert_eq!((requests("class=\"4xx\""), requests("class=\"5xx\""), requests("")), (3.0, 0.0, 43.0));
    assert!(["core=\"0\"", "core=\"1\""].iter().all(|core| requests(core) > 0.0));
    assert_eq!(seen.sum("cjs_proxy_request_duration_seconds_count", &[]), 43.0);
    assert_eq!(seen.sum("cjs_proxy_backend_duration_seconds_count", &[]), 40.0);
    assert_eq!(seen.sum("cjs_proxy_connections_total", &[]), 43.0);
    programs::stdout(python::client("scrape.py").args([admin.port().to_string(), "43".into()]));
    wait::until("both follow routes", || scrape(admin).sum("cjs_proxy_route_store_connected", &[]) == 2.0);
}

#[test]
fn a_token_is_asked_for_and_follows_the_config() {
    let scene = Scene::with(on(json!({ "admin": { "token": "first" } })), &[]);
    let admin = address(&scene.proxy);
    let status =
        |path, token: &str| fetch_with(admin, path, &format!("Authorization: Bearer {token}\r\n")).status;
    for path in ["/healthz", "/readyz", "/metrics", "/api/v1/frontends"] {
        let refused = fetch(admin, path);
        assert_eq!((refused.status, refused.head.get("www-authenticate")), (401, Some("Bearer")), "{path}");
        assert_eq!(status(path, "second"), 401);
    }
    assert_eq!(status("/healthz", "first"), 200);
    scene.proxy.reload(json!({ "admin": { "token": "second" } }));
    wait::until("the new token opens", || status("/healthz", "second") == 200);
    assert_eq!(status("/healthz", "first"), 401);
    scene.proxy.reload(json!({ "admin": { "bind": "127.0.0.2" } }));
    scene.proxy.wait_for_log("the new value of admin.bind and admin.port takes a restart");
    assert_eq!(status("/healthz", "second"), 200);
}

#[test]
fn ready_with_routes_and_not_while_draining() {
    let gate = wait::Gate::default();
    let held = gate.clone();
    let slow = Backend::run(move |peer| {
        peer.request();
        held.pass();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let mut redis = Redis::absent();
    let mut proxy = Proxy::start(on(json!({ "redis": { "port": redis.port } })));
    let admin = address(&proxy);
    let early = fetch(admin, "/readyz");
    assert_eq!((early.status, fetch(admin, "/healthz").status), (503, 200));
    assert!(early.text().ends_with("has not reached the route store yet\n"), "{}", early.text());
    redis.run();
    redis.route(SITE, &["site", &slow.url()]);
    wait::until("it is ready", || fetch(admin, "/readyz").status == 200);
    let mut waiting = proxy.connect();
    waiting.send(get("/"));
    slow.wait_for_requests(1);
    proxy.signal(Signal::SIGTERM);
    wait::until("it is not ready", || fetch(admin, "/readyz").text() == "draining\n");
    assert_eq!(fetch(admin, "/healthz").text(), "ok\n");
    gate.open();
    assert_eq!(waiting.response().status, 200);
    assert!(proxy.wait_for_exit().success());
}

#[test]
fn who_never_asks_or_never_reads_holds_nobody_up() {
    let backend = mortal("a");
    let scene = Scene::with(on(json!({})), &[&backend.url()]);
    let admin = address(&scene.proxy);
    let mut half: Vec<_> = (0..20).map(|_| Client::to(admin)).collect();
    for client in &mut half {
        client.send("GET /metrics HTTP/1.1\r\nHo");
    }
    assert_eq!(fetch(admin, "/healthz").status, 200);
    // More than are answered at once: the rest wait until the first are out of time, and requests do not.
    let more: Vec<_> = (0..40).map(|_| Client::to(admin)).collect();
    assert_eq!(scene.ask(get("/")).text(), "a");
    assert_eq!(fetch(admin, "/healthz").status, 200);
    half.iter_mut().for_each(|client| drop(client.end()));
    drop(more);
    assert_eq!(scene.ask(get("/")).text(), "a");
}

#[test]
fn a_replaced_core_keeps_its_totals() {
    let backend = mortal("a");
    let scene = Scene::with(on(json!({ "server": { "workers": 1, "gracefulWait": 2 } })), &[&backend.url()]);
    let admin = address(&scene.proxy);
    let mut asked = 0.0;
    for replaced in 1..=3 {
        assert_eq!(scene.ask(get("/")).text(), "a");
        assert_eq!(scene.ask(get_from("__hook__", "/replace")).status, 200);
        asked += 2.0;
        let ended = || scene.proxy.count_in_log("has ended gracefully (asked for by a test)") == replaced;
        wait::until("the old core has ended", || {
            let seen = scrape(admin);
            assert!(seen.sum("cjs_proxy_requests_total", &[]) >= asked - 1.0);
            ended()
        });
        assert_eq!(scrape(admin).sum("cjs_proxy_requests_total", &[]), asked);
    }
    scene.proxy.connect().send(get_from("__hook__", "/die"));
    wait::until("it has died", || {
        scrape(admin).sum("cjs_proxy_core_replacements_total", &["reason=\"death\""]) == 1.0
    });
    assert!(scrape(admin).sum("cjs_proxy_requests_total", &[]) >= asked);
}

#[test]
fn failures_are_counted_by_what_they_are() {
    let (live, dead) = (mortal("a"), mortal("b"));
    let urls = [live.url(), dead.url()];
    drop(dead);
    let tiers = json!({ "rateLimit": { "tiers": { "everyone": 1_000 } } });
    let scene = Scene::with(on(tiers), &[&urls[0], &urls[1]]);
    let admin = address(&scene.proxy);
    let mut asked = 0.0;
    wait::until("a backend was found dead", || {
        assert_eq!(scene.ask(get("/")).text(), "a");
        asked += 1.0;
        scrape(admin).sum("cjs_proxy_backend_deaths_total", &[]) >= 1.0
    });
    let seen = scrape(admin);
    assert!(seen.sum("cjs_proxy_retries_total", &[]) >= 1.0);
    let decided = |decision| seen.sum("cjs_proxy_limit_decisions_total", &["tier=\"everyone\"", decision]);
    assert_eq!((decided("decision=\"admitted\""), decided("decision=\"refused\"")), (asked, 0.0));
    scene.redis.command("SADD deny:ip 127.0.0.1");
    wait::until("it is denied", || scene.ask(get("/")).status == 403);
    wait::until("that is counted", || scrape(admin).sum("cjs_proxy_denied_requests_total", &[]) >= 1.0);
}

#[test]
fn handshakes_are_counted_by_their_result() {
    let (certificates, backend) = (Certificates::new(), Backend::saying("a"));
    let mut config = certificates.config(json!({}));
    merge(&mut config, on(json!({})));
    let scene = Scene::with(config, &[&backend.url()]);
    let admin = address(&scene.proxy);
    for _ in 0..3 {
        assert_eq!(certificates.connect(&scene).client.ask(get("/")).text(), "a");
    }
    let mut stranger = Client::to(scene.proxy.https_address());
    stranger.send([22, 3, 1, 0, 4, 1, 0, 0, 0]).finish().end();
    let counted = |result| scrape(admin).sum("cjs_proxy_tls_handshakes_total", &[result]);
    wait::until("all are counted", || counted("") == 4.0);
    assert_eq!((counted("result=\"done\""), counted("result=\"failed\"")), (3.0, 1.0));
}

#[test]
fn lines_of_the_access_log_that_are_lost_are_counted() {
    let backend = mortal("a");
    let scene = Scene::with(on(json!({ "server": { "accessLog": "/dev/full" } })), &[&backend.url()]);
    let admin = address(&scene.proxy);
    for _ in 0..20 {
        assert_eq!(scene.ask(get("/")).text(), "a");
    }
    let lost = || scrape(admin).sum("cjs_proxy_access_log_dropped_lines_total", &[]);
    wait::until("all are counted as lost", || lost() == 20.0);
    assert_eq!(scene.proxy.count_in_log("cannot write the access log: No space left on device"), 1);
}

#[test]
fn cores_and_limits_are_told_as_json() {
    let backend = mortal("a");
    let config = on(json!({ "server": { "workers": 1 }, "rateLimit": { "tiers": { "all": 1, "paid": 9 } } }));
    let scene = Scene::with(config, &[&backend.url()]);
    let admin = address(&scene.proxy);
    assert_eq!([200, 429], [(); 2].map(|()| scene.ask(get("/")).status));
    let counted = || read(admin, "/api/v1/cores")["cores"][0]["requests"]["4xx"] == 1;
    wait::until("both are counted", counted);
    let limits = read(admin, "/api/v1/limits");
    let tier = json!({ "name": "all", "limit": 1, "admitted": 1, "refused": 1, "unavailable": 0 });
    assert_eq!((&limits["window"], &limits["tiers"][0]), (&json!(60.0), &tier));
    let core = &read(admin, "/api/v1/cores")["cores"][0];
    assert_eq!((&core["requests"]["2xx"], &core["connections"]), (&json!(1), &json!(2)));
    scene.proxy.reload(json!({ "rateLimit": { "tiers": { "all": 5, "paid": 9 } } }));
    wait::until("the new limit is told", || read(admin, "/api/v1/limits")["tiers"][0]["limit"] == 5);
}

#[test]
fn metrics_md_has_every_metric() {
    let scene = Scene::with(on(json!({ "rateLimit": {} })), &[]);
    let told = scrape(address(&scene.proxy)).rows();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/METRICS.md");
    let text = std::fs::read_to_string(path).unwrap();
    let documented: Vec<&str> = text.lines().filter(|line| line.starts_with("| `cjs_proxy_")).collect();
    assert_eq!(documented, told, "docs/METRICS.md should have:\n{}", told.join("\n"));
}

//! What counts as a backend's death, and what the proxy then tells Redis.

use serde_json::{Value, json};

use super::routing::for_host;
use crate::support::backend::{Backend, Blackhole, Refusing, ok};
use crate::support::mortal::{ask_until_reached, dead, mortal, wait_until_avoided};
use crate::support::proxy::Proxy;
use crate::support::redis::{Heard, Redis};
use crate::support::scene::{SITE, Scene, get, get_from, with_body};
use crate::support::wait;

fn one_core() -> Value {
    json!({ "server": { "workers": 1 } })
}

/// Waits until what the only core had to tell Redis so far has come there: it does so in order.
fn wait_until_told(scene: &Scene, heard: &Heard) {
    let (refusing, good) = (Refusing::new(), mortal("good"));
    scene.redis.route("last.example", &["last", &refusing.url(), &good.url()]);
    wait::until("a death that was told last", || {
        scene.ask(for_host("last.example"));
        heard.lines().iter().any(|line| line.starts_with("last.example;"))
    });
}

/// Lines about `frontend` so far.
fn about(heard: &Heard, frontend: &str) -> Vec<String> {
    let begin = format!("{frontend};");
    heard.lines().into_iter().filter(|line| line.starts_with(&begin)).collect()
}

/// Sends `request` until `frontend` has a mark; every answer is to be 200.
fn ask_until_marked(scene: &Scene, frontend: &str, request: &str) {
    wait::until(&format!("a mark in dead:{frontend}"), || {
        assert_eq!(scene.ask(request).status, 200, "{frontend}");
        !scene.redis.marks(frontend).is_empty()
    });
}

#[test]
fn a_refused_connection_is_marked_and_told_as_the_list_has_it() {
    let (good, refusing) = (mortal("good"), Refusing::new());
    let listed = format!("{}/#weight=2", refusing.url());
    let scene = Scene::with(json!({ "server": { "deadBackendTTL": 7 } }), &[&good.url(), &listed]);
    let heard = scene.redis.subscribe("dead");
    ask_until_marked(&scene, SITE, &get("/"));
    let ttl: i64 = scene.redis.query(&format!("TTL dead:{SITE}"));
    assert_eq!(scene.redis.marks(SITE), [1]);
    assert!((1..=7).contains(&ttl), "{ttl}");
    for line in heard.wait_for(1) {
        assert_eq!(line, format!("{SITE};{listed};1;2"));
    }
    assert_eq!(scene.redis.query::<Vec<String>>("KEYS dead*"), [format!("dead:{SITE}")]);
}

#[test]
fn a_mark_lasts_thirty_seconds_unless_told_otherwise() {
    let (dead, good) = (dead(), mortal("good"));
    let scene = Scene::with(json!({}), &[&dead.url(), &good.url()]);
    ask_until_marked(&scene, SITE, &get("/"));
    let ttl: i64 = scene.redis.query(&format!("TTL dead:{SITE}"));
    assert!((8..=30).contains(&ttl), "{ttl}");
}

#[test]
fn every_failure_before_an_answer_is_death() {
    let half_a_head = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Le");
        peer.hold();
    });
    let (dead, silent, hole, good) = (dead(), Backend::silent(), Blackhole::new(), mortal("good"));
    let (closing, bad) = (Backend::closing(), Backend::answering_once("nonsense\r\n\r\n"));
    let beyond = Backend::answering_once("HTTP/1.1 600 High\r\nContent-Length: 0\r\n\r\n");
    let patience = json!({ "server": { "timeouts": { "connect": 1, "backendHeader": 1 } } });
    let scene = Scene::with(patience, &[&good.url()]);
    let kinds = [
        ("reset", dead.url()),
        ("closed", closing.url()),
        ("silent", silent.url()),
        ("half", half_a_head.url()),
        ("invalid", bad.url()),
        ("beyond", beyond.url()),
        ("unconnected", hole.url()),
    ];
    for (kind, url) in kinds {
        scene.redis.route(kind, &[kind, &url, &good.url()]);
        ask_until_marked(&scene, kind, &for_host(kind));
        assert_eq!(scene.redis.marks(kind), [0], "{kind}");
    }
}

#[test]
fn statuses_from_501_are_relayed_and_are_death() {
    let (failing, good) = (mortal("failing"), Backend::saying("good"));
    let scene = Scene::of(&good);
    let heard = scene.redis.subscribe("dead");
    for status in [501, 502, 503, 504, 505, 599] {
        let host = format!("s{status}.example");
        scene.redis.route(&host, &["name", &failing.url(), &good.url()]);
        let (before, mut asked) = (failing.requests().len() + good.requests().len(), 0);
        let response = wait::until_some("the failing backend is asked", || {
            asked += 1;
            let response = scene.ask(get_from(&host, &format!("/{status}")));
            (response.text() == "failing").then_some(response)
        });
        assert_eq!(response.status, status);
        assert_eq!(failing.requests().len() + good.requests().len(), before + asked, "none was retried");
        wait::until("a line", || about(&heard, &host) == [format!("{host};{};0;2", failing.url())]);
        assert_eq!(scene.redis.marks(&host), [0]);
    }
}

#[test]
fn other_statuses_are_no_death() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::with(one_core(), &[&first.url(), &second.url()]);
    let heard = scene.redis.subscribe("dead");
    for told in ["200", "404", "429", "499", "500", "503/later"] {
        for backend in [&first, &second] {
            let response = ask_until_reached(&scene.proxy, backend, &get(&format!("/{told}")));
            assert_eq!(response.status.to_string(), told[..3]);
        }
    }
    wait_until_told(&scene, &heard);
    assert_eq!((scene.redis.marks(SITE), about(&heard, SITE)), (vec![], vec![]));
}

#[test]
fn a_500_is_death_while_a_checker_is_active_and_wanted() {
    for wanted in [true, false] {
        let redis = Redis::start();
        redis.command(&format!("SET hchecker_ping {}", wait::unix_time().as_secs()));
        let (first, second) = (mortal("first"), mortal("second"));
        let config = json!({ "server": { "workers": 1, "deadBackendOn500": wanted } });
        let scene = Scene::on(redis, config, &[&first.url(), &second.url()]);
        scene.proxy.wait_for_log("followed live");
        let heard = scene.redis.subscribe("dead");
        assert_eq!(ask_until_reached(&scene.proxy, &first, &get("/500")).status, 500);
        wait_until_told(&scene, &heard);
        assert_eq!(!about(&heard, SITE).is_empty(), wanted, "{:?}", heard.lines());
    }
}

#[test]
fn an_only_backend_is_never_marked() {
    let (refusing, failing) = (Refusing::new(), mortal("failing"));
    let scene = Scene::with(one_core(), &[&refusing.url()]);
    scene.redis.route("failing.example", &["failing", &failing.url()]);
    let heard = scene.redis.subscribe("dead");
    for _ in 0..5 {
        assert_eq!(scene.ask(get("/")).status, 502);
        assert_eq!(scene.ask(get_from("failing.example", "/502")).text(), "failing");
        assert_eq!(scene.ask(get_from("failing.example", "/die/failing")).status, 502);
    }
    wait_until_told(&scene, &heard);
    for frontend in [SITE, "failing.example"] {
        assert_eq!((scene.redis.marks(frontend), about(&heard, frontend)), (vec![], vec![]));
    }
    assert_eq!(scene.ask(for_host("failing.example")).text(), "failing");
    let back = Backend::run_on(refusing.listen(), |peer| {
        peer.request();
        peer.send(ok("back"));
    });
    assert_eq!((scene.ask(get("/")).text().as_str(), back.requests().len()), ("back", 1));
}

#[test]
fn an_only_backend_besides_invalid_entries_is_never_marked() {
    let dead = dead();
    let scene = Scene::with(one_core(), &["ftp://invalid/", &dead.url()]);
    for asked in 1..=5 {
        assert_eq!(scene.ask(get("/")).status, 502);
        assert_eq!(dead.requests().len(), asked, "it is asked each time");
    }
}

#[test]
fn an_error_status_never_marks_the_last_live_backend() {
    let backends = [mortal("a"), mortal("b"), mortal("c")];
    let urls = backends.each_ref().map(Backend::url);
    let scene = Scene::with(one_core(), &urls.each_ref().map(String::as_str));
    let heard = scene.redis.subscribe("dead");
    for _ in 0..40 {
        let response = scene.ask(get("/502"));
        assert!(response.status == 502 && response.body.len() == 1, "not relayed: {}", response.text());
    }
    wait_until_told(&scene, &heard);
    assert_eq!((scene.redis.marks(SITE).len(), about(&heard, SITE).len()), (2, 2));
    assert_eq!(scene.ask(get("/")).status, 200);
}

#[test]
fn failed_connections_may_mark_every_backend_and_then_none_is_asked() {
    let backends = [dead(), dead(), dead()];
    let urls = backends.each_ref().map(Backend::url);
    let scene = Scene::with(json!({}), &urls.each_ref().map(String::as_str));
    let heard = scene.redis.subscribe("dead");
    assert_eq!(scene.ask(get("/")).status, 502);
    assert_eq!(backends.each_ref().map(|backend| backend.requests().len()), [1, 1, 1]);
    heard.wait_for(3);
    assert_eq!(scene.redis.marks(SITE), [0, 1, 2]);
    for backend in &backends {
        wait_until_avoided(&scene.proxy, backend, &get("/"));
    }
    let refused = scene.ask(get("/"));
    assert_eq!((refused.status, refused.head.get("content-type")), (502, Some("text/html")));
    assert!(backends.iter().all(|backend| backend.requests().len() <= 2), "at most once by each core");
}

#[test]
fn a_pooled_connection_that_closes_is_no_death() {
    let closing = || {
        Backend::run(|peer| {
            peer.request();
            peer.send(ok("once"));
            peer.head();
        })
    };
    let (first, second) = (closing(), closing());
    let scene = Scene::with(one_core(), &[&first.url(), &second.url()]);
    let heard = scene.redis.subscribe("dead");
    let mut client = scene.connect();
    for _ in 0..40 {
        assert_eq!(client.ask(get("/")).status, 200);
    }
    wait_until_told(&scene, &heard);
    assert_eq!((scene.redis.marks(SITE), about(&heard, SITE)), (vec![], vec![]));
}

#[test]
fn what_the_client_or_a_late_failure_spoils_is_no_death() {
    let cut = Backend::run(|peer| match peer.request() {
        Some(request) if request.target() == "/cut" => {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
            peer.reset();
        }
        Some(request) if request.target() == "/hold" => peer.hold(),
        Some(_) => peer.send(ok("fine")),
        None => {}
    });
    let scene = Scene::with(one_core(), &[&cut.url(), &cut.url()]);
    let heard = scene.redis.subscribe("dead");
    scene.connect().send(get("/cut")).try_response(false).expect_err("it was cut in its body");
    let mut leaving = scene.connect();
    leaving.send("POST / HTTP/1.1\r\nHost: site.example\r\nContent-Length: 9\r\n\r\nhalf");
    wait::until("half a request at the backend", || cut.bytes().ends_with(b"half"));
    leaving.reset();
    cut.wait_for_end(cut.connections() - 1);
    let mut leaving = scene.connect();
    let asked = cut.requests().len();
    leaving.send(get("/hold"));
    cut.wait_for_requests(asked + 1);
    leaving.reset();
    cut.wait_for_end(cut.connections() - 1);
    wait_until_told(&scene, &heard);
    assert_eq!((scene.redis.marks(SITE), about(&heard, SITE)), (vec![], vec![]));
}

#[test]
fn a_request_that_cannot_be_repeated_marks_its_backend_too() {
    let (dead, good) = (dead(), mortal("good"));
    let scene = Scene::with(json!({}), &[&dead.url(), &good.url()]);
    let response = ask_until_reached(&scene.proxy, &dead, &with_body("POST", "/", "pay once"));
    assert_eq!(response.status, 502);
    wait::until("a mark", || scene.redis.marks(SITE) == [0]);
    wait_until_avoided(&scene.proxy, &dead, &with_body("POST", "/", "x"));
}

#[test]
fn a_backend_without_a_free_place_is_not_dead() {
    let gate = wait::Gate::default();
    let (first, second) = (Backend::gated(&gate), Backend::gated(&gate));
    let patience = json!({ "connect": 0.3 });
    let config = json!({ "server": { "workers": 1, "maxSockets": 1, "timeouts": patience } });
    let scene = Scene::with(config, &[&first.url(), &second.url()]);
    let heard = scene.redis.subscribe("dead");
    let mut clients: Vec<_> = (0..8).map(|_| scene.connect()).collect();
    for client in &mut clients {
        client.send(get("/"));
    }
    first.wait_for_requests(1);
    second.wait_for_requests(1);
    let refused = scene.ask(get("/"));
    assert!(refused.status == 503 && refused.head.get("retry-after").is_some(), "{}", refused.head.raw);
    wait_until_told(&scene, &heard);
    assert_eq!((scene.redis.marks(SITE), about(&heard, SITE)), (vec![], vec![]));
    gate.open();
    assert_eq!(scene.ask(get("/")).text(), "late");
}

#[test]
fn error_statuses_seen_by_several_cores_at_once_leave_one_backend_live() {
    let backends = [mortal("a"), mortal("b")];
    let urls = backends.each_ref().map(Backend::url);
    let scene = Scene::with(json!({}), &urls.each_ref().map(String::as_str));
    let other = scene.another_proxy(json!({}));
    for round in 0..40 {
        let host = format!("h{round}.example");
        scene.redis.route(&host, &["name", &urls[0], &urls[1]]);
        let ask = |proxy: &Proxy| (0..10).for_each(|_| drop(proxy.connect().ask(get_from(&host, "/502"))));
        std::thread::scope(|scope| {
            for proxy in [&scene.proxy, &other, &scene.proxy, &other] {
                scope.spawn(move || ask(proxy));
            }
        });
        for proxy in [&scene.proxy, &other] {
            wait::until(&format!("{host} is still served: {:?}", scene.redis.marks(&host)), || {
                proxy.connect().ask(get_from(&host, "/")).status == 200
            });
        }
    }
}

//! Cores that fail, and what clients notice of it. The faults are the hooks of a debug build.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::asking::asking_meanwhile;
use crate::support::backend::Backend;
use crate::support::mortal::mortal;
use crate::support::proxy::{OPEN_FILES, Proxy};
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene, get, get_from};
use crate::support::wait;

/// A request that has the core it reaches do `what`.
fn hook(what: &str) -> String {
    get_from("__hook__", what)
}

fn one_core(more: serde_json::Value) -> (Scene, Backend) {
    let backend = mortal("a");
    let scene = Scene::with(more, &[&backend.url()]);
    assert_eq!(scene.ask(get("/")).text(), "a");
    (scene, backend)
}

#[test]
fn a_panic_costs_its_connection_alone() {
    let (scene, _backend) = one_core(json!({ "server": { "workers": 1 } }));
    let mut other = scene.proxy.connect();
    for lost in 1..=10 {
        let mut doomed = scene.proxy.connect();
        doomed.send(hook("/panic"));
        doomed.expect_end();
        assert_eq!(other.ask(get("/")).text(), "a");
        wait::until("it is told", || scene.proxy.count_in_log("serving it panicked") == lost);
    }
    assert_eq!(scene.proxy.count_in_log("has died"), 0);
}

#[test]
fn replaced_cores_lose_no_request() {
    let (scene, _backend) = one_core(json!({ "server": { "gracefulWait": 2 } }));
    let answered = asking_meanwhile(&scene.proxy, || {
        for replaced in 1..=20 {
            assert_eq!(scene.ask(hook("/replace")).status, 200);
            wait::until("the old core has ended", || {
                scene.proxy.count_in_log("has ended gracefully (asked for by a test)") >= replaced
            });
        }
    });
    assert!(answered > 100);
    assert_eq!(scene.proxy.count_in_log("has died"), 0);
}

#[test]
fn a_replaced_core_answers_what_is_in_flight() {
    let gate = wait::Gate::default();
    let slow = {
        let gate = gate.clone();
        Backend::run(move |peer| {
            while peer.request().is_some() {
                gate.pass();
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow");
            }
        })
    };
    let scene = Scene::with(json!({ "server": { "workers": 1 } }), &[&slow.url()]);
    let mut waiting = scene.proxy.connect();
    waiting.send(get("/"));
    slow.wait_for_requests(1);
    assert_eq!(scene.ask(hook("/replace")).status, 200);
    wait::until("the old core takes no more", || scene.proxy.count_in_log("connected") >= 2);
    gate.open();
    let response = waiting.response();
    assert_eq!((response.text(), response.head.get("connection")), ("slow".into(), Some("close")));
    scene.proxy.wait_for_log("has ended gracefully (asked for by a test): up ");
}

#[test]
fn a_core_that_hangs_is_stood_in_for() {
    let (scene, _backend) = one_core(json!({ "server": { "workers": 1 } }));
    let mut stuck = scene.proxy.connect();
    stuck.send(hook("/hang"));
    scene.proxy.wait_for_log("stands still from now on");
    // It waits in the queue of the socket until the other core takes it.
    let mut waiting = scene.proxy.connect();
    waiting.send(get("/"));
    scene.proxy.wait_for_log("core 0 stands still for 3 s");
    assert_eq!(waiting.response().text(), "a");
    for _ in 0..20 {
        assert_eq!(scene.ask(get("/")).text(), "a");
    }
    scene.proxy.wait_for_log("core 0 hangs: no pulse for 10 s");
}

#[test]
fn a_core_that_dies_is_started_anew_each_time() {
    let (scene, _backend) = one_core(json!({ "server": { "workers": 1 } }));
    for deaths in 1..=4 {
        scene.proxy.connect().send(hook("/die"));
        wait::until("it has died", || scene.proxy.count_in_log("core 0 has died: ") == deaths);
        assert_eq!(scene.ask(get("/")).text(), "a");
    }
}

#[test]
fn out_of_descriptors_clients_are_turned_away_and_others_served_later() {
    let (redis, backend) = (Redis::start(), mortal("a"));
    redis.route(SITE, &["site", &backend.url()]);
    let config = json!({ "redis": { "port": redis.port }, "server": { "workers": 1, "accessLog": null } });
    let proxy = Proxy::launch_with(tempfile::tempdir().unwrap(), config, &[(OPEN_FILES, "64".into())]);
    wait::until("it serves", || proxy.count_in_log("serving on ") == 1);
    assert_eq!(proxy.connect().ask(get("/")).text(), "a");
    let mut kept: Vec<_> = (0..80).map(|_| proxy.connect()).collect();
    proxy.wait_for_log("clients are turned away, raise the limit of open files");
    wait::until("one is turned away", || kept.iter_mut().any(|client| client.has_news()));
    drop(kept);
    wait::until("others are served", || {
        let mut client = proxy.connect();
        client.send(get("/"));
        client.try_response(false).is_ok_and(|response| response.text() == "a")
    });
}

#[test]
fn a_process_that_was_halted_has_no_core_that_hangs() {
    let (scene, _backend) = one_core(json!({ "server": { "workers": 1 } }));
    scene.proxy.signal(Signal::SIGSTOP);
    // Not a wait: so long it is halted.
    std::thread::sleep(std::time::Duration::from_secs(5));
    scene.proxy.signal(Signal::SIGCONT);
    // The supervisor has looked after its cores by then.
    scene.proxy.reload(json!({ "server": { "retryOnError": 1 } }));
    scene.proxy.wait_for_log("the configuration was read anew and is in force");
    assert_eq!(scene.ask(get("/")).text(), "a");
    assert_eq!(scene.proxy.count_in_log("stands still"), 0);
}

#[test]
fn a_stop_does_not_wait_for_a_core_that_hangs() {
    let (mut scene, _backend) = one_core(json!({ "server": { "workers": 1, "gracefulWait": 1 } }));
    scene.proxy.connect().send(hook("/hang"));
    scene.proxy.wait_for_log("core 0 hangs");
    assert_eq!(scene.ask(get("/")).text(), "a");
    scene.proxy.signal(Signal::SIGTERM);
    assert!(scene.proxy.wait_for_exit().success());
}

#[test]
fn a_core_over_its_limit_drops_its_caches_and_is_replaced_where_that_does_not_help() {
    let memory =
        json!({ "server": { "workers": 1, "memoryLimit": 60, "checkInterval": 0.1, "gracefulWait": 1 } });
    let (scene, _backend) = one_core(memory);
    let before = scene.proxy.resident_kilobytes();
    // By 16 MB each: the last one takes it over its limit, so none reaches the core that takes its place.
    for _ in 0..4 {
        assert_eq!(scene.ask(hook("/grow")).status, 200);
    }
    scene.proxy.wait_for_log("of server.memoryLimit 60 MB");
    scene.proxy.wait_for_log("it drops cached routes and idle connections");
    scene.proxy.wait_for_log("has ended gracefully (it held 6");
    assert_eq!(scene.ask(get("/")).text(), "a");
    wait::until("its memory is given back", || scene.proxy.resident_kilobytes() < before + 16 * 1024);
}

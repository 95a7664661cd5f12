//! Certificates of hosts in Redis: found when first asked for, followed live, and none of them in the way of others.

use std::sync::Arc;

use serde_json::{Value, json};

use super::routing::for_host;
use crate::support::authority::Identity;
use crate::support::backend::Backend;
use crate::support::over_tls::dial;
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene};
use crate::support::secure_scene::Certificates;
use crate::support::wait;

/// Puts a pair where PlanB has it.
fn store(redis: &Redis, host: &str, identity: &Identity) {
    let [certificate, key] = identity.pem();
    redis.hash(&format!("tls:{host}"), &[("certificate", certificate), ("key", key)]);
}

/// The certificate that is shown to who asks for `host`; `None`: there is no handshake.
fn shown(scene: &Scene, certificates: &Certificates, host: &str) -> Option<Vec<u8>> {
    let dialled = dial(scene.proxy.https_address(), &certificates.client(), host).ok()?;
    Some(dialled.chain[0].to_vec())
}

fn is_shown(scene: &Scene, certificates: &Certificates, host: &str, identity: &Identity) {
    let expected = identity.certificate();
    wait::until(&format!("{host} has its certificate"), || {
        shown(scene, certificates, host).as_deref() == Some(expected)
    });
}

#[test]
fn a_host_has_its_own_then_its_parents_then_the_default() {
    let (certificates, backend) = (Certificates::new(), Backend::saying("fine"));
    let scene = certificates.scene(json!({}), &[&backend.url()]);
    let issue = |names: &[&str]| certificates.authority.issue(names);
    // The default is for the site alone: a client that checks names gets nowhere else.
    assert_eq!(shown(&scene, &certificates, "www.a.example"), None);
    let any = issue(&["*.a.example"]);
    store(&scene.redis, "*.a.example", &any);
    is_shown(&scene, &certificates, "www.a.example", &any);
    let own = issue(&["www.a.example"]);
    store(&scene.redis, "www.a.example", &own);
    is_shown(&scene, &certificates, "www.a.example", &own);
    is_shown(&scene, &certificates, "other.a.example", &any);
    let renewed = issue(&["www.a.example"]);
    store(&scene.redis, "www.a.example", &renewed);
    is_shown(&scene, &certificates, "www.a.example", &renewed);
    scene.redis.command("DEL tls:www.a.example");
    is_shown(&scene, &certificates, "www.a.example", &any);
    assert!(shown(&scene, &certificates, SITE).is_some());
    assert_eq!(shown(&scene, &certificates, "deep.www.a.example"), None, "a wildcard has one label");
}

#[test]
fn a_broken_pair_is_told_of_and_the_others_go_on() {
    let (certificates, backend) = (Certificates::new(), Backend::saying("fine"));
    let scene = certificates.scene(json!({}), &[&backend.url()]);
    let (good, other) =
        (certificates.authority.issue(&["good.example"]), certificates.authority.issue(&["bad.example"]));
    store(&scene.redis, "good.example", &good);
    let mixed = [("certificate", other.pem()[0]), ("key", good.pem()[1])];
    scene.redis.hash("tls:bad.example", &mixed);
    scene.redis.hash("tls:text.example", &[("certificate", "no PEM"), ("key", "geheim")]);
    for host in ["bad.example", "text.example"] {
        assert_eq!(shown(&scene, &certificates, host), None);
        scene.proxy.wait_for_log(&format!("tls:{host}"));
    }
    is_shown(&scene, &certificates, "good.example", &good);
    let log = scene.proxy.log().join("\n");
    assert!(!log.contains("geheim") && !log.contains("PRIVATE"), "{log}");
    store(&scene.redis, "bad.example", &other);
    is_shown(&scene, &certificates, "bad.example", &other);
}

#[test]
fn the_one_before_serves_until_both_halves_are_there() {
    let (certificates, backend) = (Certificates::new(), Backend::saying("fine"));
    let mut config = certificates.config(json!({}));
    config["server"]["workers"] = json!(1);
    let scene = Scene::with(config, &[&backend.url()]);
    let [before, after] = [(); 2].map(|()| certificates.authority.issue(&["a.example"]));
    store(&scene.redis, "a.example", &before);
    is_shown(&scene, &certificates, "a.example", &before);
    scene.redis.set_field("tls:a.example", "certificate", after.pem()[0]);
    wait::until("the broken pair is told of", || {
        assert_eq!(shown(&scene, &certificates, "a.example").as_deref(), Some(before.certificate().as_ref()));
        scene.proxy.count_in_log("the one before it serves on") > 0
    });
    scene.redis.set_field("tls:a.example", "key", after.pem()[1]);
    is_shown(&scene, &certificates, "a.example", &after);
}

#[test]
fn those_in_redis_alone_are_enough() {
    let (certificates, backend) = (Certificates::new(), Backend::saying("fine"));
    let config = json!({ "server": { "workers": 1, "https": { "port": 0, "redis": true } } });
    let scene = Scene::with(config, &[&backend.url()]);
    assert!(dial(scene.proxy.https_address(), &certificates.client(), SITE).is_err());
    let identity = certificates.authority.issue(&[SITE]);
    store(&scene.redis, SITE, &identity);
    is_shown(&scene, &certificates, SITE, &identity);
    let mut dialled = certificates.connect(&scene);
    assert_eq!(dialled.client.ask(for_host(SITE)).text(), "fine");
}

#[test]
fn none_is_read_before_it_is_asked_for_and_each_once() {
    let (certificates, backend) = (Certificates::new(), Backend::saying("fine"));
    let redis = Redis::start();
    for number in 0..300 {
        redis.hash(&format!("tls:h{number}.example"), &[("certificate", "c"), ("key", "k")]);
    }
    let identity = certificates.authority.issue(&["first.example"]);
    store(&redis, "first.example", &identity);
    redis.command("CONFIG RESETSTAT");
    let mut config: Value = certificates.config(json!({}));
    config["server"]["workers"] = 1.into();
    let scene = Scene::on(redis, config, &[&backend.url()]);
    let reads = || scene.redis.calls().get("hmget").copied().unwrap_or(0);
    assert_eq!(reads(), 0);
    is_shown(&scene, &certificates, "first.example", &identity);
    // Its own key and its parent's, in one pipeline.
    assert_eq!(reads(), 2);
    for _ in 0..20 {
        is_shown(&scene, &certificates, "first.example", &identity);
    }
    assert_eq!(reads(), 2);
}

#[test]
fn a_host_with_another_certificate_is_misdirected() {
    let (certificates, backend) = (Certificates::new(), Backend::saying("fine"));
    let scene = certificates.scene(json!({}), &[&backend.url()]);
    scene.redis.route("own.example", &["own", &backend.url()]);
    store(&scene.redis, "own.example", &certificates.authority.issue(&["own.example"]));
    let mut to_the_site = certificates.connect(&scene);
    assert_eq!(to_the_site.client.ask(for_host(SITE)).status, 200);
    assert_eq!(to_the_site.client.ask(for_host("own.example")).status, 421);
    let mut own = dial(scene.proxy.https_address(), &certificates.client(), "own.example").unwrap();
    assert_eq!(own.client.ask(for_host("own.example")).status, 200);
}

#[test]
fn they_outlast_redis() {
    let (certificates, backend) = (Certificates::new(), Backend::saying("fine"));
    let mut scene = certificates.scene(json!({}), &[&backend.url()]);
    let identity = certificates.authority.issue(&["a.example"]);
    store(&scene.redis, "a.example", &identity);
    let config = Arc::new(scene.proxy.https_address());
    // On every core.
    for _ in 0..20 {
        is_shown(&scene, &certificates, "a.example", &identity);
    }
    scene.redis.kill();
    scene.proxy.wait_for_log("connection lost");
    for _ in 0..20 {
        assert!(dial(*config, &certificates.client(), SITE).is_ok());
    }
    is_shown(&scene, &certificates, "a.example", &identity);
}

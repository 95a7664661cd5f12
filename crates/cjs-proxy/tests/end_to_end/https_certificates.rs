//! Which certificate is served, that it can be replaced under a running proxy, and that listening sockets and tickets
//! outlive cores and executables.

use std::process::Command;
use std::sync::Arc;

use nix::sys::signal::Signal;
use serde_json::json;

use super::routing::for_host;
use crate::support::asking::asking;
use crate::support::backend::Backend;
use crate::support::client::Client;
use crate::support::mortal::mortal;
use crate::support::over_tls::dial;
use crate::support::proxy::{Proxy, merge};
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene, get, get_from};
use crate::support::secure_scene::Certificates;
use crate::support::wait;

/// The certificate shown to who asks for `name`.
fn shown(certificates: &Certificates, proxy: &Proxy, name: &str) -> Vec<u8> {
    dial(proxy.https_address(), &certificates.client(), name).unwrap().chain[0].to_vec()
}

#[test]
fn the_name_chooses_the_certificate() {
    let certificates = Certificates::new();
    let exact = certificates.put_host("a.w.example");
    let wildcard = certificates.put_host("*.w.example");
    let scene = certificates.scene(json!({ "certDir": certificates.file("dir") }), &[]);
    for (name, identity) in [("a.w.example", &exact), ("b.w.example", &wildcard)] {
        assert_eq!(shown(&certificates, &scene.proxy, name), identity.certificate().to_vec(), "{name}");
    }
    assert!(dial(scene.proxy.https_address(), &certificates.client(), "x.b.w.example").is_err(), "one label");
    assert_eq!(certificates.connect(&scene).chain.len(), 1);
}

#[test]
fn addresses_may_have_certificates_of_their_own() {
    let certificates = Certificates::new();
    let own = certificates.authority.issue(&["own.example"]);
    certificates.put("own", &own);
    let address = json!({ "address": "127.0.0.1", "cert": certificates.file("own.crt"),
        "key": certificates.file("own.key") });
    let scene = certificates.scene(json!({ "bind": ["127.0.0.2", address] }), &[]);
    let [general, special] = scene.proxy.https_addresses()[..] else { panic!("two addresses") };
    // Each client is a new one: a ticket of the one address would be good at the other.
    let dial = |address, name| dial(address, &certificates.client(), name);
    assert_eq!(dial(special, "own.example").unwrap().chain[0], *own.certificate());
    assert!(dial(general, "own.example").is_err() && dial(general, SITE).is_ok());
}

#[test]
fn without_a_certificate_for_it_a_name_is_told_so() {
    let certificates = Certificates::new();
    certificates.put_host("a.example");
    let config = json!({ "cert": null, "key": null, "certDir": certificates.file("dir") });
    let scene = certificates.scene(config, &[]);
    assert!(dial(scene.proxy.https_address(), &certificates.client(), "a.example").is_ok());
    let refused = dial(scene.proxy.https_address(), &certificates.client(), "b.example").err().unwrap();
    assert!(refused.contains("UnrecognisedName"), "{refused}");
}

#[test]
fn a_host_of_another_certificate_is_421() {
    let certificates = Certificates::new();
    certificates.put_host("a.example");
    let backend = Backend::saying("a");
    let scene = certificates.scene(json!({ "certDir": certificates.file("dir") }), &[&backend.url()]);
    for host in ["a.example", "none.example"] {
        scene.redis.route(host, &[host, &backend.url()]);
    }
    let client = certificates.client();
    let asked = |name: &str, host: &str| {
        dial(scene.proxy.https_address(), &client, name).unwrap().client.ask(for_host(host)).status
    };
    assert_eq!(asked(SITE, "a.example"), 421, "another certificate is for it");
    assert_eq!(asked("a.example", SITE), 421);
    assert_eq!(asked("a.example", "none.example"), 421, "it would get the default one");
    assert_eq!(asked("a.example", "A.example:8443"), 200);
    assert_eq!(asked(SITE, "none.example"), 200, "no connection would be better");
    assert_eq!(asked("a.example", "__ping__"), 200);
    let mut client = dial(scene.proxy.https_address(), &client, SITE).unwrap().client;
    for (host, status) in [(SITE, 200), ("a.example", 421), (SITE, 200), ("a.example", 421)] {
        assert_eq!(client.ask(for_host(host)).status, status, "the connection goes on");
    }
}

#[test]
fn tickets_are_good_on_every_core_and_after_a_new_certificate() {
    let certificates = Certificates::new();
    let backend = Backend::saying("a");
    let scene = certificates.scene(json!({}), &[&backend.url()]);
    let client = certificates.client();
    let resumed = || {
        let mut dialled = dial(scene.proxy.https_address(), &client, SITE).unwrap();
        // Tickets come with the answer.
        assert_eq!(dialled.client.ask(get("/")).status, 200);
        dialled.resumed
    };
    assert!(!resumed());
    assert!((0..30).all(|_| resumed()), "connections are spread over both cores");
    certificates.put("site", &certificates.authority.issue(&[SITE]));
    scene.proxy.wait_for_log("certificates were read anew: 1 are served");
    assert!((0..30).all(|_| resumed()));
}

#[test]
fn changed_files_are_served_and_broken_ones_are_not() {
    let certificates = Certificates::new();
    let scene = certificates.scene(json!({ "certDir": certificates.file("dir") }), &[]);
    let serves = |name: &'static str, expected: &[u8]| {
        wait::until("it is served", || {
            let dialled = dial(scene.proxy.https_address(), &certificates.client(), name);
            dialled.is_ok_and(|dialled| *dialled.chain[0] == *expected)
        });
    };
    let added = certificates.put_host("new.example");
    serves("new.example", added.certificate());
    let renewed = certificates.put_host("new.example");
    serves("new.example", renewed.certificate());
    let default = certificates.authority.issue(&[SITE]);
    certificates.put("site", &default);
    serves(SITE, default.certificate());
    for name in ["site.key", "dir/new.example.key"] {
        std::fs::write(certificates.file(name), "torn").unwrap();
    }
    scene.proxy.wait_for_log("site.key: no private key in it");
    scene.proxy.wait_for_log("new.example.key: no private key in it");
    serves("new.example", renewed.certificate());
    serves(SITE, default.certificate());
    for name in ["dir/new.example.key", "dir/new.example.crt"] {
        std::fs::remove_file(certificates.file(name)).unwrap();
    }
    wait::until("it is gone", || {
        dial(scene.proxy.https_address(), &certificates.client(), "new.example").is_err()
    });
}

#[test]
fn sighup_with_a_bad_pair_changes_nothing() {
    let certificates = Certificates::new();
    let backend = Backend::saying("a");
    let scene = certificates.scene(json!({}), &[&backend.url()]);
    std::fs::write(certificates.file("site.key"), "torn").unwrap();
    scene.proxy.signal(Signal::SIGHUP);
    scene.proxy.wait_for_log("https.key: ");
    scene.proxy.wait_for_log("the old one stays in force");
    assert_eq!(certificates.connect(&scene).client.ask(get("/")).text(), "a");
}

/// The site behind a backend that answers any number of requests.
fn under_load(certificates: &Certificates) -> (Scene, Backend) {
    let backend = mortal("a");
    (certificates.scene(json!({}), &[&backend.url()]), backend)
}

fn connecting<'a>(certificates: &Certificates, proxy: &'a Proxy) -> impl Fn() -> Client + Sync + 'a {
    let client = certificates.client();
    move || dial(proxy.https_address(), &Arc::clone(&client), SITE).unwrap().client
}

#[test]
fn new_certificates_lose_no_request() {
    let certificates = Certificates::new();
    let (scene, _backend) = under_load(&certificates);
    let answered = asking(connecting(&certificates, &scene.proxy), || {
        for round in 1..=20 {
            certificates.put("site", &certificates.authority.issue(&[SITE]));
            scene.proxy.signal(Signal::SIGHUP);
            wait::until("it is in force", || scene.proxy.count_in_log("is in force") >= round);
        }
    });
    assert!(answered > 100);
}

#[test]
fn replaced_cores_lose_no_request_over_tls() {
    let certificates = Certificates::new();
    let (scene, _backend) = under_load(&certificates);
    scene.proxy.reload(json!({ "server": { "gracefulWait": 2 } }));
    scene.proxy.wait_for_log("is in force");
    let answered = asking(connecting(&certificates, &scene.proxy), || {
        for replaced in 1..=6 {
            assert_eq!(scene.ask(get_from("__hook__", "/replace")).status, 200);
            wait::until("the old core has ended", || {
                scene.proxy.count_in_log("has ended gracefully (asked for by a test)") >= replaced
            });
        }
    });
    assert!(answered > 100);
}

#[test]
fn upgrades_hand_over_both_kinds_of_sockets() {
    let (certificates, redis, backend) = (Certificates::new(), Redis::start(), mortal("a"));
    redis.route(SITE, &["site", &backend.url()]);
    let mut config = certificates.config(json!({}));
    merge(&mut config, json!({ "redis": { "port": redis.port }, "server": { "gracefulWait": 4 } }));
    let proxy = Proxy::start_installed(config);
    let (plain, secured) = (proxy.address(), proxy.https_address());
    let answered = asking(connecting(&certificates, &proxy), || {
        for _ in 0..5 {
            let file = proxy.dir().join("config.json");
            let upgrade =
                Command::new(env!("CARGO_BIN_EXE_cjs-proxy")).arg("upgrade").arg("-c").arg(file).output();
            assert!(upgrade.unwrap().status.success());
            assert_eq!(Client::to(plain).ask(get("/")).text(), "a");
        }
    });
    assert!(answered > 50);
    assert!(proxy.https_addresses().iter().all(|address| *address == secured));
    assert!(proxy.addresses().iter().all(|address| *address == plain));
}

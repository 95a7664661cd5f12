//! Clients that are denied by their addresses: the set `deny:ip` in Redis, followed live.

use std::net::Ipv4Addr;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::http2;
use super::routing::{answer, for_host, wait_for};
use crate::support::backend::Backend;
use crate::support::client::Client;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene, get, request};
use crate::support::streams;
use crate::support::wait;

/// A proxy behind one that it trusts, which is this machine.
fn behind_another() -> Value {
    json!({ "server": { "trustedProxies": ["127.0.0.1"] } })
}

/// The status for a client that the trusted proxy calls `client`.
fn status_for(proxy: &Proxy, client: &str) -> u16 {
    proxy.connect().ask(request("GET", "/", &format!("X-Forwarded-For: {client}\r\n"))).status
}

/// Waits until every core answers `client` with `expected`.
fn wait_for_status(proxy: &Proxy, client: &str, expected: u16) {
    let mut steady = 0;
    wait::until(&format!("{client} is answered {expected}"), || {
        steady = if status_for(proxy, client) == expected { steady + 1 } else { 0 };
        steady == 10
    });
}

#[test]
fn a_denied_client_gets_403_whatever_it_asks_for() {
    let backend = Backend::saying("fine");
    let pages = tempfile::tempdir().unwrap();
    std::fs::write(pages.path().join("error_403.html"), "not you").unwrap();
    let redis = Redis::start();
    redis.command("SADD deny:ip 127.0.0.0/8");
    redis.command("SADD allow:ip 127.0.0.1");
    let scene =
        Scene::on(redis, json!({ "server": { "staticDir": pages.path(), "workers": 1 } }), &[&backend.url()]);
    let mut client = scene.connect();
    for host in [SITE, "unknown.example", "__ping__"] {
        wait::until(&format!("{host:?} is denied"), || scene.ask(for_host(host)).status == 403);
        let response = client.ask(for_host(host));
        assert_eq!((response.status, response.text().as_str()), (403, "not you"), "{host}");
        assert!(!response.says_close());
    }
    let line = scene.proxy.wait_for_access(6).pop().unwrap();
    assert!(line.starts_with("::ffff:127.0.0.1 - - [") && line.contains("\" 403 "), "{line}");
    assert!(backend.requests().is_empty());
}

#[test]
fn nobody_slips_in_while_the_store_is_first_read() {
    let backend = Backend::saying("fine");
    let redis = Redis::start();
    redis.route(SITE, &["site", &backend.url()]);
    redis.command("SADD deny:ip 127.0.0.1");
    redis.signal(Signal::SIGSTOP);
    let proxy = Proxy::start(json!({ "redis": { "port": redis.port } }));
    let mut waiting: Vec<Client> = (0..10).map(|_| proxy.connect()).collect();
    for client in &mut waiting {
        client.send(get("/"));
    }
    redis.signal(Signal::SIGCONT);
    for client in &mut waiting {
        let status = client.response().status;
        assert!([403, 503].contains(&status), "{status}");
    }
    wait_for(&proxy, SITE, "403");
    assert!(backend.requests().is_empty());
}

#[test]
fn changes_are_followed_on_every_core() {
    let backend = Backend::saying("fine");
    let scene = Scene::of(&backend);
    wait_for(&scene.proxy, SITE, "fine");
    for (change, expected) in [
        ("SADD deny:ip 127.0.0.1", "403"),
        ("SREM deny:ip 127.0.0.1", "200"),
        ("SADD deny:ip 127.0.0.0/30 10.0.0.0/8", "403"),
        ("DEL deny:ip", "200"),
        ("SADD deny:ip ::ffff:127.0.0.1", "403"),
        ("PEXPIRE deny:ip 100", "200"),
        ("SADD deny:ip 0.0.0.0/0", "403"),
        ("FLUSHALL", "400"),
    ] {
        scene.redis.command(change);
        wait_for(&scene.proxy, SITE, expected);
    }
}

#[test]
fn the_client_is_the_one_that_a_trusted_proxy_names() {
    let backend = Backend::saying("fine");
    let scene = Scene::with(behind_another(), &[&backend.url()]);
    scene.redis.command("SADD deny:ip 192.0.2.7 10.0.0.0/8 2001:db8::/32");
    for denied in ["192.0.2.7", "9.9.9.9, 10.1.2.3", "2001:db8::1", "::ffff:10.0.0.1"] {
        wait_for_status(&scene.proxy, denied, 403);
    }
    for served in ["192.0.2.8", "10.1.2.3, 9.9.9.9", "2001:db9::1", "nonsense"] {
        assert_eq!(status_for(&scene.proxy, served), 200, "{served}");
    }
    // The proxy's own address counts where it names nobody.
    scene.redis.command("SADD deny:ip 127.0.0.1");
    wait_for(&scene.proxy, SITE, "403");
    assert_eq!(status_for(&scene.proxy, "192.0.2.8"), 200);
}

#[test]
fn a_client_cannot_name_another_for_itself() {
    let backend = Backend::saying("fine");
    let scene = Scene::of(&backend);
    scene.redis.command("SADD deny:ip 127.0.0.1");
    wait_for_status(&scene.proxy, "192.0.2.8", 403);
}

#[test]
fn a_refused_upload_is_not_taken_for_the_next_request() {
    let backend = Backend::saying("fine");
    let scene =
        Scene::with(json!({ "server": { "workers": 1, "limits": { "bodyBytes": 10 } } }), &[&backend.url()]);
    let hidden = get("/hidden");
    for length in [5, hidden.len()] {
        scene.redis.command("DEL deny:ip");
        wait_for(&scene.proxy, SITE, "fine");
        let mut client = scene.connect();
        assert_eq!(client.ask(get("/")).status, 200);
        scene.redis.command("SADD deny:ip 127.0.0.1");
        wait_for(&scene.proxy, SITE, "403");
        let upload = request("POST", "/", &format!("Content-Length: {length}\r\n")) + &hidden[..length];
        let response = client.ask(upload);
        assert!(response.status == 403 && response.says_close(), "{}", response.head.raw);
        client.expect_end();
    }
}

#[test]
fn many_members_are_held() {
    let backend = Backend::saying("fine");
    let scene = Scene::with(behind_another(), &[&backend.url()]);
    let address = |number: u32| Ipv4Addr::from(0x0a00_0000 + 3 * number).to_string();
    for first in (0..20_000).step_by(1_000) {
        let batch: Vec<String> = (first..first + 1_000).map(address).collect();
        scene.redis.command(&format!("SADD deny:ip {}", batch.join(" ")));
    }
    for number in [0, 1, 9_999, 19_999] {
        wait_for_status(&scene.proxy, &address(number), 403);
    }
    assert_eq!(status_for(&scene.proxy, "10.0.0.1"), 200);
    assert_eq!(status_for(&scene.proxy, &address(20_000)), 200);
}

#[test]
fn members_that_are_no_addresses_are_told_of_once_and_passed_over() {
    let backend = Backend::saying("fine");
    let scene = Scene::with(json!({ "server": { "workers": 1 } }), &[&backend.url()]);
    scene.redis.command("SADD allow:ip www.example.tld");
    scene.redis.command("SADD deny:ip 10.0.0.0/33 127.0.0.1");
    wait_for(&scene.proxy, SITE, "403");
    let line = scene.proxy.wait_for_log("www.example.tld");
    assert!(line.contains("\"allow:ip\"") && line.contains("accepted: an address such as"), "{line}");
    scene.redis.command("SREM deny:ip 127.0.0.1");
    wait_for(&scene.proxy, SITE, "fine");
    assert_eq!(scene.proxy.count_in_log("10.0.0.0/33"), 1);
    scene.redis.command("SET allow:ip 127.0.0.1");
    scene.proxy.wait_for_log("key \"allow:ip\" holds no set");
}

#[test]
fn they_hold_while_redis_is_away_and_are_read_again_after() {
    let backend = Backend::saying("fine");
    let mut scene = Scene::with(behind_another(), &[&backend.url()]);
    wait_for_status(&scene.proxy, "192.0.2.8", 200);
    scene.redis.command("SADD deny:ip 192.0.2.7");
    wait_for_status(&scene.proxy, "192.0.2.7", 403);
    scene.redis.kill();
    wait::until("both connections are lost", || scene.proxy.count_in_log("connection lost") >= 2);
    wait_for_status(&scene.proxy, "192.0.2.7", 403);
    wait_for_status(&scene.proxy, "192.0.2.8", 200);
    scene.redis.run();
    scene.redis.route(SITE, &["site", &backend.url()]);
    scene.redis.command("SADD deny:ip 192.0.2.8");
    wait_for_status(&scene.proxy, "192.0.2.8", 403);
    wait_for_status(&scene.proxy, "192.0.2.7", 200);
}

#[test]
fn over_http2_each_stream_is_refused() {
    let backend = Backend::saying("fine");
    let scene = http2::scene(behind_another(), &[&backend.url()]);
    scene.redis.command("SADD deny:ip 192.0.2.7");
    wait::until("the client is denied", || {
        streams::over(scene.proxy.address(), 65_535, async |client| {
            let of = |client: &str| {
                let mut asked = streams::request("GET", "/");
                asked.headers_mut().insert("x-forwarded-for", client.parse().unwrap());
                asked
            };
            let denied = client.ask(of("192.0.2.7")).await;
            assert_eq!(client.ask(of("192.0.2.8")).await.status, 200);
            denied.status == 403 && denied.text().contains("not open to your address")
        })
    });
}

#[test]
fn the_prefix_stands_before_the_keys() {
    let backend = Backend::saying("fine");
    let redis = Redis::start();
    redis.command(&format!("RPUSH blue:frontend:{SITE} site {}", backend.url()));
    redis.command("SADD deny:ip 127.0.0.1");
    let proxy = Proxy::start(json!({ "redis": { "port": redis.port, "prefix": "blue:" } }));
    wait_for(&proxy, SITE, "fine");
    redis.command("SADD blue:deny:ip 127.0.0.1");
    wait_for(&proxy, SITE, "403");
    assert_eq!(answer(&mut proxy.connect(), "__ping__").0, 403);
}

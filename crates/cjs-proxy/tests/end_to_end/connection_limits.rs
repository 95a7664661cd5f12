//! How many connections are let in, of all clients and of each, and that every one that has ended makes room.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::client::Client;
use crate::support::proxy::merge;
use crate::support::scene::{Scene, get, get_from};
use crate::support::secure_scene::Certificates;
use crate::support::wait;

const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn scene(backend: &Backend, limits: Value, more: Value) -> Scene {
    let mut config = json!({ "server": { "limits": limits } });
    merge(&mut config, json!({ "server": more }));
    Scene::with(config, &[&backend.url()])
}

/// Whether it was let in: it is answered then.
fn is_served(client: &mut Client, request: impl AsRef<[u8]>) -> bool {
    client.send(request);
    client.try_response(false).is_ok_and(|response| response.status == 200)
}

/// So many connections that were let in.
fn served(scene: &Scene, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| scene.connect()).collect();
    assert!(clients.iter_mut().all(|client| is_served(client, get("/"))));
    clients
}

/// Waits until so many more are let in, and holds them.
fn soon_served(scene: &Scene, count: usize) -> Vec<Client> {
    let serve = |_| {
        wait::until_some("one more is let in", || {
            let mut client = scene.connect();
            is_served(&mut client, get("/")).then_some(client)
        })
    };
    (0..count).map(serve).collect()
}

#[test]
fn beyond_the_limit_connections_are_closed_until_others_have_ended() {
    let backend = Backend::saying("fine");
    let scene = scene(&backend, json!({ "connections": 5 }), json!({}));
    let mut open = served(&scene, 5);
    for _ in 0..20 {
        scene.connect().expect_end();
    }
    scene.proxy.wait_for_log("as many as server.limits.connections (5) are open");
    assert!(open.iter_mut().all(|client| is_served(client, get("/"))));
    drop(open.split_off(3));
    open.extend(soon_served(&scene, 2));
    assert!(!is_served(&mut scene.connect(), get("/")));
}

#[test]
fn every_end_makes_room() {
    let backend = Backend::saying("fine");
    let scene = scene(&backend, json!({ "connections": 4, "connectionsPerIp": 4 }), json!({}));
    for round in 0..30 {
        let mut open = soon_served(&scene, 4);
        match round % 6 {
            0 => open.drain(..).for_each(Client::reset),
            1 => open.iter_mut().for_each(|client| client.finish().expect_end()),
            2 => open.iter_mut().for_each(|client| drop(client.send("G\0T\r\n\r\n").end())),
            3 => open.iter_mut().for_each(|client| _ = client.send("GET / HT")),
            4 => open.iter_mut().for_each(|client| client.send(get_from("__hook__", "/panic")).expect_end()),
            _ => {}
        }
    }
    soon_served(&scene, 4);
}

#[test]
fn a_client_with_thousands_of_connections_is_refused_while_another_is_served() {
    let backend = Backend::saying("fine");
    let scene = scene(&backend, json!({ "connectionsPerIp": 3 }), json!({}));
    let open = served(&scene, 3);
    let mut other = Client::coming_from(OTHER, scene.proxy.address());
    for turn in 0..3000 {
        scene.connect().expect_end();
        if turn % 100 == 0 {
            assert!(is_served(&mut other, get("/")));
            assert!(is_served(&mut Client::coming_from(OTHER, scene.proxy.address()), get("/")));
        }
    }
    let told = scene.proxy.wait_for_log("as many as server.limits.connectionsPerIp (3) open");
    assert!(told.contains("127.0.0.1 the last"), "{told}");
    assert!(scene.proxy.count_in_log("closed at once") < 100);
    drop(open);
    soon_served(&scene, 3);
}

#[test]
fn trusted_proxies_carry_many_clients() {
    let backend = Backend::saying("fine");
    let limits = json!({ "connectionsPerIp": 2 });
    let scene = scene(&backend, limits, json!({ "trustedProxies": ["127.0.0.1"] }));
    let _open = served(&scene, 20);
    let other = || Client::coming_from(OTHER, scene.proxy.address());
    let mut others = [other(), other()];
    assert!(others.iter_mut().all(|client| is_served(client, get("/"))));
    assert!(!is_served(&mut other(), get("/")));
}

#[test]
fn a_client_is_whom_the_proxy_header_names() {
    let backend = Backend::saying("fine");
    let more = json!({ "trustedProxies": ["127.0.0.1"], "proxyProtocol": true });
    let scene = scene(&backend, json!({ "connectionsPerIp": 1 }), more);
    let by = |header: &str| {
        let mut client = scene.connect();
        is_served(&mut client, format!("PROXY {header}\r\n{}", get("/"))).then_some(client)
    };
    let first = by("TCP4 203.0.113.1 192.0.2.1 1 80");
    let _others = [by("TCP4 203.0.113.2 192.0.2.1 1 80"), by("TCP6 2001:db8::1 ::1 1 80"), by("UNKNOWN")];
    assert!(first.is_some() && _others.iter().all(Option::is_some));
    for header in ["TCP4 203.0.113.1 192.0.2.1 2 80", "TCP6 ::ffff:203.0.113.1 ::1 1 80"] {
        assert!(by(header).is_none(), "{header}");
    }
    assert!(by("TCP6 2001:db8::2:0:0:2 ::1 1 80").is_none(), "of the same /64");
    assert!(by("TCP6 2001:db8:0:1::1 ::1 1 80").is_some() && by("UNKNOWN").is_some());
    // Which one it was depends on when the second was over.
    scene.proxy.wait_for_log(" the last");
    drop(first);
    wait::until("it is let in again", || by("TCP4 203.0.113.1 192.0.2.1 3 80").is_some());
}

#[test]
fn handshakes_and_connections_over_tls_count() {
    let backend = Backend::saying("fine");
    let certificates = Certificates::new();
    let mut config = certificates.config(json!({}));
    merge(&mut config, json!({ "server": { "limits": { "connections": 2 } } }));
    let scene = Scene::with(config, &[&backend.url()]);
    let mut secured = certificates.connect(&scene).client;
    let half = Client::to(scene.proxy.https_address());
    assert_eq!(secured.ask(get("/")).text(), "fine");
    wait::until("both are counted", || !is_served(&mut scene.connect(), get("/")));
    drop((secured, half));
    soon_served(&scene, 2);
}

#[test]
fn both_limits_follow_a_reload() {
    let backend = Backend::saying("fine");
    let scene = scene(&backend, json!({}), json!({}));
    let open = served(&scene, 4);
    let change = |limits: Value| scene.proxy.reload(json!({ "server": { "limits": limits } }));
    change(json!({ "connections": 4 }));
    wait::until("those there are count", || !is_served(&mut scene.connect(), get("/")));
    change(json!({ "connections": 0, "connectionsPerIp": 2 }));
    let mut later = soon_served(&scene, 2);
    wait::until("each client is limited", || {
        let mut client = scene.connect();
        let is_let_in = is_served(&mut client, get("/"));
        later.extend(is_let_in.then_some(client));
        !is_let_in
    });
    change(json!({ "connections": 0, "connectionsPerIp": 0 }));
    soon_served(&scene, 20);
    drop((open, later));
}

#[test]
fn a_core_that_dies_gives_its_connections_back() {
    let backend = Backend::saying("fine");
    let limits = json!({ "connections": 3, "connectionsPerIp": 3 });
    let scene = scene(&backend, limits, json!({ "workers": 1 }));
    for deaths in 1..=3 {
        let mut open = soon_served(&scene, 3);
        open[0].send(get_from("__hook__", "/die"));
        wait::until("it has died", || scene.proxy.count_in_log("core 0 has died: ") == deaths);
    }
    let _open = soon_served(&scene, 3);
    assert!(!is_served(&mut scene.connect(), get("/")));
}

#[test]
fn a_core_that_hangs_gives_its_connections_back() {
    let backend = Backend::saying("fine");
    let limits = json!({ "connections": 3, "connectionsPerIp": 3 });
    let scene = scene(&backend, limits, json!({ "workers": 1 }));
    let mut stuck = served(&scene, 3);
    stuck[0].send(get_from("__hook__", "/hang"));
    scene.proxy.wait_for_log("core 0 stands still for 3 s");
    assert!(!is_served(&mut scene.connect(), get("/")), "they may come back yet");
    scene.proxy.wait_for_log("core 0 hangs: no pulse for 10 s");
    let _open = soon_served(&scene, 3);
    assert!(!is_served(&mut scene.connect(), get("/")));
}

#[test]
fn a_replaced_core_still_holds_what_it_serves() {
    let backend = Backend::saying("fine");
    let scene = scene(&backend, json!({ "connections": 3 }), json!({ "workers": 1 }));
    let mut open = served(&scene, 3);
    assert_eq!(open[0].ask(get_from("__hook__", "/replace")).status, 200);
    wait::until("another serves", || scene.proxy.count_in_log("connected") >= 2);
    assert!(!is_served(&mut scene.connect(), get("/")));
    drop(open);
    soon_served(&scene, 3);
}

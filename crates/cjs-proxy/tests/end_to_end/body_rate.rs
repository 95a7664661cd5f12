//! Clients that send a body too slowly, and those that are not to blame. The window and its grace are shortened by a hook
//! of a debug build.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::backend::{Backend, ok};
use crate::support::client::{Client, Response};
use crate::support::proxy::{Proxy, merge};
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene, get, request, with_body};
use crate::support::secure_scene::Certificates;
use crate::support::streams::{self, whole};
use crate::support::wait::{self, Gate};

/// A site whose proxy asks for `rate` bytes a second over windows of `millis`.
fn scene((rate, millis): (u64, u64), more: Value, backend: &Backend, variables: &[&str]) -> Scene {
    let redis = Redis::start();
    redis.route(SITE, &["site", &backend.url()]);
    let mut config = json!({ "server": { "limits": { "bodyRate": rate } }, "redis": { "port": redis.port } });
    merge(&mut config, more);
    let mut environment = vec![("CJS_PROXY_BODY_RATE_MILLIS", millis.to_string().into())];
    environment.extend(variables.iter().map(|name| (*name, "1".into())));
    let proxy = Proxy::launch_with(tempfile::tempdir().unwrap(), config, &environment).serving();
    Scene { proxy, redis }
}

/// Sends `piece` again and again until there is an answer.
fn drip(client: &mut Client, head: impl AsRef<[u8]>, piece: &str) -> Response {
    client.send(head);
    wait::until("an answer to a dripped body", || {
        client.send(piece);
        client.has_news()
    });
    client.response()
}

/// Lets a window and its grace pass: so long a dripped body is waited for.
fn let_windows_pass(scene: &Scene, count: usize) {
    for _ in 0..count {
        assert_eq!(
            drip(&mut scene.connect(), request("POST", "/", "Content-Length: 99999\r\n"), "x").status,
            408
        );
    }
}

#[test]
fn a_body_that_is_dripped_becomes_408() {
    let backend = Backend::saying("fine");
    let scene = scene((5000, 300), json!({}), &backend, &[]);
    for (fields, piece) in
        [("Content-Length: 99999\r\n", "x"), ("Transfer-Encoding: chunked\r\n", "1\r\nx\r\n")]
    {
        let mut client = scene.connect();
        let response = drip(&mut client, request("POST", "/", fields), piece);
        assert!(response.status == 408 && response.says_close(), "{fields}: {}", response.head.raw);
        client.end();
    }
    assert_eq!(backend.requests().len(), 0, "no body was whole");
    assert_eq!(scene.ask(with_body("POST", "/", "quick")).text(), "fine");
    assert!(scene.proxy.wait_for_access(3)[0].contains(" 408 "));
}

#[test]
fn silence_becomes_408_before_client_body_is_over() {
    let backend = Backend::saying("fine");
    let scene = scene((1, 300), json!({ "server": { "timeouts": { "clientBody": 0 } } }), &backend, &[]);
    let mut client = scene.connect();
    assert_eq!(client.ask(request("POST", "/", "Content-Length: 9\r\n")).status, 408);
    client.expect_end();
}

#[test]
fn a_body_over_tls_is_no_exception() {
    let backend = Backend::saying("fine");
    let certificates = Certificates::new();
    let scene = scene((5000, 300), certificates.config(json!({})), &backend, &[]);
    let mut client = certificates.connect(&scene).client;
    assert_eq!(drip(&mut client, request("POST", "/", "Content-Length: 99999\r\n"), "x").status, 408);
}

#[test]
fn a_body_as_fast_as_asked_for_is_served_however_long_it_takes() {
    let backend = Backend::echoing();
    let scene = scene((1, 1500), json!({}), &backend, &[]);
    let mut client = scene.connect();
    client.send(request("POST", "/", "Content-Length: 1000\r\n"));
    for _ in 0..1000 {
        client.send("x");
        Gate::default().opens_within(Duration::from_millis(5));
    }
    assert_eq!(client.response().body.len(), 1000);
}

#[test]
fn a_client_is_not_to_blame_for_a_backend_that_takes_nothing() {
    let gate = Gate::default();
    let backend = {
        let gate = gate.clone();
        Backend::run(move |peer| {
            let Some(head) = peer.head() else { return };
            if head.start_line().contains("/big") {
                gate.pass();
            }
            if let Some(request) = peer.body_of(head) {
                peer.send(ok(request.body.len().to_string()));
            }
        })
    };
    let scene = scene((100_000, 200), json!({}), &backend, &[]);
    let mut client = scene.connect();
    let mut writer = client.writer();
    let big = with_body("POST", "/big", &"b".repeat(20_000_000));
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut writer, big.as_bytes()));
    let_windows_pass(&scene, 5);
    gate.open();
    assert_eq!(client.response().text(), "20000000");
    sending.join().unwrap().unwrap();
}

#[test]
fn nor_for_one_that_does_not_ask_for_the_body() {
    let gate = Gate::default();
    let backend = {
        let gate = gate.clone();
        Backend::run(move |peer| {
            let Some(head) = peer.head() else { return };
            if head.get("expect").is_some() {
                gate.pass();
                peer.send("HTTP/1.1 100 Continue\r\n\r\n");
            }
            if let Some(request) = peer.body_of(head) {
                peer.send(ok(request.body));
            }
        })
    };
    let scene = scene((5000, 200), json!({ "server": { "timeouts": { "clientBody": 0 } } }), &backend, &[]);
    let asking = request("POST", "/", "Expect: 100-continue\r\nContent-Length: 4\r\n");
    let (mut patient, mut silent) = (scene.connect(), scene.connect());
    patient.send(&asking);
    silent.send(&asking);
    let_windows_pass(&scene, 5);
    gate.open();
    assert_eq!((patient.response().status, silent.response().status), (100, 100));
    assert_eq!(patient.ask("body").text(), "body");
    assert_eq!(silent.response().status, 408);
}

#[test]
fn each_stream_of_http_2_has_a_pace_of_its_own() {
    let backend = Backend::echoing();
    let scene = scene((5000, 300), json!({}), &backend, &["CJS_PROXY_HTTP_2"]);
    streams::over(scene.proxy.address(), 1024 * 1024, async |client| {
        let (mut response, mut stream) = client.begin(streams::request("POST", "/slow"), false).await;
        let answer = loop {
            let pause = tokio::time::sleep(Duration::from_millis(5));
            tokio::select! {
                answer = &mut response => break answer.unwrap(),
                () = pause => drop(stream.send_data(Bytes::from_static(b"x"), false)),
            }
        };
        assert_eq!(whole(answer).await.unwrap().status, 408);
        let quick = client.ask_with(streams::request("POST", "/"), vec![7; 300_000]).await;
        assert_eq!(quick.body.len(), 300_000);
    });
}

#[test]
fn it_follows_a_reload() {
    let backend = Backend::echoing();
    let scene = scene((0, 200), json!({ "server": { "workers": 1 } }), &backend, &[]);
    let mut before = scene.connect();
    before.send(request("POST", "/", "Content-Length: 4\r\n") + "b");
    scene.proxy.reload(json!({ "server": { "limits": { "bodyRate": 5000, "uriBytes": 64 } } }));
    wait::until("both limits hold", || scene.ask(get(&"/".repeat(65))).status == 414);
    let_windows_pass(&scene, 3);
    assert_eq!(before.ask("ody").text(), "body");
}

//! Header fields and targets: what passes unchanged, what is taken off, what the proxy adds.

use serde_json::json;

use crate::support::backend::{Backend, ok};
use crate::support::message::Head;
use crate::support::scene::{SITE, Scene, get, request};

/// Fields the proxy adds to each request of these tests.
const ADDED: [&str; 7] = [
    "X-Forwarded-For",
    "X-Real-IP",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Protocol",
    "X-Forwarded-Port",
    "X-Request-Id",
];

/// The head a backend gets of this request.
fn passed_on(request: &str) -> Head {
    passed_on_with(json!({}), request)
}

fn passed_on_with(config: serde_json::Value, request: &str) -> Head {
    let backend = Backend::saying("");
    assert_eq!(Scene::with(config, &[&backend.url()]).ask(request).status, 200);
    backend.request().head
}

fn trusting() -> serde_json::Value {
    json!({ "server": { "trustedProxies": ["127.0.0.0/8"] } })
}

#[test]
fn request_fields_keep_their_order_case_and_bytes() {
    let lines = [
        "hOsT: site.example",
        "Accept:*/*",
        "X-Twice: 1",
        "x-twice:  2  ",
        "Cookie: a=b; c=\"d\"",
        "X-Twice: 3",
        "X-Latin: caf\u{e9}",
        "X-Empty:",
        "Proxy-Authorization: Basic eDp5",
    ];
    let fields: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let request: Vec<u8> =
        format!("GET /%7Ea//b/../c?d=%zz&|^ HTTP/1.1\r\n{fields}\r\n").chars().map(|c| c as u8).collect();
    let backend = Backend::saying("");
    assert_eq!(Scene::of(&backend).ask(request).status, 200);
    let head = backend.request().head;
    assert_eq!(head.start_line(), "GET /%7Ea//b/../c?d=%zz&|^ HTTP/1.1");
    assert_eq!(head.lines()[..lines.len()], lines);
    let added: Vec<&str> =
        head.lines()[lines.len()..].iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(added, ADDED);
}

#[test]
fn response_fields_keep_their_order_case_and_bytes() {
    let fields = "sErVeR: x\r\nSet-Cookie: a=1\r\nX-Odd:  spaced \r\nSet-Cookie: b=2\r\nContent-Length: 0\r\nDate: now\r\n";
    let backend = Backend::answering(format!("HTTP/1.1 299 Very  fine\r\n{fields}\r\n"));
    let response = Scene::of(&backend).ask(get("/"));
    assert_eq!(response.head.raw, format!("HTTP/1.1 299 Very  fine\r\n{fields}\r\n"));
}

#[test]
fn request_fields_of_one_hop_are_taken_off() {
    let fields = "Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-HOP: 1\r\nProxy-Connection: x\r\n\
                  TE: trailers\r\nUpgrade: h2c\r\nX-Kept: 1\r\nConnection: X-Other\r\nX-Other: 2\r\n";
    let head = passed_on(&request("GET", "/", fields));
    for name in ["Connection", "Keep-Alive", "X-Hop", "Proxy-Connection", "TE", "Upgrade", "X-Other"] {
        assert_eq!(head.get(name), None, "{name}");
    }
    assert_eq!(head.get("X-Kept"), Some("1"));
}

#[test]
fn response_fields_of_one_hop_are_taken_off() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Kept: 1\r\n\
         Proxy-Connection: close\r\nContent-Length: 0\r\n\r\n",
    );
    let response = Scene::of(&backend).ask(get("/"));
    for name in ["Connection", "X-Hop", "Keep-Alive", "Proxy-Connection"] {
        assert_eq!(response.head.get(name), None, "{name}");
    }
    assert_eq!(response.head.get("X-Kept"), Some("1"));
}

#[test]
fn connection_cannot_take_off_what_the_message_needs() {
    let backend = Backend::echoing();
    let scene = Scene::of(&backend);
    let fields =
        "Connection: Host, Content-Length, X-Forwarded-For, X-Real-IP, X-Request-Id\r\nContent-Length: 2\r\n";
    assert_eq!(scene.ask(request("POST", "/", fields) + "ab").text(), "ab");
    let head = backend.request().head;
    assert_eq!((head.get("host"), head.get("content-length")), (Some(SITE), Some("2")));
    for name in ["X-Forwarded-For", "X-Real-IP"] {
        assert_eq!(head.get(name), Some("127.0.0.1"), "{name}");
    }
    assert!(head.get("x-request-id").is_some());
}

#[test]
fn the_backend_learns_who_the_client_is() {
    let backend = Backend::saying("");
    let scene = Scene::of(&backend);
    scene.redis.route(&format!("{SITE}:{}", scene.proxy.address().port()), &["site", &backend.url()]);
    let host = format!("{SITE}:{}", scene.proxy.address().port());
    scene.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let head = backend.request().head;
    let port = scene.proxy.address().port().to_string();
    let expected = ["127.0.0.1", "127.0.0.1", &host, "http", "http", &port];
    for (name, expected) in ADDED.into_iter().zip(expected) {
        assert_eq!(head.get(name), Some(expected), "{name}");
    }
}

#[test]
fn an_untrusted_client_cannot_forge_forwarding_fields() {
    let names = [
        "X-Forwarded-For",
        "x-real-ip",
        "X-FORWARDED-HOST",
        "X-Forwarded-Proto",
        "X-Forwarded-Protocol",
        "X-Forwarded-Port",
        "X_Forwarded_For",
        "X-Forwarded_For",
        "x_real_ip",
        "X_Forwarded_Proto",
    ];
    let fields: String = names.iter().map(|name| format!("{name}: 6.6.6.6\r\n")).collect();
    let head = passed_on(&request("GET", "/", &fields));
    assert!(!head.raw.contains("6.6.6.6"), "{}", head.raw);
    assert_eq!(head.get("X-Forwarded-For"), Some("127.0.0.1"));
}

#[test]
fn what_a_trusted_proxy_says_is_kept_and_appended_to() {
    let fields = "X-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nX-Forwarded-Host: outer.example\r\n\
                  X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n";
    let head = passed_on_with(trusting(), &request("GET", "/", fields));
    assert_eq!(head.get("X-Forwarded-For"), Some("1.2.3.4, 127.0.0.1"));
    assert_eq!(head.get("X-Real-IP"), Some("1.2.3.4"));
    assert_eq!(head.get("X-Forwarded-Host"), Some("outer.example"));
    assert_eq!(head.get("X-Forwarded-Proto"), Some("https"));
    assert_eq!(head.get("X-Forwarded-Port"), Some("443"));
}

#[test]
fn several_forwarded_for_fields_of_a_trusted_proxy_become_one_list() {
    let fields = "X-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nX-Other: x\r\nx-forwarded-for: 3.3.3.3\r\n";
    let head = passed_on_with(trusting(), &request("GET", "/", fields));
    assert_eq!(head.get("X-Forwarded-For"), Some("1.1.1.1, 2.2.2.2, 3.3.3.3, 127.0.0.1"));
    let bare = passed_on_with(trusting(), &get("/"));
    assert_eq!(bare.get("X-Forwarded-For"), Some("127.0.0.1"));
    assert_eq!(bare.get("X-Real-IP"), Some("127.0.0.1"));
}

#[test]
fn a_request_id_is_kept_or_made() {
    let kept = passed_on(&request("GET", "/", "x-request-id: my-own/1\r\n"));
    assert_eq!(kept.get("X-Request-Id"), Some("my-own/1"));
    let backend = Backend::saying("");
    let scene = Scene::of(&backend);
    scene.ask(get("/"));
    scene.ask(get("/"));
    let ids: Vec<String> = backend
        .requests()
        .iter()
        .map(|request| request.head.get("x-request-id").unwrap().to_owned())
        .collect();
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id.len() >= 16), "{ids:?}");
}

#[test]
fn an_absolute_target_names_the_host() {
    let head = passed_on("GET http://SITE.example/x?y HTTP/1.1\r\nHost: other.example\r\nX: 1\r\n\r\n");
    assert_eq!(head.start_line(), "GET /x?y HTTP/1.1");
    assert_eq!(head.get("Host"), Some("SITE.example"));
    let bare = passed_on("GET http://site.example HTTP/1.1\r\nHost: site.example\r\n\r\n");
    assert_eq!(bare.start_line(), "GET / HTTP/1.1");
}

#[test]
fn the_path_of_a_backend_comes_first() {
    let backend = Backend::saying("");
    let scene = Scene::with(json!({}), &[&format!("{}/app", backend.url())]);
    for (target, expected) in [("/", "/app/"), ("/x?y=/z", "/app/x?y=/z")] {
        scene.ask(get(target));
        assert_eq!(backend.requests().last().unwrap().target(), expected);
    }
}

#[test]
fn options_may_ask_about_the_whole_server() {
    let backend = Backend::saying("");
    let scene = Scene::with(json!({}), &[&format!("{}/app", backend.url())]);
    assert_eq!(scene.ask(request("OPTIONS", "*", "")).status, 200);
    assert_eq!(backend.request().target(), "*");
}

#[test]
fn connect_is_refused() {
    let backend = Backend::saying("");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    let response = client.ask(format!("CONNECT {SITE}:80 HTTP/1.1\r\nHost: {SITE}:80\r\n\r\n"));
    assert_eq!(response.status, 405);
    assert!(response.head.get("allow").is_some());
    client.expect_end();
    assert_eq!(backend.requests().len(), 0);
}

#[test]
fn any_method_passes() {
    let backend = Backend::saying("");
    let scene = Scene::of(&backend);
    let mut client = scene.connect();
    for method in ["PATCH", "DELETE", "PROPFIND", "TRACE", "get", "X-MY!METHOD"] {
        assert_eq!(client.ask(request(method, "/", "")).status, 200, "{method}");
        assert!(backend.requests().last().unwrap().head.start_line().starts_with(method));
    }
}

#[test]
fn an_http_1_0_request_without_host_goes_to_the_catch_all() {
    let backend = Backend::answering(ok("any"));
    let scene = Scene::of(&backend);
    scene.redis.route("*", &["all", &backend.url()]);
    assert_eq!(scene.ask("GET /old HTTP/1.0\r\n\r\n").text(), "any");
    assert_eq!(backend.request().head.get("host"), Some(backend.address().to_string().as_str()));
}

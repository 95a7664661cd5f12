//! The request header X-Debug, and what it adds to an answer.

use std::time::Duration;

use serde_json::json;

use crate::support::backend::{Backend, Refusing};
use crate::support::client::Response;
use crate::support::mortal::{ask_until_reached, mortal};
use crate::support::redis::Redis;
use crate::support::scene::{Scene, get, get_from, request};
use crate::support::wait;

fn asked() -> String {
    request("GET", "/", "X-Debug: 1\r\n")
}

fn asked_of(host: &str) -> String {
    get_from(host, "/").replace("\r\n\r\n", "\r\nX-Debug: 1\r\n\r\n")
}

/// Names of the fields that X-Debug adds.
fn added(response: &Response) -> Vec<String> {
    let names = response.head.lines().into_iter().filter_map(|line| Some(line.split_once(':')?.0));
    let mut names: Vec<String> = names.map(str::to_ascii_lowercase).collect();
    names.retain(|name| name.starts_with("x-debug"));
    names.sort_unstable();
    names
}

fn field<'a>(response: &'a Response, name: &str) -> &'a str {
    response.head.get(name).unwrap_or_else(|| panic!("no {name} in {}", response.head.raw))
}

/// Milliseconds in the field `name`.
fn milliseconds(response: &Response, name: &str) -> f64 {
    let text = field(response, name);
    text.parse().unwrap_or_else(|_| panic!("{name}: {text}"))
}

#[test]
fn an_answer_tells_where_it_came_from() {
    let backends = [mortal("a"), mortal("b"), mortal("c")];
    let listed = backends.each_ref().map(|backend| format!("{}/#weight=2", backend.url()));
    let scene = Scene::with(json!({}), &listed.each_ref().map(String::as_str));
    for (index, backend) in backends.iter().enumerate() {
        let response = ask_until_reached(&scene.proxy, backend, &asked());
        assert!(field(&response, "x-debug-backend-url").starts_with(&backend.url()));
        assert_eq!(field(&response, "x-debug-backend-id"), index.to_string());
        assert_eq!(field(&response, "x-debug-vhost"), "site");
        assert_eq!(field(&response, "x-debug-frontend-key"), "site.example");
        assert_eq!(added(&response).len(), 6, "{}", response.head.raw);
    }
}

#[test]
fn the_key_is_the_one_that_matched() {
    let backend = mortal("a");
    let scene = Scene::of(&backend);
    scene.redis.route("*.wild.example", &["wild", &backend.url()]);
    let response = scene.ask(asked_of("One.wild.example:8080"));
    assert_eq!(field(&response, "x-debug-frontend-key"), "*.wild.example");
    assert_eq!(field(&response, "x-debug-vhost"), "wild");
}

#[test]
fn times_are_milliseconds() {
    let backend = Backend::slow(Duration::from_millis(200));
    let scene = Scene::of(&backend);
    let response = scene.ask(asked());
    let (total, behind) =
        (milliseconds(&response, "x-debug-time-total"), milliseconds(&response, "x-debug-time-backend"));
    assert!((195.0..20_000.0).contains(&behind) && total >= behind && total < 20_000.0, "{total} {behind}");
}

#[test]
fn any_value_counts_and_reaches_the_backend_unchanged() {
    let backend = mortal("a");
    let scene = Scene::of(&backend);
    for (number, value) in ["1", "", "0", "false", "a, b"].iter().enumerate() {
        let response = scene.ask(request("GET", "/", &format!("x-DEBUG: {value}\r\n")));
        assert_eq!(added(&response).len(), 6, "{value:?}: {}", response.head.raw);
        let head = &backend.requests()[number].head;
        assert!(head.lines().contains(&format!("x-DEBUG: {value}").as_str()), "{}", head.raw);
    }
}

#[test]
fn without_the_header_nothing_is_told() {
    let (backend, refusing) = (mortal("a"), Refusing::new());
    let scene = Scene::of(&backend);
    scene.redis.route("refusing.example", &["refusing", &refusing.url()]);
    for (request, status) in
        [(get("/"), 200), (get_from("unknown.example", "/"), 400), (get_from("refusing.example", "/"), 502)]
    {
        let response = scene.ask(request);
        assert_eq!((response.status, added(&response)), (status, vec![]));
    }
    // PlanB's field is not ours.
    let response = scene.ask(get("/").replace("\r\n\r\n", "\r\nX-Debug-Router: 1\r\n\r\n"));
    assert_eq!((response.status, added(&response)), (200, vec![]));
}

#[test]
fn with_debug_header_false_nothing_is_told() {
    let (backend, refusing) = (mortal("a"), Refusing::new());
    let scene = Scene::with(json!({ "server": { "debugHeader": false } }), &[&backend.url()]);
    scene.redis.route("refusing.example", &["refusing", &refusing.url()]);
    for (host, status) in [("site.example", 200), ("unknown.example", 400), ("refusing.example", 502)] {
        let response = scene.ask(asked_of(host));
        assert_eq!((response.status, added(&response)), (status, vec![]));
    }
    assert_eq!(backend.request().head.get("x-debug"), Some("1"));
}

#[test]
fn an_error_tells_why() {
    let (backend, refusing, silent) = (mortal("a"), Refusing::new(), Backend::silent());
    let patience = json!({ "server": { "timeouts": { "backendHeader": 0.3 } } });
    let scene = Scene::with(patience, &[&backend.url()]);
    scene.redis.route("refusing.example", &["refusing", &refusing.url()]);
    scene.redis.route("silent.example", &["silent", &silent.url()]);
    scene.redis.route("empty.example", &["empty"]);
    let mut reasons = Vec::new();
    for (host, status) in
        [("unknown.example", 400), ("refusing.example", 502), ("silent.example", 504), ("empty.example", 502)]
    {
        let response = scene.ask(asked_of(host));
        let reason = field(&response, "x-debug-error").to_owned();
        assert_eq!(response.status, status);
        assert!(!reason.is_empty() && reason.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{reason:?}");
        reasons.push(reason);
    }
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), 4, "each says something of its own: {reasons:?}");
}

#[test]
fn all_dead_tells_so() {
    let backends = [mortal("a"), mortal("b")];
    let scene = Scene::with(json!({}), &[&backends[0].url(), &backends[1].url()]);
    scene.redis.command("SADD dead:site.example 0 1");
    wait::until("all are dead", || scene.ask(get("/")).status == 502);
    let response = scene.ask(asked());
    assert_eq!(response.status, 502);
    assert!(!field(&response, "x-debug-error").is_empty());
    assert_eq!(response.head.get("x-debug-backend-url"), None, "none was asked");
}

#[test]
fn a_store_that_is_away_is_named() {
    let redis = Redis::absent();
    let proxy = crate::support::proxy::Proxy::start(json!({ "redis": { "port": redis.port } }));
    let response = proxy.connect().ask(asked());
    assert_eq!(response.status, 503);
    assert!(!field(&response, "x-debug-error").is_empty());
}

#[test]
fn an_answer_after_a_retry_tells_of_the_last_backend() {
    let (refusing, good) = (Refusing::new(), mortal("good"));
    let scene = Scene::with(json!({}), &[&refusing.url(), &good.url()]);
    for _ in 0..10 {
        let response = scene.ask(asked());
        assert_eq!((response.text().as_str(), field(&response, "x-debug-backend-id")), ("good", "1"));
    }
}

#[test]
fn a_relayed_error_status_tells_where_it_came_from() {
    let backend = mortal("a");
    let scene = Scene::of(&backend);
    let response = scene.ask(request("GET", "/404", "X-Debug: 1\r\n"));
    assert_eq!((response.status, field(&response, "x-debug-backend-id")), (404, "0"));
}

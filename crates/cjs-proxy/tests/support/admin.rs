//! The admin listener as scrapers, probes and programs ask it.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::client::{Client, Response};
use super::metrics::Metrics;
use super::proxy::Proxy;

/// A configuration with `more` and an admin listener.
pub(crate) fn on(more: Value) -> Value {
    let mut config = json!({ "admin": { "port": 0 } });
    super::proxy::merge(&mut config, more);
    config
}

/// Where its admin listener is.
pub(crate) fn address(proxy: &Proxy) -> SocketAddr {
    let line = proxy.wait_for_log(" for admin");
    let (_, rest) = line.split_once("listening on ").unwrap();
    rest.strip_suffix(" for admin").unwrap().parse().unwrap()
}

pub(crate) fn fetch(at: SocketAddr, path: &str) -> Response {
    fetch_with(at, path, "")
}

pub(crate) fn fetch_with(at: SocketAddr, path: &str, fields: &str) -> Response {
    Client::to(at).ask(format!("GET {path} HTTP/1.1\r\nHost: admin\r\n{fields}\r\n"))
}

pub(crate) fn scrape(at: SocketAddr) -> Metrics {
    let response = fetch(at, "/metrics");
    assert_eq!(response.head.get("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    Metrics::parse(&response.text())
}

/// The JSON at `path`.
pub(crate) fn read(at: SocketAddr, path: &str) -> Value {
    let response = fetch(at, path);
    assert_eq!((response.status, response.head.get("content-type")), (200, Some("application/json")));
    serde_json::from_slice(&response.body).unwrap()
}

//! The usual set-up: one site in Redis, served by given backends through one proxy.

use serde_json::{Value, json};

use super::backend::Backend;
use super::client::{Client, Response};
use super::proxy::Proxy;
use super::redis::Redis;

/// Host of the site, as requests name it.
pub(crate) const SITE: &str = "site.example";

pub(crate) struct Scene {
    pub(crate) proxy: Proxy,
    pub(crate) redis: Redis,
}

impl Scene {
    /// The site is served by `backend`.
    pub(crate) fn of(backend: &Backend) -> Self {
        Self::with(json!({}), &[&backend.url()])
    }

    /// The site is served by `backends` (URLs), the proxy configured by `config`.
    pub(crate) fn with(config: Value, backends: &[&str]) -> Self {
        Self::on(Redis::start(), config, backends)
    }

    /// As `with`, on a Redis that was prepared before the proxy starts.
    pub(crate) fn on(redis: Redis, mut config: Value, backends: &[&str]) -> Self {
        redis.route(SITE, &[&["site"], backends].concat());
        config["redis"]["port"] = redis.port.into();
        Self { proxy: Proxy::start(config), redis }
    }

    /// Another proxy on the same Redis.
    pub(crate) fn another_proxy(&self, mut config: Value) -> Proxy {
        config["redis"]["port"] = self.redis.port.into();
        Proxy::start(config)
    }

    pub(crate) fn connect(&self) -> Client {
        self.proxy.connect()
    }

    /// Sends `request` over a connection of its own.
    pub(crate) fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        self.connect().ask(request)
    }
}

/// A plain request to the site.
pub(crate) fn get(target: &str) -> String {
    request("GET", target, "")
}

/// A plain request to any host.
pub(crate) fn get_from(host: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// A request to the site with these more header lines, each with its CRLF.
pub(crate) fn request(method: &str, target: &str, fields: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: {SITE}\r\n{fields}\r\n")
}

/// A request with a body of known length.
pub(crate) fn with_body(method: &str, target: &str, body: &str) -> String {
    request(method, target, &format!("Content-Length: {}\r\n", body.len())) + body
}

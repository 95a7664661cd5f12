//! What a small request costs apart from the kernel and the runtime, step by step in the order that `exchange.rs` takes: for
//! `benches/instructions.py`, which counts instructions. Not used by the proxy.

use std::net::IpAddr;
use std::time::Duration;

use redis_router::{Cached, Route, Router};

use crate::access_log::{Entry, RequestId, RequestLine, write_line};
use crate::http::encode::{self, Destination, Forwarding, Persistence};
use crate::http::fault::Fault;
use crate::http::head::{HeadLimits, HeadScan};
use crate::http::request::RequestHead;
use crate::http::response::ResponseHead;
use crate::pick;

const LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, fields: 100, target: 16 * 1024 };
const PEER: &str = "192.0.2.1";

/// What one connection keeps from request to request.
pub struct PurePath {
    router: Router,
    request: RequestHead,
    response: ResponseHead,
    sent: Vec<u8>,
}

impl std::fmt::Debug for PurePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PurePath").finish_non_exhaustive()
    }
}

impl PurePath {
    /// Serves what `router` knows without waiting.
    pub fn new(router: Router) -> Self {
        Self { router, request: RequestHead::default(), response: ResponseHead::default(), sent: Vec::new() }
    }

    /// Takes a request and the answer to it, both whole heads, through every step; `random` picks the backend and names the
    /// request. Returns the bytes of both as they go out, and of the line in the access log.
    ///
    /// # Errors
    /// A head that is not accepted, or a host without a live backend.
    pub fn turn(&mut self, request: &[u8], answer: &[u8], random: u64) -> Result<usize, Fault> {
        self.sent.clear();
        self.take_in(request)?;
        let Cached::Route(route) = self.router.cached(&self.request.host) else {
            return Err(Fault::Malformed);
        };
        let backend = self.send_on(&route, random)?;
        let mut scan = HeadScan::default();
        let length = scan.advance(answer, LIMITS.bytes)?.ok_or(Fault::Malformed)?;
        self.response.parse(&answer[..length], false, LIMITS)?;
        let client = (self.request.version, Persistence::KeepAlive);
        encode::response(&mut self.sent, &self.response, answer, self.response.body, client, &[]);
        self.log(&route, backend, random);
        Ok(self.sent.len())
    }

    fn take_in(&mut self, request: &[u8]) -> Result<(), Fault> {
        let mut bytes = std::mem::take(&mut self.request.bytes);
        bytes.clear();
        bytes.extend_from_slice(request);
        let mut scan = HeadScan::default();
        let length = scan.advance(&bytes, LIMITS.bytes)?.ok_or(Fault::Malformed)?;
        self.request.parse(bytes, length, LIMITS)
    }

    /// Picks a backend and writes the request for it; the URL of the backend.
    fn send_on<'a>(&mut self, route: &'a Route, random: u64) -> Result<&'a str, Fault> {
        let backends = &route.frontend.backends;
        let picked = pick::by_weight(backends, pick::takes_requests, random).ok_or(Fault::Malformed)?;
        let forwarding = Forwarding {
            peer: PEER,
            trusted: false,
            scheme: "http",
            member: None,
            port: 80,
            request_id: u128::from(random),
        };
        let to = Destination { skipped: 0, path_prefix: &picked.path_prefix, authority: &picked.authority };
        encode::request(&mut self.sent, &self.request, &forwarding, to);
        Ok(&picked.url)
    }

    fn log(&mut self, route: &Route, backend: &str, random: u64) {
        let bytes = self.request.bytes.as_slice();
        let entry = Entry {
            client: IpAddr::from([192, 0, 2, 1]),
            time: "22/Nov/2026:22:30:00 +0000",
            request: Some(RequestLine {
                method: self.request.method(),
                target: self.request.target.within(bytes),
                version: "HTTP/1.1",
            }),
            status: self.response.status,
            bytes: 1024,
            referer: &[],
            user_agent: b"wrk",
            vhost: &route.frontend.identifier,
            host: self.request.host_value.within(bytes),
            frontend: Some(&route.frontend.key),
            backend_url: Some(backend),
            request_id: RequestId::Own(u128::from(random)),
            total: Duration::from_micros(1234),
            backend: Duration::from_micros(1000),
        };
        write_line(&mut self.sent, &entry);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use redis_router::Table;

    use super::*;

    #[test]
    fn a_request_goes_through_every_step() {
        let table =
            Table::parse(r#"{"a.example": ["a", "http://10.0.0.1/p", "http://10.0.0.2/p"]}"#).unwrap();
        let mut path = PurePath::new(Router::table(Arc::new(table)));
        let request = b"GET /x HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n";
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\nX-A: b\r\n\r\n";
        for random in [0, u64::MAX] {
            let length = path.turn(request, answer, random).unwrap();
            let sent = String::from_utf8(path.sent.clone()).unwrap();
            assert_eq!(length, sent.len());
            let parts: Vec<&str> = sent.split("\r\n\r\n").collect();
            assert!(parts[0].starts_with("GET /p/x HTTP/1.1\r\nHost: a.example\r\n"), "{sent}");
            assert!(parts[0].contains("X-Forwarded-For: 192.0.2.1\r\n"), "{sent}");
            assert!(parts[1].starts_with("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\nX-A: b"), "{sent}");
            assert!(parts[2].starts_with("::ffff:192.0.2.1 - - [22/Nov/2026"), "{sent}");
        }
        assert!(path.turn(b"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n", answer, 0).is_err());
        assert!(path.turn(b"GET / HTTP/1.1\r\n", answer, 0).is_err());
    }
}

//! One frontend: the list under `frontend:<host>`, parsed once into backends that cannot be wrong.

use std::net::IpAddr;

/// A virtual host with its backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontend {
    /// The key that matched, without prefix and `frontend:` (`*.example.tld`, say).
    pub key: Box<str>,
    /// First element of the list: the name of the virtual host in logs.
    pub identifier: Box<str>,
    /// Valid backends in list order. May be empty.
    pub backends: Vec<Backend>,
    /// Elements that are no backend URL.
    pub invalid: Vec<InvalidBackend>,
}

/// One backend of a frontend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The URL as it stands in the list.
    pub url: Box<str>,
    /// Position among the list's backend elements, counted from 0, invalid ones included (Hipache's backend id).
    pub index: usize,
    /// How to talk to it.
    pub scheme: Scheme,
    /// Whom to connect to.
    pub host: BackendHost,
    /// Port to connect to.
    pub port: u16,
    /// `host:port`, IPv6 in brackets: the name of its connection pool, and its `Host` where a client sent none.
    pub authority: Box<str>,
    /// Put before the request path; empty or `/something` without a slash at its end.
    pub path_prefix: Box<str>,
    /// Share of requests relative to the other backends; at least 1.
    pub weight: u32,
    /// Takes no new requests (`#drain`).
    pub drain: bool,
    /// Certificate not verified (`#insecure`, https only).
    pub insecure: bool,
}

/// How a backend is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
}

/// Host part of a backend URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BackendHost {
    /// A literal address.
    Address(IpAddr),
    /// A name to resolve.
    Name(Box<str>),
}

/// An element of a list that is no backend URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidBackend {
    /// As it stands in the list.
    pub url: Box<str>,
    /// What is wrong with it and what is accepted.
    pub reason: String,
}

//! What is told of one host.

use crate::backend::Backend;
use crate::report::Report;

/// What serves a host, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The host as it was looked up.
    pub host: String,
    /// Keys of lists that were looked for, in order.
    pub looked_for: Vec<String>,
    /// The first list that is there.
    pub frontend: Option<ShownFrontend>,
    /// What was found amiss.
    pub notes: Vec<String>,
    /// The server that was read; `None`: the store is a table.
    pub server: Option<Server>,
}

/// The list that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownFrontend {
    /// Its whole key.
    pub key: String,
    /// Its first element.
    pub identifier: String,
    /// Milliseconds until it expires; `None`: never.
    pub left_ms: Option<u64>,
    /// The options in force.
    pub options: Option<ShownOptions>,
    /// The other elements, in order.
    pub backends: Vec<ShownBackend>,
}

/// The options that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownOptions {
    /// Their whole key.
    pub key: String,
    /// Fields and values that are in force.
    pub fields: Vec<(String, String)>,
}

/// One backend of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownBackend {
    /// As it stands in the list.
    pub url: String,
    /// As the proxy reads it.
    ///
    /// # Errors
    /// Why it does not.
    pub read: Result<Backend, String>,
    /// The mark that holds it dead.
    pub mark: Option<Mark>,
}

/// A dead mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Whole keys of the sets that hold it.
    pub sets: Vec<String>,
    /// Milliseconds until the last of them expires; `None`: never.
    pub left_ms: Option<u64>,
    /// What is told of the death; `None`: nobody told, as hipache-hchecker and Hipache do not.
    pub report: Option<Report>,
}

/// What was found out about the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its address.
    pub address: String,
    /// Unix seconds by its clock when it was asked; `None`: it does not say.
    pub now: Option<u64>,
    /// How the proxy follows it.
    pub freshness: Freshness,
    /// It is a replica that does not hear its master.
    pub cut_off: bool,
    /// An external health checker is active.
    pub checker: bool,
    /// A built-in health checker of some proxy is.
    pub own_checker: bool,
}

/// How changes become known to the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freshness {
    /// Every change is pushed.
    Tracking,
    /// By keyspace notifications.
    Keyspace {
        /// Greatest age of a route in milliseconds.
        max_age_ms: u64,
        /// Why there is nothing better.
        why: String,
    },
    /// Not at all.
    Polling {
        /// Greatest age of a route in milliseconds.
        max_age_ms: u64,
        /// Why there is nothing better.
        why: String,
    },
}

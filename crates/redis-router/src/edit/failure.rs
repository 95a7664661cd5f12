//! Why routes could not be shown or changed.

use std::fmt;
use std::io;

use crate::bounds::EDIT_TRIES_MAX;
use crate::file::TableError;

/// Why a command on routes did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The server could not be reached, or refused.
    Redis {
        /// Its address.
        server: String,
        /// What failed, and what mends it.
        problem: String,
    },
    /// Somebody else wrote the key each time between our look and our change.
    Contended {
        /// The key.
        key: String,
    },
    /// A key that holds something else than a list.
    NoList {
        /// The key.
        key: String,
    },
    /// No list under this host.
    UnknownHost {
        /// As asked for.
        host: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// The list does not hold this backend.
    UnknownBackend {
        /// Whose list.
        host: String,
        /// As asked for.
        backend: String,
        /// Those it holds.
        known: Vec<String>,
    },
    /// The list has another identifier than the one asked for.
    OtherIdentifier {
        /// Whose list.
        host: String,
        /// Its identifier.
        identifier: String,
    },
    /// The host or what is to stand there is not valid.
    Invalid(TableError),
    /// What was found could not be handed on.
    Output(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Redis { server, problem } => write!(f, "redis {server}: {problem}"),
            Failure::Contended { key } => write!(
                f,
                "key {key:?}: others changed it each of the {EDIT_TRIES_MAX} times it was to be written; nothing was \
                 written, try again"
            ),
            Failure::NoList { key } => write!(
                f,
                "key {key:?} holds no list and counts as absent for the proxy; nothing was written, take it away \
                 first: redis-cli DEL"
            ),
            Failure::UnknownHost { host, .. } => write!(f, "host {host:?} has no frontend"),
            Failure::UnknownBackend { host, backend, .. } => {
                write!(f, "host {host:?} has no backend {backend:?}")
            }
            Failure::OtherIdentifier { host, identifier } => write!(
                f,
                "host {host:?} has the identifier {identifier:?} already; --id is for a new frontend, leave it out"
            ),
            Failure::Invalid(error) => error.fmt(f),
            Failure::Output(error) => write!(f, "the output could not be written: {error}"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failure::Invalid(error) => Some(error),
            Failure::Output(error) => Some(error),
            _ => None,
        }
    }
}

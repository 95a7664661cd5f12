//! Why a look-up had no answer.

use std::fmt;

use crate::bounds::STORE_WAIT;
use crate::source::Server;

/// The store could not be asked and the host is not known from before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// No usable connection: the server is down, unreachable, or refuses us.
    Away {
        /// The server.
        server: Server,
        /// Why the last attempt failed.
        reason: String,
    },
    /// No answer within `STORE_WAIT`.
    Slow {
        /// The server.
        server: Server,
    },
    /// The server answered the read with an error (LOADING, NOPERM, ...).
    Refused {
        /// The server.
        server: Server,
        /// Its words.
        reason: String,
    },
    /// Our own bound: too many look-ups wait for the store already.
    Busy {
        /// The server.
        server: Server,
    },
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unavailable::Away { server, reason } => write!(f, "redis {server}: not connected: {reason}"),
            Unavailable::Slow { server } => {
                write!(f, "redis {server}: no answer within {} ms", STORE_WAIT.as_millis())
            }
            Unavailable::Refused { server, reason } => {
                write!(f, "redis {server}: the route was not read: {reason}")
            }
            Unavailable::Busy { server } => write!(f, "redis {server}: too many look-ups wait for it"),
        }
    }
}

impl std::error::Error for Unavailable {}

//! Why a look-up had no answer.

use std::fmt;
use std::rc::Rc;

use crate::bounds::STORE_WAIT;

/// The store could not be asked and the host is not known from before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// No usable connection: the server is down, unreachable, or refuses us.
    Away {
        /// The store, as logs name it.
        store: Rc<str>,
        /// Why the last attempt failed.
        reason: String,
    },
    /// No answer within `STORE_WAIT`.
    Slow {
        /// The store, as logs name it.
        store: Rc<str>,
    },
    /// The server answered the read with an error (LOADING, NOPERM, ...).
    Refused {
        /// The store, as logs name it.
        store: Rc<str>,
        /// Its words.
        reason: String,
    },
    /// Our own bound: too many look-ups wait for the store already.
    Busy {
        /// The store, as logs name it.
        store: Rc<str>,
    },
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unavailable::Away { store, reason } => write!(f, "redis {store}: not connected: {reason}"),
            Unavailable::Slow { store } => {
                write!(f, "redis {store}: no answer within {} ms", STORE_WAIT.as_millis())
            }
            Unavailable::Refused { store, reason } => {
                write!(f, "redis {store}: the route was not read: {reason}")
            }
            Unavailable::Busy { store } => write!(f, "redis {store}: too many look-ups wait for it"),
        }
    }
}

impl std::error::Error for Unavailable {}

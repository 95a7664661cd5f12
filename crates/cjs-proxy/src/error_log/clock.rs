//! The only place of the error log that asks what time it is.
#![allow(clippy::disallowed_methods, reason = "this is the module the rule points to")]

use std::time::Instant;

/// A point in monotonic time.
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970 by the wall clock.
pub(super) fn unix_seconds() -> u64 {
    proxy_core::unix_seconds()
}

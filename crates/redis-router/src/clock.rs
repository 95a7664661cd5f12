//! The only module that asks the clock: coarse milliseconds that the look-ups read without a call.

#![allow(clippy::disallowed_methods, reason = "this is the module that asks")]

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use monoio::time::Instant;

/// Milliseconds since the router began, as of the last `refresh`.
pub(crate) struct Clock {
    start: Instant,
    now_ms: Cell<u64>,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock { start: Instant::now(), now_ms: Cell::new(0) }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    pub(crate) fn refresh(&self) -> u64 {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now_ms.set(elapsed);
        elapsed
    }

    /// Microseconds since the router began.
    pub(crate) fn micros(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The time of day, for people to read.
pub(crate) fn unix_seconds() -> u64 {
    // A clock before 1970 tells nothing anyway.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

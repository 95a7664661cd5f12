//! The only module that asks the clock: coarse milliseconds that the look-ups read without a call.

use std::cell::Cell;

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
}

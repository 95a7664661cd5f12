//! What a core has done, for the supervisor's eyes. Written by the core alone, read by others without order.

use std::sync::atomic::{AtomicU64, Ordering};

/// One core's counters. They begin with the core.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Turns of the core's pulse: a core whose pulse stands still hangs.
    pulse: Counter,
    /// Exchanges that have ended.
    pub(crate) requests: Counter,
    /// Connections taken.
    pub(crate) connections: Counter,
    /// Connections closed at once, as there were too many.
    pub(crate) refused: Counter,
    /// Bytes sent to clients.
    pub(crate) bytes: Counter,
    /// Connections that are open.
    pub(crate) open: Counter,
}

impl Account {
    /// The core lives: to be called on each tick.
    pub(crate) fn beat(&self, open_connections: usize) {
        self.pulse.add(1);
        self.open.set(open_connections as u64);
    }

    pub(crate) fn pulse(&self) -> u64 {
        self.pulse.get()
    }
}

/// A number with a single writer, which needs no atomic addition.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.set(self.get().wrapping_add(count));
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

//! Waiting for what has to come. The one place that pauses and asks the clock.
#![allow(clippy::disallowed_methods, reason = "a deadline of a test is real time")]

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest wait for anything a test waits for. Generous: other tests run beside it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Looks again and again until `look` finds something.
pub(crate) fn until_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Looks again and again until `check` holds.
pub(crate) fn until(what: &str, mut check: impl FnMut() -> bool) {
    until_some(what, || check().then_some(()));
}

pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// A gate that scripts wait at until the test opens it.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Returns once it is open.
    pub(crate) fn pass(&self) {
        let shut = self.0.0.lock().unwrap();
        let (open, _) = self.0.1.wait_timeout_while(shut, DEADLINE, |open| !*open).unwrap();
        assert!(*open, "a gate was not opened within {DEADLINE:?}");
    }

    /// Whether it is open, or opens within `patience`.
    pub(crate) fn opens_within(&self, patience: Duration) -> bool {
        let shut = self.0.0.lock().unwrap();
        *self.0.1.wait_timeout_while(shut, patience, |open| !*open).unwrap().0
    }

    pub(crate) fn shut(&self) {
        *self.0.0.lock().unwrap() = false;
    }
}

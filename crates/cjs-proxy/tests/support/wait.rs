//! Waiting for what has to come. The one place that pauses.
#![allow(clippy::disallowed_methods, reason = "a deadline of a test is real time")]

use std::time::{Duration, Instant};

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

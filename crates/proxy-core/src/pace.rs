//! Whether a body comes fast enough: so many bytes in each window of time that was spent waiting for it, once a grace is
//! over. Pure; time is in ticks of the wheel and an argument, and only who waits knows for whom.

use std::time::Duration;

use crate::bounds::TICK_MILLIS;

/// How one body comes.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes asked for in a window.
    quota: u64,
    /// Ticks of a window.
    window: u64,
    /// What is left of the present one.
    left: u64,
    /// Bytes that have come in it.
    got: u64,
}

impl Pace {
    /// At least `rate` bytes a second over each `window`; the first begins after `grace`.
    pub(crate) fn new(rate: u64, grace: Duration, window: Duration) -> Self {
        let window = ticks(window);
        let quota = rate.saturating_mul(window * TICK_MILLIS) / 1000;
        // The grace is a window that asks for nothing.
        Self { quota, window, left: ticks(grace), got: quota }
    }

    /// Ticks that may go by until the next byte.
    pub(crate) fn patience(&self) -> u64 {
        if self.got < self.quota { self.left } else { self.left + self.window }
    }

    /// So many bytes came after so many ticks. More of these than [`Self::patience`] allows are for the caller to find.
    pub(crate) fn took(&mut self, mut waited: u64, bytes: usize) {
        if waited >= self.left && self.got >= self.quota {
            waited -= self.left;
            (self.left, self.got) = (self.window, 0);
        }
        self.left = self.left.saturating_sub(waited);
        self.got = self.got.saturating_add(bytes as u64);
    }
}

fn ticks(time: Duration) -> u64 {
    (time.as_millis() / u128::from(TICK_MILLIS)).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1000 / TICK_MILLIS;

    /// A hundred bytes a second over ten, after ten.
    fn pace() -> Pace {
        Pace::new(100, Duration::from_secs(10), Duration::from_secs(10))
    }

    /// Ticks until a body is given up of which `bytes` come every `every` ticks; `None`: within an hour it is not.
    fn given_up_after(mut pace: Pace, every: u64, bytes: usize) -> Option<u64> {
        let mut now = 0;
        while now < 3600 * SECOND {
            if pace.patience() < every {
                return Some(now + pace.patience());
            }
            pace.took(every, bytes);
            now += every;
        }
        None
    }

    #[test]
    fn silence_is_given_up_at_the_end_of_the_first_window() {
        assert_eq!(pace().patience(), 20 * SECOND);
        assert_eq!(given_up_after(pace(), 1, 0), Some(20 * SECOND));
    }

    #[test]
    fn what_is_slower_than_the_rate_is_given_up_and_what_is_as_fast_is_not() {
        for (every, enough) in [(1, 10), (SECOND, 100), (3 * SECOND, 300), (10 * SECOND, 1000)] {
            assert_eq!(given_up_after(pace(), every, enough * 7 / 5), None, "{every}");
            let slow = given_up_after(pace(), every, enough / 2);
            assert!(slow.is_some_and(|at| at <= 30 * SECOND), "{every}: {slow:?}");
        }
        assert_eq!(given_up_after(pace(), 1, 10), None);
        assert_eq!(given_up_after(pace(), 1, 9), Some(20 * SECOND));
    }

    #[test]
    fn nothing_is_asked_for_in_the_grace() {
        let mut pace = pace();
        pace.took(9 * SECOND, 1);
        assert_eq!(pace.patience(), 11 * SECOND);
        pace.took(10 * SECOND, 1000);
        // A second of the window is left, and it has its bytes.
        assert_eq!(pace.patience(), 11 * SECOND);
        pace.took(2 * SECOND, 0);
        assert_eq!(pace.patience(), 9 * SECOND);
    }

    #[test]
    fn a_body_that_is_not_waited_for_is_never_slow() {
        let mut pace = pace();
        for _ in 0..1_000_000 {
            pace.took(0, 1);
        }
        assert_eq!(pace.patience(), 20 * SECOND);
    }

    #[test]
    fn a_burst_is_worth_its_window_alone() {
        let mut pace = pace();
        pace.took(10 * SECOND, 1_000_000);
        assert_eq!(pace.patience(), 20 * SECOND);
        pace.took(10 * SECOND, 1);
        assert_eq!(pace.patience(), 10 * SECOND);
    }

    #[test]
    fn any_rate_and_any_time_fit() {
        let mut pace = Pace::new(u64::MAX, Duration::ZERO, Duration::ZERO);
        pace.took(u64::MAX, usize::MAX);
        pace.took(u64::MAX, usize::MAX);
        assert!(pace.patience() <= 2);
        assert_eq!(given_up_after(Pace::new(1, Duration::ZERO, Duration::from_millis(500)), 1, 0), None);
    }
}

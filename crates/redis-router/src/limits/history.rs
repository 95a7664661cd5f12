//! What one core has admitted for one client within the window, in eighths of it: to act alone while the store is away, and
//! to give it back to a store that has lost it.

/// Parts of the window.
const CHUNKS: u64 = 8;

/// The present part and the eight before it: together they cover the window whatever the present one has of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct History {
    counts: [u32; CHUNKS as usize + 1],
    /// Number of the present part.
    chunk: u64,
    /// When it ends.
    ends: u64,
}

impl History {
    /// `window` in microseconds, as in all of these.
    pub(super) fn new(now: u64, window: u64) -> History {
        let number = now / chunk(window);
        History { counts: [0; CHUNKS as usize + 1], chunk: number, ends: (number + 1) * chunk(window) }
    }

    pub(super) fn add(&mut self, now: u64, window: u64, requests: u32) {
        self.turn(now, window);
        let count = &mut self.counts[0];
        *count = count.saturating_add(requests);
    }

    /// Requests in the window, and up to an eighth of it longer.
    pub(super) fn sum(&mut self, now: u64, window: u64) -> u64 {
        self.turn(now, window);
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// Requests by their age in buckets; where it is not known to the bucket, the least that it can be.
    pub(super) fn ages(&mut self, now: u64, window: u64, bucket: u64) -> Vec<(u64, u64)> {
        self.turn(now, window);
        let into_present = now % chunk(window);
        let age = |part: usize| match part as u64 {
            0 => 0,
            part => ((part - 1) * chunk(window) + into_present) / bucket,
        };
        let counts = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(|(part, count)| (age(part), u64::from(*count))).collect()
    }

    fn turn(&mut self, now: u64, window: u64) {
        if now < self.ends {
            return;
        }
        let number = now / chunk(window);
        let passed = usize::try_from(number - self.chunk).unwrap_or(usize::MAX).min(self.counts.len());
        self.counts.rotate_right(passed);
        self.counts[..passed].fill(0);
        (self.chunk, self.ends) = (number, (number + 1) * chunk(window));
    }
}

fn chunk(window: u64) -> u64 {
    window.div_ceil(CHUNKS)
}

#[cfg(test)]
mod tests {
    use super::History;

    #[test]
    fn what_is_older_than_the_window_counts_no_more() {
        let window = 8_000;
        let mut history = History::new(0, window);
        history.add(500, window, 3);
        history.add(4_500, window, 2);
        assert_eq!(history.sum(8_499, window), 5);
        assert_eq!(history.sum(8_999, window), 5);
        assert_eq!(history.sum(9_000, window), 2);
        assert_eq!(history.sum(1_000_000, window), 0);
    }

    #[test]
    fn ages_are_never_too_great() {
        let (window, bucket) = (8_000, 100);
        for at in [0, 1, 999, 1_000, 3_700] {
            for later in [0, 1, 500, 2_001, 7_999] {
                let mut history = History::new(at, window);
                history.add(at, window, 1);
                let ages = history.ages(at + later, window, bucket);
                assert_eq!(ages.len(), 1, "{at} {later}");
                assert!(
                    ages[0].0 <= later / bucket && ages[0].0 + 10 >= later / bucket,
                    "{at} {later} {ages:?}"
                );
            }
        }
    }

    #[test]
    fn a_clock_that_stands_still_loses_nothing() {
        let mut history = History::new(5_000, 8_000);
        history.add(5_000, 8_000, 1);
        history.add(4_000, 8_000, 1);
        assert_eq!(history.sum(4_000, 8_000), 2);
    }
}

//! Which lines are said too often. Pure: time is an argument.
//!
//! A place in the code says so many lines in a period; what it says beyond them is counted, and the count is told once
//! the period is over.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use log::Level;

/// How long the lines of one place are counted together.
pub(super) const PERIOD: Duration = Duration::from_secs(10);
/// Lines of one place in a period: more than any place says of one cause, few enough that a log stays readable.
pub(super) const LINES_OF_ONE_PLACE: u32 = 100;
/// Places that are counted apart: more than there are. What is beyond them is not limited here, only by the queue.
const PLACES: usize = 1024;

/// A place in the code.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Site {
    pub(super) module: &'static str,
    pub(super) line: u32,
}

/// What was withheld of one place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Withheld {
    pub(super) module: &'static str,
    pub(super) level: Level,
    pub(super) lines: u32,
}

#[derive(Debug)]
struct Count {
    since: Instant,
    level: Level,
    lines: u32,
}

/// Counts of the period that is under way, by place.
#[derive(Debug)]
pub(super) struct Repeats {
    /// With room for `PLACES`, so that no core allocates for others.
    counts: HashMap<Site, Count>,
    /// When the first of the periods is over; `None`: there is none.
    first_end: Option<Instant>,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Said,
    /// The first that is withheld of its place in the period.
    WithheldFirst,
    Withheld,
}

impl Default for Repeats {
    fn default() -> Self {
        Self { counts: HashMap::with_capacity(PLACES), first_end: None }
    }
}

impl Repeats {
    /// Counts a line of `site`.
    pub(super) fn count(&mut self, site: Site, level: Level, now: Instant) -> Verdict {
        if self.counts.len() >= PLACES && !self.counts.contains_key(&site) {
            return Verdict::Said;
        }
        self.first_end.get_or_insert(now + PERIOD);
        let count = self.counts.entry(site).or_insert(Count { since: now, level, lines: 0 });
        count.lines = count.lines.saturating_add(1);
        match count.lines {
            ..=LINES_OF_ONE_PLACE => Verdict::Said,
            lines if lines == LINES_OF_ONE_PLACE + 1 => Verdict::WithheldFirst,
            _ => Verdict::Withheld,
        }
    }

    /// Ends the periods that are over; what was withheld in them.
    pub(super) fn ended(&mut self, now: Instant) -> Vec<Withheld> {
        if self.first_end.is_none_or(|end| now < end) {
            return Vec::new();
        }
        let is_over = |count: &Count| now.saturating_duration_since(count.since) >= PERIOD;
        let over = self.counts.extract_if(|_, count| is_over(count));
        let withheld = over.filter_map(|(site, count)| {
            let lines = count.lines.saturating_sub(LINES_OF_ONE_PLACE);
            (lines > 0).then_some(Withheld { module: site.module, level: count.level, lines })
        });
        let withheld = withheld.collect();
        self.first_end = self.counts.values().map(|count| count.since + PERIOD).min();
        withheld
    }

    /// Whether there is something to tell of later.
    pub(super) fn is_withholding(&self) -> bool {
        self.counts.values().any(|count| count.lines > LINES_OF_ONE_PLACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(line: u32) -> Site {
        Site { module: "m", line }
    }

    #[test]
    fn a_place_says_so_much_and_the_rest_is_counted() {
        let (start, mut repeats) = (super::super::clock::now(), Repeats::default());
        let said = (0..LINES_OF_ONE_PLACE + 7)
            .filter(|_| repeats.count(site(1), Level::Warn, start) == Verdict::Said);
        assert_eq!(said.count() as u32, LINES_OF_ONE_PLACE);
        assert!(
            repeats.count(site(2), Level::Info, start) == Verdict::Said,
            "another place is counted apart"
        );
        assert!(repeats.is_withholding());
        assert_eq!(repeats.ended(start + PERIOD - Duration::from_millis(1)), []);
        let withheld = Withheld { module: "m", level: Level::Warn, lines: 7 };
        assert_eq!(repeats.ended(start + PERIOD), [withheld]);
        assert!(!repeats.is_withholding());
        assert!(repeats.count(site(1), Level::Warn, start + PERIOD) == Verdict::Said, "a new period");
    }

    #[test]
    fn the_table_is_bounded() {
        let (start, mut repeats) = (super::super::clock::now(), Repeats::default());
        let places = PLACES as u32;
        assert!((0..places + 5).all(|line| repeats.count(site(line), Level::Warn, start) == Verdict::Said));
        assert_eq!(repeats.counts.len(), PLACES);
        assert_eq!(repeats.count(site(places), Level::Warn, start), Verdict::Said);
    }
}

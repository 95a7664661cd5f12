//! What is held against backends: dead marks by the name behind `dead:` and by index. Pure: time is an argument.
//!
//! ```text
//!   Live --announced, or seen in the set--> Dead --its time is over--> Unproven --a request was answered--> Live
//!    ^                                      | ^------announced again------/ |
//!    \------------taken out of the set before its time----------------------/
//! ```
//!
//! A mark speaks of one URL: the announced one, else the one that stood at the index when the index was first seen in
//! the set. It counts only while that URL stands there. An announced death ends by its own time, although the set, whose
//! time each further mark renews, may still hold it; a death known from the set alone lasts as long as the set says.
//! An active checker puts back what stays dead, so while one is active the set alone decides.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::backend::{Backend, is_same_url};
use crate::bounds::{
    ANNOUNCE_PAUSE_MS, CHECKER_VERDICT_MS, MARKS_MAX, MARKS_SWEEP_MIN, REASON_CHARACTERS_MAX, TICK_MS,
    UNPROVEN_KEPT_MS,
};
use crate::frontend::Frontend;
use crate::message::Death;
use crate::route::Health;

/// The circumstances a mark is judged in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) ms: u64,
    /// A checker is active, external or built in.
    pub(crate) checker: bool,
}

/// A dead set as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DeadSet {
    /// Indexes, ascending.
    pub(crate) members: Vec<usize>,
    /// Clock milliseconds at which it expires; `u64::MAX`: never.
    pub(crate) until_ms: u64,
    /// `Marks::announcements` when the read was sent.
    pub(crate) announcements: u64,
}

/// The marks one core knows.
pub(crate) struct Marks {
    /// Ascending by index; none is empty.
    by_name: HashMap<Box<str>, Vec<Mark>, foldhash::fast::RandomState>,
    len: usize,
    sweep_at: usize,
    swept_ms: u64,
    announcements: u64,
}

struct Mark {
    index: usize,
    /// What it speaks of; empty: of nothing that ever stood there.
    url: Box<str>,
    /// Number of its last announcement; 0: none. Reads sent before it say nothing about it.
    announcement: u64,
    /// When an announced death is over; `None`: known from the set alone.
    until_ms: Option<u64>,
    /// When an active checker must have put it into the set, had it found the backend dead as well.
    verdict_ms: u64,
    membership: Membership,
    /// A request was answered after its time.
    proven: bool,
    probing: Rc<Cell<bool>>,
    /// When this core told the others.
    told_ms: Option<u64>,
    /// What the backend did, where this core saw it.
    why: Option<Box<str>>,
}

/// What a mark that holds says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Charge {
    /// Clock milliseconds at which it is over; `u64::MAX`: never.
    pub(crate) until_ms: u64,
    /// What the backend did, where this core saw it.
    pub(crate) why: Option<Box<str>>,
}

/// Where an index stands with the set in Redis.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Membership {
    /// Not seen in it since the mark was made.
    Unseen,
    /// Seen in it, until the set expires.
    In { until_ms: u64 },
    /// The set has expired.
    Left,
}

impl Default for Marks {
    fn default() -> Marks {
        let by_name = HashMap::default();
        Marks { by_name, len: 0, sweep_at: MARKS_SWEEP_MIN, swept_ms: 0, announcements: 0 }
    }
}

impl Marks {
    /// Whether nothing at all is held under `name`.
    pub(crate) fn has_none(&self, name: &str) -> bool {
        self.len == 0 || !self.by_name.contains_key(name)
    }

    pub(crate) fn health(&self, name: &str, backend: &Backend, now: Now) -> Health {
        self.against(name, backend).map_or(Health::Live, |mark| mark.health(now))
    }

    /// The mark of `backend`; `None`: it has none, or its time is over.
    pub(crate) fn charge(&self, name: &str, backend: &Backend, now: Now) -> Option<Charge> {
        let mark = self.against(name, backend).filter(|mark| mark.holds(now))?;
        let until_ms = if now.checker { mark.end_ms() } else { mark.until_ms.unwrap_or(mark.end_ms()) };
        Some(Charge { until_ms, why: mark.why.clone() })
    }

    /// Takes the place of the one request that may ask an unproven backend; it is free again once the cell is false.
    pub(crate) fn begin_probe(&self, name: &str, backend: &Backend, now: Now) -> Option<Rc<Cell<bool>>> {
        let mark = self.against(name, backend).filter(|mark| mark.health(now) == Health::Unproven)?;
        mark.probing.set(true);
        Some(mark.probing.clone())
    }

    /// The backend has answered: a mark whose time is over no longer counts.
    pub(crate) fn answered(&mut self, name: &str, backend: &Backend, now: Now) {
        if self.against(name, backend).is_none_or(|mark| mark.holds(now)) {
            return;
        }
        self.retain(name, |mark| {
            mark.proven |= mark.index == backend.index;
            !mark.proven || mark.is_in_set(now.ms)
        });
    }

    /// Deaths announced, and taken into a set, so far.
    pub(crate) fn announcements(&self) -> u64 {
        self.announcements
    }

    /// A death that was seen here or heard of; it is over at `until_ms`.
    pub(crate) fn announced(&mut self, death: &Death<'_>, until_ms: u64, now_ms: u64) {
        self.announcements += 1;
        let mut mark = Mark::new(death.index, death.url);
        (mark.announcement, mark.until_ms) = (self.announcements, Some(until_ms));
        mark.verdict_ms = now_ms + CHECKER_VERDICT_MS;
        if let Some(before) = self.mark(death.frontend, death.index) {
            // Being the same member it is still the one that is in the set or out of it.
            mark.membership = match before.membership {
                Membership::Left => Membership::Unseen,
                membership => membership,
            };
            if before.url == mark.url {
                mark.told_ms = before.told_ms;
                // What an earlier death was for says nothing of this one.
                mark.why = before.why.take().filter(|_| now_ms < before.end_ms());
            }
            *before = mark;
        } else {
            self.insert(death.frontend, mark, now_ms);
        }
    }

    /// What the backend did that has died.
    pub(crate) fn explain(&mut self, death: &Death<'_>, why: &str) {
        if let Some(mark) = self.mark(death.frontend, death.index) {
            mark.why = Some(why.chars().take(REASON_CHARACTERS_MAX).collect::<String>().into());
        }
    }

    /// The mark of `death` no longer counts.
    pub(crate) fn take_back(&mut self, death: &Death<'_>) {
        self.retain(death.frontend, |mark| mark.index != death.index);
    }

    /// The store has taken `death` into the set, which expires at `set_until_ms`.
    pub(crate) fn entered(&mut self, death: &Death<'_>, set_until_ms: u64) {
        self.announcements += 1;
        let announcement = self.announcements;
        if let Some(mark) = self.mark(death.frontend, death.index).filter(|mark| *mark.url == *death.url) {
            // Reads sent before this do not show it.
            mark.announcement = announcement;
            mark.membership = Membership::In { until_ms: set_until_ms };
        }
    }

    /// Whether the others are to be told of `death` now; not of the same again within `ANNOUNCE_PAUSE_MS`.
    pub(crate) fn is_to_tell(&mut self, death: &Death<'_>, now_ms: u64) -> bool {
        let Some(mark) = self.mark(death.frontend, death.index) else { return true };
        if mark.told_ms.is_some_and(|told_ms| now_ms < told_ms + ANNOUNCE_PAUSE_MS) {
            return false;
        }
        mark.told_ms = Some(now_ms);
        true
    }

    /// Takes in `dead:<name>` as it was read together with the list of `frontend`.
    pub(crate) fn set_read(&mut self, name: &str, set: &DeadSet, frontend: &Frontend, now_ms: u64) {
        if !self.has_none(name) {
            self.retain(name, |mark| {
                set.members.binary_search(&mark.index).is_ok() || mark.absent(set, now_ms)
            });
        }
        for index in &set.members {
            let membership = Membership::In { until_ms: set.until_ms };
            match self.mark(name, *index) {
                Some(mark) if mark.membership != Membership::Left => mark.membership = membership,
                before => {
                    let mark =
                        Mark { membership, ..Mark::new(*index, frontend.url_at(*index).unwrap_or_default()) };
                    match before {
                        Some(before) => *before = mark,
                        None => self.insert(name, mark, now_ms),
                    }
                }
            }
        }
    }

    fn against(&self, name: &str, backend: &Backend) -> Option<&Mark> {
        if self.len == 0 {
            return None;
        }
        let marks = self.by_name.get(name)?;
        let mark = &marks[place_of(marks, backend.index).ok()?];
        is_same_url(&mark.url, &backend.url).then_some(mark)
    }

    fn mark(&mut self, name: &str, index: usize) -> Option<&mut Mark> {
        let marks = self.by_name.get_mut(name)?;
        let place = place_of(marks, index).ok()?;
        Some(&mut marks[place])
    }

    fn retain(&mut self, name: &str, keep: impl FnMut(&mut Mark) -> bool) {
        let Some(marks) = self.by_name.get_mut(name) else { return };
        let before = marks.len();
        marks.retain_mut(keep);
        self.len -= before - marks.len();
        if marks.is_empty() {
            self.by_name.remove(name);
        }
    }

    /// Adds a mark that is not there yet, unless there are too many.
    fn insert(&mut self, name: &str, mark: Mark, now_ms: u64) {
        if self.len >= self.sweep_at && now_ms >= self.swept_ms + TICK_MS {
            self.sweep(now_ms, if self.len < MARKS_MAX { UNPROVEN_KEPT_MS } else { 0 });
        }
        if self.len >= MARKS_MAX {
            return;
        }
        if !self.by_name.contains_key(name) {
            self.by_name.insert(name.into(), Vec::new());
        }
        let marks = self.by_name.get_mut(name).expect("it was just put there");
        if let Err(place) = place_of(marks, mark.index) {
            marks.insert(place, mark);
            self.len += 1;
        }
    }

    /// Forgets marks that have been over for `kept_ms`.
    fn sweep(&mut self, now_ms: u64, kept_ms: u64) {
        self.by_name.retain(|_, marks| {
            marks.retain(|mark| now_ms < mark.end_ms().saturating_add(kept_ms));
            !marks.is_empty()
        });
        self.len = self.by_name.values().map(Vec::len).sum();
        self.sweep_at = (2 * self.len).clamp(MARKS_SWEEP_MIN, MARKS_MAX);
        self.swept_ms = now_ms;
    }
}

fn place_of(marks: &[Mark], index: usize) -> Result<usize, usize> {
    marks.binary_search_by_key(&index, |mark| mark.index)
}

impl Mark {
    fn new(index: usize, url: &str) -> Mark {
        Mark {
            index,
            url: url.into(),
            announcement: 0,
            until_ms: None,
            verdict_ms: 0,
            membership: Membership::Unseen,
            proven: false,
            probing: Rc::default(),
            told_ms: None,
            why: None,
        }
    }

    fn health(&self, now: Now) -> Health {
        if self.holds(now) {
            Health::Dead
        } else if self.proven {
            Health::Live
        } else if self.probing.get() {
            Health::Probed
        } else {
            Health::Unproven
        }
    }

    /// Whether its time is not over.
    fn holds(&self, now: Now) -> bool {
        let is_acquitted = now.checker && self.membership == Membership::Unseen && now.ms >= self.verdict_ms;
        match self.until_ms {
            Some(_) if is_acquitted => false,
            Some(until_ms) => now.ms < until_ms || (now.checker && self.is_in_set(now.ms)),
            None => self.is_in_set(now.ms),
        }
    }

    fn is_in_set(&self, now_ms: u64) -> bool {
        matches!(self.membership, Membership::In { until_ms } if now_ms < until_ms)
    }

    fn end_ms(&self) -> u64 {
        let in_set = match self.membership {
            Membership::In { until_ms } => until_ms,
            Membership::Unseen | Membership::Left => 0,
        };
        in_set.max(self.until_ms.unwrap_or(0))
    }

    /// It is not in `set`. Returns whether it stays: taken out before the set expired it ends at once; where the set has
    /// expired it is over, or goes on by its own time.
    fn absent(&mut self, set: &DeadSet, now_ms: u64) -> bool {
        let Membership::In { until_ms } = self.membership else { return true };
        if self.announcement > set.announcements {
            // The read is older than the mark.
            return true;
        }
        self.membership = Membership::Left;
        self.until_ms.get_or_insert(until_ms);
        now_ms + TICK_MS >= until_ms && !self.proven
    }
}

#[cfg(test)]
mod tests;

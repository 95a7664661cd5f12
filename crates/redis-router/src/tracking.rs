//! What the server said has changed, without an index from keys to hosts: counters that are compared, never searched.
//!
//! A push for a key bumps the counter its hash falls on; a push for everything bumps the epoch; a new connection is a new
//! session. A row remembers the sum of the counters of its keys from the moment its read was SENT: another sum means
//! that a key of it (or one that shares a counter, which costs one read) was written since. While no push at all came,
//! one comparison tells that nothing did.

use std::cell::Cell;
use std::hash::BuildHasher;

use redis::Value;

use crate::bounds::ROW_KEYS_MAX;

pub(crate) struct Tracking {
    slots: Box<[Cell<u32>]>,
    hasher: foldhash::fast::RandomState,
    epoch: Cell<u32>,
    session: Cell<u32>,
    /// Everything that was ever counted above.
    changes: Cell<u64>,
}

/// The counters some keys fall on, and what they stood at.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    /// Apart, as they are looked at only when something was pushed.
    slots: Box<[u32]>,
    sum: u32,
    session: u32,
    /// `Tracking::changes` when nothing had happened yet.
    quiet_at: Cell<u64>,
}

/// What happened since a stamp was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// Nothing: the row is as Redis has it.
    Nothing,
    /// The connection was lost and is back; changes may have been missed.
    Reconnect,
    /// One of the keys was written.
    Push,
}

/// Counters of several keys as they stood at one moment, to be cut to those an answer depends on.
#[derive(Debug)]
pub(crate) struct Moment {
    counters: Vec<(u32, u32)>,
    epoch: u32,
    session: u32,
    changes: u64,
}

impl Moment {
    /// The stamp of those keys, fewer than `ROW_KEYS_MAX`.
    pub(crate) fn stamp(&self, keys: impl Iterator<Item = usize>) -> Stamp {
        let mut sum = self.epoch;
        let slot_of = |key: usize| {
            let (slot, count) = self.counters[key];
            sum = sum.wrapping_add(count);
            slot
        };
        let slots: Box<[u32]> = keys.map(slot_of).collect();
        debug_assert!(slots.len() < ROW_KEYS_MAX, "a dead set may still be added");
        Stamp { slots, sum, session: self.session, quiet_at: Cell::new(self.changes) }
    }
}

impl Tracking {
    /// For a cache of `rows` rows: four counters a row, so that few keys share one.
    pub(crate) fn new(rows: usize) -> Tracking {
        let slots = (4 * rows.clamp(16, 1 << 28)).next_power_of_two();
        Tracking {
            slots: vec![Cell::new(0); slots].into(),
            hasher: foldhash::fast::RandomState::default(),
            epoch: Cell::new(0),
            session: Cell::new(0),
            changes: Cell::new(0),
        }
    }

    /// Takes down where the counters of `keys` (whole Redis keys) stand now.
    pub(crate) fn moment<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Moment {
        let counters = keys.map(|key| self.counter(key)).collect();
        Moment { counters, epoch: self.epoch.get(), session: self.session.get(), changes: self.changes.get() }
    }

    /// Adds a key whose read is sent now to the stamp of keys that were read before it.
    pub(crate) fn add(&self, stamp: &mut Stamp, key: &str) {
        let (slot, count) = self.counter(key);
        stamp.slots = stamp.slots.iter().copied().chain([slot]).collect();
        stamp.sum = stamp.sum.wrapping_add(count);
    }

    pub(crate) fn since(&self, stamp: &Stamp) -> Since {
        let changes = self.changes.get();
        if stamp.quiet_at.get() == changes {
            return Since::Nothing;
        }
        let since = self.compare(stamp);
        if since == Since::Nothing {
            stamp.quiet_at.set(changes);
        }
        since
    }

    fn compare(&self, stamp: &Stamp) -> Since {
        let add = |sum: u32, slot: &u32| sum.wrapping_add(self.slots[*slot as usize].get());
        if stamp.slots.iter().fold(self.epoch.get(), add) != stamp.sum {
            Since::Push
        } else if self.session.get() != stamp.session {
            Since::Reconnect
        } else {
            Since::Nothing
        }
    }

    /// An invalidation from the server.
    pub(crate) fn push(&self, data: &[Value]) {
        match data.first() {
            Some(Value::Array(keys)) => keys.iter().for_each(|key| self.pushed(key)),
            _ => self.everything(),
        }
    }

    /// Every key may have changed (FLUSHALL, SWAPDB).
    pub(crate) fn everything(&self) {
        bump(&self.epoch);
        self.changed();
    }

    /// A new connection follows from here on; what happened before it is unknown.
    pub(crate) fn new_session(&self) {
        bump(&self.session);
        self.changed();
    }

    fn pushed(&self, key: &Value) {
        match key {
            Value::BulkString(key) => self.written(key),
            _ => self.everything(),
        }
    }

    /// A whole key was written.
    pub(crate) fn written(&self, key: &[u8]) {
        bump(&self.slots[self.slot(key)]);
        self.changed();
    }

    fn changed(&self) {
        self.changes.set(self.changes.get() + 1);
    }

    fn counter(&self, key: &str) -> (u32, u32) {
        let slot = self.slot(key.as_bytes());
        (slot as u32, self.slots[slot].get())
    }

    fn slot(&self, key: &[u8]) -> usize {
        self.hasher.hash_one(key) as usize & (self.slots.len() - 1)
    }
}

fn bump(counter: &Cell<u32>) {
    counter.set(counter.get().wrapping_add(1));
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::{Since, Tracking};

    fn pushed(tracking: &Tracking, key: &str) {
        tracking.push(&[Value::Array(vec![Value::BulkString(key.into())])]);
    }

    #[test]
    fn a_push_marks_only_what_depends_on_the_key() {
        let tracking = Tracking::new(100_000);
        let keys = ["frontend:a:80", "frontend:a", "frontend:*"];
        let moment = tracking.moment(keys.into_iter());
        let (first, all) = (moment.stamp(0..2), moment.stamp(0..3));
        assert_eq!((tracking.since(&first), tracking.since(&all)), (Since::Nothing, Since::Nothing));
        pushed(&tracking, "frontend:*");
        assert_eq!((tracking.since(&first), tracking.since(&all)), (Since::Nothing, Since::Push));
        pushed(&tracking, "frontend:a");
        assert_eq!(tracking.since(&first), Since::Push);
    }

    #[test]
    fn a_key_added_later_counts_from_then_on() {
        let tracking = Tracking::new(100_000);
        let mut stamp = tracking.moment(["frontend:a", "frontend:*"].into_iter()).stamp(1..2);
        pushed(&tracking, "dead:*");
        pushed(&tracking, "frontend:a");
        tracking.add(&mut stamp, "dead:*");
        assert_eq!(tracking.since(&stamp), Since::Nothing);
        assert_eq!(tracking.since(&stamp), Since::Nothing);
        pushed(&tracking, "dead:*");
        assert_eq!(tracking.since(&stamp), Since::Push);
    }

    #[test]
    fn a_push_between_send_and_completion_is_seen() {
        let tracking = Tracking::new(100);
        let moment = tracking.moment(["frontend:a"].into_iter());
        pushed(&tracking, "frontend:a");
        assert_eq!(tracking.since(&moment.stamp(0..1)), Since::Push);
    }

    #[test]
    fn a_null_push_marks_all() {
        let tracking = Tracking::new(100);
        let stamp = tracking.moment(["frontend:a"].into_iter()).stamp(0..1);
        assert_eq!(tracking.since(&stamp), Since::Nothing);
        tracking.push(&[Value::Nil]);
        assert_eq!(tracking.since(&stamp), Since::Push);
    }

    #[test]
    fn a_reconnect_is_told_from_a_push() {
        let tracking = Tracking::new(100);
        let stamp = tracking.moment(["frontend:a"].into_iter()).stamp(0..1);
        tracking.new_session();
        assert_eq!(tracking.since(&stamp), Since::Reconnect);
        pushed(&tracking, "frontend:a");
        assert_eq!(tracking.since(&stamp), Since::Push);
    }
}

//! What the server said has changed, without an index from keys to hosts: counters that are compared, never searched.
//!
//! A push for a key bumps the counter its hash falls on; a push for everything bumps the epoch; a new connection is a new
//! session. A row remembers the sum of the counters of its keys from the moment its read was SENT: another sum means
//! that a key of it (or one that shares a counter, which costs one read) was written since.

use std::cell::Cell;
use std::hash::BuildHasher;

use redis::{PushKind, Value};

use crate::bounds::CANDIDATES_MAX;

pub(crate) struct Tracking {
    slots: Box<[Cell<u32>]>,
    hasher: foldhash::fast::RandomState,
    epoch: Cell<u32>,
    session: Cell<u32>,
}

/// The counters some keys fall on, and what they stood at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    slots: [u32; CANDIDATES_MAX],
    used: u8,
    sum: u32,
    session: u32,
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
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    slots: [u32; CANDIDATES_MAX],
    counts: [u32; CANDIDATES_MAX],
    epoch: u32,
    session: u32,
}

impl Moment {
    /// The stamp of the first `used` keys.
    pub(crate) fn stamp(&self, used: usize) -> Stamp {
        let sum = self.counts[..used].iter().fold(self.epoch, |sum, count| sum.wrapping_add(*count));
        Stamp { slots: self.slots, used: used as u8, sum, session: self.session }
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
        }
    }

    /// Takes down where the counters of `keys` (whole Redis keys, at most `CANDIDATES_MAX`) stand now.
    pub(crate) fn moment<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Moment {
        let (mut slots, mut counts) = ([0; CANDIDATES_MAX], [0; CANDIDATES_MAX]);
        for (index, key) in keys.take(CANDIDATES_MAX).enumerate() {
            let slot = self.slot(key.as_bytes());
            slots[index] = slot as u32;
            counts[index] = self.slots[slot].get();
        }
        Moment { slots, counts, epoch: self.epoch.get(), session: self.session.get() }
    }

    pub(crate) fn since(&self, stamp: &Stamp) -> Since {
        let used = &stamp.slots[..usize::from(stamp.used)];
        let add = |sum: u32, slot: &u32| sum.wrapping_add(self.slots[*slot as usize].get());
        if used.iter().fold(self.epoch.get(), add) != stamp.sum {
            Since::Push
        } else if self.session.get() != stamp.session {
            Since::Reconnect
        } else {
            Since::Nothing
        }
    }

    /// A push from the server; kinds that are no invalidation are passed over.
    pub(crate) fn push(&self, kind: &PushKind, data: &[Value]) {
        if *kind != PushKind::Invalidate {
            return;
        }
        match data.first() {
            Some(Value::Array(keys)) => keys.iter().for_each(|key| self.written(key)),
            _ => self.everything(),
        }
    }

    /// Every key may have changed (FLUSHALL, SWAPDB).
    pub(crate) fn everything(&self) {
        self.epoch.set(self.epoch.get().wrapping_add(1));
    }

    /// A new connection follows from here on; what happened before it is unknown.
    pub(crate) fn new_session(&self) {
        self.session.set(self.session.get().wrapping_add(1));
    }

    fn written(&self, key: &Value) {
        match key {
            Value::BulkString(key) => {
                let count = &self.slots[self.slot(key)];
                count.set(count.get().wrapping_add(1));
            }
            _ => self.everything(),
        }
    }

    fn slot(&self, key: &[u8]) -> usize {
        self.hasher.hash_one(key) as usize & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use redis::{PushKind, Value};

    use super::{Since, Tracking};

    fn pushed(tracking: &Tracking, key: &str) {
        tracking.push(&PushKind::Invalidate, &[Value::Array(vec![Value::BulkString(key.into())])]);
    }

    #[test]
    fn a_push_marks_only_what_depends_on_the_key() {
        let tracking = Tracking::new(100_000);
        let keys = ["frontend:a:80", "frontend:a", "frontend:*"];
        let moment = tracking.moment(keys.into_iter());
        let (first, all) = (moment.stamp(2), moment.stamp(3));
        assert_eq!((tracking.since(&first), tracking.since(&all)), (Since::Nothing, Since::Nothing));
        pushed(&tracking, "frontend:*");
        assert_eq!((tracking.since(&first), tracking.since(&all)), (Since::Nothing, Since::Push));
        pushed(&tracking, "frontend:a");
        assert_eq!(tracking.since(&first), Since::Push);
    }

    #[test]
    fn a_push_between_send_and_completion_is_seen() {
        let tracking = Tracking::new(100);
        let moment = tracking.moment(["frontend:a"].into_iter());
        pushed(&tracking, "frontend:a");
        assert_eq!(tracking.since(&moment.stamp(1)), Since::Push);
    }

    #[test]
    fn null_push_marks_all_and_other_kinds_nothing() {
        let tracking = Tracking::new(100);
        let stamp = tracking.moment(["frontend:a"].into_iter()).stamp(1);
        tracking.push(&PushKind::Message, &[Value::Nil]);
        assert_eq!(tracking.since(&stamp), Since::Nothing);
        tracking.push(&PushKind::Invalidate, &[Value::Nil]);
        assert_eq!(tracking.since(&stamp), Since::Push);
    }

    #[test]
    fn a_reconnect_is_told_from_a_push() {
        let tracking = Tracking::new(100);
        let stamp = tracking.moment(["frontend:a"].into_iter()).stamp(1);
        tracking.new_session();
        assert_eq!(tracking.since(&stamp), Since::Reconnect);
        pushed(&tracking, "frontend:a");
        assert_eq!(tracking.since(&stamp), Since::Push);
    }
}

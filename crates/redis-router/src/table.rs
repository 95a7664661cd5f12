//! The rows one core remembers: host as looked up -> answer, bounded. Knows no connection and no clock.
//!
//! Eviction (S3-FIFO without its ghost list): a new row waits in the probation queue; one that is asked for again before
//! its turn comes moves to the main queue, which is a second-chance ring. While probation holds more than a tenth of the
//! rows only probation pays, so hosts that are asked for once, however many, never displace those that are asked for.

use std::cell::Cell;
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::rc::Rc;

use hashbrown::HashTable;

use crate::bounds::SWEEP_MAX;
use crate::route::Route;
use crate::tracking::Stamp;

/// What a read found: the frontend, or that there is none.
pub(crate) type Answer = Option<Rc<Route>>;

const HEAT_MAX: u8 = 3;

pub(crate) struct Rows {
    /// Place of each row by its host. The host itself stands in the row alone, so that a look-up meets it in one step.
    places: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
    rows: Vec<Row>,
    /// How often the row at each place was asked for, up to `HEAT_MAX`. Apart from the rows: a hit writes nothing else,
    /// and these are few enough to stay in the processor's cache.
    heats: Vec<Cell<u8>>,
    probation: VecDeque<u32>,
    main: VecDeque<u32>,
    rows_max: usize,
}

/// A cache line: of many rows most are in no cache, and each look-up waits for one of them.
#[repr(align(64))]
pub(crate) struct Row {
    host: Rc<str>,
    pub(crate) answer: Answer,
    pub(crate) stamp: Stamp,
    /// Clock milliseconds from which on it is to be read again; `u64::MAX`: none.
    pub(crate) deadline_ms: u64,
}

const _: () = assert!(size_of::<Row>() == 64);

impl Rows {
    pub(crate) fn new(rows_max: usize) -> Rows {
        Rows {
            places: HashTable::new(),
            hasher: foldhash::fast::RandomState::default(),
            rows: Vec::new(),
            heats: Vec::new(),
            probation: VecDeque::new(),
            main: VecDeque::new(),
            rows_max: rows_max.clamp(1, u32::MAX as usize),
        }
    }

    /// The row of `host`; being asked for keeps it.
    pub(crate) fn get(&self, host: &str) -> Option<&Row> {
        let place = self.place_of(host)?;
        let heat = &self.heats[place];
        heat.set((heat.get() + 1).min(HEAT_MAX));
        Some(&self.rows[place])
    }

    /// The answer for `host`, without counting as being asked for.
    pub(crate) fn peek(&self, host: &str) -> Option<&Answer> {
        Some(&self.rows[self.place_of(host)?].answer)
    }

    /// Writes the row of `host`.
    pub(crate) fn put(&mut self, host: &Rc<str>, answer: Answer, stamp: Stamp, deadline_ms: u64) {
        if let Some(place) = self.place_of(host) {
            let row = &mut self.rows[place];
            (row.answer, row.stamp, row.deadline_ms) = (answer, stamp, deadline_ms);
            return;
        }
        let row = Row { host: host.clone(), answer, stamp, deadline_ms };
        let place = if self.rows.len() < self.rows_max {
            self.rows.push(row);
            self.heats.push(Cell::new(0));
            self.rows.len() as u32 - 1
        } else {
            let place = self.evict();
            self.rows[place as usize] = row;
            self.heats[place as usize].set(0);
            place
        };
        let hash_at = |place: &u32| self.hasher.hash_one(&*self.rows[*place as usize].host);
        self.places.insert_unique(hash_at(&place), place, hash_at);
        self.probation.push_back(place);
    }

    /// The answers from the place `from` on.
    pub(crate) fn answers(&self, from: usize) -> impl Iterator<Item = &Answer> {
        self.rows.get(from..).unwrap_or_default().iter().map(|row| &row.answer)
    }

    /// Drops every row and gives its memory back.
    pub(crate) fn clear(&mut self) {
        *self = Rows::new(self.rows_max);
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Takes one row out and returns its place.
    fn evict(&mut self) -> u32 {
        let place = if self.probation.len() > self.rows_max / 10 || self.main.is_empty() {
            self.evict_from_probation()
        } else {
            self.evict_from_main()
        };
        let hash = self.hasher.hash_one(&*self.rows[place as usize].host);
        let entry = self.places.find_entry(hash, |other| *other == place);
        entry.expect("every row has its place").remove();
        place
    }

    fn place_of(&self, host: &str) -> Option<usize> {
        let is_its = |place: &u32| *self.rows[*place as usize].host == *host;
        self.places.find(self.hasher.hash_one(host), is_its).map(|place| *place as usize)
    }

    /// The oldest that nobody asked for again; those before it move to the main queue. After `SWEEP_MAX` such the newest
    /// goes, which had no time to prove itself.
    fn evict_from_probation(&mut self) -> u32 {
        for _ in 0..SWEEP_MAX {
            let Some(place) = self.probation.pop_front() else { break };
            if self.heats[place as usize].replace(0) == 0 {
                return place;
            }
            self.main.push_back(place);
        }
        self.probation.pop_back().or_else(|| self.main.pop_front()).expect("a full table has rows")
    }

    fn evict_from_main(&mut self) -> u32 {
        for _ in 0..SWEEP_MAX {
            let place = self.main.pop_front().expect("the caller saw a row in it");
            let heat = &self.heats[place as usize];
            if heat.get() == 0 {
                return place;
            }
            heat.set(heat.get() - 1);
            self.main.push_back(place);
        }
        self.main.pop_front().expect("every row taken out was put back")
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::Rows;
    use crate::tracking::{Stamp, Tracking};

    fn stamp() -> Stamp {
        Tracking::new(16).moment(std::iter::empty()).stamp(std::iter::empty())
    }

    fn put(rows: &mut Rows, host: &str) {
        rows.put(&Rc::from(host), None, stamp(), u64::MAX);
        assert!(rows.len() <= rows.rows_max);
        assert_eq!(rows.rows.len(), rows.len());
        assert_eq!(rows.probation.len() + rows.main.len(), rows.len());
    }

    #[test]
    fn a_flood_of_strangers_leaves_hot_hosts() {
        let mut rows = Rows::new(1_000);
        let hot: Vec<String> = (0..800).map(|number| format!("hot{number}")).collect();
        hot.iter().for_each(|host| put(&mut rows, host));
        assert!(hot.iter().all(|host| rows.get(host).is_some()));
        for number in 0..50_000 {
            put(&mut rows, &format!("flood{number}"));
        }
        assert!(hot.iter().all(|host| rows.place_of(host).is_some()));
    }

    #[test]
    fn fewer_hosts_than_rows_are_never_evicted() {
        let mut rows = Rows::new(100);
        for round in 0..3 {
            for number in 0..100 {
                let host = format!("host{number}");
                assert_eq!(rows.get(&host).is_some(), round > 0);
                put(&mut rows, &host);
            }
        }
    }

    #[test]
    fn a_table_full_of_hot_hosts_still_takes_new_ones() {
        for rows_max in [1, 2, 10, 1_000] {
            let mut rows = Rows::new(rows_max);
            for number in 0..3 * rows_max {
                let host = format!("host{number}");
                put(&mut rows, &host);
                assert!((0..5).all(|_| rows.get(&host).is_some()), "{host}");
            }
        }
    }
}

//! The rows one core remembers: host as looked up -> answer, bounded. Knows no connection and no clock.
//!
//! Eviction (S3-FIFO without its ghost list): a new row waits in the probation queue; one that is asked for again before
//! its turn comes moves to the main queue, which is a second-chance ring. While probation holds more than a tenth of the
//! rows only probation pays, so hosts that are asked for once, however many, never displace those that are asked for.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use crate::bounds::SWEEP_MAX;
use crate::route::Route;
use crate::tracking::Stamp;

/// What a read found: the frontend, or that there is none.
pub(crate) type Answer = Option<Rc<Route>>;

const HEAT_MAX: u8 = 3;

pub(crate) struct Rows {
    places: HashMap<Rc<str>, u32, foldhash::fast::RandomState>,
    rows: Vec<Row>,
    probation: VecDeque<u32>,
    main: VecDeque<u32>,
    rows_max: usize,
}

pub(crate) struct Row {
    host: Rc<str>,
    pub(crate) answer: Answer,
    pub(crate) stamp: Stamp,
    /// Clock milliseconds from which on it is to be read again; `u64::MAX`: none.
    pub(crate) deadline_ms: u64,
    heat: Cell<u8>,
}

impl Rows {
    pub(crate) fn new(rows_max: usize) -> Rows {
        Rows {
            places: HashMap::default(),
            rows: Vec::new(),
            probation: VecDeque::new(),
            main: VecDeque::new(),
            rows_max: rows_max.clamp(1, u32::MAX as usize),
        }
    }

    /// The row of `host`; being asked for keeps it.
    pub(crate) fn get(&self, host: &str) -> Option<&Row> {
        let row = &self.rows[*self.places.get(host)? as usize];
        row.heat.set((row.heat.get() + 1).min(HEAT_MAX));
        Some(row)
    }

    /// The answer for `host`, without counting as being asked for.
    pub(crate) fn peek(&self, host: &str) -> Option<&Answer> {
        Some(&self.rows[*self.places.get(host)? as usize].answer)
    }

    /// Writes the row of `host`.
    pub(crate) fn put(&mut self, host: &Rc<str>, answer: Answer, stamp: Stamp, deadline_ms: u64) {
        if let Some(place) = self.places.get(host) {
            let row = &mut self.rows[*place as usize];
            (row.answer, row.stamp, row.deadline_ms) = (answer, stamp, deadline_ms);
            return;
        }
        let row = Row { host: host.clone(), answer, stamp, deadline_ms, heat: Cell::new(0) };
        let place = if self.rows.len() < self.rows_max {
            self.rows.push(row);
            self.rows.len() as u32 - 1
        } else {
            let place = self.evict();
            self.rows[place as usize] = row;
            place
        };
        self.places.insert(host.clone(), place);
        self.probation.push_back(place);
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
        self.places.remove(&self.rows[place as usize].host);
        place
    }

    /// The oldest that nobody asked for again; those before it move to the main queue. After `SWEEP_MAX` such the newest
    /// goes, which had no time to prove itself.
    fn evict_from_probation(&mut self) -> u32 {
        for _ in 0..SWEEP_MAX {
            let Some(place) = self.probation.pop_front() else { break };
            if self.rows[place as usize].heat.replace(0) == 0 {
                return place;
            }
            self.main.push_back(place);
        }
        self.probation.pop_back().or_else(|| self.main.pop_front()).expect("a full table has rows")
    }

    fn evict_from_main(&mut self) -> u32 {
        for _ in 0..SWEEP_MAX {
            let place = self.main.pop_front().expect("the caller saw a row in it");
            let heat = &self.rows[place as usize].heat;
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
        assert!(hot.iter().all(|host| rows.places.contains_key(host.as_str())));
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

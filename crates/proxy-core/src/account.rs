//! What a core has done, for the eyes of others. Written by the core alone, read by others without order. Knows neither
//! names nor texts of metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::bounds::{BUCKETS_MICROS, TIERS};

/// Status of a request whose client left before there was one.
const CLIENT_LEFT: u16 = 499;

/// One core's counters. They begin with the core.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Turns of the core's pulse: a core whose pulse stands still hangs.
    pulse: Counter,
    /// Exchanges that have ended, by what they were answered with.
    pub(crate) by_class: [Counter; CLASSES.len()],
    /// How long they took, from the first byte of the request on.
    pub(crate) duration: Histogram,
    /// How long backends took, from the choice of the first to the end of the answer.
    pub(crate) backend_time: Histogram,
    /// Backends asked after another had failed.
    pub(crate) retries: Counter,
    /// Backends that this core found dead by the requests it sent them.
    pub(crate) deaths: Counter,
    /// Requests of clients whose address is denied.
    pub(crate) denied: Counter,
    /// What became of requests at the limit, by the place of the tier.
    pub(crate) limits: [LimitCounters; TIERS],
    /// Handshakes of clients, done and failed.
    pub(crate) handshakes: Counter,
    pub(crate) failed_handshakes: Counter,
    /// Lines of the access log that were dropped.
    pub(crate) lost_lines: Counter,
    /// Connections taken.
    pub(crate) connections: Counter,
    /// Connections closed at once, as there were too many.
    pub(crate) refused: Counter,
    /// Bytes sent to clients.
    pub(crate) bytes: Counter,
    /// Connections that are open.
    pub(crate) open: Counter,
    routes: Counter,
}

/// What requests are told apart by: the first digit of the status, and clients that left.
pub(crate) const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "499"];

/// What became of requests at the limit of a tier.
#[derive(Debug, Default)]
pub(crate) struct LimitCounters {
    pub(crate) admitted: Counter,
    pub(crate) refused: Counter,
    /// The store could not be asked in time.
    pub(crate) unavailable: Counter,
}

/// Whether a core can tell what serves a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RoutesState {
    /// It has never reached the store.
    Unknown,
    /// It has lost the store, and serves by what it knows.
    Away,
    /// Routes are followed, or stand in a table.
    Usable,
}

impl Account {
    /// The core lives: to be called on each tick.
    pub(crate) fn beat(&self, open_connections: usize) {
        self.pulse.add(1);
        self.open.set(open_connections as u64);
    }

    pub(crate) fn pulse(&self) -> u64 {
        self.pulse.get()
    }

    /// Takes down whether the store can be asked. Once it could, what was read remains.
    pub(crate) fn set_routes(&self, usable: bool) {
        match (usable, self.routes()) {
            (true, _) => self.routes.set(2),
            (false, RoutesState::Unknown) => {}
            (false, _) => self.routes.set(1),
        }
    }

    pub(crate) fn routes(&self) -> RoutesState {
        match self.routes.get() {
            0 => RoutesState::Unknown,
            1 => RoutesState::Away,
            _ => RoutesState::Usable,
        }
    }

    /// An exchange has ended: with this status, after `total`, of which a backend took so much where one was asked.
    pub(crate) fn count_request(&self, status: u16, total: Duration, backend: Option<Duration>) {
        self.by_class[class(status)].add(1);
        self.duration.observe(total);
        if let Some(backend) = backend {
            self.backend_time.observe(backend);
        }
    }

    /// Exchanges that have ended.
    pub(crate) fn requests(&self) -> u64 {
        self.by_class.iter().map(Counter::get).sum()
    }

    /// Adds what `other` has counted. What is true for a moment only, such as its open connections, is left out.
    pub(crate) fn absorb(&self, other: &Self) {
        for (own, others) in self.totals().zip(other.totals()) {
            own.add(others.get());
        }
    }

    /// Every counter that only grows, always in the same order.
    fn totals(&self) -> impl Iterator<Item = &Counter> {
        let single = [
            &self.retries,
            &self.deaths,
            &self.denied,
            &self.handshakes,
            &self.failed_handshakes,
            &self.lost_lines,
            &self.connections,
            &self.refused,
            &self.bytes,
        ];
        let limits = self.limits.iter().flat_map(|tier| [&tier.admitted, &tier.refused, &tier.unavailable]);
        let histograms = [&self.duration, &self.backend_time].into_iter().flat_map(Histogram::counters);
        single.into_iter().chain(&self.by_class).chain(limits).chain(histograms)
    }
}

/// Place in [`CLASSES`].
fn class(status: u16) -> usize {
    match status {
        CLIENT_LEFT => 5,
        0..200 => 0,
        200..300 => 1,
        300..400 => 2,
        400..500 => 3,
        500.. => 4,
    }
}

/// How many took how long.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// One for each bound, and those beyond the last; none counts what another counts.
    pub(crate) buckets: [Counter; BUCKETS_MICROS.len() + 1],
    /// All times together.
    pub(crate) micros: Counter,
}

impl Histogram {
    fn observe(&self, time: Duration) {
        let micros = time.as_secs() * 1_000_000 + u64::from(time.subsec_micros());
        self.buckets[BUCKETS_MICROS.partition_point(|&bound| bound < micros)].add(1);
        self.micros.add(micros);
    }

    fn counters(&self) -> impl Iterator<Item = &Counter> {
        self.buckets.iter().chain([&self.micros])
    }
}

/// A number with a single writer, which needs no atomic addition.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.set(self.get().wrapping_add(count));
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_class() {
        for (status, name) in
            [(101, "1xx"), (200, "2xx"), (304, "3xx"), (404, "4xx"), (498, "4xx"), (499, "499"), (599, "5xx")]
        {
            assert_eq!(CLASSES[class(status)], name, "{status}");
        }
    }

    #[test]
    fn a_time_falls_into_the_first_bucket_that_holds_it() {
        let place = |micros| {
            let histogram = Histogram::default();
            histogram.observe(Duration::from_micros(micros));
            assert_eq!(histogram.micros.get(), micros);
            histogram.buckets.iter().position(|bucket| bucket.get() == 1).unwrap()
        };
        assert_eq!(place(0), 0);
        for (index, &bound) in BUCKETS_MICROS.iter().enumerate() {
            assert_eq!((place(bound), place(bound + 1)), (index, index + 1));
        }
    }

    #[test]
    fn lives_add_up() {
        let (sum, life) = (Account::default(), Account::default());
        life.count_request(200, Duration::from_millis(3), Some(Duration::from_millis(2)));
        life.limits[3].refused.add(7);
        life.bytes.add(5);
        life.open.set(9);
        sum.absorb(&life);
        sum.absorb(&life);
        assert_eq!((sum.requests(), sum.bytes.get(), sum.limits[3].refused.get()), (2, 10, 14));
        assert_eq!(
            (sum.duration.micros.get(), sum.backend_time.micros.get(), sum.open.get()),
            (6000, 4000, 0)
        );
    }

    #[test]
    fn routes_once_read_remain() {
        let account = Account::default();
        let after = |usable| {
            account.set_routes(usable);
            account.routes()
        };
        assert_eq!(
            [after(false), after(true), after(false), after(false), after(true)],
            [
                RoutesState::Unknown,
                RoutesState::Usable,
                RoutesState::Away,
                RoutesState::Away,
                RoutesState::Usable
            ]
        );
    }
}

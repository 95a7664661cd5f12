//! The dead marks of one core with what they are judged by: its clock, how long a mark lasts, and whether an external
//! checker is active. Outlives rows, tables and connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use log::debug;
use redis::Value;

use crate::backend::Backend;
use crate::bounds::{CHECKER_AGE_MAX_MS, DEAD_TTL, OWN_CHECKER_MS};
use crate::clock::Clock;
use crate::frontend::Frontend;
use crate::marks::{Charge, DeadSet, Marks, Now};
use crate::message::{CHANNEL, Death};
use crate::route::{Health, Held};

pub(crate) struct Deaths {
    clock: Rc<Clock>,
    marks: RefCell<Marks>,
    ttl: Cell<Duration>,
    /// Until when an external checker counts as active.
    checker_until_ms: Cell<u64>,
    /// The same of a built-in one, this proxy's or another's.
    own_checker_until_ms: Cell<u64>,
}

impl std::fmt::Debug for Deaths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deaths").finish_non_exhaustive()
    }
}

impl Deaths {
    pub(crate) fn new(clock: Rc<Clock>) -> Deaths {
        Deaths {
            clock,
            marks: RefCell::default(),
            ttl: Cell::new(DEAD_TTL),
            checker_until_ms: Cell::new(0),
            own_checker_until_ms: Cell::new(0),
        }
    }

    pub(crate) fn has_none(&self, name: &str) -> bool {
        self.marks.borrow().has_none(name)
    }

    pub(crate) fn health(&self, name: &str, backend: &Backend) -> Health {
        let marks = self.marks.borrow();
        if marks.has_none(name) { Health::Live } else { marks.health(name, backend, self.now()) }
    }

    /// As `Marks::begin_probe`.
    pub(crate) fn begin_probe(&self, name: &str, backend: &Backend) -> Option<Rc<Cell<bool>>> {
        self.marks.borrow().begin_probe(name, backend, self.now())
    }

    pub(crate) fn answered(&self, name: &str, backend: &Backend) {
        if !self.has_none(name) {
            let now = self.now();
            self.marks.borrow_mut().answered(name, backend, now);
        }
    }

    /// Marks a death that this core saw. Returns whether the others are to be told.
    pub(crate) fn saw(&self, death: &Death<'_>, why: &str) -> bool {
        let now_ms = self.announced(death);
        let mut marks = self.marks.borrow_mut();
        marks.explain(death, why);
        marks.is_to_tell(death, now_ms)
    }

    /// As `Route::held`, of the marks under `name`.
    pub(crate) fn held(&self, name: &str, backend: &Backend) -> Option<Held> {
        let now = self.now();
        let Charge { until_ms, why } = self.marks.borrow().charge(name, backend, now)?;
        let left = (until_ms < u64::MAX).then(|| Duration::from_millis(until_ms.saturating_sub(now.ms)));
        Some(Held { left, why })
    }

    /// A push on a channel; what is no death is passed over.
    pub(crate) fn heard(&self, data: &[Value]) {
        let [Value::BulkString(channel), Value::BulkString(message)] = data else { return };
        if channel != CHANNEL.as_bytes() {
            return;
        }
        let Some(death) = str::from_utf8(message).ok().and_then(Death::parse) else {
            return debug!("no death: {:?}", String::from_utf8_lossy(message));
        };
        let now_ms = self.announced(&death);
        if !self.checker_is_active() {
            // Whoever announces it has put it into the set in the same transaction, or just before.
            self.entered(&death, now_ms, self.ttl.get().as_millis() as u64);
        }
    }

    /// As `Marks::entered`, for a set that was given `set_ttl_ms` at `sent_ms`.
    pub(crate) fn entered(&self, death: &Death<'_>, sent_ms: u64, set_ttl_ms: u64) {
        self.marks.borrow_mut().entered(death, sent_ms.saturating_add(set_ttl_ms));
    }

    /// Forgets a mark of this core's own.
    pub(crate) fn take_back(&self, death: &Death<'_>) {
        self.marks.borrow_mut().take_back(death);
    }

    fn announced(&self, death: &Death<'_>) -> u64 {
        let now_ms = self.clock.refresh();
        let until_ms = now_ms.saturating_add(self.ttl.get().as_millis() as u64);
        self.marks.borrow_mut().announced(death, until_ms, now_ms);
        now_ms
    }

    /// As `Marks::announcements`.
    pub(crate) fn announcements(&self) -> u64 {
        self.marks.borrow().announcements()
    }

    pub(crate) fn set_read(&self, name: &str, set: &DeadSet, frontend: &Frontend) {
        let now_ms = self.clock.refresh();
        self.marks.borrow_mut().set_read(name, set, frontend, now_ms);
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.ttl.get()
    }

    pub(crate) fn set_ttl(&self, ttl: Duration) {
        self.ttl.set(ttl);
    }

    pub(crate) fn checker_is_active(&self) -> bool {
        self.checker_until_ms.get() > 0 && self.clock.refresh() < self.checker_until_ms.get()
    }

    /// What the checker's sign says: its age in milliseconds, `None` where there is none.
    pub(crate) fn checker_seen(&self, age_ms: Option<u64>) {
        let left_ms = age_ms.map_or(0, |age_ms| (CHECKER_AGE_MAX_MS + 1).saturating_sub(age_ms));
        self.checker_until_ms.set(if left_ms > 0 { self.clock.refresh() + left_ms } else { 0 });
    }

    /// Whether a built-in checker has been seen just now.
    pub(crate) fn own_checker_seen(&self, seen: bool) {
        self.own_checker_until_ms.set(if seen { self.clock.refresh() + OWN_CHECKER_MS } else { 0 });
    }

    fn now(&self) -> Now {
        let ms = self.clock.refresh();
        Now { ms, checker: ms < self.checker_until_ms.get().max(self.own_checker_until_ms.get()) }
    }
}

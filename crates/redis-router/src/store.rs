//! One core's view of a Redis server: what it knows, whether it may be served, and where the connection stands.
//!
//! ```text
//!   Connecting --handshake--> Up --lost--> Connecting --attempt failed--> Away --handshake--> Up
//!       \-----attempt failed----------------------------------------------/
//! ```

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use redis::{PushKind, Value};

use crate::bell::Bell;
use crate::bounds::{POLLED_AGE, RECHECK_MS, WAITERS_MAX};
use crate::clock::Clock;
use crate::complaints::Complaints;
use crate::connection::Connection;
use crate::deaths::Deaths;
use crate::error::Unavailable;
use crate::handshake::Mode;
use crate::interned::Interned;
use crate::keys::Prefixes;
use crate::source::{CacheSettings, RedisSettings};
use crate::table::{Answer, Rows};
use crate::tracking::{Since, Tracking};

pub(crate) struct Store {
    pub(crate) settings: RedisSettings,
    pub(crate) prefixes: Prefixes,
    pub(crate) clock: Rc<Clock>,
    pub(crate) deaths: Rc<Deaths>,
    pub(crate) tracking: Tracking,
    pub(crate) rows: RefCell<Rows>,
    pub(crate) frontends: Interned,
    pub(crate) complaints: Complaints,
    polled_age_ms: u64,
    link: RefCell<LinkState>,
    link_changed: Bell,
    up_since_ms: Cell<u64>,
    stopped: Cell<bool>,
    stopping: Bell,
}

#[derive(Clone)]
enum LinkState {
    Connecting,
    Up { connection: Rc<Connection>, pushes: bool },
    Away { reason: String },
}

/// The connection in use and how long a row read over it lives; `u64::MAX`: until it is changed.
pub(crate) struct InUse {
    pub(crate) connection: Rc<Connection>,
    pub(crate) age_max_ms: u64,
}

/// Where the connection to the store stands, for logs and `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreState {
    /// No attempt has ended yet since the start or since a loss.
    Connecting,
    /// Routes are followed live.
    Tracking,
    /// The server pushes no changes: routes are read again after this many milliseconds.
    Polling {
        /// Greatest age of a route in milliseconds.
        max_age_ms: u64,
    },
    /// The last attempt failed; known routes are served.
    Away {
        /// Why.
        reason: String,
    },
    /// Routes come from a table; there is no connection.
    Table,
}

/// What the rows say of a host.
pub(crate) enum Look {
    /// As Redis has it.
    Fresh(Answer),
    /// From before a reconnect: may be served while it is read again.
    Ageing(Answer),
    /// To be read again before it is served, unless that fails.
    Stale(Answer),
    Unknown,
}

impl Store {
    pub(crate) fn new(settings: RedisSettings, cache: CacheSettings) -> Store {
        let polled_age = cache.max_age.unwrap_or(POLLED_AGE);
        let clock = Rc::new(Clock::new());
        Store {
            prefixes: Prefixes::new(&settings.prefix),
            deaths: Rc::new(Deaths::new(clock.clone())),
            clock,
            tracking: Tracking::new(cache.rows),
            rows: RefCell::new(Rows::new(cache.rows)),
            frontends: Interned::default(),
            complaints: Complaints::default(),
            polled_age_ms: polled_age.as_millis() as u64,
            link: RefCell::new(LinkState::Connecting),
            link_changed: Bell::default(),
            up_since_ms: Cell::new(0),
            stopped: Cell::new(false),
            stopping: Bell::default(),
            settings,
        }
    }

    /// Takes in what the server pushed.
    pub(crate) fn pushed(&self, kind: &PushKind, data: &[Value]) {
        match kind {
            PushKind::Invalidate => self.tracking.push(data),
            PushKind::Message => self.deaths.heard(data),
            _ => {}
        }
    }

    /// What the rows say of `host`.
    pub(crate) fn look(&self, host: &str) -> Look {
        let rows = self.rows.borrow();
        let Some(row) = rows.get(host) else { return Look::Unknown };
        let (answer, now_ms) = (row.answer.clone(), self.clock.now_ms());
        if now_ms >= row.deadline_ms {
            return Look::Stale(answer);
        }
        match self.tracking.since(&row.stamp) {
            Since::Nothing => Look::Fresh(answer),
            Since::Reconnect if now_ms < self.up_since_ms.get() + RECHECK_MS => Look::Ageing(answer),
            Since::Reconnect | Since::Push => Look::Stale(answer),
        }
    }

    /// The last answer for `host`, whatever happened since.
    pub(crate) fn known(&self, host: &str) -> Option<Answer> {
        self.rows.borrow().get(host).map(|row| row.answer.clone())
    }

    /// Drops every row, unless nothing could be read anew.
    pub(crate) fn forget(&self) {
        if self.in_use().is_some() {
            self.rows.borrow_mut().clear();
        }
    }

    /// Waits while a first attempt to connect is under way.
    pub(crate) async fn attempt_ended(&self) -> Result<(), Unavailable> {
        if self.link_changed.waiters() >= WAITERS_MAX {
            return Err(Unavailable::Busy { server: self.settings.server.clone() });
        }
        let ended = self.link_changed.until(|| match &*self.link.borrow() {
            LinkState::Up { connection, .. } if connection.is_open() => Some(Ok(())),
            LinkState::Away { reason } => Some(Err(reason.clone())),
            LinkState::Up { .. } | LinkState::Connecting => None,
        });
        ended.await.map_err(|reason| self.away(reason))
    }

    pub(crate) fn away(&self, reason: String) -> Unavailable {
        Unavailable::Away { server: self.settings.server.clone(), reason }
    }

    pub(crate) fn in_use(&self) -> Option<InUse> {
        match &*self.link.borrow() {
            LinkState::Up { connection, pushes } if connection.is_open() => {
                let age_max_ms = if *pushes { u64::MAX } else { self.polled_age_ms };
                Some(InUse { connection: connection.clone(), age_max_ms })
            }
            _ => None,
        }
    }

    pub(crate) fn state(&self) -> StoreState {
        match &*self.link.borrow() {
            LinkState::Up { connection, pushes } if connection.is_open() => match pushes {
                true => StoreState::Tracking,
                false => StoreState::Polling { max_age_ms: self.polled_age_ms },
            },
            LinkState::Up { .. } | LinkState::Connecting => StoreState::Connecting,
            LinkState::Away { reason } => StoreState::Away { reason: reason.clone() },
        }
    }

    /// The handshake is done: rows from before count as ageing from now on.
    pub(crate) fn link_up(&self, connection: &Rc<Connection>, mode: &Mode) {
        self.tracking.new_session();
        self.up_since_ms.set(self.clock.refresh());
        let pushes = matches!(mode, Mode::Tracking { .. });
        self.change_link(LinkState::Up { connection: connection.clone(), pushes });
    }

    /// Milliseconds since the last handshake was done.
    pub(crate) fn up_for_ms(&self) -> u64 {
        self.clock.refresh().saturating_sub(self.up_since_ms.get())
    }

    pub(crate) fn link_lost(&self) {
        self.change_link(LinkState::Connecting);
    }

    pub(crate) fn link_failed(&self, reason: &str) {
        self.change_link(LinkState::Away { reason: reason.to_owned() });
    }

    fn change_link(&self, state: LinkState) {
        self.link.replace(state);
        self.link_changed.ring();
    }

    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        self.stopping.ring();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Runs `future` unless the store is stopped before it completes; then it is dropped.
    pub(crate) async fn unless_stopped<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut stopped = pin!(self.stopping.until_true(|| self.is_stopped()));
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => stopped.as_mut().poll(context).map(|()| None),
        })
        .await
    }
}

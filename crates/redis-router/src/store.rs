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
use std::time::Duration;

use redis::{PushKind, Value};

use crate::addresses::Addresses;
use crate::bell::Bell;
use crate::bounds::{RECHECK_MS, WAITERS_MAX};
use crate::changes::Changes;
use crate::clock::Clock;
use crate::complaints::Complaints;
use crate::connection::Connection;
use crate::deaths::Deaths;
use crate::error::Unavailable;
use crate::freshness::{Mode, notified_key};
use crate::interned::Interned;
use crate::keys::Prefixes;
use crate::sentinel::{First, Newest};
use crate::source::{CacheSettings, Deployment, RedisSettings, Server};
use crate::table::{Answer, Rows};
use crate::tracking::{Since, Stamp, Tracking};

pub(crate) struct Store {
    pub(crate) deployment: Deployment,
    /// The deployment, as logs name it.
    pub(crate) name: Rc<str>,
    pub(crate) prefixes: Prefixes,
    pub(crate) clock: Rc<Clock>,
    pub(crate) deaths: Rc<Deaths>,
    pub(crate) addresses: Rc<Addresses>,
    pub(crate) tracking: Tracking,
    pub(crate) rows: RefCell<Rows>,
    pub(crate) frontends: Interned,
    pub(crate) complaints: Complaints,
    pub(crate) changes: Changes,
    /// As the operator set it.
    age_max: Option<Duration>,
    link: RefCell<LinkState>,
    /// Where marks are written, where that is another server than the one that is read.
    writer: RefCell<Option<Rc<Connection>>>,
    /// The replica that is read does not hear its master.
    cut_off: Cell<bool>,
    pub(crate) first_sentinel: First,
    pub(crate) newest_master: Newest,
    /// The master that a switch, or most sentinels, named last.
    named_master: RefCell<Option<Server>>,
    link_changed: Bell,
    up_since_ms: Cell<u64>,
    stopped: Cell<bool>,
    stopping: Bell,
}

#[derive(Clone)]
enum LinkState {
    Connecting,
    Up { connection: Rc<Connection>, server: Server, mode: Mode },
    Away { reason: String },
}

/// The connection in use and how long a row read over it lives; `u64::MAX`: until it is changed.
pub(crate) struct InUse {
    pub(crate) connection: Rc<Connection>,
    pub(crate) age_max_ms: u64,
    /// The same for what the operator has set no age for.
    pub(crate) built_in_age_ms: u64,
}

/// Where the connection to the store stands, for logs and `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreState {
    /// No attempt has ended yet since the start or since a loss.
    Connecting,
    /// Routes are followed live: every change is pushed.
    Tracking,
    /// Routes are followed live by keyspace notifications. What they do not tell is found by asking once a second, and by
    /// reading each route again after so many milliseconds.
    Keyspace {
        /// Greatest age of a route in milliseconds.
        max_age_ms: u64,
    },
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
        let clock = Rc::new(Clock::new());
        Store {
            prefixes: Prefixes::new(&settings.prefix, &settings.sets),
            name: settings.deployment.to_string().into(),
            deaths: Rc::new(Deaths::new(clock.clone())),
            clock,
            addresses: Rc::default(),
            tracking: Tracking::new(cache.rows),
            rows: RefCell::new(Rows::new(cache.rows)),
            frontends: Interned::default(),
            complaints: Complaints::default(),
            changes: Changes::default(),
            age_max: cache.max_age,
            link: RefCell::new(LinkState::Connecting),
            writer: RefCell::default(),
            cut_off: Cell::new(false),
            first_sentinel: First::default(),
            newest_master: Newest::default(),
            named_master: RefCell::default(),
            link_changed: Bell::default(),
            up_since_ms: Cell::new(0),
            stopped: Cell::new(false),
            stopping: Bell::default(),
            deployment: settings.deployment,
        }
    }

    /// Takes in what the server pushed.
    pub(crate) fn pushed(&self, kind: &PushKind, data: &[Value]) {
        match kind {
            PushKind::Invalidate => {
                self.tracking.push(data);
                self.changes.push(data);
            }
            PushKind::Message => self.deaths.heard(data),
            PushKind::PMessage => self.notified(data),
            _ => {}
        }
    }

    fn notified(&self, data: &[Value]) {
        if let [_, Value::BulkString(channel), _] = data
            && let Some(key) = notified_key(channel)
        {
            self.tracking.written(key);
            self.changes.written(key);
        }
    }

    /// Every key may be another, and nothing told of it.
    pub(crate) fn everything_changed(&self) {
        self.tracking.everything();
        self.changes.everything();
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

    /// Whether what was read with `stamp` may be served without being read again.
    pub(crate) fn is_current(&self, stamp: &Stamp, deadline_ms: u64) -> bool {
        let now_ms = self.clock.now_ms();
        let since = self.tracking.since(stamp);
        let is_rechecked_later = since == Since::Reconnect && now_ms < self.up_since_ms.get() + RECHECK_MS;
        // While the store is away nothing better is to be had.
        (now_ms < deadline_ms && (since == Since::Nothing || is_rechecked_later)) || self.in_use().is_none()
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
            return Err(self.busy());
        }
        let ended = self.link_changed.until(|| match &*self.link.borrow() {
            LinkState::Up { connection, .. } if connection.is_open() => Some(Ok(())),
            LinkState::Away { reason } => Some(Err(reason.clone())),
            LinkState::Up { .. } | LinkState::Connecting => None,
        });
        ended.await.map_err(|reason| self.away(reason))
    }

    pub(crate) fn away(&self, reason: String) -> Unavailable {
        Unavailable::Away { store: self.name.clone(), reason }
    }

    pub(crate) fn busy(&self) -> Unavailable {
        Unavailable::Busy { store: self.name.clone() }
    }

    pub(crate) fn in_use(&self) -> Option<InUse> {
        match &*self.link.borrow() {
            LinkState::Up { connection, mode, .. } if connection.is_open() => Some(InUse {
                connection: connection.clone(),
                age_max_ms: self.age_max_ms(mode),
                built_in_age_ms: age_ms(mode, None),
            }),
            _ => None,
        }
    }

    fn age_max_ms(&self, mode: &Mode) -> u64 {
        age_ms(mode, self.age_max)
    }

    /// Where marks are written; `None`: nowhere for now.
    pub(crate) fn writer(&self) -> Option<Rc<Connection>> {
        match self.deployment {
            Deployment::Pair { .. } => self.writer.borrow().clone().filter(|writer| writer.is_open()),
            Deployment::Single(_) | Deployment::Sentinel(_) => self.in_use().map(|in_use| in_use.connection),
        }
    }

    pub(crate) fn set_writer(&self, writer: Option<Rc<Connection>>) {
        self.writer.replace(writer);
    }

    /// Whether the replica that is read has lost its master.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.get()
    }

    /// Says whether the replica that is read hears its master; returns whether that is new.
    pub(crate) fn set_cut_off(&self, cut_off: bool) -> bool {
        self.cut_off.replace(cut_off) != cut_off
    }

    /// Ends the connection to any other server than `master`, which sentinels have named, now and from now on.
    pub(crate) fn master_is(&self, master: &Server) {
        self.named_master.replace(Some(master.clone()));
        let current = match &*self.link.borrow() {
            LinkState::Up { connection, server, .. } => Some((connection.clone(), server.clone())),
            _ => None,
        };
        if let Some((connection, server)) = current
            && let Some(why) = self.deposed(&server)
        {
            connection.close(why);
        }
    }

    /// Why `server` is not to be used any more, although it answers: sentinels have named another.
    pub(crate) fn deposed(&self, server: &Server) -> Option<String> {
        let named = self.named_master.borrow();
        let other = named.as_ref().filter(|named| *named != server)?;
        Some(format!("the sentinels have made {other} the master"))
    }

    /// Whether `server` is the one in use.
    pub(crate) fn uses(&self, server: &Server) -> bool {
        matches!(&*self.link.borrow(), LinkState::Up { server: used, .. } if used == server)
    }

    pub(crate) fn state(&self) -> StoreState {
        match &*self.link.borrow() {
            LinkState::Up { connection, mode, .. } if connection.is_open() => match mode {
                Mode::Tracking => StoreState::Tracking,
                Mode::Keyspace { .. } => StoreState::Keyspace { max_age_ms: self.age_max_ms(mode) },
                Mode::Polling { .. } => StoreState::Polling { max_age_ms: self.age_max_ms(mode) },
            },
            LinkState::Up { .. } | LinkState::Connecting => StoreState::Connecting,
            LinkState::Away { reason } => StoreState::Away { reason: reason.clone() },
        }
    }

    /// A connection follows all changes from here on; what happened before it is unknown.
    pub(crate) fn session_begun(&self) {
        self.tracking.new_session();
        self.changes.everything();
    }

    /// It can be used: rows from before it count as ageing from now on.
    pub(crate) fn link_up(&self, connection: &Rc<Connection>, server: &Server, mode: &Mode) {
        self.up_since_ms.set(self.clock.refresh());
        let (connection, server, mode) = (connection.clone(), server.clone(), mode.clone());
        self.change_link(LinkState::Up { connection, server, mode });
    }

    /// Milliseconds since the connection can be used.
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

    /// Runs `future` to its end; where the store is stopped meanwhile `connection` is closed, so that it ends soon. For a
    /// future that holds what must not be dropped.
    pub(crate) async fn closing_with_stop<F: Future>(&self, connection: &Connection, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut stopped = pin!(self.stopping.until_true(|| self.is_stopped()));
        let mut told = false;
        poll_fn(|context| {
            if !told && stopped.as_mut().poll(context).is_ready() {
                connection.close("stopped".into());
                told = true;
            }
            future.as_mut().poll(context)
        })
        .await
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

/// How long what was read in this mode lives; `u64::MAX`: until it is changed. `configured`: as the operator set it.
pub(crate) fn age_ms(mode: &Mode, configured: Option<Duration>) -> u64 {
    mode.age_max(configured).map_or(u64::MAX, |age_max| age_max.as_millis() as u64)
}

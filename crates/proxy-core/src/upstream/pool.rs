//! Connections to each backend on this core: at most so many, idle ones used again, newest first.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::bounds::{IDLE_UPSTREAM_SECONDS, IDLE_UPSTREAMS_PER_CORE, POOLS_PER_CORE, WAITERS_PER_BACKEND};
use crate::upstream::connection::Upstream;

/// All backends' connections on this core.
pub(crate) struct Pool {
    /// By [`Backend::pool`](redis_router::Backend::pool).
    backends: RefCell<HashMap<Box<str>, Rc<Connections>, foldhash::fast::RandomState>>,
    /// Idle connections over all backends.
    idle: Rc<Cell<usize>>,
    /// Seconds, moved on by [`Pool::sweep`].
    now: Cell<u64>,
    max_per_backend: Rc<Cell<usize>>,
    /// Moved on by [`Pool::retire_all`].
    epoch: Rc<Cell<u64>>,
}

/// One backend's connections.
struct Connections {
    idle: RefCell<VecDeque<Idle>>,
    /// In use or idle.
    open: Cell<usize>,
    max: Rc<Cell<usize>>,
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
    idle_total: Rc<Cell<usize>>,
    epoch: Rc<Cell<u64>>,
}

struct Idle {
    leased: Leased,
    since: u64,
}

/// A connection with its place in the pool. Dropping it closes the one and frees the other.
pub(crate) struct Leased {
    pub(crate) upstream: Box<Upstream>,
    pub(crate) permit: Permit,
}

/// A request that waits for a place.
#[derive(Default)]
struct Waiter {
    called: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// The right to one connection to a backend. Dropping it frees the place and calls the next that waits.
pub(crate) struct Permit {
    connections: Rc<Connections>,
    /// That in which the connection was begun.
    epoch: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.connections.open.set(self.connections.open.get() - 1);
        self.connections.call_next();
    }
}

/// What a request gets to talk to its backend with.
pub(crate) enum Lease {
    /// A connection that lies idle.
    Idle(Leased),
    /// The right to open one.
    Open(Permit),
}

/// Every place is taken and stayed so.
#[derive(Debug)]
pub(crate) struct Busy;

impl Pool {
    pub(crate) fn new(max_per_backend: usize) -> Self {
        Self {
            backends: RefCell::default(),
            idle: Rc::default(),
            now: Cell::new(0),
            max_per_backend: Rc::new(Cell::new(max_per_backend.max(1))),
            epoch: Rc::default(),
        }
    }

    /// Has each backend get at most so many connections, at least one, from now on. Those that are too many end when
    /// they become idle; requests that wait get the places there are more.
    pub(crate) fn set_max_per_backend(&self, max: usize) {
        self.max_per_backend.set(max.max(1));
        for connections in self.backends.borrow().values() {
            let places = connections.max.get().saturating_sub(connections.open.get());
            let waiting = connections.waiters.borrow().len();
            (0..places.min(waiting)).for_each(|_| connections.call_next());
        }
    }

    /// Requests under way on the connections of this name.
    pub(crate) fn in_use(&self, name: &str) -> usize {
        let backends = self.backends.borrow();
        backends.get(name).map_or(0, |known| known.open.get() - known.idle.borrow().len())
    }

    /// A connection of this name, an idle one unless `fresh`. Waits up to `patience` for a place.
    pub(crate) async fn lease(
        &self,
        name: &str,
        fresh: bool,
        patience: Option<Duration>,
    ) -> Result<Lease, Busy> {
        let connections = self.connections(name)?;
        if let Some(lease) = connections.try_lease(fresh) {
            return Ok(lease);
        }
        let waiting = connections.wait_for_place(fresh);
        match patience {
            None => waiting.await,
            // No read or write is pending in there: dropping it loses nothing.
            Some(patience) => monoio::time::timeout(patience, waiting).await.unwrap_or(Err(Busy)),
        }
    }

    fn connections(&self, name: &str) -> Result<Rc<Connections>, Busy> {
        let mut backends = self.backends.borrow_mut();
        if let Some(known) = backends.get(name) {
            return Ok(Rc::clone(known));
        }
        if backends.len() >= POOLS_PER_CORE {
            backends.retain(|_, connections| connections.open.get() > 0);
        }
        if backends.len() >= POOLS_PER_CORE {
            return Err(Busy);
        }
        let connections = Rc::new(Connections {
            idle: RefCell::default(),
            open: Cell::new(0),
            max: Rc::clone(&self.max_per_backend),
            waiters: RefCell::default(),
            idle_total: Rc::clone(&self.idle),
            epoch: Rc::clone(&self.epoch),
        });
        backends.insert(name.into(), Rc::clone(&connections));
        Ok(connections)
    }

    /// Puts a connection whose last response was read to its end with the idle ones.
    pub(crate) fn put(&self, mut leased: Leased) {
        leased.upstream.reused = true;
        let connections = Rc::clone(&leased.permit.connections);
        let too_many = connections.open.get() > connections.max.get();
        let is_retired = leased.permit.epoch != self.epoch.get();
        if too_many || is_retired || self.idle.get() >= IDLE_UPSTREAMS_PER_CORE {
            return;
        }
        self.idle.set(self.idle.get() + 1);
        connections.idle.borrow_mut().push_back(Idle { leased, since: self.now.get() });
        connections.call_next();
    }

    /// Drops idle connections that their backend has closed or that lie for too long. To be called about once a
    /// second; `now` in seconds.
    pub(crate) fn sweep(&self, now: u64) {
        self.now.set(now);
        let known: Vec<_> = self.backends.borrow().values().map(Rc::clone).collect();
        known.iter().for_each(|connections| connections.sweep(now));
    }

    /// Has no connection there is used for another request: who answers on it is no longer to be believed.
    pub(crate) fn retire_all(&self) {
        self.epoch.set(self.epoch.get() + 1);
        self.clear_idle();
    }

    /// Drops every idle connection.
    pub(crate) fn clear_idle(&self) {
        let known: Vec<_> = self.backends.borrow().values().map(Rc::clone).collect();
        for connections in known {
            let idle = connections.idle.take();
            connections.idle_total.set(connections.idle_total.get() - idle.len());
        }
    }
}

impl Connections {
    fn try_lease(self: &Rc<Self>, fresh: bool) -> Option<Lease> {
        while let Some(leased) = self.pop_idle(fresh) {
            if !fresh && leased.upstream.messages.is_quiet() {
                return Some(Lease::Idle(leased));
            }
        }
        if self.open.get() >= self.max.get() {
            return None;
        }
        self.open.set(self.open.get() + 1);
        Some(Lease::Open(Permit { connections: Rc::clone(self), epoch: self.epoch.get() }))
    }

    fn sweep(&self, now: u64) {
        // Nothing is dropped while `idle` is borrowed: a freed place calls a waiter.
        let before = self.idle.take();
        let count = before.len();
        let is_fresh = |idle: &Idle| {
            now.saturating_sub(idle.since) < IDLE_UPSTREAM_SECONDS && idle.leased.upstream.messages.is_quiet()
        };
        let kept: VecDeque<_> = before.into_iter().filter(is_fresh).collect();
        self.idle_total.set(self.idle_total.get() - (count - kept.len()));
        self.idle.replace(kept);
    }

    /// The newest idle connection. Where a fresh one is wanted: only to make room for it.
    fn pop_idle(&self, fresh: bool) -> Option<Leased> {
        if fresh && self.open.get() < self.max.get() {
            return None;
        }
        let popped = self.idle.borrow_mut().pop_back()?;
        self.idle_total.set(self.idle_total.get() - 1);
        Some(popped.leased)
    }

    async fn wait_for_place(self: &Rc<Self>, fresh: bool) -> Result<Lease, Busy> {
        loop {
            if self.waiters.borrow().len() >= WAITERS_PER_BACKEND {
                return Err(Busy);
            }
            let waiter = Rc::new(Waiter::default());
            self.waiters.borrow_mut().push_back(Rc::clone(&waiter));
            let turn = Turn { connections: Rc::clone(self), waiter };
            turn.come().await;
            if let Some(lease) = self.try_lease(fresh) {
                return Ok(lease);
            }
        }
    }

    fn call_next(&self) {
        let next = self.waiters.borrow_mut().pop_front();
        if let Some(waiter) = next {
            waiter.called.set(true);
            if let Some(waker) = waiter.waker.take() {
                waker.wake();
            }
        }
    }
}

/// A waiter's place in the queue. One that is called but has given up calls the next.
struct Turn {
    connections: Rc<Connections>,
    waiter: Rc<Waiter>,
}

impl Turn {
    async fn come(self) {
        poll_fn(|context| {
            if self.waiter.called.get() {
                return Poll::Ready(());
            }
            self.waiter.waker.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
        // This one goes on to take the place itself.
        self.waiter.called.set(false);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.waiter.called.get() {
            self.connections.call_next();
        } else {
            let waiter = &self.waiter;
            self.connections.waiters.borrow_mut().retain(|other| !Rc::ptr_eq(other, waiter));
        }
    }
}

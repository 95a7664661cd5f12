//! What the streams of one connection share, and what is counted of it.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::bounds::{H2_CANCELLED, H2_IDLE_TALK_BYTES, H2_TALK_PER_BYTE};
use crate::conn::describe;
use crate::context::{Core, Rules};
use crate::downstream::h1::ClientPatience;
use crate::downstream::h2::outflow::Outflow;
use crate::exchange::Client;
use crate::secured::Peer;
use crate::stream::wire::SharedWire;

/// One connection, for its streams. It holds the socket open as long as one of them lives.
pub(super) struct Shared {
    pub(super) core: Rc<Core>,
    pub(super) wire: SharedWire,
    pub(super) fd: RawFd,
    pub(super) outflow: Rc<Outflow>,
    /// Whether the idle time is running.
    pub(super) rests: Cell<bool>,
    pub(super) peer: Peer,
    /// The client by the rules of its last request.
    client: RefCell<(Rc<Rules>, Rc<Client>)>,
    /// Streams whose tasks live.
    streams: Cell<usize>,
    /// The task of the connection.
    waker: RefCell<Option<Waker>>,
    /// Requests that were answered to their end, and that the client took back.
    answered: Cell<u64>,
    cancelled: Cell<u64>,
}

impl Shared {
    pub(super) fn new(core: Rc<Core>, wire: SharedWire, fd: RawFd, peer: Peer) -> Self {
        let rules = core.rules();
        let client = Rc::new(describe(&rules, &peer));
        Self {
            outflow: Rc::new(Outflow::new(Rc::clone(&core.connector.bulk))),
            core,
            wire,
            fd,
            rests: Cell::new(false),
            peer,
            client: RefCell::new((rules, client)),
            streams: Cell::new(0),
            waker: RefCell::new(None),
            answered: Cell::new(0),
            cancelled: Cell::new(0),
        }
    }

    /// The rules for a request that begins now, and the client by them.
    pub(super) fn client(&self) -> (Rc<Rules>, Rc<Client>) {
        let mut known = self.client.borrow_mut();
        if !Rc::ptr_eq(&known.0, &self.core.rules.borrow()) {
            let rules = self.core.rules();
            self.wire.with(|wire| wire.set_patience(rules.client_patience.body));
            let client = Rc::new(describe(&rules, &self.peer));
            *known = (rules, client);
        }
        known.clone()
    }

    pub(super) fn patience(&self) -> ClientPatience {
        self.core.rules.borrow().client_patience
    }

    /// Whether no stream is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// Remembers whom to wake when the last stream has ended.
    pub(super) fn watch(&self, context: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => *waker = Some(context.waker().clone()),
        }
    }

    /// Waits until no stream is left.
    pub(super) fn poll_alone(&self, context: &Context<'_>) -> Poll<()> {
        self.watch(context);
        if self.is_idle() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Counts how a stream has ended. `cancelled`: by the client, before its answer.
    pub(super) fn count_ended(&self, cancelled: bool) {
        let counter = if cancelled { &self.cancelled } else { &self.answered };
        counter.set(counter.get() + 1);
    }

    /// Whether the client costs more than it can have use of: requests taken back, or frames that ask for nothing.
    pub(super) fn is_abused(&self) -> bool {
        let received = self.wire.with(|wire| wire.received());
        self.cancelled.get() > H2_CANCELLED + self.answered.get()
            || received / H2_TALK_PER_BYTE > H2_IDLE_TALK_BYTES + self.outflow.carried()
    }
}

/// A stream's life, from when it is begun to when its task has ended in whichever way.
pub(super) struct Life(Rc<Shared>);

impl Life {
    pub(super) fn of(shared: &Rc<Shared>) -> Self {
        shared.streams.set(shared.streams.get() + 1);
        Self(Rc::clone(shared))
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let left = self.0.streams.get() - 1;
        self.0.streams.set(left);
        if left == 0
            && let Some(waker) = self.0.waker.take()
        {
            waker.wake();
        }
    }
}

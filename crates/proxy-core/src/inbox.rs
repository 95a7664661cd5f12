//! What other threads tell a core: a bounded channel, and a socket pair that wakes the core up. monoio without
//! its `sync` feature has no wake-up across threads.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use redis_router::Table;

use crate::bounds::INBOX_MESSAGES;
use crate::readiness::{Interest, Readiness};
use crate::settings::Settings;
use crate::survey::{Part, Query};
use crate::upstream::resolve::Resolved;

/// What a core can be told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Stop accepting, end what is in flight within the grace of the settings, and end. Without `hurry` idle clients are
    /// given time for one more request.
    Drain { hurry: bool },
    /// A name that this core asked for.
    Resolved(Resolved),
    /// Let go of what can be had again: cached routes and idle connections to backends.
    Shrink,
    /// Other settings from now on.
    Settings(Arc<Settings>),
    /// The embedded route table has changed.
    Table(Arc<Table>),
    /// Somebody wants to know what this core knows.
    Survey(Arc<Query>, Asker),
}

/// Whom the answers to a survey go to.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) core: usize,
    /// When nobody waits for it any more.
    pub(crate) until: Instant,
    pub(crate) parts: SyncSender<Part>,
    /// Woken at each answer. Does not block.
    pub(crate) wake: Arc<UnixStream>,
}

impl Asker {
    pub(crate) fn tell(&self, part: Part) {
        // As in `Outbox::send`.
        if self.parts.try_send(part).is_ok() {
            let _ = (&*self.wake).write(&[1]);
        }
    }
}

/// The outer end of a core's inbox.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    messages: SyncSender<Message>,
    wake: Arc<UnixStream>,
}

impl Outbox {
    /// Tells the core. One that has ended, or hangs until its inbox is full, is told nothing.
    pub(crate) fn send(&self, message: Message) {
        if self.messages.try_send(message).is_ok() {
            // A full pair means that the core has been woken already; a closed one that it has ended.
            let _ = (&*self.wake).write(&[1]);
        }
    }
}

/// The core's end.
pub(crate) struct Inbox {
    messages: Receiver<Message>,
    wake: UnixStream,
}

/// A new inbox with its outer end.
///
/// # Errors
/// No more file descriptors.
pub(crate) fn inbox() -> io::Result<(Outbox, Inbox)> {
    let (outer, inner) = UnixStream::pair()?;
    outer.set_nonblocking(true)?;
    let (sender, receiver) = sync_channel(INBOX_MESSAGES);
    Ok((Outbox { messages: sender, wake: Arc::new(outer) }, Inbox { messages: receiver, wake: inner }))
}

impl Inbox {
    /// Has the core learn of messages. To be called on it.
    ///
    /// # Errors
    /// The kernel can watch no more sockets.
    pub(crate) fn open(self, readiness: &Readiness) -> io::Result<OpenInbox> {
        self.wake.set_nonblocking(true)?;
        let interest = readiness.register(self.wake.as_raw_fd())?;
        Ok(OpenInbox { interest, inbox: self, closed: Cell::new(false) })
    }
}

/// An inbox in use by its core.
pub(crate) struct OpenInbox {
    // Dropped before the socket.
    interest: Interest,
    inbox: Inbox,
    closed: Cell<bool>,
}

impl OpenInbox {
    /// Hands each message to `handle` as it comes, until [`Self::close`] or every outer end is gone.
    pub(crate) async fn run(&self, mut handle: impl FnMut(Message)) {
        let mut bytes = [0; 64];
        while !self.closed.get() {
            self.interest.forget();
            self.inbox.messages.try_iter().for_each(&mut handle);
            match (&self.inbox.wake).read(&mut bytes) {
                Ok(0) => return,
                // There may be more bytes, and what they announce.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.interest.arrived().await,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Ends [`Self::run`].
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.interest.announce();
    }
}

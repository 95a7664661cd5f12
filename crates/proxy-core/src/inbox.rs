//! What other threads tell a core: a bounded channel, and a socket pair that wakes the core up. monoio without
//! its `sync` feature has no wake-up across threads, and a socket, unlike an eventfd, works with every driver.

use std::io::{self, Write};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use monoio::io::AsyncReadRent;
use monoio::net::UnixStream;
use redis_router::Table;

use crate::bounds::INBOX_MESSAGES;
use crate::settings::Settings;
use crate::upstream::resolve::Resolved;

/// What a core can be told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Stop accepting, end what is in flight within the grace of the settings, and end.
    Drain,
    /// A name that this core asked for.
    Resolved(Resolved),
    /// Other settings from now on.
    Settings(Arc<Settings>),
    /// The embedded route table has changed.
    Table(Arc<Table>),
}

/// The outer end of a core's inbox.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    messages: SyncSender<Message>,
    wake: Arc<StdUnixStream>,
}

impl Outbox {
    /// Tells the core, waiting while its inbox is full. A core that has ended is told nothing.
    pub(crate) fn send(&self, message: Message) {
        if self.messages.send(message).is_ok() {
            // A full pair means that the core has been woken already; a closed one that it has ended.
            let _ = (&*self.wake).write(&[1]);
        }
    }
}

/// The core's end.
pub(crate) struct Inbox {
    messages: Receiver<Message>,
    wake: StdUnixStream,
}

/// A new inbox with its outer end.
///
/// # Errors
/// No more file descriptors.
pub(crate) fn inbox() -> io::Result<(Outbox, Inbox)> {
    let (outer, inner) = StdUnixStream::pair()?;
    outer.set_nonblocking(true)?;
    let (sender, receiver) = sync_channel(INBOX_MESSAGES);
    Ok((Outbox { messages: sender, wake: Arc::new(outer) }, Inbox { messages: receiver, wake: inner }))
}

impl Inbox {
    /// Hands each message to `handle` as it comes, until every outer end is gone. To be run on the core.
    pub(crate) async fn run(self, is_epoll: bool, mut handle: impl FnMut(Message)) -> io::Result<()> {
        self.wake.set_nonblocking(is_epoll)?;
        let mut wake = UnixStream::from_std(self.wake)?;
        let mut bytes = vec![0; 64];
        loop {
            let (read, buffer) = wake.read(bytes).await;
            bytes = buffer;
            self.messages.try_iter().for_each(&mut handle);
            if read? == 0 {
                return Ok(());
            }
        }
    }
}

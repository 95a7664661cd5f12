//! A connection as the h2 crate reads and writes it: polled, not awaited, and by one task alone. Bytes go past the
//! ring: a read or write there owns its buffer and cannot be given up, which is what polling does all the time. Waits
//! are those of the core's one epoll set, so that no second one is needed.
//!
//! What is written is gathered until the task has nothing more to say in this turn ([`Wire::poll_push`]): the frames
//! of many streams go out as one write and, over TLS, as few records.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use monoio::time::Sleep;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::bounds::{BULK_BYTES, TURN_BREATH, TURN_READ_BYTES};
use crate::buffer::{Buffer, BulkBuffers};
use crate::deadline::{Deadline, Ticks};
use crate::stream::{ReadHalf, StreamError, Transport, WriteHalf};

/// Both halves of one connection. Idle ones hold no buffer.
pub(crate) struct Wire {
    read: ReadHalf,
    write: WriteHalf,
    bulk: Rc<BulkBuffers>,
    /// Received and not taken yet.
    inbox: Buffer,
    /// Written and not sent yet.
    outbox: Buffer,
    /// What of that is on its way: as records, where the connection has TLS.
    leaving: Buffer,
    /// How long the peer may take nothing.
    patience: Ticks,
    /// There may be something to read: nothing was read yet, or the last read got as much as it asked for.
    filled: bool,
    /// A write was refused for want of room since the last [`Self::begin_turn`].
    blocked: bool,
    /// Bytes that may still be read before others get their turn.
    turn_left: usize,
    breath: Option<Pin<Box<Sleep>>>,
    received: u64,
}

impl Wire {
    /// # Errors
    /// The kernel can watch no more sockets.
    pub(crate) fn new(
        (read, write): (ReadHalf, WriteHalf),
        bulk: Rc<BulkBuffers>,
        patience: Ticks,
    ) -> Result<Self, StreamError> {
        read.interest()?.watch_room(read.fd).map_err(|_: Errno| StreamError::Closed)?;
        Ok(Self {
            read,
            write,
            bulk,
            inbox: Buffer::default(),
            outbox: Buffer::default(),
            leaving: Buffer::default(),
            patience,
            filled: true,
            blocked: false,
            turn_left: TURN_READ_BYTES,
            breath: None,
            received: 0,
        })
    }

    /// To be called whenever the task is polled, before anything else.
    pub(crate) fn begin_turn(&mut self) {
        self.blocked = false;
        if self.breath.is_none() {
            self.turn_left = TURN_READ_BYTES;
        }
    }

    /// Whether a write of this turn was refused: once what was written is sent, there is more.
    pub(crate) fn was_blocked(&self) -> bool {
        self.blocked
    }

    /// Bytes received, without TLS.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The deadline of reads. To be dropped before the connection.
    pub(crate) fn read_deadline(&self) -> Rc<Deadline> {
        self.read.deadline()
    }

    pub(crate) fn set_patience(&mut self, patience: Ticks) {
        self.patience = patience;
    }

    fn poll_take(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.inbox.is_empty() {
            ready!(self.poll_turn(context));
            if !self.filled {
                ready!(self.read.poll_readable(context)).map_err(broken)?;
            }
            let mut inbox = self.bulk.take();
            let read = self.read.read_now(&mut inbox, BULK_BYTES);
            self.filled = matches!(read, Ok(Some(BULK_BYTES)));
            if let Ok(Some(count @ 1..)) = read {
                self.received += count as u64;
                self.turn_left = self.turn_left.saturating_sub(count);
                self.inbox = inbox;
                break;
            }
            self.bulk.put(inbox);
            if read.map_err(broken)?.is_some() {
                return Poll::Ready(Ok(()));
            }
        }
        let count = self.inbox.len().min(into.remaining());
        into.put_slice(&self.inbox.as_slice()[..count]);
        self.inbox.consume(count);
        if self.inbox.is_empty() {
            self.bulk.put(std::mem::take(&mut self.inbox));
        }
        Poll::Ready(Ok(()))
    }

    /// A peer that sends without end does not keep the core to itself. A task that woke itself would: the runtime takes
    /// in what the kernel has done only when no task is ready.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.turn_left > 0 {
            return Poll::Ready(());
        }
        let breath = self.breath.get_or_insert_with(|| Box::pin(monoio::time::sleep(TURN_BREATH)));
        ready!(breath.as_mut().poll(context));
        self.breath = None;
        self.turn_left = TURN_READ_BYTES;
        Poll::Ready(())
    }

    fn poll_put(&mut self, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.outbox.len() >= BULK_BYTES {
            let pushed = self.poll_push(context);
            self.blocked |= pushed.is_pending();
            ready!(pushed)?;
        }
        if self.outbox.room() == 0 {
            self.outbox = self.bulk.take();
        }
        let before = self.outbox.len();
        for part in parts {
            let room = BULK_BYTES - self.outbox.len();
            self.outbox.extend(&part[..part.len().min(room)]);
        }
        Poll::Ready(Ok(self.outbox.len() - before))
    }

    /// Sends what was written, as far as the peer takes it.
    pub(crate) fn poll_push(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.leaving.is_empty() || !self.outbox.is_empty() {
            if self.leaving.is_empty() {
                self.load().map_err(broken)?;
            }
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.write.fd, self.leaving.as_slice(), flags) {
                Ok(count) => {
                    self.leaving.consume(count);
                    self.write.deadline.arm(self.patience);
                }
                Err(Errno::EAGAIN) => {
                    self.read.interest().map_err(broken)?.wake_with_room(context);
                    return Poll::Pending;
                }
                Err(Errno::EINTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        self.bulk.put(std::mem::take(&mut self.leaving));
        self.write.deadline.disarm();
        Poll::Ready(Ok(()))
    }

    /// Makes what was written ready to leave. From then on the peer's patience counts.
    fn load(&mut self) -> Result<(), StreamError> {
        self.write.deadline.arm(self.patience);
        self.bulk.put(std::mem::take(&mut self.leaving));
        match &self.write.transport {
            Transport::Plain => self.leaving = std::mem::take(&mut self.outbox),
            Transport::Tls(tls) => {
                // The outbox holds no more than is encrypted at once.
                let (count, records) = tls.encrypt(self.outbox.as_slice())?;
                self.outbox.consume(count);
                self.leaving = records;
                self.bulk.put(std::mem::take(&mut self.outbox));
            }
        }
        Ok(())
    }

    /// Ends our side once all is sent.
    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_push(context))?;
        self.write.finish();
        Poll::Ready(Ok(()))
    }

    /// Reads what still comes and throws it away, at most `left` bytes and as long as the read deadline allows: closing
    /// a socket with unread bytes in it resets the connection, and the reset may overtake what was sent.
    fn poll_drain(&mut self, context: &mut Context<'_>, left: &mut usize) -> Poll<()> {
        let mut bytes = [0; 4096];
        self.begin_turn();
        while *left > 0 {
            let mut into = ReadBuf::new(&mut bytes);
            match ready!(self.poll_take(context, &mut into)) {
                Ok(()) if !into.filled().is_empty() => *left = left.saturating_sub(into.filled().len()),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

fn broken(error: StreamError) -> io::Error {
    match error {
        StreamError::Timeout => io::ErrorKind::TimedOut.into(),
        StreamError::Closed => io::ErrorKind::ConnectionReset.into(),
        StreamError::Tls(error) => io::Error::other(error),
    }
}

/// A handle on a wire, for the h2 crate and for the task that owns both.
#[derive(Clone)]
pub(crate) struct SharedWire(Rc<RefCell<Wire>>);

impl SharedWire {
    pub(crate) fn new(wire: Wire) -> Self {
        Self(Rc::new(RefCell::new(wire)))
    }

    /// Runs `action` on the wire.
    pub(crate) fn with<T>(&self, action: impl FnOnce(&mut Wire) -> T) -> T {
        action(&mut self.0.borrow_mut())
    }

    /// Reads on for `patience` after our side has ended, at most `left` bytes.
    pub(crate) async fn drain(&self, patience: Ticks, mut left: usize) {
        self.with(|wire| wire.read_deadline()).arm(patience);
        poll_fn(|context| self.with(|wire| wire.poll_drain(context, &mut left))).await;
    }
}

impl AsyncRead for SharedWire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(|wire| wire.poll_take(context, into))
    }
}

impl AsyncWrite for SharedWire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|wire| wire.poll_put(context, &[io::IoSlice::new(bytes)]))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.with(|wire| wire.poll_put(context, parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: the task sends when its turn ends.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|wire| wire.poll_finish(context))
    }
}

//! A connection's two halves over owned buffers, with their deadlines: plain TCP, or TLS over it.

pub(crate) mod introduction;
mod tls;
pub(crate) mod wire;

use std::cell::OnceCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use monoio::buf::IoBuf;
use monoio::io::{AsyncWriteRent, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::TcpStream;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};

use self::tls::Tls;
use crate::buffer::Buffer;
use crate::deadline::{Cut, Deadline, Ticks, Wheel};
use crate::readiness::{Interest, Readiness};

pub(crate) use self::tls::{Unheard, drain, hear, secure, welcome};

/// What the connections of a core wait by.
#[derive(Clone)]
pub(crate) struct Waits {
    pub(crate) wheel: Wheel,
    pub(crate) readiness: Readiness,
}

/// Splits a connected stream, which is plain until it is [`secure`]d. `read_cut`: what a read that takes too long does
/// to the socket.
pub(crate) fn split(stream: TcpStream, waits: &Waits, read_cut: Cut) -> (ReadHalf, WriteHalf) {
    let fd = stream.as_raw_fd();
    let wheel = &waits.wheel;
    let (read, write) = stream.into_split();
    let read = ReadHalf {
        deadline: Rc::new(wheel.deadline(fd, read_cut)),
        interest: OnceCell::new(),
        readiness: waits.readiness.clone(),
        transport: Transport::Plain,
        _io: read,
        fd,
    };
    let deadline = wheel.deadline(fd, Cut::Both);
    (read, WriteHalf { deadline, transport: Transport::Plain, io: write, fd })
}

/// What lies between a half and its socket.
enum Transport {
    Plain,
    Tls(Rc<Tls>),
}

/// Why a read or write did not go through.
#[derive(Debug)]
pub(crate) enum StreamError {
    /// Its deadline passed.
    Timeout,
    /// The peer is gone.
    Closed,
    /// The peer refuses us over TLS, or what it sends cannot be read.
    Tls(Box<::tls::Error>),
}

/// The reading half. It waits for readiness and then reads at once: no buffer is held while nothing arrives.
pub(crate) struct ReadHalf {
    // Dropped before the socket: see `Wheel::deadline`.
    deadline: Rc<Deadline>,
    /// Registered with the first wait: a connection that needs none costs none.
    interest: OnceCell<Interest>,
    readiness: Readiness,
    transport: Transport,
    /// Holds the socket open; reads go past it.
    _io: OwnedReadHalf<TcpStream>,
    fd: RawFd,
}

impl ReadHalf {
    /// The deadline of all reads, to be armed also while one is pending. The holder must let go of it before the
    /// socket is closed.
    pub(crate) fn deadline(&self) -> Rc<Deadline> {
        Rc::clone(&self.deadline)
    }

    /// Waits until there is something to read, be it the end. No buffer is held meanwhile, and giving the wait up
    /// loses nothing.
    ///
    /// # Errors
    /// The kernel can watch no more sockets.
    pub(crate) async fn readable(&self) -> Result<(), StreamError> {
        poll_fn(|context| self.poll_readable(context)).await
    }

    /// As [`Self::readable`].
    fn poll_readable(&self, context: &Context<'_>) -> Poll<Result<(), StreamError>> {
        if let Transport::Tls(tls) = &self.transport
            && tls.has_more()
        {
            return Poll::Ready(Ok(()));
        }
        ready!(self.interest()?.poll_arrived(context));
        Poll::Ready(Ok(()))
    }

    /// The registration, made where there is none yet.
    fn interest(&self) -> Result<&Interest, StreamError> {
        if let Some(interest) = self.interest.get() {
            return Ok(interest);
        }
        let interest = self.readiness.register(self.fd).map_err(|error| {
            log::error!("cannot wait for a connection: {error}; see fs.epoll.max_user_watches");
            StreamError::Closed
        })?;
        Ok(self.interest.get_or_init(|| interest))
    }

    /// Whether nothing has arrived that was not read, not even the peer's end, as far as this turn of the core knows.
    pub(crate) fn is_quiet(&self) -> bool {
        let arrived = self.interest.get().is_none_or(Interest::has_arrived);
        match &self.transport {
            Transport::Plain => !arrived,
            Transport::Tls(tls) if arrived || tls.has_more() => {
                self.interest.get().is_some() && self.looks_quiet()
            }
            Transport::Tls(_) => true,
        }
    }

    /// Whether a look at the socket finds nothing that was not read, not even the peer's end.
    pub(crate) fn looks_quiet(&self) -> bool {
        match &self.transport {
            Transport::Plain => is_empty(self.fd),
            Transport::Tls(tls) => tls.is_quiet(|into, most| self.receive(into, most)),
        }
    }

    /// Whether a read that got less than it asked for has seen all that had arrived by then.
    pub(crate) fn has_seen_all(&self) -> bool {
        match &self.transport {
            Transport::Plain => true,
            Transport::Tls(tls) => tls.has_seen_all(),
        }
    }

    /// Appends what has arrived to `buffer`, at most its room and at most `most` bytes. `None`: nothing has.
    /// `Some(0)`: the peer has ended its side.
    pub(crate) fn read_now(&self, buffer: &mut Buffer, most: usize) -> Result<Option<usize>, StreamError> {
        let most = most.min(buffer.room());
        debug_assert!(most > 0, "a read into no room looks like the end of the stream");
        match &self.transport {
            Transport::Plain => self.receive(buffer.vec(), most),
            Transport::Tls(tls) => tls.read(buffer.vec(), most, |into, most| self.receive(into, most)),
        }
    }

    /// Appends at most `most` bytes that have arrived at the socket. `into` must have room for them.
    fn receive(&self, into: &mut Vec<u8>, most: usize) -> Result<Option<usize>, StreamError> {
        let interest = self.interest.get();
        if let Some(interest) = interest {
            interest.forget();
        }
        match crate::socket::receive(self.fd, into, most) {
            Ok(0) if self.deadline.has_passed() => Err(StreamError::Timeout),
            Ok(count) => Ok(Some(count)),
            Err(Errno::EAGAIN) => {
                interest.inspect(|interest| interest.settle());
                Ok(None)
            }
            Err(Errno::EINTR) => {
                // Nothing was read: what has arrived is still to be announced.
                interest.inspect(|interest| interest.announce());
                Ok(None)
            }
            Err(_) if self.deadline.has_passed() => Err(StreamError::Timeout),
            Err(_) => Err(StreamError::Closed),
        }
    }
}

/// Whether nothing lies in the socket, not even the peer's end.
fn is_empty(fd: RawFd) -> bool {
    let peeked = recv(fd, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
    peeked == Err(Errno::EAGAIN)
}

/// The writing half. Dropping both halves closes the socket.
pub(crate) struct WriteHalf {
    // Dropped before the socket: see `Wheel::deadline`.
    deadline: Deadline,
    transport: Transport,
    io: OwnedWriteHalf<TcpStream>,
    fd: RawFd,
}

impl WriteHalf {
    /// Writes all of `buffer` and gives it back empty; `patience` counts anew with each part that gets through.
    pub(crate) async fn write_all(
        &mut self,
        buffer: Buffer,
        patience: Ticks,
    ) -> (Result<(), StreamError>, Buffer) {
        match &self.transport {
            Transport::Plain => self.push(buffer, patience).await,
            Transport::Tls(tls) => {
                let tls = Rc::clone(tls);
                self.push_encrypted(&tls, buffer, patience).await
            }
        }
    }

    async fn push_encrypted(
        &mut self,
        tls: &Tls,
        mut plaintext: Buffer,
        patience: Ticks,
    ) -> (Result<(), StreamError>, Buffer) {
        while !plaintext.is_empty() {
            let (count, records) = match tls.encrypt(plaintext.as_slice()) {
                Ok(encrypted) => encrypted,
                Err(error) => return (Err(error), emptied(plaintext)),
            };
            let (sent, records) = self.push(records, patience).await;
            tls.put_back(records);
            if sent.is_err() {
                return (sent, emptied(plaintext));
            }
            plaintext.consume(count);
        }
        (Ok(()), emptied(plaintext))
    }

    /// Writes all of `buffer` to the socket.
    async fn push(&mut self, buffer: Buffer, patience: Ticks) -> (Result<(), StreamError>, Buffer) {
        let (mut bytes, mut start) = buffer.into_parts();
        let mut result = Ok(());
        while start < bytes.len() {
            self.deadline.arm(patience);
            let end = bytes.len();
            let slice = bytes.slice(start..end);
            let (written, slice) = self.io.write(slice).await;
            bytes = slice.into_inner();
            match written {
                Ok(count) if count > 0 => start += count,
                _ if self.deadline.has_passed() => {
                    result = Err(StreamError::Timeout);
                    break;
                }
                _ => {
                    result = Err(StreamError::Closed);
                    break;
                }
            }
        }
        self.deadline.disarm();
        bytes.clear();
        (result, Buffer::from_vec(bytes, 0))
    }

    /// Whether nothing has arrived from the peer that was not read, not even its end.
    pub(crate) fn peer_is_quiet(&self) -> bool {
        is_empty(self.fd)
    }

    /// Whether the peer once took nothing for too long.
    pub(crate) fn has_timed_out(&self) -> bool {
        self.deadline.has_passed()
    }

    /// Ends our side of the connection; what was written still arrives.
    pub(crate) fn finish(&self) {
        self.bid_farewell();
        // The only error is that the peer is gone already.
        let _ = shutdown(self.fd, Shutdown::Write);
    }

    /// Tells a peer that speaks TLS that nothing more comes, so that it does not take our end for a cut. As far as the
    /// socket takes it at once: one that is full is not waited for.
    fn bid_farewell(&self) {
        if let Transport::Tls(tls) = &self.transport {
            // As in `finish`.
            let _ = self.send_now(&tls.close());
        }
    }

    /// Sends all of `bytes`: at once what the socket takes, as that is most often all; the rest as
    /// [`Self::write_all`] does.
    async fn send_all(&mut self, bytes: Vec<u8>, patience: Ticks) -> Result<(), StreamError> {
        if bytes.is_empty() {
            return Ok(());
        }
        match send(self.fd, &bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
            Ok(count) if count == bytes.len() => Ok(()),
            Ok(count) => self.push(Buffer::from_vec(bytes, count), patience).await.0,
            Err(Errno::EAGAIN | Errno::EINTR) => self.push(Buffer::from_vec(bytes, 0), patience).await.0,
            Err(_) => Err(StreamError::Closed),
        }
    }

    /// Sends `bytes` at once.
    ///
    /// # Errors
    /// The peer is gone, or the socket takes no more.
    fn send_now(&self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let sent = send(self.fd, bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?;
        if sent < bytes.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }

    /// For ending both sides at once while this half is busy. To be dropped before it.
    pub(crate) fn cutter(&self) -> Cutter {
        Cutter(self.fd)
    }

    /// Ends reading: what has arrived is still read, then the end of the stream.
    pub(crate) fn cut_reads(&self) {
        // As in `finish`.
        let _ = shutdown(self.fd, Shutdown::Read);
    }

    /// Resets the connection, for a transfer whose end would otherwise look like its true end.
    pub(crate) fn reset(&self) {
        crate::socket::reset(self.fd);
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.fd
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        self.bid_farewell();
    }
}

fn emptied(mut buffer: Buffer) -> Buffer {
    buffer.clear();
    buffer
}

/// Ends a socket both ways, so that what is pending on it comes back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cutter(RawFd);

impl Cutter {
    pub(crate) fn cut(self) {
        // The only error is that the peer is gone already.
        let _ = shutdown(self.0, Shutdown::Both);
    }
}

//! A connection's two halves over owned buffers, with their deadlines. Plain TCP; TLS will be another variant.

use std::cell::OnceCell;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

use monoio::buf::IoBuf;
use monoio::io::{AsyncWriteRent, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::TcpStream;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};

use crate::buffer::Buffer;
use crate::deadline::{Cut, Deadline, Ticks, Wheel};
use crate::readiness::{Interest, Readiness};

/// What the connections of a core wait by.
#[derive(Clone)]
pub(crate) struct Waits {
    pub(crate) wheel: Wheel,
    pub(crate) readiness: Readiness,
}

/// Splits a connected stream. `read_cut`: what a read that takes too long does to the socket.
pub(crate) fn split(stream: TcpStream, waits: &Waits, read_cut: Cut) -> (ReadHalf, WriteHalf) {
    let fd = stream.as_raw_fd();
    let wheel = &waits.wheel;
    let (read, write) = stream.into_split();
    let read = ReadHalf {
        deadline: Rc::new(wheel.deadline(fd, read_cut)),
        interest: OnceCell::new(),
        readiness: waits.readiness.clone(),
        _io: read,
        fd,
    };
    (read, WriteHalf { deadline: wheel.deadline(fd, Cut::Both), io: WriteIo::Plain(write), fd })
}

/// Why a read or write did not go through.
#[derive(Debug)]
pub(crate) enum StreamError {
    /// Its deadline passed.
    Timeout,
    /// The peer is gone.
    Closed,
}

enum WriteIo {
    Plain(OwnedWriteHalf<TcpStream>),
}

/// The reading half. It waits for readiness and then reads at once: no buffer is held while nothing arrives.
pub(crate) struct ReadHalf {
    // Dropped before the socket: see `Wheel::deadline`.
    deadline: Rc<Deadline>,
    /// Registered with the first wait: a connection that needs none costs none.
    interest: OnceCell<Interest>,
    readiness: Readiness,
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
        let interest = match self.interest.get() {
            Some(interest) => interest,
            None => {
                let interest = self.readiness.register(self.fd).map_err(|error| {
                    log::error!("cannot wait for a connection: {error}; see fs.epoll.max_user_watches");
                    StreamError::Closed
                })?;
                self.interest.get_or_init(|| interest)
            }
        };
        interest.arrived().await;
        Ok(())
    }

    /// Whether nothing has arrived that was not read, not even the peer's end, as far as this turn of the core knows.
    pub(crate) fn is_quiet(&self) -> bool {
        self.interest.get().is_some_and(|interest| !interest.has_arrived())
    }

    /// Appends what has arrived to `buffer`, at most its room and at most `most` bytes. `None`: nothing has.
    /// `Some(0)`: the peer has ended its side.
    pub(crate) fn read_now(&self, buffer: &mut Buffer, most: usize) -> Result<Option<usize>, StreamError> {
        let most = most.min(buffer.room());
        debug_assert!(most > 0, "a read into no room looks like the end of the stream");
        let interest = self.interest.get();
        if let Some(interest) = interest {
            interest.forget();
        }
        match crate::socket::receive(self.fd, buffer.vec(), most) {
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

/// The writing half. Dropping both halves closes the socket.
pub(crate) struct WriteHalf {
    // Dropped before the socket: see `Wheel::deadline`.
    deadline: Deadline,
    io: WriteIo,
    fd: RawFd,
}

impl WriteHalf {
    /// Writes all of `buffer` and gives it back empty; `patience` counts anew with each part that gets through.
    pub(crate) async fn write_all(
        &mut self,
        buffer: Buffer,
        patience: Ticks,
    ) -> (Result<(), StreamError>, Buffer) {
        let (mut bytes, mut start) = buffer.into_parts();
        let mut result = Ok(());
        while start < bytes.len() {
            self.deadline.arm(patience);
            let end = bytes.len();
            let slice = bytes.slice(start..end);
            let (written, slice) = match &mut self.io {
                WriteIo::Plain(io) => io.write(slice).await,
            };
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
        let peeked = recv(self.fd, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        peeked == Err(Errno::EAGAIN)
    }

    /// Whether the peer once took nothing for too long.
    pub(crate) fn has_timed_out(&self) -> bool {
        self.deadline.has_passed()
    }

    /// Ends our side of the connection; what was written still arrives.
    pub(crate) fn finish(&self) {
        // The only error is that the peer is gone already.
        let _ = shutdown(self.fd, Shutdown::Write);
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

/// Ends a socket both ways, so that what is pending on it comes back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cutter(RawFd);

impl Cutter {
    pub(crate) fn cut(self) {
        // The only error is that the peer is gone already.
        let _ = shutdown(self.0, Shutdown::Both);
    }
}

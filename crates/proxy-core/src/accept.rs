//! Takes connections off a listening socket, and gives none up: what has arrived when it is told to stop is served.
//!
//! The socket is waited for like any other and accepted from by hand. An accept handed to the ring would take a
//! connection even for a core that hangs, and swallow the wake-up of the core that stands in for it.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use monoio::net::TcpStream;

use crate::bounds::ACCEPTS_PER_TURN;
use crate::clock;
use crate::readiness::{Interest, Readiness};

/// Pause after an accept that failed for want of descriptors or memory: trying again at once would only burn.
const PAUSE: Duration = Duration::from_millis(50);
/// Pause after a full turn of accepts, in which the core gets to what it has.
const BREATH: Duration = Duration::from_millis(1);

/// A listening socket, and what is spoken there.
pub(crate) struct Door {
    pub(crate) socket: std::net::TcpListener,
    pub(crate) speech: Speech,
}

/// What is spoken on a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    Plain,
    /// TLS, at the address as the settings name it.
    Tls(SocketAddr),
}

impl Door {
    /// Another descriptor of the same socket.
    ///
    /// # Errors
    /// No more file descriptors.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, speech: self.speech })
    }
}

/// A core's end of one listening socket.
pub(crate) struct Listener {
    // Dropped before the socket.
    interest: Interest,
    socket: std::net::TcpListener,
    /// What is spoken there.
    pub(crate) speech: Speech,
    /// The driver wants sockets that do not block.
    is_epoll: bool,
    stopped: Cell<bool>,
    /// A descriptor for when there are no more.
    spare: RefCell<Option<File>>,
    complained_at: Cell<Option<Instant>>,
}

impl Listener {
    /// Wraps a listening socket. To be called on the core.
    ///
    /// # Errors
    /// The kernel can watch no more sockets.
    pub(crate) fn new(
        Door { socket, speech }: Door,
        readiness: &Readiness,
        is_epoll: bool,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let interest = readiness.register(socket.as_raw_fd())?;
        Ok(Self {
            interest,
            socket,
            speech,
            is_epoll,
            stopped: Cell::new(false),
            spare: RefCell::new(spare()),
            complained_at: Cell::new(None),
        })
    }

    /// Hands each connection to `serve` until [`Self::stop`]; then those that have arrived by that time.
    pub(crate) async fn run(&self, serve: impl Fn(TcpStream, SocketAddr)) {
        let mut taken = 0;
        loop {
            self.interest.forget();
            match self.accept() {
                Ok((stream, peer)) => {
                    serve(stream, peer);
                    taken += 1;
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) if self.stopped.get() => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    taken = 0;
                    self.interest.arrived().await;
                }
                Err(error) => {
                    self.complain(&error);
                    self.turn_one_away();
                    monoio::time::sleep(PAUSE).await;
                }
            }
            if taken >= ACCEPTS_PER_TURN {
                taken = 0;
                monoio::time::sleep(BREATH).await;
            }
        }
    }

    fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.socket.accept()?;
        if self.is_epoll {
            stream.set_nonblocking(true)?;
        }
        Ok((TcpStream::from_std(stream)?, peer))
    }

    /// Without a free descriptor a client would wait until it gives up. With the one kept for this its connection is
    /// taken and closed, so that it knows.
    fn turn_one_away(&self) {
        if self.spare.take().is_some() {
            drop(self.socket.accept());
        }
        self.spare.replace(spare());
    }

    /// Says, once a second, that connections cannot be taken.
    fn complain(&self, error: &io::Error) {
        let now = clock::now();
        if self.complained_at.get().is_none_or(|at| now - at >= Duration::from_secs(1)) {
            self.complained_at.set(Some(now));
            log::error!(
                "cannot accept: {error}; clients are turned away, raise the limit of open files (ulimit -n)"
            );
        }
    }

    /// Ends [`Self::run`].
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        self.interest.announce();
    }

    /// Port that clients connect to.
    pub(crate) fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Errors that mean a client left before it was accepted (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    ) || error.raw_os_error() == Some(nix::libc::EPROTO)
}

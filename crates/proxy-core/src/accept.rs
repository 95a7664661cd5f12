//! Takes connections off a listening socket, and gives none up: a cancelled accept is awaited, and what it or
//! the kernel's queue still holds is served.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use monoio::io::CancelHandle;
use monoio::net::{TcpListener, TcpStream};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Pause after an accept that failed for want of descriptors or memory: trying again at once would only burn.
const PAUSE: Duration = Duration::from_millis(50);

/// A core's end of one listening socket.
pub(crate) struct Listener {
    accepting: TcpListener,
    /// The same socket, for what needs a borrowed descriptor.
    socket: std::net::TcpListener,
}

impl Listener {
    /// Wraps a listening socket. To be called on the core.
    ///
    /// # Errors
    /// No more file descriptors, or the driver will not have the socket.
    pub(crate) fn new(socket: std::net::TcpListener, is_epoll: bool) -> io::Result<Self> {
        socket.set_nonblocking(is_epoll)?;
        Ok(Self { accepting: TcpListener::from_std(socket.try_clone()?)?, socket })
    }

    /// Hands each connection to `serve` until `stop` is cancelled; then those that have arrived by that time.
    pub(crate) async fn run(&self, stop: CancelHandle, mut serve: impl FnMut(TcpStream, SocketAddr)) {
        loop {
            match self.accepting.cancelable_accept(stop.clone()).await {
                Ok((stream, peer)) => serve(stream, peer),
                Err(error) if is_cancelled(&error) => break,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    log::error!("cannot accept: {error}; trying again");
                    monoio::time::sleep(PAUSE).await;
                }
            }
        }
        while self.has_waiting() {
            match self.accepting.accept().await {
                Ok((stream, peer)) => serve(stream, peer),
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => return,
            }
        }
    }

    fn has_waiting(&self) -> bool {
        let mut polled = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut polled, PollTimeout::ZERO), Ok(count) if count > 0)
    }
}

fn is_cancelled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::ECANCELED)
}

/// Errors that mean a client left before it was accepted (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    ) || matches!(error.raw_os_error(), Some(nix::libc::EPROTO | nix::libc::EAGAIN))
}

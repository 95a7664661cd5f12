//! The byte stream to the server is opened by whoever uses this crate: names, sockets and TLS are not its business.

use std::future::Future;
use std::io;

use monoio::io::{AsyncReadRent, AsyncWriteRent};

use crate::source::Endpoint;

/// Opens the byte stream to the server.
pub trait Dialer: 'static {
    /// What the server sends.
    type Read: AsyncReadRent + 'static;
    /// What is sent to the server.
    type Write: AsyncWriteRent + 'static;

    /// Connects to the server of `endpoint`, over TLS where it says so. May be dropped before it completes (time-out, stop).
    fn dial(&self, endpoint: &Endpoint) -> impl Future<Output = io::Result<Link<Self::Read, Self::Write>>>;
}

/// An open byte stream.
pub struct Link<R, W> {
    /// Its reading half.
    pub read: R,
    /// Its writing half.
    pub write: W,
    /// Shuts the socket down both ways at once (shutdown(2)), so that pending reads and writes return. Called at most
    /// once, and only while at least one half still lives.
    pub hang_up: Box<dyn Fn()>,
}

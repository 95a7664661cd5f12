//! The PROXY header in front of a connection. It is taken off to its last byte and no further, so that what follows is
//! found by TLS and HTTP where they look for it: in the socket.

use std::fmt;

use nix::sys::socket::{MsgFlags, recv};

use crate::bounds::PROXY_BINARY_BYTES;
use crate::proxy_header::{self, Fault, Introduction};
use crate::stream::{ReadHalf, StreamError};

/// Why a connection was not introduced.
#[derive(Debug)]
pub(crate) enum Unintroduced {
    /// It was closed without a word, as by a check whether somebody listens.
    Silent,
    /// It was closed within the header.
    Cut,
    /// The header did not come in time.
    Timeout,
    /// What came is none.
    Fault(Fault),
}

impl fmt::Display for Unintroduced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("it was closed without a word"),
            Self::Cut => f.write_str("it was closed within its PROXY header"),
            Self::Timeout => f.write_str("its PROXY header did not come within server.timeouts.clientHeader"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

/// Waits for the header, for as long as the deadline of `read` says.
pub(crate) async fn introduction(read: &ReadHalf) -> Result<Introduction, Unintroduced> {
    let mut header = Vec::new();
    loop {
        read.readable().await.map_err(|_: StreamError| Unintroduced::Cut)?;
        if let Some(introduction) = take(read, &mut header)? {
            // What lies behind it has been announced with it.
            read.interest().map_err(|_: StreamError| Unintroduced::Cut)?.announce();
            return Ok(introduction);
        }
    }
}

/// Takes what has arrived of the header.
fn take(read: &ReadHalf, header: &mut Vec<u8>) -> Result<Option<Introduction>, Unintroduced> {
    let held = header.len();
    let mut look = [0; PROXY_BINARY_BYTES];
    // Whatever there is instead of bytes, receiving will tell.
    let arrived = recv(read.fd, &mut look, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT).unwrap_or(0);
    header.extend_from_slice(&look[..arrived]);
    let whole = proxy_header::parse(header).map_err(Unintroduced::Fault)?;
    header.truncate(held);
    // Where the header is not whole, one byte more at least belongs to it.
    let wanted = whole.map_or(arrived, |introduction| introduction.length - held).max(1);
    header.reserve(wanted);
    match read.receive(header, wanted) {
        Ok(Some(0)) | Err(StreamError::Closed | StreamError::Tls(_)) if held == 0 => {
            Err(Unintroduced::Silent)
        }
        Ok(Some(0)) | Err(StreamError::Closed | StreamError::Tls(_)) => Err(Unintroduced::Cut),
        Err(StreamError::Timeout) => Err(Unintroduced::Timeout),
        Ok(Some(_)) => proxy_header::parse(header).map_err(Unintroduced::Fault),
        Ok(None) => Ok(None),
    }
}

//! Opens connections to the route store for `redis-router`, which knows streams but not sockets. Over TLS they are the
//! halves that backends' connections have, behind monoio's traits.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

use monoio::BufResult;
use monoio::buf::{IoBuf, IoBufMut, IoVecBuf, IoVecBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::{TcpStream, UnixStream};
use nix::sys::socket::{Shutdown, shutdown};
use redis_router::{Dialer, Endpoint, Link, Server, Source};
use tls::{Clients, Session, Verification};

use crate::bounds::{STORE_ADDRESS_WAIT, STORE_READ_BYTES};
use crate::buffer::{Buffer, BulkBuffers};
use crate::deadline::{Cut, Ticks};
use crate::settings::Settings;
use crate::stream::{self, ReadHalf, StreamError, Waits, WriteHalf};
use crate::upstream::connect::Connector;
use crate::upstream::resolve::Resolver;

/// Dials on behalf of one core.
pub(crate) struct StoreDialer {
    resolver: Rc<Resolver>,
    /// What connections over TLS begin with; `None`: no server is spoken to so.
    trust: Option<StoreTrust>,
}

/// What it takes to speak to the store over TLS.
struct StoreTrust {
    clients: Clients,
    waits: Waits,
    bulk: Rc<BulkBuffers>,
}

/// Reading half of a connection to the store.
pub(crate) enum StoreRead {
    Tcp(OwnedReadHalf<TcpStream>),
    Unix(OwnedReadHalf<UnixStream>),
    Tls(TlsRead),
}

/// Writing half of a connection to the store.
pub(crate) enum StoreWrite {
    Tcp(OwnedWriteHalf<TcpStream>),
    Unix(OwnedWriteHalf<UnixStream>),
    Tls(WriteHalf),
}

/// What the store sends over TLS.
pub(crate) struct TlsRead {
    half: ReadHalf,
    /// Read and not yet taken.
    buffer: Buffer,
}

impl Dialer for StoreDialer {
    type Read = StoreRead;
    type Write = StoreWrite;

    async fn dial(&self, endpoint: &Endpoint) -> io::Result<Link<StoreRead, StoreWrite>> {
        match &endpoint.server {
            Server::Tcp(host, port) if endpoint.tls => self.dial_tls(host, *port).await,
            Server::Tcp(host, port) => {
                let stream = self.dial_tcp(host, *port).await?;
                let fd = stream.as_raw_fd();
                let (read, write) = stream.into_split();
                Ok(link(StoreRead::Tcp(read), StoreWrite::Tcp(write), fd))
            }
            Server::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                let fd = stream.as_raw_fd();
                let (read, write) = stream.into_split();
                Ok(link(StoreRead::Unix(read), StoreWrite::Unix(write), fd))
            }
        }
    }
}

impl StoreDialer {
    /// For the routes of `settings`, with what `connector` reaches backends by.
    pub(crate) fn new(settings: &Settings, connector: &Connector) -> Self {
        let over_tls = matches!(&settings.routes, Source::Redis(redis) if redis.deployment.uses_tls());
        let trust = over_tls.then(|| StoreTrust {
            clients: settings.store_trust.clients(),
            waits: connector.waits.clone(),
            bulk: Rc::clone(&connector.bulk),
        });
        Self { resolver: Rc::clone(&connector.resolver), trust }
    }

    async fn dial_tcp(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let addresses: Vec<_> = match without_brackets(host).parse() {
            Ok(address) => vec![address],
            Err(_) => {
                let resolved = self.resolver.addresses(host).await;
                resolved
                    .map_err(|error| io::Error::other(format!("cannot resolve {host}: {error}")))?
                    .to_vec()
            }
        };
        // Before they are tried: whoever waits gives up where none answers.
        if addresses.len() > 1 {
            self.resolver.doubt(host);
        }
        let first = fastrand::usize(..addresses.len().max(1));
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for turn in 0..addresses.len() {
            let address = SocketAddr::new(addresses[(first + turn) % addresses.len()], port);
            let connecting = TcpStream::connect_addr(address);
            let outcome = if turn + 1 == addresses.len() {
                connecting.await
            } else {
                let in_time = monoio::time::timeout(STORE_ADDRESS_WAIT, connecting).await;
                in_time.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
            };
            match outcome {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => failure = error,
            }
        }
        self.resolver.doubt(host);
        Err(failure)
    }

    /// A connection over TLS. It may be given up at any time.
    async fn dial_tls(&self, host: &str, port: u16) -> io::Result<Link<StoreRead, StoreWrite>> {
        let trust = self.trust.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let session = Session::client(&trust.clients, Verification::Full, without_brackets(host));
        let session = session.map_err(io::Error::other)?;
        let stream = self.dial_tcp(host, port).await?;
        let fd = stream.as_raw_fd();
        let (mut read, mut write) = stream::split(stream, &trust.waits, Cut::Both);
        let secured = stream::secure((&mut read, &mut write), session, Rc::clone(&trust.bulk)).await;
        secured.map_err(|error| io::Error::new(error.kind(), format!("{error} ({AUTHORITIES})")))?;
        let read = TlsRead { half: read, buffer: Buffer::default() };
        Ok(link(StoreRead::Tls(read), StoreWrite::Tls(write), fd))
    }
}

/// Where an operator says whom to believe.
const AUTHORITIES: &str = "redis.ca names a file with the authorities of its certificate";

/// An IPv6 address as it stands in a URL, without what stands around it there.
fn without_brackets(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

impl TlsRead {
    /// Waits until something is there to be taken. Nothing is: the store has ended its side.
    async fn fill(&mut self) -> Result<(), StreamError> {
        while self.buffer.is_empty() {
            self.half.readable().await?;
            self.buffer.reserve(STORE_READ_BYTES);
            if self.half.read_now(&mut self.buffer, usize::MAX)? == Some(0) {
                break;
            }
        }
        Ok(())
    }

    fn taken(&mut self, taken: &io::Result<usize>) {
        self.buffer.consume(*taken.as_ref().unwrap_or(&0));
    }
}

fn broken(error: StreamError) -> io::Error {
    match error {
        StreamError::Tls(error) => io::Error::other(error),
        StreamError::Timeout | StreamError::Closed => io::ErrorKind::ConnectionReset.into(),
    }
}

/// `hang_up` names the socket by number: it must not be called after both halves are dropped.
fn link(read: StoreRead, write: StoreWrite, fd: RawFd) -> Link<StoreRead, StoreWrite> {
    let hang_up = Box::new(move || {
        // The only error is that the store is gone already.
        let _ = shutdown(fd, Shutdown::Both);
    });
    Link { read, write, hang_up }
}

impl AsyncReadRent for StoreRead {
    async fn read<T: IoBufMut>(&mut self, buffer: T) -> BufResult<usize, T> {
        match self {
            Self::Tcp(half) => half.read(buffer).await,
            Self::Unix(half) => half.read(buffer).await,
            Self::Tls(read) => {
                if let Err(error) = read.fill().await {
                    return (Err(broken(error)), buffer);
                }
                let (taken, buffer) = read.buffer.as_slice().read(buffer).await;
                read.taken(&taken);
                (taken, buffer)
            }
        }
    }

    async fn readv<T: IoVecBufMut>(&mut self, buffers: T) -> BufResult<usize, T> {
        match self {
            Self::Tcp(half) => half.readv(buffers).await,
            Self::Unix(half) => half.readv(buffers).await,
            Self::Tls(read) => {
                if let Err(error) = read.fill().await {
                    return (Err(broken(error)), buffers);
                }
                let (taken, buffers) = read.buffer.as_slice().readv(buffers).await;
                read.taken(&taken);
                (taken, buffers)
            }
        }
    }
}

impl AsyncWriteRent for StoreWrite {
    async fn write<T: IoBuf>(&mut self, buffer: T) -> BufResult<usize, T> {
        match self {
            Self::Tcp(half) => half.write(buffer).await,
            Self::Unix(half) => half.write(buffer).await,
            Self::Tls(half) => {
                let content = crate::socket::content(&buffer).to_vec();
                let count = content.len();
                let (sent, _) = half.write_all(Buffer::from_vec(content, 0), Ticks::NONE).await;
                (sent.map(|()| count).map_err(broken), buffer)
            }
        }
    }

    async fn writev<T: IoVecBuf>(&mut self, buffers: T) -> BufResult<usize, T> {
        match self {
            Self::Tcp(half) => half.writev(buffers).await,
            Self::Unix(half) => half.writev(buffers).await,
            // redis-router writes one buffer at a time.
            Self::Tls(_) => (Err(io::ErrorKind::Unsupported.into()), buffers),
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(half) => half.flush().await,
            Self::Unix(half) => half.flush().await,
            Self::Tls(_) => Ok(()),
        }
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(half) => half.shutdown().await,
            Self::Unix(half) => half.shutdown().await,
            Self::Tls(half) => {
                half.finish();
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;

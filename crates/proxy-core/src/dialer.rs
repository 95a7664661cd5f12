//! Opens connections to the route store for `redis-router`, which knows streams but not sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

use monoio::BufResult;
use monoio::buf::{IoBuf, IoBufMut, IoVecBuf, IoVecBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::{TcpStream, UnixStream};
use nix::sys::socket::{Shutdown, shutdown};
use redis_router::{Dialer, Endpoint, Link, Server};

use crate::upstream::resolve::Resolver;

/// Dials on behalf of one core.
pub(crate) struct StoreDialer(pub(crate) Rc<Resolver>);

/// Reading half of a connection to the store.
pub(crate) enum StoreRead {
    Tcp(OwnedReadHalf<TcpStream>),
    Unix(OwnedReadHalf<UnixStream>),
}

/// Writing half of a connection to the store.
pub(crate) enum StoreWrite {
    Tcp(OwnedWriteHalf<TcpStream>),
    Unix(OwnedWriteHalf<UnixStream>),
}

impl Dialer for StoreDialer {
    type Read = StoreRead;
    type Write = StoreWrite;

    async fn dial(&self, endpoint: &Endpoint) -> io::Result<Link<StoreRead, StoreWrite>> {
        match &endpoint.server {
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
    async fn dial_tcp(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let addresses: Vec<_> = match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(address) => vec![address],
            Err(_) => {
                let resolved = self.0.addresses(host).await;
                resolved
                    .map_err(|error| io::Error::other(format!("cannot resolve {host}: {error}")))?
                    .to_vec()
            }
        };
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match TcpStream::connect_addr(SocketAddr::new(address, port)).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => failure = error,
            }
        }
        self.0.doubt(host);
        Err(failure)
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
        }
    }

    async fn readv<T: IoVecBufMut>(&mut self, buffers: T) -> BufResult<usize, T> {
        match self {
            Self::Tcp(half) => half.readv(buffers).await,
            Self::Unix(half) => half.readv(buffers).await,
        }
    }
}

impl AsyncWriteRent for StoreWrite {
    async fn write<T: IoBuf>(&mut self, buffer: T) -> BufResult<usize, T> {
        match self {
            Self::Tcp(half) => half.write(buffer).await,
            Self::Unix(half) => half.write(buffer).await,
        }
    }

    async fn writev<T: IoVecBuf>(&mut self, buffers: T) -> BufResult<usize, T> {
        match self {
            Self::Tcp(half) => half.writev(buffers).await,
            Self::Unix(half) => half.writev(buffers).await,
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(half) => half.flush().await,
            Self::Unix(half) => half.flush().await,
        }
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(half) => half.shutdown().await,
            Self::Unix(half) => half.shutdown().await,
        }
    }
}

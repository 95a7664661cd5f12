//! Opens a connection to a backend, or uses an idle one.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use monoio::net::TcpStream;
use nix::libc;
use redis_router::{Backend, BackendHost, Scheme};
use tls::{Clients, Session, Verification};

use crate::buffer::BulkBuffers;
use crate::clock;
use crate::deadline::Cut;
use crate::error::Failure;
use crate::settings::Settings;
use crate::stream::{self, ReadHalf, Waits, WriteHalf};
use crate::upstream::connection::Upstream;
use crate::upstream::pool::{Lease, Leased, Permit, Pool};
use crate::upstream::resolve::Resolver;

/// What it takes to reach backends from this core.
pub(crate) struct Connector {
    pub(crate) pool: Pool,
    pub(crate) resolver: Rc<Resolver>,
    pub(crate) waits: Waits,
    pub(crate) bulk: Rc<BulkBuffers>,
    /// What connections to `https://` backends begin with.
    pub(crate) clients: RefCell<Clients>,
    /// For one connection in total, its handshake included, and for the wait until one is free. `None`: no limit.
    pub(crate) patience: Cell<Option<Duration>>,
}

impl Connector {
    pub(crate) fn new(settings: &Settings, waits: Waits, resolver: Rc<Resolver>) -> Self {
        Self {
            pool: Pool::new(settings.upstream.max_sockets),
            resolver,
            waits,
            bulk: Rc::default(),
            clients: RefCell::new(settings.upstream.trust.clients()),
            patience: Cell::new(settings.timeouts.connect),
        }
    }

    /// A connection to `backend`; a new one where `fresh`.
    pub(crate) async fn connection(&self, backend: &Backend, fresh: bool) -> Result<Leased, Failure> {
        match self.pool.lease(&backend.pool, fresh, self.patience.get()).await {
            Ok(Lease::Idle(leased)) => Ok(leased),
            Ok(Lease::Open(permit)) => self.open(backend, permit).await,
            Err(_) => Err(Failure::BackendBusy),
        }
    }

    async fn open(&self, backend: &Backend, permit: Permit) -> Result<Leased, Failure> {
        let patience = self.patience.get();
        let opening = self.reach(backend, patience.map(|patience| clock::now() + patience));
        let halves = match patience {
            None => opening.await,
            // A connect hides its socket from the wheel, and a handshake waits without reading: dropping them loses
            // no bytes.
            Some(patience) => {
                monoio::time::timeout(patience, opening).await.unwrap_or(Err(Failure::BackendTimeout))
            }
        };
        if halves.is_err()
            && let BackendHost::Name(name) = &backend.host
        {
            self.resolver.doubt(name);
        }
        let upstream = Upstream::new(halves?, Rc::clone(&self.bulk));
        Ok(Leased { upstream: Box::new(upstream), permit })
    }

    /// A connection that is ready for a request.
    async fn reach(
        &self,
        backend: &Backend,
        until: Option<Instant>,
    ) -> Result<(ReadHalf, WriteHalf), Failure> {
        let stream = self.connect(backend, until).await?;
        let (mut read, mut write) = stream::split(stream, &self.waits, Cut::Both);
        if backend.scheme == Scheme::Https {
            let unreachable = Failure::BackendUnreachable;
            let session = self.session(backend).map_err(|error| unreachable(io::Error::other(error)))?;
            let securing = stream::secure((&mut read, &mut write), session, Rc::clone(&self.bulk));
            securing.await.map_err(unreachable)?;
        }
        Ok((read, write))
    }

    fn session(&self, backend: &Backend) -> Result<Session, tls::Error> {
        let verification = if backend.insecure { Verification::None } else { Verification::Full };
        let clients = self.clients.borrow();
        match &backend.host {
            BackendHost::Address(address) => Session::client(&clients, verification, &address.to_string()),
            BackendHost::Name(name) => Session::client(&clients, verification, name),
        }
    }

    /// Tries the addresses one after the other, the first at random so that all are used.
    async fn connect(&self, backend: &Backend, until: Option<Instant>) -> Result<TcpStream, Failure> {
        let resolved;
        let addresses = match &backend.host {
            BackendHost::Address(address) => std::slice::from_ref(address),
            BackendHost::Name(name) => {
                resolved = self.resolver.addresses(name).await.map_err(|error| {
                    Failure::BackendUnreachable(io::Error::other(format!("cannot resolve {name}: {error}")))
                })?;
                &*resolved
            }
        };
        let first = fastrand::usize(..addresses.len().max(1));
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for turn in 0..addresses.len() {
            let address = SocketAddr::new(addresses[(first + turn) % addresses.len()], backend.port);
            let is_last = turn + 1 == addresses.len();
            match connect_within(address, until.filter(|_| !is_last)).await {
                Ok(stream) => {
                    // Heads are small and wait for an answer. Fails only where the peer is gone already.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) if is_own_shortage(&error) => return Err(Failure::Shortage(error)),
                Err(error) => failure = error,
            }
        }
        Err(match failure.kind() {
            io::ErrorKind::TimedOut => Failure::BackendTimeout,
            _ => Failure::BackendUnreachable(failure),
        })
    }
}

/// Connects within half the time there is `until` then: an address that does not answer leaves some to the next.
async fn connect_within(address: SocketAddr, until: Option<Instant>) -> io::Result<TcpStream> {
    let connecting = TcpStream::connect_addr(address);
    let Some(until) = until else { return connecting.await };
    let half = until.saturating_duration_since(clock::now()) / 2;
    monoio::time::timeout(half, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// No descriptor, port or memory here: not the backend's fault.
fn is_own_shortage(error: &io::Error) -> bool {
    const SHORTAGES: [i32; 5] =
        [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| SHORTAGES.contains(&code))
}

//! What all exchanges of one core share. Nothing of it is shared with another core.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use nix::sys::socket::{Shutdown, shutdown};
use redis_router::{Router, Tier};
use slab::Slab;

use crate::account::Account;
use crate::census::Roll;
use crate::deadline::Ticks;
use crate::downstream::h1::ClientPatience;
use crate::handshakes::Handshakes;
use crate::http::head::HeadLimits;
use crate::log_writer::LogSink;
use crate::pick::Turns;
use crate::refusals::Refusals;
use crate::settings::Settings;
use crate::stored_certificates::Stored;
use crate::stream::Cutter;
use crate::upstream::connect::Connector;

/// One core's state.
pub(crate) struct Core {
    pub(crate) rules: RefCell<Rc<Rules>>,
    pub(crate) router: Router,
    pub(crate) connector: Connector,
    pub(crate) log: Option<LogSink>,
    /// The present second as the access log writes it.
    pub(crate) log_time: RefCell<String>,
    /// No new connections: those there are end with the answer they are at.
    pub(crate) draining: Cell<bool>,
    /// The process ends: the drain does not wait for what idle clients may still ask.
    pub(crate) hurries: Cell<bool>,
    /// The drain waits no longer for requests that may be on their way on idle connections.
    pub(crate) idle_ended: Cell<bool>,
    pub(crate) connections: Connections,
    pub(crate) handshakes: Handshakes,
    /// Where its connections are counted, for the limits of the process.
    pub(crate) roll: Arc<Roll>,
    pub(crate) refusals: Refusals,
    /// The port that HTTPS is spoken at; `None`: at none.
    pub(crate) https_port: Option<u16>,
    pub(crate) complaints: Complaints,
    /// Certificates from the route store.
    pub(crate) stored: Stored,
    pub(crate) account: Arc<Account>,
    /// Asks the supervisor for another life in this one's place.
    #[cfg(debug_assertions)]
    pub(crate) replace_me: Box<dyn Fn() + Send>,
    /// Where the frontends that are served in turn are.
    pub(crate) turns: RefCell<Turns>,
    /// Whether the operator has been told of forwarding fields that are not believed.
    pub(crate) untrusted_mentioned: Cell<bool>,
}

/// What a core's exchanges go by. A reload replaces it whole; an exchange keeps those it began with.
pub(crate) struct Rules {
    pub(crate) settings: Arc<Settings>,
    pub(crate) limits: HeadLimits,
    pub(crate) client_patience: ClientPatience,
    pub(crate) backend_patience: BackendPatience,
    /// What clients are told of the limit of each tier.
    pub(crate) told_limits: Vec<ToldLimit>,
}

/// What clients are told of a limit.
pub(crate) struct ToldLimit {
    /// Both fields up to how much is left (draft-ietf-httpapi-ratelimit-headers-10).
    pub(crate) text: String,
    /// The window in whole seconds.
    pub(crate) window: u64,
}

impl ToldLimit {
    fn of(window: Duration, tier: &Tier) -> Self {
        let window = window.as_secs() + u64::from(window.subsec_nanos() > 0);
        let Tier { name, limit } = tier;
        let text = format!("RateLimit-Policy: \"{name}\";q={limit};w={window}\r\nRateLimit: \"{name}\";r=");
        Self { text, window }
    }
}

impl Rules {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        let timeouts = &settings.timeouts;
        let rules = settings.rate_limit.as_ref().map(|limit| &limit.rules);
        let told_limits =
            rules.map(|rules| rules.tiers.iter().map(|tier| ToldLimit::of(rules.window, tier)).collect());
        Self {
            limits: HeadLimits {
                bytes: settings.limits.header_bytes,
                fields: settings.limits.headers,
                target: settings.limits.uri_bytes,
            },
            client_patience: ClientPatience {
                idle: Ticks::of(timeouts.client_idle),
                head: Ticks::of(timeouts.client_header),
                body: Ticks::of(timeouts.client_body),
            },
            backend_patience: BackendPatience {
                header: Ticks::of(timeouts.backend_header),
                body: Ticks::of(timeouts.backend_body),
                tunnel: Ticks::of(timeouts.tunnel_idle),
            },
            told_limits: told_limits.unwrap_or_default(),
            settings,
        }
    }
}

impl Core {
    /// The rules for an exchange that begins now.
    pub(crate) fn rules(&self) -> Rc<Rules> {
        Rc::clone(&self.rules.borrow())
    }

    /// Goes by other settings from now on, as far as they can change while a core runs.
    pub(crate) fn change_rules(&self, settings: Arc<Settings>) {
        self.router.set_dead_ttl(settings.deaths.ttl);
        if let (Some(limits), Some(limit)) = (self.router.limits(), &settings.rate_limit) {
            limits.set_rules(limit.rules.clone());
        }
        self.connector.pool.set_max_per_backend(settings.upstream.max_sockets);
        self.connector.patience.set(settings.timeouts.connect);
        let trust = &settings.upstream.trust;
        if *trust != self.rules().settings.upstream.trust {
            self.connector.clients.replace(trust.clients());
            self.connector.pool.retire_all();
        }
        self.rules.replace(Rc::new(Rules::new(settings)));
    }

    /// Says once that a peer sends forwarding fields and is not trusted: behind a load balancer that is a mistake
    /// in the configuration.
    pub(crate) fn mention_untrusted(&self, peer: IpAddr) {
        if !self.untrusted_mentioned.replace(true) {
            log::warn!(
                "{peer} sends X-Forwarded-For and is not believed; if it is a proxy of yours, add it to \
                 server.trustedProxies (said once)"
            );
        }
    }
}

/// How long a backend may take, in ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BackendPatience {
    pub(crate) header: Ticks,
    pub(crate) body: Ticks,
    pub(crate) tunnel: Ticks,
}

/// The client connections of a core, so that a drain can reach them.
#[derive(Default)]
pub(crate) struct Connections(RefCell<Slab<Connection>>);

struct Connection {
    fd: RawFd,
    kind: Kind,
    idle: bool,
    /// The backend's connection whose answer is awaited for this client.
    awaited: Option<Cutter>,
    /// The client has reset its connection, or this stream of it.
    gone: bool,
    /// Whom to tell of a drain.
    waker: Option<Waker>,
}

/// What an entry stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connection,
    /// One of the requests that share a connection.
    Stream,
}

impl Connections {
    /// Registers the connection on `fd`. The registration must be dropped before the socket is closed.
    pub(crate) fn register(&self, fd: RawFd) -> Registration<'_> {
        self.insert(fd, Kind::Connection)
    }

    /// Registers a request that shares the connection on `fd` with others. As for [`Self::register`].
    pub(crate) fn register_stream(&self, fd: RawFd) -> Registration<'_> {
        self.insert(fd, Kind::Stream)
    }

    fn insert(&self, fd: RawFd, kind: Kind) -> Registration<'_> {
        let idle = kind == Kind::Connection;
        let entry = Connection { fd, kind, idle, awaited: None, gone: false, waker: None };
        Registration { connections: self, key: self.0.borrow_mut().insert(entry) }
    }

    /// Connections, each counted once.
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().iter().filter(|(_, entry)| entry.kind == Kind::Connection).count()
    }

    /// Wakes those that asked to be told of a drain.
    pub(crate) fn tell_of_drain(&self) {
        let mut connections = self.0.borrow_mut();
        let wakers: Vec<Waker> = connections.iter_mut().filter_map(|(_, entry)| entry.waker.take()).collect();
        drop(connections);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ends the connections that wait for a request. One whose request has just arrived still serves it.
    pub(crate) fn end_idle(&self) {
        for (_, connection) in self.0.borrow().iter().filter(|(_, connection)| connection.idle) {
            // The only error is that the peer is gone already.
            let _ = shutdown(connection.fd, Shutdown::Read);
        }
    }

    /// Ends the backend connections whose clients have reset theirs: the answer is for nobody. A client that has
    /// only ended its own side is served to the end. To be called about once a second.
    pub(crate) fn cut_awaited_for_nobody(&self) {
        let mut connections = self.0.borrow_mut();
        let awaiting = connections.iter_mut().map(|(_, connection)| connection);
        let mut awaiting: Vec<_> = awaiting.filter(|connection| connection.awaited.is_some()).collect();
        let clients: Vec<RawFd> = awaiting.iter().map(|connection| connection.fd).collect();
        let broken = crate::socket::broken(&clients);
        for (connection, _) in awaiting.iter_mut().zip(broken).filter(|(_, is_broken)| *is_broken) {
            connection.gone = true;
            connection.cut_awaited();
        }
    }

    /// Cuts every connection, and those to backends whose answers they wait for.
    pub(crate) fn cut_all(&self) {
        for (_, connection) in self.0.borrow_mut().iter_mut() {
            // As in `end_idle`.
            let _ = shutdown(connection.fd, Shutdown::Both);
            connection.gone = true;
            connection.cut_awaited();
        }
    }
}

impl Connection {
    fn cut_awaited(&mut self) {
        if let Some(backend) = self.awaited.take() {
            backend.cut();
        }
    }
}

/// A connection's entry, as long as it lives.
pub(crate) struct Registration<'a> {
    connections: &'a Connections,
    key: usize,
}

impl Registration<'_> {
    /// Says which backend connection the client's answer comes from; it must be taken back before that is closed.
    pub(crate) fn waits_for(&self, backend: Option<Cutter>) {
        let entry = &mut self.connections.0.borrow_mut()[self.key];
        entry.awaited = backend;
        if entry.gone {
            entry.cut_awaited();
        }
    }

    /// Says that nobody waits for the answer any more, and ends the backend's work for it.
    pub(crate) fn client_left(&self) {
        let entry = &mut self.connections.0.borrow_mut()[self.key];
        entry.gone = true;
        entry.cut_awaited();
    }

    /// Waits for something that may be given up at any time, as long as the client is there. `None`: it has left; who waits
    /// for a place without a client would take it from those that have one.
    pub(crate) async fn unless_client_left<T>(&self, task: impl Future<Output = T>) -> Option<T> {
        let mut task = pin!(task);
        poll_fn(|context| {
            if self.client_is_gone() {
                return Poll::Ready(None);
            }
            task.as_mut().poll(context).map(Some)
        })
        .await
    }

    /// Has `waker` woken when a drain begins.
    pub(crate) fn wake_to_drain(&self, waker: &Waker) {
        let slot = &mut self.connections.0.borrow_mut()[self.key].waker;
        match slot {
            Some(present) => present.clone_from(waker),
            None => *slot = Some(waker.clone()),
        }
    }

    /// Whether the client was found to have reset its connection.
    pub(crate) fn client_is_gone(&self) -> bool {
        self.connections.0.borrow()[self.key].gone
    }

    /// Says whether the connection waits for a request.
    pub(crate) fn set_idle(&self, idle: bool) {
        self.connections.0.borrow_mut()[self.key].idle = idle;
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.connections.0.borrow_mut().remove(self.key);
    }
}

/// Failures that are worth a line in the log, a few a second: a dead backend under load must not fill a disk.
#[derive(Default)]
pub(crate) struct Complaints {
    this_second: Cell<u32>,
    withheld: Cell<u32>,
}

impl Complaints {
    const PER_SECOND: u32 = 10;

    /// Logs `complaint` unless there were too many in this second.
    pub(crate) fn log(&self, complaint: std::fmt::Arguments<'_>) {
        if self.this_second.get() < Self::PER_SECOND {
            self.this_second.set(self.this_second.get() + 1);
            log::warn!("{complaint}");
        } else {
            self.withheld.set(self.withheld.get() + 1);
        }
    }

    /// Begins a new second, and says how many were withheld in the last.
    pub(crate) fn tick(&self) {
        self.this_second.set(0);
        match self.withheld.take() {
            0 => {}
            count => log::warn!("{count} more failures in this second, not shown"),
        }
    }
}

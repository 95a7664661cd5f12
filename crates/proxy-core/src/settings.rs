//! What a core needs to know, checked and ready to use. The file as an operator writes it is the program's
//! business: nothing here knows a key's name or JSON.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
pub use redis_router::{Balance, CacheSettings, LimitRules, Source};
pub use tls::{Error as Problem, Files, Pair, Place, Served, Traces, Trust};

/// Everything the data plane runs by. Built once by the program, shared read-only by all cores.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients connect.
    pub listen: Listen,
    /// HTTPS for clients; `None`: off.
    pub https: Option<Https>,
    /// Cores to run; at least 1 and at most the number of usable CPUs.
    pub cores: usize,
    /// Where routes come from.
    pub routes: Source,
    /// Whom a Redis server has to prove itself by, where it is spoken to over TLS.
    pub store_trust: Trust,
    /// Bounds of the per-core route cache.
    pub route_cache: CacheSettings,
    /// How backends are connected to.
    pub upstream: Upstream,
    /// When a backend counts as dead, and how long.
    pub deaths: Deaths,
    /// The built-in active health checker; `None`: off. Only with routes in Redis.
    pub health_check: Option<HealthCheck>,
    /// How a live backend is chosen where `options:<host>` says nothing.
    pub balance: Balance,
    /// Whether a first path segment such as `/12-01-31` selects a frontend of its own.
    pub api_versions: bool,
    /// Whether a request with `X-Debug` gets `x-debug-*` fields in its answer.
    pub debug_header: bool,
    /// How long each stage of an exchange may take.
    pub timeouts: Timeouts,
    /// How large a request may be.
    pub limits: Limits,
    /// How much a client may ask; `None`: as much as it likes. Only with routes in Redis.
    pub rate_limit: Option<RateLimit>,
    /// Peers whose `X-Forwarded-*` headers are believed. Empty: nobody's.
    pub trusted_proxies: Vec<IpNet>,
    /// How connections are let in.
    pub admission: Admission,
    /// Pages that replace the built-in ones.
    pub pages: Pages,
    /// Where the access log goes; `None`: no access log.
    pub access_log: Option<AccessLog>,
    /// How much memory a core may hold.
    pub memory: MemoryLimit,
    /// Where the process tells of itself; `None`: nowhere.
    pub admin: Option<Admin>,
    /// Who the process becomes once it is bound; `None`: it stays who it is.
    pub identity: Option<Identity>,
    /// How long a drain may take before what is left is cut.
    pub graceful_wait: Duration,
}

impl Settings {
    /// The defaults of the program, for `addresses`, `cores` and `routes`; without HTTPS, access log, admin listener and
    /// limit of memory. `cores` is at least 1 and at most the number of usable CPUs.
    pub fn new(addresses: &[SocketAddr], cores: usize, routes: Source) -> Self {
        let listened = |address: &SocketAddr| ListenAddress { address: *address, optional: false };
        Self {
            listen: Listen { addresses: addresses.iter().map(listened).collect(), backlog: 4096 },
            https: None,
            cores,
            routes,
            store_trust: Trust::system(),
            route_cache: CacheSettings { rows: 100_000, max_age: None },
            upstream: Upstream { max_sockets: 100, keep_alive: true, retries: 3, trust: Trust::system() },
            deaths: Deaths { ttl: Duration::from_secs(30), on_500: true },
            health_check: None,
            balance: Balance::default(),
            api_versions: false,
            debug_header: true,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            rate_limit: None,
            trusted_proxies: Vec::new(),
            admission: Admission { proxy_protocol: false, connections: None, connections_per_ip: None },
            pages: Pages::default(),
            access_log: None,
            memory: MemoryLimit { bytes: u64::MAX, interval: Duration::from_secs(5) },
            admin: None,
            identity: None,
            graceful_wait: Duration::from_secs(30),
        }
    }

    /// Whether `address` is that of a trusted proxy.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted_proxies.iter().any(|network| network.contains(&address))
    }
}

/// The addresses to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// One entry an address. Port 0 takes a free port, the same for every core.
    pub addresses: Vec<ListenAddress>,
    /// Length of the kernel's queue of connections not yet accepted.
    pub backlog: u32,
}

/// One address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddress {
    /// Address and port.
    pub address: SocketAddr,
    /// True where the family may be missing on this machine without that being an error (the default "all
    /// addresses" names both IPv4 and IPv6).
    pub optional: bool,
}

/// HTTPS for clients.
#[derive(Debug, Clone)]
pub struct Https {
    /// Where it is listened for; the backlog is that of [`Listen`].
    pub addresses: Vec<ListenAddress>,
    /// Where the certificates are from, to be read again when they change.
    pub files: Files,
    /// The certificates as they were read.
    pub served: Arc<Served>,
    /// Whether certificates are looked for in the route store too.
    pub from_store: bool,
    /// Of the files when they were read, so that no change is missed.
    pub traces: Traces,
    /// Whether requests over plain HTTP are sent to HTTPS.
    pub redirect: bool,
    /// `max-age` of Strict-Transport-Security, in seconds; `None`: not sent.
    pub hsts: Option<u64>,
}

/// How backends are connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// HTTP connections per backend per core, in use or idle; at least 1. Tunnels are not counted.
    pub max_sockets: usize,
    /// Whether backend connections are reused.
    pub keep_alive: bool,
    /// Backends tried after the first one failed; 0: none.
    pub retries: u32,
    /// What the certificates of `https://` backends are verified against.
    pub trust: Trust,
}

/// When a backend counts as dead, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deaths {
    /// How long a mark lasts; whole seconds, at least one.
    pub ttl: Duration,
    /// Whether a 500 counts too; only while an external checker is active, as in Hipache.
    pub on_500: bool,
}

/// How backends are asked whether they live, apart from the requests of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Time between two checks of a backend.
    pub interval: Duration,
    /// How long one check may take, connecting included.
    pub timeout: Duration,
    /// Method of its request.
    pub method: String,
    /// Path of its request, put behind that of the backend.
    pub path: String,
    /// `Host` of its request.
    pub host: String,
    /// Good checks in a row that make a dead backend live; at least 1.
    pub rise: u32,
    /// Bad checks in a row that make a live backend dead; at least 1.
    pub fall: u32,
    /// Which backends are checked.
    pub scope: Scope,
}

/// Which backends are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those that are marked dead.
    Dead,
    /// Every backend of every frontend.
    All,
}

/// As hipache-hchecker checks.
impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(3),
            timeout: Duration::from_secs(3),
            method: "HEAD".into(),
            path: "/CloudHealthCheck".into(),
            host: "ping".into(),
            rise: 1,
            fall: 1,
            scope: Scope::Dead,
        }
    }
}

/// Time-outs of an exchange. `None`: no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a request to the end of its head; in total. Answered with 408.
    pub client_header: Option<Duration>,
    /// Without progress on the body of a request (408 while no answer has begun), or on a client that does not
    /// take its answer (connection closed).
    pub client_body: Option<Duration>,
    /// Between two requests of one connection, and before the first. The connection is closed.
    pub client_idle: Option<Duration>,
    /// For one connection to a backend, in total; also how long a request waits for a free one.
    pub connect: Option<Duration>,
    /// From the request's last byte to the end of the backend's response head. Answered with 504.
    pub backend_header: Option<Duration>,
    /// Without progress on the backend's response body, or on a backend that does not take the request's body.
    pub backend_body: Option<Duration>,
    /// Without a byte in either direction of a tunnel.
    pub tunnel_idle: Option<Duration>,
}

/// Those of the program.
impl Default for Timeouts {
    fn default() -> Self {
        let seconds = |count| Some(Duration::from_secs(count));
        Self {
            client_header: seconds(10),
            client_body: seconds(30),
            client_idle: seconds(30),
            connect: seconds(5),
            backend_header: seconds(30),
            backend_body: seconds(30),
            tunnel_idle: seconds(3600),
        }
    }
}

/// How connections of clients are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// Whether trusted proxies begin their connections with a PROXY header.
    pub proxy_protocol: bool,
    /// Connections of all clients that may be open; those beyond are closed. `None`: no limit.
    pub connections: Option<u64>,
    /// The same of one client, trusted proxies apart.
    pub connections_per_ip: Option<u64>,
}

/// Sizes a request may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message head; beyond: 431 (502 for a backend's).
    pub header_bytes: usize,
    /// Header fields of a message; beyond: 431 (502 for a backend's).
    pub headers: usize,
    /// Bytes of a request target; beyond: 414.
    pub uri_bytes: usize,
    /// Bytes of a request body; beyond: 413. `None`: no limit.
    pub body_bytes: Option<u64>,
    /// Bytes a second that a request body must come at while it is waited for; slower: 408. `None`: any.
    pub body_rate: Option<u64>,
}

/// Those of the program.
impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 64 * 1024,
            headers: 100,
            uri_bytes: 16 * 1024,
            body_bytes: None,
            body_rate: None,
        }
    }
}

/// How much a client may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// The tiers and their limits.
    pub rules: LimitRules,
    /// Who is counted.
    pub counted: Counted,
    /// What names a client; the highest tier of any of these names counts. Empty: every client is in the first tier.
    pub identify: Vec<Identify>,
    /// Whether requests beyond the limit are served all the same, and only logged.
    pub dry_run: bool,
    /// Whether answers within the limit tell what is left of it too.
    pub headers: bool,
}

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// The client's address; of IPv6 its /64.
    ClientIp,
    /// The name that is in a tier, where there is one; else the address.
    Identity,
}

/// What names a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identify {
    /// The value of this header field (lower-case).
    Header(String),
    /// The host in Referer.
    Referer,
    /// The host in Origin.
    Origin,
}

/// A user and group of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name of the user, whose further groups are taken as well.
    pub name: String,
    /// Its number.
    pub user: u32,
    /// Number of the group.
    pub group: u32,
}

/// How much memory a core may hold before it is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Bytes of its own heap; sockets and what the kernel holds for them are not counted.
    pub bytes: u64,
    /// Time between two looks.
    pub interval: Duration,
}

/// Where the process tells of itself: metrics, health, readiness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; at least one. Port 0: a free one.
    pub addresses: Vec<SocketAddr>,
    /// What those who ask have to bring; `None`: nothing.
    pub token: Option<String>,
}

/// What runs.
#[derive(Debug, Clone, Copy)]
pub struct Build {
    /// The program's version.
    pub version: &'static str,
    /// The commit it was built from.
    pub commit: &'static str,
}

/// Error pages from the operator's directory, by status code.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    /// `error_<code>.html`.
    pub by_status: HashMap<u16, Vec<u8>>,
    /// `error_default.html`: for every status without a page of its own.
    pub default: Option<Vec<u8>>,
}

/// The access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Where lines go.
    pub target: AccessLogTarget,
    /// What a line looks like.
    pub format: AccessLogFormat,
}

/// What an access log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// As nginx's combined format, with Hipache's fields behind it.
    Nginx,
    /// One JSON object a line.
    Json,
}

/// Where access log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// A file, appended to, opened anew on SIGUSR1.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

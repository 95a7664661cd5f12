//! Where routes come from, as settings.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where routes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Redis.
    Redis(RedisSettings),
    /// A table in a JSON file that is watched.
    File(PathBuf),
    /// A table held in memory (`cjs-proxy demo`), as the text of such a file.
    Embedded(String),
}

/// How to reach Redis, and what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// The server or servers.
    pub deployment: Deployment,
    /// Put before every key; may be empty.
    pub prefix: String,
    /// Names of the sets, behind the prefix, whose members are followed too: the tiers of service.
    pub sets: Vec<String>,
}

/// The servers that hold one set of routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deployment {
    /// One server for everything.
    Single(Endpoint),
    /// A replica that is read and followed, and its master, which takes the marks.
    Pair {
        /// Read and followed.
        reads: Endpoint,
        /// Takes what is written.
        writes: Endpoint,
    },
    /// The master that sentinels know; another one after a fail-over.
    Sentinel(Sentinels),
}

/// One Redis server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub server: Server,
    /// Whether it is spoken to over TLS.
    pub tls: bool,
    /// Who we are there.
    pub login: Login,
    /// Number of the database.
    pub db: u32,
}

/// A master known by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentinels {
    /// Addresses of the sentinels, at least one; asked in turn.
    pub addresses: Vec<Server>,
    /// What they call the master.
    pub master_name: String,
    /// Who we are at a sentinel.
    pub login: Login,
    /// Who we are at the master.
    pub master_login: Login,
    /// Number of the database at the master.
    pub db: u32,
    /// Whether sentinels and master are spoken to over TLS.
    pub tls: bool,
}

/// User and password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// ACL user; `None`: the default user.
    pub username: Option<String>,
    /// `None`: no AUTH.
    pub password: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "***");
        f.debug_struct("Login").field("username", &self.username).field("password", &password).finish()
    }
}

impl Deployment {
    /// Whether any of its servers is spoken to over TLS.
    pub fn uses_tls(&self) -> bool {
        match self {
            Deployment::Single(endpoint) => endpoint.tls,
            Deployment::Pair { reads, writes } => reads.tls || writes.tls,
            Deployment::Sentinel(sentinels) => sentinels.tls,
        }
    }
}

impl Endpoint {
    /// A server without a password, its first database, no TLS.
    pub fn plain(server: Server) -> Endpoint {
        Endpoint { server, tls: false, login: Login::default(), db: 0 }
    }
}

impl Sentinels {
    /// The master, which was found at `server`.
    pub fn master(&self, server: Server) -> Endpoint {
        Endpoint { server, tls: self.tls, login: self.master_login.clone(), db: self.db }
    }

    /// A sentinel.
    pub fn sentinel(&self, server: Server) -> Endpoint {
        Endpoint { server, tls: self.tls, login: self.login.clone(), db: 0 }
    }
}

/// The deployment by its addresses, as logs name it.
impl fmt::Display for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Deployment::Single(endpoint) => write!(f, "{}", endpoint.server),
            Deployment::Pair { reads, writes } => {
                write!(f, "{} (master {})", reads.server, writes.server)
            }
            Deployment::Sentinel(sentinels) => write!(f, "{:?}", sentinels.master_name),
        }
    }
}

/// Address of a Redis server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Host name or address, and port.
    Tcp(String, u16),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// Bounds of the per-core route cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    /// Hosts remembered.
    pub rows: usize,
    /// Greatest age of a row where the store pushes no changes; `None`: the built-in one.
    pub max_age: Option<Duration>,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Server::Tcp(host, port) => write!(f, "{host}:{port}"),
            Server::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

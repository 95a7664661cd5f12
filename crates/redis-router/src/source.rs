//! Where routes come from, as settings.

use std::path::PathBuf;
use std::time::Duration;

/// Where routes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A Redis server.
    Redis(RedisSettings),
    /// A table in a JSON file that is watched.
    File(PathBuf),
    /// A table held in memory (`cjs-proxy demo`), as the text of such a file.
    Embedded(String),
}

/// How to reach the Redis server.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// Its address.
    pub server: Server,
    /// ACL user; `None`: the default user.
    pub username: Option<String>,
    /// Password; `None`: no AUTH.
    pub password: Option<String>,
    /// Number of the database.
    pub db: u32,
    /// Put before every key; may be empty.
    pub prefix: String,
}

impl std::fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let password = self.password.as_ref().map(|_| "***");
        f.debug_struct("RedisSettings")
            .field("server", &self.server)
            .field("username", &self.username)
            .field("password", &password)
            .field("db", &self.db)
            .field("prefix", &self.prefix)
            .finish()
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

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Server::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Server::Tcp(host, port) => write!(f, "{host}:{port}"),
            Server::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

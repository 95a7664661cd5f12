//! The route store: which backends serve a host, read from Redis and followed live, or from an embedded table.
//! Knows no HTTP and no TLS.

mod backend_url;
pub mod bounds;
mod file;
mod frontend;
mod keys;
mod source;

pub use file::{Table, TableError};
pub use frontend::{Backend, BackendHost, Frontend, InvalidBackend, Scheme};
pub use source::{CacheSettings, RedisSettings, Server, Source};

//! The route store: which backends serve a host, read from Redis and followed live, or from an embedded table.
//! Knows no HTTP and no TLS.

mod backend_url;
mod bell;
pub mod bounds;
mod clock;
mod complaints;
mod connection;
mod dial;
mod error;
mod file;
mod frontend;
mod handshake;
mod interned;
mod keys;
mod reads;
mod replies;
mod router;
mod source;
mod store;
mod table;
mod tracking;
mod upkeep;

pub use dial::{Dialer, Link};
pub use error::Unavailable;
pub use file::{Table, TableError};
pub use frontend::{Backend, BackendHost, Frontend, InvalidBackend, Scheme};
pub use router::{Cached, Router};
pub use source::{CacheSettings, RedisSettings, Server, Source};
pub use store::StoreState;

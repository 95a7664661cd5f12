//! The route store: which backends serve a host, read from Redis and followed live, or from an embedded table.
//! Knows no HTTP and no TLS.

mod backend;
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
mod look_up;
mod reads;
mod replies;
mod router;
mod source;
mod store;
mod table;
mod tracking;
mod upkeep;

pub use backend::{Backend, BackendHost, Scheme};
pub use dial::{Dialer, Link};
pub use error::Unavailable;
pub use file::{Table, TableError};
pub use frontend::{Frontend, InvalidBackend};
pub use router::{Cached, Router};
pub use source::{CacheSettings, RedisSettings, Server, Source};
pub use store::StoreState;

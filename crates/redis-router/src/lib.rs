//! The route store: which backends serve a host, read from Redis and followed live, or from an embedded table.
//! Knows no HTTP and no TLS.
//!
//! ```text
//!   router -> look_up -> reads  -> connection -> replies        a look-up: rows first, else one shared read
//!                \-------\-> store -> table, tracking             what is known, and what changed since
//!             upkeep -> handshake -> connection -> tracking     the connection, and what is pushed over it
//!             file, keys, frontend, backend                     pure: texts and names
//! ```
//!
//! Everything is of one core (`Rc`, `Cell`); only `Table` and `Frontend` may cross threads. Nothing waits for the server
//! without a deadline, and a deadline never drops a pending read: it hangs up, and the read ends.

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
mod options;
mod reads;
mod replies;
mod route;
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
pub use options::{Balance, Options};
pub use route::{Health, Probe, Route};
pub use router::{Cached, EXACT, Router};
pub use source::{CacheSettings, RedisSettings, Server, Source};
pub use store::StoreState;

//! The route store: which backends serve a host, read from Redis and followed live, or from an embedded table.
//! Knows no HTTP and no TLS.
//!
//! ```text
//!   router -> look_up -> reads -> question, connection -> replies  a look-up: rows first, else one shared read
//!                \-------\-> store -> table, tracking                what is known, and what changed since
//!        \----> announce -> connection                             a death seen here is told to the others
//!        \----> route -> deaths -> marks                           what is held against backends
//!             upkeep -> sentinel                                   who is the master now
//!               \---> line -> connection -> store                  the connection, and what is pushed over it:
//!               \---> freshness -> handshake, signs                  keys written, deaths announced
//!               \---> writer -> line                                the master, where a replica is read
//!             addresses -> address_set, connection              who is denied and who is let pass without limits
//!             checks -> changes, connection                        what a built-in health checker reads and writes
//!             reports -> connection                              why backends are dead, for people
//!             file, keys, frontend, backend, options, message, report   pure: texts and names
//!   edit                                                          apart: for commands, synchronous
//! ```
//!
//! Everything is of one core (`Rc`, `Cell`); only `Table` and `Frontend` may cross threads. Nothing waits for the server
//! without a deadline, and a deadline never drops a pending read: it hangs up, and the read ends.

mod address_set;
mod addresses;
mod announce;
mod backend;
mod bell;
pub mod bounds;
mod certificates;
mod change_log;
mod changes;
mod checks;
mod clock;
mod complaints;
mod connection;
mod deaths;
mod dial;
pub mod edit;
mod error;
mod file;
mod freshness;
mod frontend;
mod handshake;
mod interned;
mod keys;
mod limits;
mod line;
mod look_up;
mod marks;
mod message;
mod options;
mod question;
mod reads;
mod remembered;
mod replies;
mod report;
mod reports;
mod route;
mod router;
mod sentinel;
mod signs;
mod source;
mod store;
mod table;
mod tracking;
mod upkeep;
mod writer;

pub use addresses::AddressSets;
pub use backend::{Backend, BackendHost, Scheme};
pub use certificates::Pem;
pub use checks::{CheckError, Checks, Finding, Standing};
pub use dial::{Dialer, Link};
pub use error::Unavailable;
pub use file::{Table, TableError};
pub use frontend::{Frontend, InvalidBackend};
pub use handshake::CLUSTER;
pub use keys::EXACT;
pub use limits::{
    Budget, ClientKey, Decision, LimitKey, LimitRules, Limits, Membership, OnStoreError, Tier, is_reserved,
};
pub use options::{Balance, Options};
pub use report::Report;
pub use route::{Health, Held, Probe, Route};
pub use router::{Cached, Router};
pub use source::{CacheSettings, Deployment, Endpoint, Login, RedisSettings, Sentinels, Server, Source};
pub use store::StoreState;

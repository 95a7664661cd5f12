//! Looking at the routes of a store and changing them, for people and scripts (`cjs-proxy routes`): in Redis, over a
//! connection that whoever uses this opens, or in the text of a route table.
//!
//! ```text
//!   RouteStore -> Session (greets a server) -> session/{walk, show, change, import}  commands
//!        \------> TableText -> document (layout kept)                                a JSON text
//!                 held, plan, shown: what stands under a host, what a change comes to, what there is to tell; pure
//! ```
//!
//! Synchronous: nothing here runs on a core. Opens no socket and no file.

mod document;
mod failure;
mod held;
mod plan;
mod session;
mod shown;
mod table;

use std::io;
use std::time::Duration;

pub use self::failure::Failure;
pub use self::held::{Held, HeldTable};
pub use self::plan::{Added, Removed};
pub use self::session::{Dial, Purpose, Session, Unusable, Used, check_kind, servers};
pub use self::shown::{Freshness, Mark, Server, Shown, ShownBackend, ShownFrontend, ShownOptions};
pub use self::table::TableText;

/// Where the routes are that a command is about.
pub enum RouteStore {
    /// Redis.
    Redis(Session),
    /// The text of a route table.
    Table(TableText),
}

/// One of the frontends that are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What stands behind `frontend:` in its key.
    pub host: String,
    /// First element of the list.
    pub identifier: String,
    /// Elements behind it, valid or not.
    pub backends: usize,
    /// Those of them that are no backend URL.
    pub invalid: usize,
    /// Indexes in its dead set, ascending; `None`: the store has no marks.
    pub dead: Option<Vec<usize>>,
}

/// What a walk over the store comes by, in the order of the hosts.
pub enum Told<T> {
    /// One host's.
    Entry(T),
    /// Something that is passed over, and why.
    Note(String),
}

/// Takes what a walk comes by; an error ends the walk.
pub type Take<'a, T> = dyn FnMut(Told<T>) -> io::Result<()> + 'a;

/// What an import changed, in hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Were not in the store.
    pub added: usize,
    /// Had another list or other options.
    pub changed: usize,
    /// Had the same.
    pub unchanged: usize,
    /// Were not in the table (`prune`).
    pub removed: usize,
}

impl RouteStore {
    /// Every host that has a list, sorted.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        match self {
            RouteStore::Redis(session) => session.hosts(),
            RouteStore::Table(table) => Ok(table.hosts()),
        }
    }

    /// Every frontend, sorted by host.
    ///
    /// # Errors
    /// The store could not be read, or `take` could not go on.
    pub fn list(&mut self, take: &mut Take<'_, Listed>) -> Result<(), Failure> {
        match self {
            RouteStore::Redis(session) => session.list(take),
            RouteStore::Table(table) => table.list(take),
        }
    }

    /// What serves `host`, which is in look-up spelling or begins with [`crate::EXACT`]. `age_max`:
    /// `server.lruCache.ttl`.
    ///
    /// # Errors
    /// The store could not be read. That nothing serves the host is none.
    pub fn show(&mut self, host: &str, age_max: Option<Duration>) -> Result<Shown, Failure> {
        match self {
            RouteStore::Redis(session) => session.show(host, age_max),
            RouteStore::Table(table) => Ok(table.show(host)),
        }
    }

    /// Appends to the list of `host` those of `urls` that it does not hold; a new list gets the identifier `id`, or the
    /// host.
    ///
    /// # Errors
    /// The host or a URL is not valid, the list has another identifier, or the store could not be written.
    pub fn add(&mut self, host: &str, id: Option<&str>, urls: &[String]) -> Result<Added, Failure> {
        plan::check_new(host, urls)?;
        match self {
            RouteStore::Redis(session) => session.add(host, id, urls),
            RouteStore::Table(table) => table.add(host, id, urls),
        }
    }

    /// Takes `backend` out of the list of `host`; without one, the list.
    ///
    /// # Errors
    /// There is no such list or backend, or the store could not be written.
    pub fn remove(&mut self, host: &str, backend: Option<&str>) -> Result<Removed, Failure> {
        match self {
            RouteStore::Redis(session) => session.remove(host, backend),
            RouteStore::Table(table) => table.remove(host, backend),
        }
    }

    /// Puts what `table` holds in the place of what the store holds under the same hosts; with `prune` the store then
    /// holds nothing else.
    ///
    /// # Errors
    /// The store could not be read or written; hosts that were written before stay so.
    pub fn import(&mut self, table: &HeldTable, prune: bool) -> Result<Counts, Failure> {
        match self {
            RouteStore::Redis(session) => session.import(table, prune),
            RouteStore::Table(text) => text.import(table, prune),
        }
    }

    /// Everything a host has, sorted by host.
    ///
    /// # Errors
    /// As [`RouteStore::list`].
    pub fn export(&mut self, take: &mut Take<'_, (String, Held)>) -> Result<(), Failure> {
        match self {
            RouteStore::Redis(session) => session.export(take),
            RouteStore::Table(table) => table.export(take),
        }
    }
}

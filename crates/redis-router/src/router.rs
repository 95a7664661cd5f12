//! The facade: one per core, answers which frontend serves a host.

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use log::warn;

use crate::addresses::{AddressSets, Addresses};
use crate::backend::Backend;
use crate::bounds::HOST_BYTES_MAX;
use crate::certificates::Pem;
use crate::clock::Clock;
use crate::deaths::Deaths;
use crate::dial::Dialer;
use crate::error::Unavailable;
use crate::file::{CoreTable, Table};
use crate::limits::{LimitRules, Limits};
use crate::look_up::LookUp;
use crate::message::Death;
use crate::report::Report;
use crate::reports;
use crate::route::Route;
use crate::source::{CacheSettings, RedisSettings};
use crate::store::{Store, StoreState};
use crate::table::Answer;
use crate::upkeep;

/// Routes of one core. Clones share everything.
#[derive(Clone)]
pub struct Router {
    routes: Routes,
    deaths: Rc<Deaths>,
    addresses: Rc<Addresses>,
    limits: Option<Rc<Limits>>,
}

#[derive(Clone)]
enum Routes {
    Redis(Rc<LookUp>),
    Table(Rc<RefCell<CoreTable>>),
}

/// What is known of a host without waiting.
#[derive(Debug, Clone)]
pub enum Cached {
    /// What serves it. The same `Rc` as long as nothing about it changes.
    Route(Rc<Route>),
    /// The store holds none for it.
    NoFrontend,
    /// The store has to be asked: `Router::find`.
    Unknown,
}

impl From<Answer> for Cached {
    fn from(answer: Answer) -> Cached {
        answer.map_or(Cached::NoFrontend, Cached::Route)
    }
}

impl Router {
    /// Routes of a Redis server. Nothing is known before `run` has connected.
    pub fn redis(settings: RedisSettings, cache: CacheSettings) -> Router {
        let store = Store::new(settings, cache);
        Router {
            deaths: store.deaths.clone(),
            addresses: store.addresses.clone(),
            routes: Routes::Redis(Rc::new(LookUp::new(store))),
            limits: None,
        }
    }

    /// Routes of a table.
    pub fn table(table: Arc<Table>) -> Router {
        let deaths = Rc::new(Deaths::new(Rc::new(Clock::new())));
        let table = CoreTable::new(&table, &deaths);
        let routes = Routes::Table(Rc::new(RefCell::new(table)));
        Router { deaths, addresses: Rc::default(), routes, limits: None }
    }

    /// Counts requests in the same Redis by `rules`. A table counts nothing.
    pub fn limited(mut self, rules: LimitRules) -> Router {
        if let Routes::Redis(look_up) = &self.routes {
            self.limits = Some(Rc::new(Limits::new(Rc::clone(&look_up.store), rules)));
        }
        self
    }

    /// What clients may ask; `None`: as much as they like.
    pub fn limits(&self) -> Option<&Limits> {
        self.limits.as_deref()
    }

    /// Keeps the connection to the store up until `stop`; ends only when every task and read it started has ended. Run it
    /// once, on the runtime (with timers) that the look-ups run on. For a table it returns at once.
    pub async fn run<D: Dialer>(&self, dialer: D) {
        if let Routes::Redis(look_up) = &self.routes {
            upkeep::keep(&look_up.store, dialer).await;
            look_up.reads.all_ended().await;
            look_up.announcements.all_ended().await;
            if let Some(limits) = &self.limits {
                limits.all_ended().await;
            }
        }
    }

    /// Ends `run`, and the look-ups that wait. What is known can still be looked up. For good.
    pub fn stop(&self) {
        if let Routes::Redis(look_up) = &self.routes {
            look_up.store.stop();
        }
    }

    /// What is known of `host`: lower-case `name` or `name:port`, no trailing dot, IPv6 in brackets, empty for none.
    /// Never waits, and allocates nothing on a hit. A row from before a reconnect begins its re-read here, so it is
    /// called inside the runtime.
    ///
    /// A host that begins with [`crate::EXACT`] asks for the key behind it as it stands, without wildcards, and for the options and
    /// dead marks of that key (`/www.example.tld:12-01-31`).
    pub fn cached(&self, host: &str) -> Cached {
        match &self.routes {
            Routes::Redis(_) if host.len() > HOST_BYTES_MAX => Cached::NoFrontend,
            Routes::Redis(look_up) => look_up.answer_now(host).map_or(Cached::Unknown, Cached::from),
            Routes::Table(table) => table.borrow().find(host).into(),
        }
    }

    /// As `cached`, but asks the store where that is needed, at most `STORE_WAIT`. May be dropped at any time.
    ///
    /// # Errors
    /// The store gave no answer and nothing is known of `host` from before.
    pub async fn find(&self, host: &str) -> Result<Option<Rc<Route>>, Unavailable> {
        match &self.routes {
            Routes::Redis(_) if host.len() > HOST_BYTES_MAX => Ok(None),
            Routes::Redis(look_up) => look_up.find(host).await,
            Routes::Table(table) => Ok(table.borrow().find(host)),
        }
    }

    /// The certificate for `host` (lower-case, no port) that the store holds, of its own or of its parent's wildcard. What is
    /// known and unchanged is answered at once, the same `Rc` as long as nothing about it changes; else the store is asked,
    /// at most `STORE_WAIT`. `None`: it holds none, or routes come from a table. May be dropped at any time.
    ///
    /// # Errors
    /// The store gave no answer and nothing is known of `host` from before.
    pub async fn certificate(&self, host: &str) -> Result<Option<Rc<Pem>>, Unavailable> {
        match &self.routes {
            Routes::Redis(_) if host.len() > HOST_BYTES_MAX => Ok(None),
            Routes::Redis(look_up) => look_up.certificates.find(host).await,
            Routes::Table(_) => Ok(None),
        }
    }

    /// Which clients are denied, and for which no limit holds: the sets `deny:ip` and `allow:ip` as this core last read them.
    /// Read before the first look-up is answered, and again when they change; while the store is away they stay. Empty for a
    /// table. Costs next to nothing.
    pub fn addresses(&self) -> Rc<AddressSets> {
        self.addresses.sets()
    }

    /// Marks `backend` dead for this core at once, and for all others on the store as Hipache does: `MULTI; SADD
    /// dead:<frontend> <index>; EXPIRE …; PUBLISH dead …; EXEC`, or only the message while an external checker owns the
    /// sets. Why it died is written beside it ([`crate::Report`]). The same death is announced once in `ANNOUNCE_PAUSE_MS`;
    /// while the store is away, or for a table, not at all. Never waits; called inside the runtime. Returns
    /// whether the death is to be announced, or would be.
    pub fn backend_died(&self, route: &Route, backend: &Backend, why: impl Display) -> bool {
        self.mark(route, backend, (Box::default(), &why))
    }

    /// As `backend_died`, but the mark is taken back where another core or proxy has marked all other backends that take
    /// requests at the same moment: one is left.
    pub fn backend_died_unless_last(&self, route: &Route, backend: &Backend, why: impl Display) -> bool {
        let others =
            route.frontend.backends.iter().filter(|other| !other.drain && other.index != backend.index);
        self.mark(route, backend, (others.map(|other| other.index).collect(), &why))
    }

    fn mark(&self, route: &Route, backend: &Backend, (others, why): (Box<[usize]>, &dyn Display)) -> bool {
        let (frontend, url, index) = (&*route.frontend.key, &*backend.url, backend.index);
        let death = Death { frontend, url, index, backends: route.frontend.listed };
        let why = why.to_string();
        let is_to_tell = self.deaths.saw(&death, &why);
        if let (Routes::Redis(look_up), true) = (&self.routes, is_to_tell) {
            look_up.announcements.begin(&death, others, why);
        }
        is_to_tell
    }

    /// Whether an external active checker (hipache-hchecker) has shown itself in the last 30 s. Asked of the store once
    /// a second, so it costs nothing here.
    pub fn checker_is_active(&self) -> bool {
        self.deaths.checker_is_active()
    }

    /// Marks made or heard from now on last `ttl`, `DEAD_TTL` unless told. In the store, which counts seconds, it is
    /// rounded up.
    pub fn set_dead_ttl(&self, ttl: Duration) {
        self.deaths.set_ttl(ttl);
    }

    /// Takes another table from now on; marks stay with the backends that it has at the same place. A router of a Redis server keeps its routes and logs the mistake.
    pub fn replace_table(&self, table: Arc<Table>) {
        match &self.routes {
            Routes::Redis(_) => {
                warn!("a table was given to a router whose routes come from Redis; it is not used")
            }
            Routes::Table(current) => drop(current.replace(CoreTable::new(&table, &self.deaths))),
        }
    }

    /// Lets go of cached routes, which can be read again; while the store is away they are kept.
    pub fn forget(&self) {
        if let Routes::Redis(look_up) = &self.routes {
            look_up.store.forget();
            look_up.certificates.forget();
            self.limits().iter().for_each(|limits| limits.forget());
        }
    }

    /// Shows `show` the next routes from the place `from` on, as long as what that takes is below `most`, and returns where
    /// to go on; `None`: that was the end. Each place takes one, and what `show` says. Not all at once, as there may be a
    /// million. What changes between two calls may be shown twice, or not at all.
    ///
    /// Of Redis those are shown that this core remembers, once for each host that was asked for; of a table all, each
    /// by its key.
    pub fn known(
        &self,
        from: usize,
        most: usize,
        mut show: impl FnMut(&Rc<Route>) -> usize,
    ) -> Option<usize> {
        let (mut place, mut taken) = (from, 0);
        let mut take = |route: Option<&Rc<Route>>| {
            place += 1;
            taken += 1 + route.map_or(0, &mut show);
            taken < most
        };
        let is_end = match &self.routes {
            Routes::Redis(look_up) => {
                look_up.store.rows.borrow().answers(from).all(|answer| take(answer.as_ref()))
            }
            Routes::Table(table) => table.borrow().routes(from).all(|route| take(Some(route))),
        };
        (!is_end).then_some(place)
    }

    /// Hosts that this core remembers, those without a frontend included; frontends of a table.
    pub fn known_hosts(&self) -> usize {
        match &self.routes {
            Routes::Redis(look_up) => look_up.store.rows.borrow().len(),
            Routes::Table(table) => table.borrow().len(),
        }
    }

    /// Why backends are marked dead, as whoever marked them wrote it down: for each frontend's key and index. Empty for a
    /// table, and where the store does not answer. May be dropped at any time.
    pub async fn reports(&self, marks: &[(&str, usize)]) -> Vec<Option<Report>> {
        match &self.routes {
            Routes::Redis(look_up) => reports::read(&look_up.store, marks).await,
            Routes::Table(_) => Vec::new(),
        }
    }

    /// The look-ups in Redis; `None` for a table.
    pub(crate) fn look_up(&self) -> Option<Rc<LookUp>> {
        match &self.routes {
            Routes::Redis(look_up) => Some(look_up.clone()),
            Routes::Table(_) => None,
        }
    }

    /// Whether what is read may be old although the store answers: it is a replica that has lost its master.
    pub fn is_cut_off(&self) -> bool {
        matches!(&self.routes, Routes::Redis(look_up) if look_up.store.is_cut_off())
    }

    /// Whether the store can be asked, or routes come from a table. Costs next to nothing.
    pub fn is_usable(&self) -> bool {
        !matches!(self.state(), StoreState::Connecting | StoreState::Away { .. })
    }

    /// Where the connection to the store stands.
    pub fn state(&self) -> StoreState {
        match &self.routes {
            Routes::Redis(look_up) => look_up.store.state(),
            Routes::Table(_) => StoreState::Table,
        }
    }
}

//! What serves a host: its frontend, its options, and which of its backends are marked dead.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::backend::Backend;
use crate::deaths::Deaths;
use crate::frontend::Frontend;
use crate::options::Options;

/// What serves a host, as one core knows it.
#[derive(Debug)]
pub struct Route {
    /// The list of backends.
    pub frontend: Rc<Frontend>,
    /// What `options:<host>` says.
    pub options: Options,
    /// Name under which Hipache marks the backends, where it is another than the frontend's key: the host asked for.
    also_marked_as: Option<Box<str>>,
    deaths: Rc<Deaths>,
}

/// What is known of a backend. The greater, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Nothing is held against it.
    Live,
    /// It was marked dead, the mark is over, and nobody has seen it answer since.
    Unproven,
    /// Unproven, and a request is under way that will tell ([`Route::begin_probe`]).
    Probed,
    /// Marked dead.
    Dead,
}

/// What is held against a backend, for people to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// How long yet; `None`: until somebody takes it back.
    pub left: Option<Duration>,
    /// What the backend did, where this core saw it; else somebody may have written it down ([`crate::Router::reports`]).
    pub why: Option<Box<str>>,
}

/// A request to an unproven backend that will tell whether it lives. Dropped without a verdict, another may ask.
#[derive(Debug)]
pub struct Probe {
    places: [Option<Rc<Cell<bool>>>; 2],
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.places.iter().flatten().for_each(|place| place.set(false));
    }
}

impl Route {
    pub(crate) fn new(
        frontend: Rc<Frontend>,
        options: Options,
        also_marked_as: Option<Box<str>>,
        deaths: Rc<Deaths>,
    ) -> Route {
        Route { frontend, options, also_marked_as, deaths }
    }

    /// Whether `other` says the same.
    pub(crate) fn is_same(&self, other: &Route) -> bool {
        Rc::ptr_eq(&self.frontend, &other.frontend)
            && self.options == other.options
            && self.also_marked_as == other.also_marked_as
    }

    /// Whether the marks under `name` count beside those under the frontend's key.
    pub(crate) fn is_marked_as(&self, name: &str) -> bool {
        self.also_marked_as.as_deref() == Some(name)
    }

    /// What is known of `backend`, one of this route's.
    pub fn health(&self, backend: &Backend) -> Health {
        let healths = self.names().map(|name| self.deaths.health(name, backend));
        healths.max().expect("the frontend's key is always there")
    }

    /// Why `backend`, one of this route's, is marked dead, and until when; `None`: it is not.
    pub fn held(&self, backend: &Backend) -> Option<Held> {
        let held = self.names().filter_map(|name| self.deaths.held(name, backend));
        held.max_by_key(|held| held.left.unwrap_or(Duration::MAX))
    }

    /// Whether every backend is live, which spares a look at each. Where some mark is about (its time may be over), this
    /// is false.
    pub fn is_unmarked(&self) -> bool {
        self.names().all(|name| self.deaths.has_none(name))
    }

    /// Makes the caller the one that asks an unproven backend; meanwhile others ask it only where nothing better is
    /// left. `None`: the backend is not unproven.
    pub fn begin_probe(&self, backend: &Backend) -> Option<Probe> {
        if self.health(backend) != Health::Unproven {
            return None;
        }
        let mut names = self.names();
        let mut place = || names.next().and_then(|name| self.deaths.begin_probe(name, backend));
        Some(Probe { places: [place(), place()] })
    }

    /// The backend has answered: an unproven one is live again. A mark whose time is not over stays.
    pub fn backend_answered(&self, backend: &Backend) {
        self.names().for_each(|name| self.deaths.answered(name, backend));
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        [&*self.frontend.key].into_iter().chain(self.also_marked_as.as_deref())
    }
}

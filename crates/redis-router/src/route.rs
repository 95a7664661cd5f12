//! What serves a host: its frontend, its options, and which of its backends are marked dead.

use std::rc::Rc;

use crate::backend::Backend;
use crate::frontend::Frontend;
use crate::options::Options;

/// What serves a host, as one core knows it.
#[derive(Debug)]
pub struct Route {
    /// The list of backends.
    pub frontend: Rc<Frontend>,
    /// What `options:<host>` says.
    pub options: Options,
}

/// What is known of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// A request to an unproven backend that will tell whether it lives. Dropped without a verdict, another may ask.
#[derive(Debug)]
pub struct Probe(());

impl Route {
    /// What is known of `backend`, one of this route's.
    pub fn health(&self, _backend: &Backend) -> Health {
        Health::Live
    }

    /// Whether every backend is live, which spares a look at each.
    pub fn is_unmarked(&self) -> bool {
        true
    }

    /// Makes the caller the one that asks an unproven backend; meanwhile it counts as dead for all others.
    /// `None`: the backend is not unproven.
    pub fn begin_probe(&self, _backend: &Backend) -> Option<Probe> {
        None
    }

    /// The backend has answered: an unproven one is live again.
    pub fn backend_answered(&self, _backend: &Backend) {}
}

//! The backends a request is offered, one after the other: the one its client keeps to, then by the balance asked
//! for. Dead ones and those it has tried are left out.

use redis_router::{Backend, Balance, Health, Probe, Route};
use smallvec::SmallVec;

use crate::context::Core;
use crate::error::Failure;
use crate::pick;
use crate::sticky::Tag;

/// The choices of one request.
pub(crate) struct Choice<'a> {
    pub(crate) core: &'a Core,
    pub(crate) route: &'a Route,
    pub(crate) balance: Balance,
    /// The backend that the client's cookie names.
    pub(crate) kept_to: Option<Tag>,
    /// Indexes of those it was given.
    pub(crate) tried: SmallVec<[usize; 4]>,
}

/// A backend to ask. Where it was dead before, the probe goes with the request until its outcome is known.
pub(crate) struct Chosen<'a> {
    pub(crate) backend: &'a Backend,
    pub(crate) _probe: Option<Probe>,
}

impl<'a> Choice<'a> {
    /// The next backend; `None`: none is left, or all are dead.
    pub(crate) fn next(&mut self) -> Option<Chosen<'a>> {
        let backend = self.among(|health| matches!(health, Health::Live | Health::Unproven));
        // Where nothing better is left, one that another request is finding out about may live.
        let backend = backend.or_else(|| self.among(|health| health == Health::Probed))?;
        self.tried.push(backend.index);
        Some(Chosen { backend, _probe: self.route.begin_probe(backend) })
    }

    fn among(&self, accepts: impl Fn(Health) -> bool) -> Option<&'a Backend> {
        let (route, tried) = (self.route, &self.tried);
        let unmarked = route.is_unmarked();
        let may = |backend: &Backend| {
            let health = if unmarked { Health::Live } else { route.health(backend) };
            pick::takes_requests(backend) && !tried.contains(&backend.index) && accepts(health)
        };
        let backends = &route.frontend.backends;
        if let Some(tag) = self.kept_to
            && let Some(own) = backends.iter().find(|backend| Tag::of(backend) == tag && may(backend))
        {
            return Some(own);
        }
        match self.balance {
            Balance::Random => pick::by_weight(backends, may, fastrand::u64(..)),
            Balance::RoundRobin => self.core.turns.borrow_mut().next(&route.frontend.key, backends, may),
            Balance::LeastRequests => {
                let randoms = [fastrand::u64(..), fastrand::u64(..)];
                let pool = &self.core.connector.pool;
                pick::less_busy(backends, may, randoms, |backend| pool.in_use(&backend.pool))
            }
        }
    }

    /// Why there was no first choice.
    pub(crate) fn nobody(&self) -> Failure {
        let takes_requests = self.route.frontend.backends.iter().any(pick::takes_requests);
        if takes_requests { Failure::AllDead } else { Failure::NoBackend }
    }

    /// Whether another backend than `backend` could be asked in its place: is live and takes requests.
    pub(crate) fn has_another_live(route: &Route, backend: &Backend) -> bool {
        let is_other = |other: &&Backend| other.index != backend.index && pick::takes_requests(other);
        let mut others = route.frontend.backends.iter().filter(is_other);
        others.any(|other| route.is_unmarked() || route.health(other) == Health::Live)
    }
}

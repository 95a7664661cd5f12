//! What one core knows of frontends, or of backends over all of them, put together for people in small steps between its
//! requests. Knows neither who asks nor how it is shown.

use std::collections::{BTreeMap, HashSet, btree_map};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis_router::{Backend, Frontend, Health, Route, Router, StoreState};

use crate::bounds::{SURVEY_BACKENDS, SURVEY_REPORTS, SURVEY_STEP, TURN_BREATH};
use crate::clock;
use crate::memory::uncounted;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) of: Of,
    /// Part of a key, identifier or URL of a backend, in lower case; of backends a part of their URL. Empty: of all.
    pub(crate) search: String,
    /// Only what has, or is, a backend in this state.
    pub(crate) state: Option<State>,
    /// How many are told of at most, in the order of their names.
    pub(crate) limit: usize,
}

/// What a survey is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Frontends,
    Backends,
}

/// How a backend does. The greater, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Alive,
    /// Its mark is over, and no request has shown yet that it lives.
    Unproven,
    Dead,
}

impl State {
    pub(crate) const ALL: [Self; 3] = [Self::Alive, Self::Unproven, Self::Dead];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Unproven => "unproven",
            Self::Dead => "dead",
        }
    }
}

impl From<Health> for State {
    fn from(health: Health) -> Self {
        match health {
            Health::Live => Self::Alive,
            Health::Unproven | Health::Probed => Self::Unproven,
            Health::Dead => Self::Dead,
        }
    }
}

/// What a core answers.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) core: usize,
    pub(crate) store: StoreState,
    /// Hosts that it remembers; frontends of a table.
    pub(crate) hosts: usize,
    /// How many match, whether told of or not.
    pub(crate) matching: usize,
    pub(crate) found: Found,
}

/// What was found, by name.
#[derive(Debug)]
pub(crate) enum Found {
    Frontends(BTreeMap<Box<str>, SeenFrontend>),
    Backends(BTreeMap<Box<str>, SeenBackend>),
}

/// A frontend.
#[derive(Debug)]
pub(crate) struct SeenFrontend {
    pub(crate) identifier: Box<str>,
    /// In the order of the list.
    pub(crate) backends: Vec<Seen>,
    /// Elements that are no backends, and what is wrong with them.
    pub(crate) invalid: Vec<(Box<str>, String)>,
}

/// One of its backends.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) url: Box<str>,
    pub(crate) weight: u32,
    pub(crate) drain: bool,
    pub(crate) state: State,
    pub(crate) mark: Mark,
    index: usize,
}

/// A backend over all frontends that have it.
#[derive(Debug, Default)]
pub(crate) struct SeenBackend {
    pub(crate) frontends: usize,
    /// In how many of them it is in each state, in the order of [`State::ALL`].
    pub(crate) states: [usize; State::ALL.len()],
    /// The longest.
    pub(crate) mark: Mark,
    /// Where to look for why it is marked.
    marked_in: Option<(Box<str>, usize)>,
}

/// What a mark says; empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Unix seconds; `u64::MAX`: until somebody takes it back. `None`: no mark.
    until: Option<u64>,
    pub(crate) why: Option<Box<str>>,
}

impl Mark {
    fn of(route: &Route, backend: &Backend, now: u64) -> Self {
        let Some(held) = route.held(backend) else { return Self::default() };
        // Rounded up: it is not over before.
        let seconds = |left: Duration| left.as_secs() + u64::from(left.subsec_nanos() > 0);
        let until = held.left.map_or(u64::MAX, |left| now.saturating_add(seconds(left)));
        Self { until: Some(until), why: held.why }
    }

    /// When it is over, in Unix seconds; `None`: there is none, or it has no end.
    pub(crate) fn end(&self) -> Option<u64> {
        self.until.filter(|&until| until < u64::MAX)
    }

    /// Adds what another says of the same backend: the longer counts.
    pub(crate) fn join(&mut self, other: Self) {
        self.until = self.until.max(other.until);
        self.why = self.why.take().or(other.why);
    }
}

/// What has been found so far. Made, filled and dropped uncounted, so it keeps nothing that others have made.
struct Search<'a> {
    query: &'a Query,
    now: u64,
    /// Where frontends that match stand; each is counted once, however many hosts it serves.
    counted: HashSet<*const Frontend, foldhash::fast::RandomState>,
    frontends: BTreeMap<Box<str>, SeenFrontend>,
    /// Backends that those have together.
    told: usize,
    /// All there are. A tree: a table would have to move as a whole when it grows.
    backends: BTreeMap<Box<str>, SeenBackend>,
}

/// Asks `router`, the one of the core number `core`, and has `tell` told, unless that takes until `until`. May be dropped at
/// any time.
pub(crate) async fn carry_out(
    router: Router,
    query: Arc<Query>,
    (core, until): (usize, Instant),
    tell: impl FnOnce(Part),
) {
    if let Some((matching, mut found)) = look(&router, &query, until).await {
        explain(&router, &mut found).await;
        uncounted(|| {
            tell(Part { core, store: router.state(), hosts: router.known_hosts(), matching, found })
        });
    }
    uncounted(|| drop(query));
}

/// How many match, and those that are told of; `None`: nobody waits for it any more.
async fn look(router: &Router, query: &Query, until: Instant) -> Option<(usize, Found)> {
    let mut search = uncounted(|| Search::new(query));
    let mut next = Some(0);
    while let Some(from) = next {
        next = uncounted(|| router.known(from, SURVEY_STEP, |route| search.look_at(route)));
        monoio::time::sleep(TURN_BREATH).await;
        if clock::now() >= until {
            uncounted(|| drop(search));
            return None;
        }
    }
    let mut outcome = uncounted(|| search.end());
    while outcome.is_incomplete() {
        uncounted(|| outcome.go_on(query));
        monoio::time::sleep(TURN_BREATH).await;
    }
    Some((outcome.matching, outcome.found))
}

impl<'a> Search<'a> {
    fn new(query: &'a Query) -> Self {
        Self {
            query,
            now: clock::unix_seconds(),
            counted: HashSet::default(),
            frontends: BTreeMap::new(),
            told: 0,
            backends: BTreeMap::new(),
        }
    }

    /// Takes a route into account. Returns what that took, in backends.
    fn look_at(&mut self, route: &Rc<Route>) -> usize {
        match self.query.of {
            Of::Frontends => self.look_at_frontend(route),
            Of::Backends => self.look_at_backends(route),
        }
        route.frontend.backends.len()
    }

    fn look_at_frontend(&mut self, route: &Rc<Route>) {
        let frontend = &route.frontend;
        if !self.is_searched(frontend) || !self.has_state(route) {
            return;
        }
        self.counted.insert(Rc::as_ptr(frontend));
        let is_full = self.frontends.len() >= self.query.limit;
        if is_full && self.frontends.last_key_value().is_none_or(|(last, _)| *last < frontend.key) {
            return;
        }
        let seen = SeenFrontend::of(route, self.now);
        match self.frontends.get_mut(&frontend.key) {
            Some(before) => before.join(seen),
            None => {
                self.told += seen.backends.len();
                self.frontends.insert(frontend.key.clone(), seen);
            }
        }
        while self.frontends.len() > self.query.limit || self.told > SURVEY_BACKENDS {
            let Some((_, last)) = self.frontends.pop_last() else { break };
            self.told -= last.backends.len();
        }
    }

    fn is_searched(&self, frontend: &Frontend) -> bool {
        let search = &self.query.search;
        search.is_empty()
            || has(&frontend.key, search)
            || has(&frontend.identifier, search)
            || frontend.backends.iter().any(|backend| has(&backend.url, search))
    }

    fn has_state(&self, route: &Route) -> bool {
        let mut backends = route.frontend.backends.iter();
        match self.query.state {
            None => true,
            Some(state) if route.is_unmarked() => state == State::Alive && backends.len() > 0,
            Some(state) => backends.any(|backend| State::from(route.health(backend)) == state),
        }
    }

    /// A wildcard's frontend counts as its first host has it.
    fn look_at_backends(&mut self, route: &Rc<Route>) {
        let frontend = &route.frontend;
        if !self.counted.insert(Rc::as_ptr(frontend)) {
            return;
        }
        let is_unmarked = route.is_unmarked();
        for backend in frontend.backends.iter().filter(|backend| has(&backend.url, &self.query.search)) {
            let state = if is_unmarked { State::Alive } else { route.health(backend).into() };
            let seen = match self.backends.get_mut(&backend.url) {
                Some(seen) => seen,
                None => self.backends.entry(backend.url.clone()).or_default(),
            };
            seen.frontends += 1;
            seen.states[state as usize] += 1;
            if state == State::Dead {
                seen.mark.join(Mark::of(route, backend, self.now));
                seen.marked_in = Some((frontend.key.clone(), backend.index));
            }
        }
    }

    fn end(self) -> Outcome {
        match self.query.of {
            Of::Frontends => Outcome {
                matching: self.counted.len(),
                found: Found::Frontends(self.frontends),
                rest: BTreeMap::new().into_iter(),
            },
            Of::Backends => Outcome {
                matching: 0,
                found: Found::Backends(BTreeMap::new()),
                rest: self.backends.into_iter(),
            },
        }
    }
}

/// What a search has come to. Made and filled uncounted too.
struct Outcome {
    matching: usize,
    found: Found,
    /// Backends that are still to be gone through, by their URLs.
    rest: btree_map::IntoIter<Box<str>, SeenBackend>,
}

impl Outcome {
    fn is_incomplete(&self) -> bool {
        self.rest.len() > 0
    }

    fn go_on(&mut self, query: &Query) {
        let Found::Backends(found) = &mut self.found else { return };
        let is_wanted = |seen: &SeenBackend| query.state.is_none_or(|state| seen.states[state as usize] > 0);
        for (url, seen) in self.rest.by_ref().take(SURVEY_STEP).filter(|(_, seen)| is_wanted(seen)) {
            self.matching += 1;
            if found.len() < query.limit {
                found.insert(url, seen);
            }
        }
    }
}

impl SeenBackend {
    /// Takes the one that knows the backend in more frontends, or knows worse of it: most are the same. The mark is both's.
    pub(crate) fn join(&mut self, mut other: Self) {
        let weight = |seen: &Self| (seen.frontends, seen.states[State::Dead as usize]);
        if weight(&other) > weight(self) {
            std::mem::swap(self, &mut other);
        }
        self.mark.join(other.mark);
    }
}

impl SeenFrontend {
    fn of(route: &Route, now: u64) -> Self {
        let Frontend { identifier, backends, invalid, .. } = &*route.frontend;
        let seen = |backend: &Backend| Seen {
            url: backend.url.clone(),
            weight: backend.weight,
            drain: backend.drain,
            state: route.health(backend).into(),
            mark: Mark::of(route, backend, now),
            index: backend.index,
        };
        let invalid = invalid.iter().map(|invalid| (invalid.url.clone(), invalid.reason.clone()));
        Self {
            identifier: identifier.clone(),
            backends: backends.iter().map(seen).collect(),
            invalid: invalid.collect(),
        }
    }

    /// Adds what another, host or core, says of the same frontend: of each backend the worst. One with another list, as it
    /// was or will be, adds nothing.
    pub(crate) fn join(&mut self, other: Self) {
        let urls =
            |frontend: &Self| -> Vec<_> { frontend.backends.iter().map(|one| one.url.clone()).collect() };
        if urls(self) != urls(&other) {
            return;
        }
        for (own, other) in self.backends.iter_mut().zip(other.backends) {
            own.state = own.state.max(other.state);
            own.mark.join(other.mark);
        }
    }
}

/// Whether `search`, in lower case, is a part of `text`.
fn has(text: &str, search: &str) -> bool {
    search.is_empty() || text.to_lowercase().contains(search)
}

/// Adds why backends are dead where this core has not seen it itself, as whoever did wrote it down.
async fn explain(router: &Router, found: &mut Found) {
    let mut unexplained = found.unexplained();
    unexplained.truncate(SURVEY_REPORTS);
    let marks: Vec<(&str, usize)> = unexplained.iter().map(|one| (one.key, one.index)).collect();
    let reports = router.reports(&marks).await;
    // Both were made counted, and are dropped so.
    uncounted(|| {
        for (one, report) in unexplained.iter_mut().zip(&reports) {
            let report = report.as_ref().filter(|report| *report.url == *one.url);
            one.mark.why = report.map(|report| report.why.as_str().into());
        }
    });
}

/// A mark without a reason: what to ask for.
struct Unexplained<'a> {
    key: &'a str,
    index: usize,
    url: &'a str,
    mark: &'a mut Mark,
}

impl Found {
    fn unexplained(&mut self) -> Vec<Unexplained<'_>> {
        match self {
            Self::Frontends(frontends) => frontends
                .iter_mut()
                .flat_map(|(key, frontend)| frontend.backends.iter_mut().map(move |seen| (key, seen)))
                .filter(|(_, seen)| seen.state == State::Dead && seen.mark.why.is_none())
                .map(|(key, Seen { url, mark, index, .. })| Unexplained { key, index: *index, url, mark })
                .collect(),
            Self::Backends(backends) => backends
                .iter_mut()
                .filter(|(_, seen)| seen.mark.why.is_none())
                .filter_map(|(url, SeenBackend { mark, marked_in, .. })| {
                    let (key, index) = marked_in.as_ref()?;
                    Some(Unexplained { key, index: *index, url, mark })
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests;

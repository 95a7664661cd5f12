//! What one core knows of frontends, or of backends over all of them, put together for people in small steps between its
//! requests. Knows neither who asks nor how it is shown.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use redis_router::{Backend, Frontend, Health, Report, Route, Router, StoreState};

use crate::bounds::{SURVEY_REPORTS, SURVEY_STEP, TURN_BREATH};
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
    /// Unix seconds; `None`: no mark, or one that somebody has to take back.
    pub(crate) until: Option<u64>,
    pub(crate) why: Option<Box<str>>,
}

impl Mark {
    fn of(route: &Route, backend: &Backend, now: u64) -> Self {
        let held = route.held(backend).unwrap_or_default();
        // Rounded up: it is not over before.
        let until = held.left.map(|left| now + left.as_secs() + u64::from(left.subsec_nanos() > 0));
        Self { until, why: held.why }
    }

    /// Adds what another says of the same backend.
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
    backends: HashMap<Box<str>, SeenBackend, foldhash::fast::RandomState>,
}

/// Asks `router`, the one of the core number `core`, and has `tell` told. May be dropped at any time.
pub(crate) async fn carry_out(router: Router, query: Arc<Query>, core: usize, tell: impl FnOnce(Part)) {
    let mut search = uncounted(|| Search::new(&query));
    let mut next = Some(0);
    while let Some(from) = next {
        next = uncounted(|| router.known(from, SURVEY_STEP, |route| search.look_at(route)));
        monoio::time::sleep(TURN_BREATH).await;
    }
    let (matching, mut found) = uncounted(|| search.end());
    explain(&router, &mut found).await;
    uncounted(|| {
        tell(Part { core, store: router.state(), hosts: router.known_hosts(), matching, found });
        drop(query);
    });
}

impl<'a> Search<'a> {
    fn new(query: &'a Query) -> Self {
        Self {
            query,
            now: clock::unix_seconds(),
            counted: HashSet::default(),
            frontends: BTreeMap::new(),
            backends: HashMap::default(),
        }
    }

    fn look_at(&mut self, route: &Rc<Route>) {
        match self.query.of {
            Of::Frontends => self.look_at_frontend(route),
            Of::Backends => self.look_at_backends(route),
        }
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
            None => drop(self.frontends.insert(frontend.key.clone(), seen)),
        }
        if self.frontends.len() > self.query.limit {
            self.frontends.pop_last();
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

    fn end(self) -> (usize, Found) {
        if self.query.of == Of::Frontends {
            return (self.counted.len(), Found::Frontends(self.frontends));
        }
        let is_wanted =
            |seen: &SeenBackend| self.query.state.is_none_or(|state| seen.states[state as usize] > 0);
        let mut backends: BTreeMap<_, _> =
            self.backends.into_iter().filter(|(_, seen)| is_wanted(seen)).collect();
        let matching = backends.len();
        while backends.len() > self.query.limit {
            backends.pop_last();
        }
        (matching, Found::Backends(backends))
    }
}

impl SeenBackend {
    /// Takes the one that knows the backend in more frontends: most are the same. The mark is both's.
    pub(crate) fn join(&mut self, mut other: Self) {
        if other.frontends > self.frontends {
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
    let mut keys: Vec<String> = unexplained.iter().map(|(key, _, _)| key.to_string()).collect();
    keys.dedup();
    let names: Vec<&str> = keys.iter().map(|key| &**key).collect();
    let reports = router.reports(&names).await;
    let by_key: HashMap<&str, Vec<(usize, Report)>> = names.into_iter().zip(reports).collect();
    uncounted(|| {
        for (key, index, mark) in unexplained {
            let report = by_key.get(key).and_then(|all| all.iter().find(|(place, _)| *place == index));
            mark.why = report.map(|(_, report)| report.why.as_str().into());
        }
    });
}

impl Found {
    /// The marks without a reason, with the frontend and the index to ask for.
    fn unexplained(&mut self) -> Vec<(&str, usize, &mut Mark)> {
        match self {
            Self::Frontends(frontends) => frontends
                .iter_mut()
                .flat_map(|(key, frontend)| frontend.backends.iter_mut().map(move |seen| (key, seen)))
                .filter(|(_, seen)| seen.state == State::Dead && seen.mark.why.is_none())
                .map(|(key, seen)| (&**key, seen.index, &mut seen.mark))
                .collect(),
            Self::Backends(backends) => backends
                .values_mut()
                .filter(|seen| seen.mark.why.is_none())
                .filter_map(|seen| {
                    let (key, index) = seen.marked_in.as_ref()?;
                    Some((&**key, *index, &mut seen.mark))
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use redis_router::Table;

    use super::*;

    fn ask(query: &Query, died: Option<(&str, usize)>) -> (usize, Found) {
        let table = r#"{"a.tld": ["First", "http://10.0.0.1", "http://10.0.0.2", "ftp://x"],
            "b.tld": ["second", "http://10.0.0.2"], "*.c.tld": ["third"]}"#;
        // What is no backend is an error in a table: only lists of a store have such.
        let table = Table::parse(&table.replace(r#", "ftp://x""#, "")).unwrap();
        let router = Router::table(Arc::new(table));
        if let Some((host, place)) = died
            && let redis_router::Cached::Route(route) = router.cached(host)
        {
            router.backend_died(&route, &route.frontend.backends[place], "refused");
        }
        let mut search = Search::new(query);
        let mut next = Some(0);
        while let Some(from) = next {
            next = router.known(from, 2, |route| search.look_at(route));
        }
        search.end()
    }

    fn query(of: Of, search: &str, state: Option<State>, limit: usize) -> Query {
        Query { of, search: search.into(), state, limit }
    }

    fn frontends(query: &Query, died: Option<(&str, usize)>) -> (usize, Vec<String>) {
        match ask(query, died) {
            (matching, Found::Frontends(found)) => (matching, found.into_keys().map(Into::into).collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn frontends_are_found_by_all_that_is_theirs() {
        let of =
            |search, state, limit| frontends(&query(Of::Frontends, search, state, limit), Some(("a.tld", 1)));
        for (search, state, found) in [
            ("", None, &["*.c.tld", "a.tld", "b.tld"][..]),
            ("tld", None, &["*.c.tld", "a.tld", "b.tld"]),
            ("first", None, &["a.tld"]),
            ("0.0.2", None, &["a.tld", "b.tld"]),
            ("0.0.2", Some(State::Dead), &["a.tld"]),
            ("", Some(State::Alive), &["a.tld", "b.tld"]),
            ("", Some(State::Unproven), &[]),
            ("none", None, &[]),
        ] {
            let expected = (found.len(), found.iter().map(|&key| key.to_owned()).collect());
            assert_eq!(of(search, state, 10), expected, "{search} {state:?}");
        }
        assert_eq!(of("", None, 2), (3, vec!["*.c.tld".to_owned(), "a.tld".to_owned()]));
        assert_eq!(of("", None, 0), (3, vec![]));
    }

    #[test]
    fn a_death_stands_beside_its_reason() {
        let (_, found) = ask(&query(Of::Frontends, "a.tld", None, 1), Some(("a.tld", 1)));
        let Found::Frontends(found) = found else { panic!("no frontends") };
        let states: Vec<_> =
            found["a.tld"].backends.iter().map(|seen| (seen.state, seen.mark.why.as_deref())).collect();
        assert_eq!(states, [(State::Alive, None), (State::Dead, Some("refused"))]);
        assert!(found["a.tld"].backends[1].mark.until.is_some());
    }

    #[test]
    fn backends_are_counted_over_their_frontends() {
        let of = |search, state| match ask(&query(Of::Backends, search, state, 10), Some(("b.tld", 0))) {
            (matching, Found::Backends(found)) => {
                let seen =
                    found.into_iter().map(|(url, seen)| (url.to_string(), seen.frontends, seen.states));
                (matching, seen.collect::<Vec<_>>())
            }
            other => panic!("{other:?}"),
        };
        let (first, second) =
            (("http://10.0.0.1".to_owned(), 1, [1, 0, 0]), ("http://10.0.0.2".to_owned(), 2, [1, 0, 1]));
        assert_eq!(of("", None), (2, vec![first.clone(), second.clone()]));
        assert_eq!(of("0.1", None), (1, vec![first]));
        assert_eq!(of("", Some(State::Dead)), (1, vec![second]));
        assert_eq!(of("", Some(State::Unproven)), (0, vec![]));
    }

    #[test]
    fn the_worst_that_is_said_counts() {
        let seen = |state, why: Option<&str>, until| SeenFrontend {
            identifier: "i".into(),
            backends: vec![Seen {
                url: "http://h".into(),
                weight: 1,
                drain: false,
                state,
                mark: Mark { until, why: why.map(Into::into) },
                index: 0,
            }],
            invalid: Vec::new(),
        };
        let mut joined = seen(State::Alive, None, None);
        joined.join(seen(State::Dead, None, Some(7)));
        joined.join(seen(State::Dead, Some("refused"), Some(5)));
        joined.join(seen(State::Unproven, Some("late"), None));
        joined.join(SeenFrontend { identifier: "i".into(), backends: Vec::new(), invalid: Vec::new() });
        let mark = Mark { until: Some(7), why: Some("refused".into()) };
        assert_eq!((joined.backends[0].state, &joined.backends[0].mark), (State::Dead, &mark));
    }
}

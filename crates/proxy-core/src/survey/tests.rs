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
    let mut outcome = search.end();
    while outcome.is_incomplete() {
        outcome.go_on(query);
    }
    (outcome.matching, outcome.found)
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
    assert!(found["a.tld"].backends[1].mark.end().is_some());
}

#[test]
fn backends_are_counted_over_their_frontends() {
    let of = |search, state| match ask(&query(Of::Backends, search, state, 10), Some(("b.tld", 0))) {
        (matching, Found::Backends(found)) => {
            let seen = found.into_iter().map(|(url, seen)| (url.to_string(), seen.frontends, seen.states));
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
    joined.join(seen(State::Dead, None, Some(u64::MAX)));
    assert_eq!(joined.backends[0].mark.end(), None, "no end is later than any");
    let of_core = |dead| SeenBackend { frontends: 2, states: [2 - dead, 0, dead], ..SeenBackend::default() };
    for (first, second) in [(0, 1), (1, 0)] {
        let mut joined = of_core(first);
        joined.join(of_core(second));
        assert_eq!(joined.states, [1, 0, 1], "whichever is first");
    }
}

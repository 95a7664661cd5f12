//! Which backend of a frontend gets a request. Pure: random numbers are arguments.

use std::collections::HashMap;

use redis_router::Backend;

use crate::bounds::FRONTENDS_IN_TURN;

/// Chooses one of `backends` at random by weight, among those that `may` be asked. `random` is uniform over all of
/// u64. `None`: nobody may.
pub(crate) fn by_weight(
    backends: &[Backend],
    may: impl Fn(&Backend) -> bool,
    random: u64,
) -> Option<&Backend> {
    if let [only] = backends {
        return may(only).then_some(only);
    }
    let candidates = || backends.iter().filter(|backend| may(backend));
    let total: u64 = candidates().map(|backend| u64::from(backend.weight)).sum();
    // The product's upper half is uniform over 0..total.
    let mut ticket = ((u128::from(random) * u128::from(total)) >> 64) as u64;
    candidates().find(|backend| {
        let weight = u64::from(backend.weight);
        let won = ticket < weight;
        ticket = ticket.saturating_sub(weight);
        won
    })
}

/// Draws two that `may` be asked, at random by weight, and takes the one with fewer requests under way.
pub(crate) fn less_busy(
    backends: &[Backend],
    may: impl Fn(&Backend) -> bool,
    randoms: [u64; 2],
    under_way: impl Fn(&Backend) -> usize,
) -> Option<&Backend> {
    let first = by_weight(backends, &may, randoms[0])?;
    let others = |backend: &Backend| may(backend) && backend.index != first.index;
    let Some(second) = by_weight(backends, others, randoms[1]) else { return Some(first) };
    Some(if under_way(second) < under_way(first) { second } else { first })
}

/// Whether a backend takes new requests at all.
pub(crate) fn takes_requests(backend: &Backend) -> bool {
    !backend.drain
}

/// Where the frontends that are served in turn are, on one core.
#[derive(Debug, Default)]
pub(crate) struct Turns(HashMap<Box<str>, Vec<i64>, foldhash::fast::RandomState>);

impl Turns {
    /// Takes the next in turn of those that `may` be asked: nginx's smooth weighted round robin. Each gains its
    /// weight, the one with most goes first and pays for all, so heavy backends do not come in runs.
    pub(crate) fn next<'a>(
        &mut self,
        frontend: &str,
        backends: &'a [Backend],
        may: impl Fn(&Backend) -> bool,
    ) -> Option<&'a Backend> {
        if !self.0.contains_key(frontend) {
            if self.0.len() >= FRONTENDS_IN_TURN {
                self.0.clear();
            }
            self.0.insert(frontend.into(), Vec::new());
        }
        let credits = self.0.get_mut(frontend)?;
        // The list may have changed since; its credits are small and soon even out.
        credits.resize(backends.len(), 0);
        let (mut total, mut best) = (0, None);
        for (place, backend) in backends.iter().enumerate().filter(|(_, backend)| may(backend)) {
            let weight = i64::from(backend.weight);
            total += weight;
            credits[place] += weight;
            if best.is_none_or(|best: usize| credits[place] > credits[best]) {
                best = Some(place);
            }
        }
        let best = best?;
        credits[best] -= total;
        Some(&backends[best])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis_router::{BackendHost, Scheme};

    fn backend(index: usize, weight: u32, drain: bool) -> Backend {
        Backend {
            url: "".into(),
            index,
            scheme: Scheme::Http,
            host: BackendHost::Name("a".into()),
            port: 80,
            authority: format!("{index}:80").into(),
            pool: format!("{index}:80").into(),
            path_prefix: "".into(),
            weight,
            drain,
            insecure: false,
        }
    }

    #[test]
    fn chooses_by_weight_among_those_that_may() {
        let backends =
            [backend(0, 1, false), backend(1, 3, false), backend(2, 9, true), backend(3, 4, false)];
        let may = |backend: &Backend| takes_requests(backend) && backend.index != 3;
        let mut counts = [0u32; 4];
        for step in 0..8000u64 {
            let chosen = by_weight(&backends, may, step * (u64::MAX / 8000)).unwrap();
            counts[chosen.index] += 1;
        }
        assert_eq!((counts[2], counts[3]), (0, 0));
        assert!((1999..=2001).contains(&counts[0]) && counts[0] + counts[1] == 8000, "{counts:?}");
        assert!(by_weight(&backends, |_| false, 7).is_none());
        assert!(by_weight(&[], |_| true, 7).is_none());
        assert!(by_weight(&backends[..1], |_| false, 7).is_none());
    }

    #[test]
    fn of_two_the_less_busy_one() {
        let backends = [backend(0, 1, false), backend(1, 1, false), backend(2, 1, false)];
        let busy = |backend: &Backend| [5, 0, 9][backend.index];
        for step in 0..64 {
            let randoms = [step * (u64::MAX / 64), step.wrapping_mul(0x9E37_79B9_7F4A_7C15)];
            let chosen = less_busy(&backends, |_| true, randoms, busy).unwrap().index;
            assert_ne!(chosen, 2, "the busiest never wins");
        }
        assert_eq!(less_busy(&backends, |backend| backend.index == 2, [0, 0], busy).unwrap().index, 2);
        assert!(less_busy(&backends, |_| false, [0, 0], busy).is_none());
    }

    fn turns(backends: &[Backend], may: impl Fn(&Backend) -> bool, count: usize) -> Vec<usize> {
        let mut turns = Turns::default();
        (0..count).map(|_| turns.next("a", backends, &may).unwrap().index).collect()
    }

    #[test]
    fn takes_turns_by_weight_without_runs() {
        let even = [backend(0, 1, false), backend(1, 1, false), backend(2, 1, false)];
        assert_eq!(turns(&even, |_| true, 7), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(turns(&even, |backend| backend.index != 1, 4), [0, 2, 0, 2]);
        let uneven = [backend(0, 5, false), backend(1, 1, false), backend(2, 1, false)];
        assert_eq!(turns(&uneven, |_| true, 7), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn turns_are_bounded_and_follow_the_list() {
        let (two, one) = ([backend(0, 1, false), backend(1, 1, false)], [backend(0, 1, false)]);
        let mut turns = Turns::default();
        assert_eq!(turns.next("a", &two, |_| true).unwrap().index, 0);
        assert_eq!(turns.next("a", &one, |_| true).unwrap().index, 0);
        assert!(turns.next("a", &[], |_| true).is_none());
        for name in 0..=FRONTENDS_IN_TURN {
            turns.next(&name.to_string(), &one, |_| true);
        }
        assert!(turns.0.len() <= FRONTENDS_IN_TURN);
    }
}

//! Which backend of a frontend gets a request. Pure: the random number is an argument.

use redis_router::{Backend, Scheme};

/// Chooses one of `backends` at random by weight, among those that take requests and were not `tried` for this
/// one. `random` is uniform over all of u64. `None`: nobody is left.
pub(crate) fn pick<'a>(backends: &'a [Backend], tried: &[usize], random: u64) -> Option<&'a Backend> {
    if let [only] = backends {
        return is_candidate(only, tried).then_some(only);
    }
    let candidates = || backends.iter().filter(|backend| is_candidate(backend, tried));
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

/// Whether a request may go to this backend at all. Those over TLS cannot be asked yet.
fn is_candidate(backend: &Backend, tried: &[usize]) -> bool {
    !backend.drain && backend.scheme == Scheme::Http && !tried.contains(&backend.index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis_router::BackendHost;

    fn backend(index: usize, weight: u32, drain: bool) -> Backend {
        Backend {
            url: "".into(),
            index,
            scheme: Scheme::Http,
            host: BackendHost::Name("a".into()),
            port: 80,
            authority: "a:80".into(),
            path_prefix: "".into(),
            weight,
            drain,
            insecure: false,
        }
    }

    #[test]
    fn chooses_by_weight_and_never_a_tried_or_draining_one() {
        let backends =
            [backend(0, 1, false), backend(1, 3, false), backend(2, 9, true), backend(3, 4, false)];
        let mut counts = [0u32; 4];
        for step in 0..8000u64 {
            let chosen = pick(&backends, &[3], step * (u64::MAX / 8000)).unwrap();
            counts[chosen.index] += 1;
        }
        assert_eq!((counts[2], counts[3]), (0, 0));
        assert!((1999..=2001).contains(&counts[0]) && counts[0] + counts[1] == 8000, "{counts:?}");
        assert!(pick(&backends, &[0, 1, 3], 7).is_none());
        assert!(pick(&[], &[], 7).is_none());
        assert!(pick(&backends[..1], &[0], 7).is_none());
    }

    #[test]
    fn asks_no_backend_over_tls_yet() {
        let mut only = backend(0, 1, false);
        only.scheme = Scheme::Https;
        assert!(pick(std::slice::from_ref(&only), &[], 1).is_none());
    }
}

//! A host's candidate keys in look-up order. Pure; knows neither Redis nor the table.
//!
//! `www.example.tld:8080` is looked for as `www.example.tld:8080`, `www.example.tld`, `*.example.tld`, `*.tld`, `*`
//! (Hipache `lib/cache.js`, `getDomainsLookup`; the form with the port comes before it).

use std::net::Ipv4Addr;

use crate::bounds::PARENTS_MAX;

/// Begins a name that is looked up as it stands, without wildcards: `/www.example.tld:12-01-31` is the key
/// `frontend:www.example.tld:12-01-31`. No host begins so.
pub const EXACT: char = '/';

/// One key to look for, without prefix and `frontend:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Candidate<'a> {
    /// The host itself, with or without its port.
    Exact(&'a str),
    /// `*.` and these labels.
    Wildcard(&'a str),
    /// `*`.
    Any,
}

impl std::fmt::Display for Candidate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Candidate::Exact(host) => f.write_str(host),
            Candidate::Wildcard(parent) => write!(f, "*.{parent}"),
            Candidate::Any => f.write_str("*"),
        }
    }
}

/// The candidates of `host`, at most `CANDIDATES_MAX`. `host`: lower-case `name` or `name:port`, no trailing dot, IPv6 in
/// brackets; empty (no Host at all) is looked for as `*` alone.
///
/// A host that begins with [`EXACT`] has one candidate: what stands behind it.
pub(crate) fn candidates(host: &str) -> impl Iterator<Item = Candidate<'_>> {
    let whole = exact_name(host);
    let name = whole.unwrap_or_else(|| without_port(host));
    let with_port = (whole.is_none() && name.len() < host.len()).then_some(host);
    let bare = (!name.is_empty()).then_some(name);
    let exact = with_port.into_iter().chain(bare).map(Candidate::Exact);
    let name = if whole.is_none() { name } else { "" };
    let any = whole.is_none().then_some(Candidate::Any);
    exact.chain(parents(name).map(Candidate::Wildcard)).chain(any)
}

/// The key that a host beginning with [`EXACT`] asks for, without wildcards; `None` for any other host.
pub(crate) fn exact_name(host: &str) -> Option<&str> {
    host.strip_prefix(EXACT)
}

/// What Hipache names the dead set of `host`, whatever key its list stands under: the host without its port.
pub(crate) fn dead_name(host: &str) -> &str {
    exact_name(host).unwrap_or_else(|| without_port(host))
}

/// What stands before the keys of each kind: it is followed in Redis.
#[derive(Clone)]
pub(crate) struct Prefixes {
    /// Before every key.
    pub(crate) all: String,
    /// Before a candidate: its list.
    pub(crate) lists: String,
    /// Before a candidate: its options.
    pub(crate) options: String,
    /// Before a candidate or a host: indexes of dead backends.
    pub(crate) dead: String,
    /// Before a candidate: what is told of the deaths of its backends. Not followed.
    pub(crate) reports: String,
    /// Before a host or `*.` and its parent: its certificate.
    pub(crate) certificates: String,
    /// Whole key: addresses that are denied.
    pub(crate) denied: String,
    /// Whole key: addresses that no limit holds for.
    pub(crate) allowed: String,
    /// Whole key: there while a built-in checker is at work.
    pub(crate) checker_sign: String,
    /// Before a backend's URL: who checks it.
    pub(crate) checker_locks: String,
    /// Whole keys of further sets.
    sets: Vec<String>,
}

impl Prefixes {
    /// `prefix` stands before all of them, the names of further sets included.
    pub(crate) fn new(prefix: &str, sets: &[String]) -> Prefixes {
        let under = |kind: &str| format!("{prefix}{kind}:");
        Prefixes {
            all: prefix.to_owned(),
            lists: under("frontend"),
            options: under("options"),
            dead: under("dead"),
            reports: under("died"),
            certificates: under("tls"),
            denied: format!("{prefix}deny:ip"),
            allowed: format!("{prefix}allow:ip"),
            checker_sign: format!("{prefix}checker:sign"),
            checker_locks: under("checker:lock"),
            sets: sets.iter().map(|set| format!("{prefix}{set}")).collect(),
        }
    }

    /// The shortest set of prefixes that covers all that is followed: Redis refuses a tracking command in which one is the
    /// beginning of another.
    pub(crate) fn followed(&self) -> Vec<&str> {
        let sets = self.sets.iter().map(String::as_str);
        let addresses = [&*self.denied, &*self.allowed];
        let own = [&*self.lists, &*self.options, &*self.dead, &*self.certificates];
        let mut all: Vec<&str> = own.into_iter().chain(addresses).chain(sets).collect();
        all.sort_unstable();
        // Sorted, whatever a prefix covers comes right behind it.
        all.dedup_by(|longer, shorter| longer.starts_with(*shorter));
        all
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

/// `example.tld`, `tld` for `www.example.tld`; an address has none.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    let is_address = name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok();
    let labels = if is_address { 0 } else { name.bytes().filter(|byte| *byte == b'.').count() };
    name.match_indices('.')
        .map(|(dot, _)| &name[dot + 1..])
        .take(labels)
        .skip(labels.saturating_sub(PARENTS_MAX))
}

#[cfg(test)]
mod tests {
    use super::{Prefixes, candidates, dead_name};
    use crate::bounds::CANDIDATES_MAX;

    #[test]
    fn look_up_order() {
        let table: &[(&str, &[&str])] = &[
            (
                "www.example.tld:8080",
                &["www.example.tld:8080", "www.example.tld", "*.example.tld", "*.tld", "*"],
            ),
            ("www.example.tld", &["www.example.tld", "*.example.tld", "*.tld", "*"]),
            ("localhost", &["localhost", "*"]),
            ("localhost:80", &["localhost:80", "localhost", "*"]),
            ("", &["*"]),
            ("10.0.0.1", &["10.0.0.1", "*"]),
            ("10.0.0.1:81", &["10.0.0.1:81", "10.0.0.1", "*"]),
            (
                "10.0.0.1.nip.io",
                &["10.0.0.1.nip.io", "*.0.0.1.nip.io", "*.0.1.nip.io", "*.1.nip.io", "*.nip.io", "*.io", "*"],
            ),
            ("[::1]", &["[::1]", "*"]),
            ("[::1]:443", &["[::1]:443", "[::1]", "*"]),
            ("[::ffff:10.0.0.1]", &["[::ffff:10.0.0.1]", "*"]),
            ("1.2.3", &["1.2.3", "*.2.3", "*.3", "*"]),
            ("/www.example.tld:12-01-31", &["www.example.tld:12-01-31"]),
            ("/*.tld", &["*.tld"]),
            ("/", &[]),
            (
                "a.b.c.d.e.f.g.h:1",
                &[
                    "a.b.c.d.e.f.g.h:1",
                    "a.b.c.d.e.f.g.h",
                    "*.d.e.f.g.h",
                    "*.e.f.g.h",
                    "*.f.g.h",
                    "*.g.h",
                    "*.h",
                    "*",
                ],
            ),
        ];
        for (host, expected) in table {
            let found: Vec<_> = candidates(host).map(|candidate| candidate.to_string()).collect();
            assert_eq!(&found, expected, "{host}");
            assert!(found.len() <= CANDIDATES_MAX);
        }
    }

    #[test]
    fn dead_sets_are_named_without_port() {
        for (host, name) in
            [("a.tld:80", "a.tld"), ("a.tld", "a.tld"), ("[::1]:80", "[::1]"), ("/a:1-1-1", "a:1-1-1")]
        {
            assert_eq!(dead_name(host), name);
        }
    }

    #[test]
    fn prefix_stands_first() {
        let prefixes = Prefixes::new("staging:", &["premium".into()]);
        assert_eq!((&*prefixes.lists, &*prefixes.dead), ("staging:frontend:", "staging:dead:"));
        assert_eq!(
            prefixes.followed(),
            [
                "staging:allow:ip",
                "staging:dead:",
                "staging:deny:ip",
                "staging:frontend:",
                "staging:options:",
                "staging:premium",
                "staging:tls:"
            ]
        );
        assert_eq!(Prefixes::new("", &[]).options, "options:");
    }

    #[test]
    fn no_followed_prefix_begins_another() {
        let table: [(&[&str], &[&str]); 6] = [
            (
                &["registered", "registered2", "registered"],
                &["allow:ip", "dead:", "deny:ip", "frontend:", "options:", "registered", "tls:"],
            ),
            (&["de", "dead"], &["allow:ip", "de", "frontend:", "options:", "tls:"]),
            (&["frontend:a", "options"], &["allow:ip", "dead:", "deny:ip", "frontend:", "options", "tls:"]),
            (&["a", "ab", "abc", "b"], &["a", "b", "dead:", "deny:ip", "frontend:", "options:", "tls:"]),
            (&["f", "d", "o"], &["allow:ip", "d", "f", "o", "tls:"]),
            (
                &["deny:ip", "deny:ipv6", "allow"],
                &["allow", "dead:", "deny:ip", "frontend:", "options:", "tls:"],
            ),
        ];
        for (sets, expected) in table {
            let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
            assert_eq!(Prefixes::new("", &sets).followed(), expected);
        }
    }
}

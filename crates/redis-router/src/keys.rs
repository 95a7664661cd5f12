//! A host's candidate keys in look-up order. Pure; knows neither Redis nor the table.
//!
//! `www.example.tld:8080` is looked for as `www.example.tld:8080`, `www.example.tld`, `*.example.tld`, `*.tld`, `*`
//! (Hipache `lib/cache.js`, `getDomainsLookup`; the form with the port comes before it).

use std::net::Ipv4Addr;

use crate::bounds::PARENTS_MAX;

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
pub(crate) fn candidates(host: &str) -> impl Iterator<Item = Candidate<'_>> {
    let name = without_port(host);
    let with_port = (name.len() < host.len()).then_some(host);
    let bare = (!name.is_empty()).then_some(name);
    let exact = with_port.into_iter().chain(bare).map(Candidate::Exact);
    exact.chain(parents(name).map(Candidate::Wildcard)).chain([Candidate::Any])
}

/// What stands before every list key: what is followed in Redis, and what `candidates` are put behind.
pub(crate) fn list_prefix(prefix: &str) -> String {
    format!("{prefix}frontend:")
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
    use super::{candidates, list_prefix};
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
    fn prefix_stands_first() {
        assert_eq!(list_prefix("staging:"), "staging:frontend:");
        assert_eq!(list_prefix(""), "frontend:");
    }
}

//! Who is counted, and under which key.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

/// Before the keys of the counters; behind the prefix of all keys.
pub(crate) const COUNTERS: &str = "limit:";

/// The key of the sorted set of cores, behind the prefix of all keys.
pub(crate) const CORES: &str = "limit:cores";

/// Whether a tier cannot have this name: other keys begin so, or its set could not be followed without the counters, which
/// are written all the time.
pub fn is_reserved(name: &str) -> bool {
    const OTHERS: [&str; 10] = [
        "frontend",
        "dead",
        "died",
        "options",
        "tls",
        "checker",
        "deny",
        "allow",
        "requests",
        "hchecker_ping",
    ];
    OTHERS.contains(&name) || COUNTERS.starts_with(name)
}

/// What one counter counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LimitKey {
    /// Place of the tier among the tiers.
    pub tier: usize,
    /// Whose requests.
    pub client: ClientKey,
}

/// Who a client is for the limits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientKey {
    /// An IPv4 address, or the first address of an IPv6 /64.
    Address(IpAddr),
    /// A name that is a member of a tier.
    Identity(Rc<str>),
}

impl ClientKey {
    /// The client at `address`: whoever has an address of IPv6 has its /64 at least, and can change within it
    /// at will. An IPv4 address
    /// written as one of IPv6 is that of IPv4.
    pub fn at(address: IpAddr) -> ClientKey {
        ClientKey::Address(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(six) => match six.to_ipv4_mapped() {
                Some(four) => four.into(),
                None => {
                    const SITE: u128 = !(u64::MAX as u128);
                    Ipv6Addr::from_bits(six.to_bits() & SITE).into()
                }
            },
        })
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientKey::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            ClientKey::Address(IpAddr::V6(address)) => write!(f, "{address}/64"),
            ClientKey::Identity(name) => write!(f, "id:{name}"),
        }
    }
}

/// The key of a counter, without the prefix of all: `limit:60:premium:10.0.0.1`.
pub(crate) fn counter(window: Duration, tier: &str, client: &ClientKey) -> String {
    format!("{COUNTERS}{}:{tier}:{client}", window.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ClientKey, counter};

    #[test]
    fn a_site_is_one_client() {
        for (address, text) in [
            ("10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("::1", "::/64"),
        ] {
            assert_eq!(ClientKey::at(address.parse().unwrap()).to_string(), text);
        }
    }

    #[test]
    fn names_that_tiers_cannot_have() {
        for (name, is_taken) in [
            ("limit", true),
            ("l", true),
            ("", true),
            ("dead", true),
            ("limited", false),
            ("deadly", false),
            ("a", false),
        ] {
            assert_eq!(super::is_reserved(name), is_taken, "{name}");
        }
    }

    #[test]
    fn windows_and_tiers_count_apart() {
        let client = ClientKey::Identity("k:1".into());
        assert_eq!(counter(Duration::from_secs(60), "premium", &client), "limit:60:premium:id:k:1");
        assert_eq!(counter(Duration::from_millis(1_500), "a", &client), "limit:1.5:a:id:k:1");
    }
}

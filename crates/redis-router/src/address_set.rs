//! Addresses and networks, and whether one of them holds a client's address. Pure; knows neither Redis nor what becomes of
//! the client.
//!
//! An IPv4-mapped IPv6 address is that IPv4 address, in a member as in a client; a network of them is one of IPv4. A network
//! of IPv6 holds no IPv4 address, `::/0` included.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use prefix_trie::joint::JointPrefixSet;

/// Bits before the IPv4 address in an IPv4-mapped one (RFC 4291 section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// What [`member`] takes, for messages.
pub(crate) const ACCEPTED: &str =
    "an address such as 192.0.2.7 or 2001:db8::7, or a network such as 192.0.2.0/24 or 2001:db8::/32";

/// Any number of addresses and networks.
#[derive(Default)]
pub(crate) struct AddressSet {
    networks: JointPrefixSet<IpNet>,
}

impl AddressSet {
    pub(crate) fn insert(&mut self, network: IpNet) {
        self.networks.insert(network);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Whether `address` is in it, alone or in a network.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        !self.is_empty() && self.networks.is_covered(&IpNet::from(address.to_canonical()))
    }
}

impl fmt::Debug for AddressSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AddressSet of {}", self.networks.len())
    }
}

/// The network that a member of a set stands for: an address is a network of one, and bits behind a prefix do not count.
/// `None`: it is neither.
pub(crate) fn member(text: &[u8]) -> Option<IpNet> {
    let text = str::from_utf8(text).ok()?;
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().ok()?,
    };
    Some(without_mapping(network.trunc()))
}

fn without_mapping(network: IpNet) -> IpNet {
    let IpNet::V6(wide) = network else { return network };
    let bits = wide.prefix_len().checked_sub(MAPPED_BITS);
    match (wide.addr().to_ipv4_mapped(), bits) {
        (Some(address), Some(bits)) => Ipv4Net::new(address, bits).map_or(network, IpNet::V4),
        _ => network,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use ipnet::IpNet;
    use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use super::{AddressSet, member};

    fn set(members: &[&str]) -> AddressSet {
        let mut set = AddressSet::default();
        members.iter().for_each(|text| set.insert(member(text.as_bytes()).unwrap()));
        set
    }

    #[test]
    fn members_are_addresses_and_networks() {
        for (text, network) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::7", "2001:db8::7/128"),
            ("2001:DB8:0::7/32", "2001:db8::/32"),
            ("::/0", "::/0"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:c000:207", "192.0.2.7/32"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
        ] {
            assert_eq!(member(text.as_bytes()), Some(network.parse::<IpNet>().unwrap()), "{text}");
        }
        let not_utf8: &[u8] = b"192.0.2.7\xff";
        let bad = [
            "",
            " ",
            "192.0.2",
            "192.0.2.256",
            "192.0.02.7",
            "192.0.2.7 ",
            "192.0.2.7\n",
            "192.0.2.0/33",
            "192.0.2.0/",
            "192.0.2.0/-1",
            "/24",
            "::/129",
            "fe80::1%eth0",
            "[::1]",
            "192.0.2.7:80",
            "192.0.2.1-192.0.2.9",
            "192.0.2.*",
            "192.0.2.0/255.255.255.0",
            "www.example.tld",
            "3221225991",
        ];
        for text in bad.map(str::as_bytes).into_iter().chain([not_utf8]) {
            assert_eq!(member(text), None, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn addresses_alone_and_in_networks() {
        let set = set(&["192.0.2.7", "10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32", "::ffff:203.0.113.0/120"]);
        for (address, is_in) in [
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("192.0.2.6", false),
            ("10.1.2.3", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("203.0.113.9", true),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
            ("::1", false),
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), is_in, "{address}");
        }
    }

    #[test]
    fn a_family_is_apart_from_the_other() {
        let (four, six): (IpAddr, IpAddr) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        assert!(!AddressSet::default().contains(four) && !AddressSet::default().contains(six));
        assert!(set(&["0.0.0.0/0"]).contains(four) && !set(&["0.0.0.0/0"]).contains(six));
        assert!(!set(&["::/0"]).contains(four) && set(&["::/0"]).contains(six));
    }

    /// Addresses that lie close together, so that networks hold some of them.
    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<u32>().prop_map(|bits| Ipv4Addr::from(0x0a00_0000 | (bits & 0x0101_0103)).into()),
            any::<u128>()
                .prop_map(|bits| Ipv6Addr::from((0x2001 << 112) | (bits & (0x10001 << 64 | 3))).into()),
            any::<u32>().prop_map(|bits| Ipv4Addr::from(bits & 0x8000_0003).to_ipv6_mapped().into()),
        ]
    }

    fn network() -> impl Strategy<Value = IpNet> {
        (address(), 0..=128_u8).prop_map(|(address, bits)| match address {
            IpAddr::V4(_) => IpNet::new(address, bits % 33).unwrap(),
            IpAddr::V6(_) => IpNet::new(address, bits).unwrap(),
        })
    }

    /// What the model takes an address for: all are of IPv6, and a network of mapped ones is just one more.
    fn widened(address: IpAddr) -> Ipv6Addr {
        match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        }
    }

    fn holds(network: &IpNet, address: IpAddr) -> bool {
        let mapped = widened(address).to_ipv4_mapped().is_some();
        let (base, bits) = match network {
            IpNet::V4(_) => (widened(network.addr()), network.prefix_len() + 96),
            IpNet::V6(_) => (widened(network.addr()), network.prefix_len()),
        };
        let shift = 128 - u32::from(bits);
        let top = |address: Ipv6Addr| address.to_bits().checked_shr(shift).unwrap_or(0);
        (bits >= 96 || !mapped) && top(base) == top(widened(address))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn as_one_looking_at_each_network_would_say(
            networks in proptest::collection::vec(network(), 0..40),
            addresses in proptest::collection::vec(address(), 20),
        ) {
            let texts: Vec<String> = networks.iter().map(ToString::to_string).collect();
            let set = set(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            for address in addresses {
                let expected = networks.iter().any(|network| holds(network, address));
                prop_assert_eq!(set.contains(address), expected, "{} in {:?}", address, &texts);
            }
        }
    }
}

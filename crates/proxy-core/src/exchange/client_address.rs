//! Which address counts as the client's: in the log, for the limits, for who is denied.

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use super::Exchange;

impl Exchange<'_> {
    /// The client as trusted proxies name it: the last address in X-Forwarded-For that is not one of them; else the peer.
    pub(super) fn client_address(&self) -> IpAddr {
        let peer = self.client.address;
        if !self.client.trusted {
            return peer;
        }
        let fields: SmallVec<[&[u8]; 4]> = self.request.values_of("x-forwarded-for").collect();
        let named = fields.iter().rev().flat_map(|field| field.rsplit(|&byte| byte == b','));
        let mut client = peer;
        for name in named {
            let text = std::str::from_utf8(name.trim_ascii()).ok();
            let address = text.and_then(address_in);
            // What stands before something that is no address was said by nobody who is trusted.
            let Some(address) = address else { break };
            client = address.to_canonical();
            if !self.rules.settings.trusts(client) {
                break;
            }
        }
        client
    }
}

/// An address as proxies write it in X-Forwarded-For: bare, IPv6 in brackets, either with a port.
fn address_in(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    bare.parse().or_else(|_| with_port()).ok()
}

#[cfg(test)]
mod tests {
    use super::address_in;

    #[test]
    fn addresses_as_proxies_write_them() {
        for (text, address) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:4711", Some("192.0.2.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:4711", Some("2001:db8::1")),
            ("unknown", None),
            ("192.0.2.1:x", None),
            ("", None),
        ] {
            assert_eq!(address_in(text), address.map(|text| text.parse().unwrap()), "{text}");
        }
    }
}

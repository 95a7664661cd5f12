//! Which address counts as the client's: in the log, for the limits, for who is denied.

use std::net::IpAddr;

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
            let address: Option<IpAddr> = text.and_then(|text| text.parse().ok());
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

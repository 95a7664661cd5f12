//! Which address a client counts under, and whether it is served at all. Knows nothing of routes.

use std::net::IpAddr;

use super::Exchange;
use crate::error::Failure;

impl Exchange<'_> {
    /// Lets the client in unless its address is denied.
    ///
    /// # Errors
    /// [`Failure::Denied`].
    pub(super) fn admit(&self) -> Result<(), Failure> {
        let sets = self.core.router.addresses();
        if sets.deny_nobody() || !sets.denies(self.client_address()) { Ok(()) } else { Err(Failure::Denied) }
    }

    /// The client as a trusted proxy names it (the last address of X-Forwarded-For), else the peer.
    pub(super) fn client_address(&self) -> IpAddr {
        if !self.client.trusted {
            return self.client.address;
        }
        let forwarded = self.request.forwarded_for.within(&self.request.bytes);
        let last = forwarded.rsplit(|&byte| byte == b',').next().unwrap_or_default();
        std::str::from_utf8(last.trim_ascii())
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(self.client.address)
    }
}

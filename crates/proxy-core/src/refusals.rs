//! Connections that were closed as soon as they were accepted because there are too many, and what the operator is told
//! of them: one line a second for each reason, however many there were.

use std::cell::Cell;
use std::net::IpAddr;

use crate::settings::Admission;

/// Those of one core in this second.
#[derive(Default)]
pub(crate) struct Refusals {
    in_all: Cell<u64>,
    /// For want of room among those of their client, and the last such client.
    of_clients: Cell<u64>,
    client: Cell<Option<IpAddr>>,
}

impl Refusals {
    /// Counts one that was too many in all.
    pub(crate) fn count(&self) {
        self.in_all.set(self.in_all.get() + 1);
    }

    /// Counts one that was too many for the client at `address`.
    pub(crate) fn count_of(&self, address: IpAddr) {
        self.of_clients.set(self.of_clients.get() + 1);
        self.client.set(Some(address.to_canonical()));
    }

    /// Says how many there were. To be called about once a second.
    pub(crate) fn tick(&self, admission: &Admission) {
        let limit = |limit: Option<u64>| limit.map_or("none now".into(), |limit| limit.to_string());
        match self.in_all.take() {
            0 => {}
            count => log::warn!(
                "{count} connections were closed at once: as many as server.limits.connections ({}) are open",
                limit(admission.connections)
            ),
        }
        let Some(client) = self.client.take() else { return };
        log::warn!(
            "{} connections were closed at once: their clients, {client} the last, have as many as \
             server.limits.connectionsPerIp ({}) open; name proxies of yours in server.trustedProxies",
            self.of_clients.take(),
            limit(admission.connections_per_ip)
        );
    }
}

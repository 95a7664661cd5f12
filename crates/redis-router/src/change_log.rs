//! Says what becomes of the connection to the store: each change once, not each attempt.

use std::rc::Rc;

use log::{info, warn};

use crate::freshness::Mode;
use crate::signs::Role;
use crate::source::{Deployment, Server};
use crate::store::{Store, StoreState};

pub(crate) struct ChangeLog {
    store: Rc<Store>,
    said: Vec<String>,
    said_deaf: bool,
    said_replica: bool,
}

/// Reasons remembered between two connections; a server has few of them.
const REASONS_MAX: usize = 16;

impl ChangeLog {
    pub(crate) fn new(store: Rc<Store>) -> ChangeLog {
        ChangeLog { store, said: Vec::new(), said_deaf: false, said_replica: false }
    }

    pub(crate) fn up(&mut self, server: &Server, mode: &Mode, role: Option<Role>) {
        self.said.clear();
        let of = match &self.store.deployment {
            Deployment::Sentinel(sentinels) => format!("redis {server} (master {:?})", sentinels.master_name),
            Deployment::Single(_) | Deployment::Pair { .. } => format!("redis {server}"),
        };
        match (mode, self.store.state()) {
            (Mode::Polling { why }, StoreState::Polling { max_age_ms }) => warn!(
                "{of}: connected, but it pushes no changes ({why}): routes are read again after {max_age_ms} ms; \
                 Redis 6 or newer with CLIENT TRACKING allowed (ACL +client|tracking) pushes them"
            ),
            (Mode::Keyspace { why }, _) => info!(
                "{of}: connected, routes are followed live by keyspace notifications (better ones are not to be had: {why})"
            ),
            _ => info!("{of}: connected, routes are followed live"),
        }
        self.replica(server, role);
    }

    /// A replica takes no marks; where it stands alone, nothing says who does.
    fn replica(&mut self, server: &Server, role: Option<Role>) {
        let alone = matches!(self.store.deployment, Deployment::Single(_));
        let is_replica = matches!(role, Some(Role::Replica { .. }));
        if alone && is_replica && !std::mem::replace(&mut self.said_replica, true) {
            warn!(
                "redis {server}: it is a replica and takes no dead marks: name its master too, as the second address of \
                 driver or in redis.masterHost"
            );
        }
    }

    /// Deaths that others announce are not heard.
    pub(crate) fn deaf(&mut self, why: &str) {
        if !std::mem::replace(&mut self.said_deaf, true) {
            let name = &self.store.name;
            warn!(
                "redis {name}: deaths of backends that others announce are not heard ({why}); the dead sets are read"
            );
        }
    }

    pub(crate) fn lost(&self, server: &str, reason: &str) {
        warn!("redis {server}: connection lost: {reason}; known routes stay in use");
    }

    pub(crate) fn failed(&mut self, reason: String) {
        if self.said.len() >= REASONS_MAX || self.said.contains(&reason) {
            return;
        }
        let (name, known) = (&self.store.name, self.store.rows.borrow().len());
        warn!("redis {name}: not usable: {reason}; trying again, the {known} hosts known stay in use");
        self.said.push(reason);
    }

    pub(crate) fn cut_off(&self, cut_off: bool) {
        let name = &self.store.name;
        if cut_off {
            warn!("redis {name}: this replica has lost its master: routes are served as it last heard them");
        } else {
            info!("redis {name}: this replica hears its master");
        }
    }
}

//! Complaints about what stands in the store: each distinct one is logged once, and their number is bounded.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::hash::BuildHasher;

use log::warn;

use crate::address_set;
use crate::bounds::{ADDRESSES_MAX, COMPLAINTS_MAX};
use crate::frontend::Frontend;

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    List,
    Hash,
    Set,
    /// A set of addresses.
    Addresses,
}

#[derive(Default)]
pub(crate) struct Complaints {
    said: RefCell<HashSet<u64, foldhash::fast::RandomState>>,
    full: Cell<bool>,
}

impl Complaints {
    /// The elements of `frontend` that are not used.
    pub(crate) fn invalid_backends(&self, frontend: &Frontend) {
        for invalid in &frontend.invalid {
            if self.is_new(&(&frontend.key, &invalid.url)) {
                let url: String = invalid.url.chars().take(200).collect();
                warn!("route {:?}: backend {url:?} is not used: {}", frontend.key, invalid.reason);
            }
        }
    }

    /// A key that holds something else than it has to.
    pub(crate) fn wrong_type(&self, key: &str, kind: Kind) {
        if self.is_new(&(key, "wrong type")) {
            let (kind, accepted) = match kind {
                Kind::List => ("list", "RPUSH key identifier http://backend:port ..."),
                Kind::Hash => ("hash", "HSET key balance random ..."),
                Kind::Set => ("set", "SADD key index ..."),
                Kind::Addresses => ("set", "SADD key 192.0.2.7 2001:db8::/32 ..."),
            };
            warn!("key {key:?} holds no {kind} and counts as absent; accepted: {accepted}");
        }
    }

    /// A hash with a certificate and no key, or the other way about.
    pub(crate) fn half_certificate(&self, key: &str) {
        if self.is_new(&(key, "half a certificate")) {
            warn!(
                "key {key:?} is not used: it lacks one of its fields; accepted: HSET key certificate PEM key PEM"
            );
        }
    }

    /// A field of the hash `key` that is not used.
    pub(crate) fn invalid_option(&self, key: &str, field: &str, reason: &str) {
        if self.is_new(&(key, field, reason)) {
            let field: String = field.chars().take(100).collect();
            warn!("key {key:?}: option {field:?} is not used: {reason}");
        }
    }

    /// A member of the set of addresses `key` that is none.
    pub(crate) fn invalid_address(&self, key: &str, member: &[u8]) {
        if self.is_new(&(key, member)) {
            let member: String = String::from_utf8_lossy(member).chars().take(100).collect();
            warn!("key {key:?}: member {member:?} is not used; accepted: {}", address_set::ACCEPTED);
        }
    }

    /// A set of addresses that has more members than are looked at.
    pub(crate) fn too_many_addresses(&self, key: &str) {
        if self.is_new(&(key, "too many")) {
            warn!(
                "key {key:?}: members beyond {ADDRESSES_MAX} are not used; write networks instead of addresses"
            );
        }
    }

    /// A set of addresses that the server does not let us read.
    pub(crate) fn unread_addresses(&self, key: &str, reason: &str) {
        if self.is_new(&(key, reason)) {
            warn!(
                "key {key:?} cannot be read, and what was known of it stays in force: {reason}; an ACL user needs +sscan, \
                 +pttl and ~{key}"
            );
        }
    }

    fn is_new(&self, complaint: &impl std::hash::Hash) -> bool {
        let mut said = self.said.borrow_mut();
        let hash = said.hasher().hash_one(complaint);
        if said.len() < COMPLAINTS_MAX {
            return said.insert(hash);
        }
        if !said.contains(&hash) && !self.full.replace(true) {
            warn!("{COMPLAINTS_MAX} complaints about routes are logged; further ones are not");
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::Complaints;
    use crate::bounds::COMPLAINTS_MAX;

    #[test]
    fn each_once_and_bounded() {
        let complaints = Complaints::default();
        assert!(complaints.is_new(&("a", "b")));
        assert!(!complaints.is_new(&("a", "b")));
        assert!(complaints.is_new(&("a", "c")));
        for number in 0..2 * COMPLAINTS_MAX {
            complaints.is_new(&number);
        }
        assert!(!complaints.is_new(&"one more"));
        assert_eq!(complaints.said.borrow().len(), COMPLAINTS_MAX);
    }
}

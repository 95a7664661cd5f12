//! The clients one core knows: bounded, and each looked at in turn.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::time::Duration;

use hashbrown::HashTable;

use super::lease::{self, Quota};
use super::{Budget, LimitKey};
use crate::bell::Bell;
use crate::bounds::{LIMIT_CLIENTS_MAX, LIMIT_SWEEP_MAX, SWEEP_MAX};

/// One client.
pub(super) struct Account {
    pub(super) key: LimitKey,
    pub(super) lease: RefCell<lease::Account>,
    /// Rung when an answer has come, or will not.
    pub(super) bell: Bell,
    waiting: Cell<u64>,
    /// Asked for since it was last looked at.
    used: Cell<bool>,
}

#[derive(Default)]
pub(super) struct Accounts {
    hasher: foldhash::fast::RandomState,
    /// By their keys, which stand in the accounts alone.
    by_key: HashTable<Rc<Account>>,
    /// All of them, the one that was not looked at for longest first.
    turns: VecDeque<Rc<Account>>,
}

impl Accounts {
    /// The account of `key`, a new one where it has none. Where there are too many one that was not used lately goes: its
    /// leases are lost, which admits nobody more.
    pub(super) fn of(&mut self, key: &LimitKey, now: u64, quota: &Quota) -> Rc<Account> {
        let hash = self.hasher.hash_one(key);
        if let Some(account) = self.by_key.find(hash, |account| account.key == *key) {
            account.used.set(true);
            return Rc::clone(account);
        }
        self.make_room();
        let account = Rc::new(Account {
            key: key.clone(),
            lease: RefCell::new(lease::Account::new(now, quota)),
            bell: Bell::default(),
            waiting: Cell::new(0),
            used: Cell::new(true),
        });
        self.turns.push_back(Rc::clone(&account));
        let hasher = &self.hasher;
        self.by_key.insert_unique(hash, Rc::clone(&account), |account| hasher.hash_one(&account.key));
        account
    }

    fn make_room(&mut self) {
        for looked_at in 1.. {
            if self.by_key.len() < LIMIT_CLIENTS_MAX {
                return;
            }
            let Some(account) = self.turns.pop_front() else { return };
            let is_wanted = account.is_busy() || account.used.replace(false);
            if is_wanted && looked_at < SWEEP_MAX {
                self.turns.push_back(account);
            } else {
                self.remove(&account);
            }
        }
    }

    fn remove(&mut self, account: &Rc<Account>) {
        let hash = self.hasher.hash_one(&account.key);
        if let Ok(found) = self.by_key.find_entry(hash, |other| Rc::ptr_eq(other, account)) {
            found.remove();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Rc<Account>> {
        self.turns.iter()
    }

    /// Looks at the next ones in turn: forgets those that nothing is known of, and returns those that have tokens to give
    /// back.
    pub(super) fn sweep(
        &mut self,
        now: u64,
        quota_of: impl Fn(&LimitKey) -> Quota,
    ) -> Vec<(Rc<Account>, Quota)> {
        let mut overdue = Vec::new();
        for _ in 0..self.turns.len().min(LIMIT_SWEEP_MAX) {
            let Some(account) = self.turns.pop_front() else { break };
            let quota = quota_of(&account.key);
            if !account.is_busy() && account.lease.borrow_mut().is_over(now, &quota) {
                self.remove(&account);
                continue;
            }
            if account.lease.borrow_mut().has_leftovers(now, &quota) {
                overdue.push((Rc::clone(&account), quota));
            }
            self.turns.push_back(account);
        }
        overdue
    }
}

impl Account {
    /// Whether a request waits, or an answer is on its way.
    fn is_busy(&self) -> bool {
        self.waiting.get() > 0 || self.lease.borrow().is_asking()
    }

    /// Requests that wait.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.get()
    }

    /// Counts one more that waits, as long as what is returned lives.
    pub(super) fn wait(&self) -> Place<'_> {
        self.waiting.set(self.waiting.get() + 1);
        Place(&self.waiting)
    }

    pub(super) fn budget(&self, now: u64, quota: &Quota) -> Budget {
        let lease = self.lease.borrow();
        Budget {
            limit: quota.limit,
            left: lease.remaining().min(quota.limit),
            resets_in: Duration::from_micros(lease.leaves_in(now)),
        }
    }
}

/// A request that waits.
pub(super) struct Place<'a>(&'a Cell<u64>);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ClientKey;

    const QUOTA: Quota = Quota { limit: 10, window: 8_000_000 };

    fn key(number: u32) -> LimitKey {
        LimitKey { tier: 0, client: ClientKey::Address(std::net::Ipv4Addr::from_bits(number).into()) }
    }

    #[test]
    fn there_are_never_too_many_and_who_is_at_work_stays() {
        let mut accounts = Accounts::default();
        let busy = accounts.of(&key(0), 0, &QUOTA);
        let place = busy.wait();
        for number in 1..3 * LIMIT_CLIENTS_MAX as u32 {
            accounts.of(&key(number), 0, &QUOTA);
            accounts.of(&key(1), 0, &QUOTA);
        }
        assert_eq!(accounts.by_key.len(), LIMIT_CLIENTS_MAX);
        assert_eq!(accounts.turns.len(), LIMIT_CLIENTS_MAX);
        assert!(Rc::ptr_eq(&accounts.of(&key(0), 0, &QUOTA), &busy));
        drop(place);
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let mut accounts = Accounts::default();
        for number in 0..100 {
            accounts.of(&key(number), 0, &QUOTA);
        }
        accounts.of(&key(7), 0, &QUOTA).lease.borrow_mut().admit_alone(1, &QUOTA, 10);
        assert!(accounts.sweep(1_000_000, |_| QUOTA).is_empty());
        assert_eq!((accounts.by_key.len(), accounts.turns.len()), (1, 1));
        accounts.sweep(20_000_000, |_| QUOTA);
        assert_eq!(accounts.by_key.len(), 0);
    }
}

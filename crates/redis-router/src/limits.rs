//! Rate limits that are exact over all cores and proxies of one store, and off the request path: a core spends tokens that
//! the store has lent it (`lease`), and asks for more before they are used up. What is promised: `docs/RATE_LIMITS.md`.
//!
//! ```text
//!   limits -> accounts -> lease -> history       who is known here, and what he may still
//!       \---> calls -> script -> connection      what is asked of the store, in tasks of their own
//!       \---> members -> connection              which tier a name is in, followed by pushes
//! ```

mod accounts;
mod calls;
mod counter;
mod history;
mod lease;
mod members;
#[cfg(test)]
mod model;
mod names;
#[cfg(test)]
mod real;
mod script;
#[cfg(test)]
mod simulation;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::bounds::{LIMIT_WAIT, MEMBER_WAIT, WAITERS_MAX};
use crate::store::Store;

use accounts::{Account, Accounts};
use calls::Calls;
pub(crate) use counter::{Counter, counters};
use lease::{Quota, Verdict};
use members::Members;
pub use names::{ClientKey, LimitKey, is_reserved};

/// Buckets of a window.
const BUCKETS: u64 = 80;
/// Buckets that a lease lasts at most.
const LIFE_MAX: u64 = 20;

/// What limits count by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitRules {
    /// Length of the window; at least a second.
    pub window: Duration,
    /// The tiers in rising order, at least one. All but the first have a set of their name in the store, whose members are
    /// in them.
    pub tiers: Vec<Tier>,
    /// What is done while the store cannot be asked.
    pub on_store_error: OnStoreError,
    /// Cores of this process: so many share a limit at least, while the store has never been asked.
    pub cores: usize,
}

/// One tier of service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// Its name, and that of its set.
    pub name: String,
    /// Requests of one client in any window; at least 1.
    pub limit: u64,
}

/// What is done with requests while the store cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStoreError {
    /// Each core admits its share of the limit.
    Local,
    /// All are admitted.
    Allow,
    /// All that no token is at hand for are refused.
    Deny,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is within the limit.
    Admitted(Budget),
    /// The limit is used up.
    Refused(Budget),
    /// The store cannot be asked, and this is to be refused then.
    Unavailable,
}

/// What a client may still do, as far as is known on this core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Requests in a window.
    pub limit: u64,
    /// Of these, not used up.
    pub left: u64,
    /// Until the oldest use leaves the window.
    pub resets_in: Duration,
}

/// The limits of one core.
pub struct Limits {
    store: Rc<Store>,
    rules: RefCell<Rc<LimitRules>>,
    accounts: RefCell<Accounts>,
    calls: Rc<Calls>,
    members: Rc<Members>,
    ticks: Cell<u64>,
}

/// Ticks in a second, as [`Limits::tick`] is called.
const TICKS_A_SECOND: u64 = 10;

impl Limits {
    pub(crate) fn new(store: Rc<Store>, rules: LimitRules) -> Limits {
        let tiers = rules.tiers.iter().map(|tier| tier.name.as_str());
        Limits {
            members: Rc::new(Members::new(Rc::clone(&store), tiers)),
            calls: Rc::new(Calls::new(Rc::clone(&store), rules.cores)),
            accounts: RefCell::default(),
            rules: RefCell::new(Rc::new(rules)),
            ticks: Cell::new(0),
            store,
        }
    }

    /// Counts by other rules from now on. The names of the tiers must be those of before.
    pub fn set_rules(&self, rules: LimitRules) {
        if self.rules.borrow().window != rules.window {
            // What is known of clients is by the old window.
            self.accounts.take();
        }
        // Who was refused may have a greater limit now.
        self.accounts.borrow().iter().for_each(|account| account.lease.borrow_mut().may_ask());
        self.rules.replace(Rc::new(rules));
    }

    /// What is decided on a request of `key` without waiting; `None`: `decide` has to be asked. To be called inside the
    /// runtime, once a request.
    pub fn decide_now(&self, key: &LimitKey) -> Option<Decision> {
        let rules = self.rules.borrow();
        let (now, quota) = (self.store.clock.micros(), rules.quota(key.tier));
        let account = self.accounts.borrow_mut().of(key, now, &quota);
        let mut lease = account.lease.borrow_mut();
        match lease.arrive(now, &quota) {
            Verdict::Waits => None,
            Verdict::Admitted => {
                let runs_low = lease.runs_low(now);
                drop(lease);
                if runs_low {
                    // What is not asked now is asked by a later request.
                    let _ = self.calls.ask(&account, &quota, &rules);
                }
                Some(Decision::Admitted(account.budget(now, &quota)))
            }
            Verdict::Refused => {
                drop(lease);
                Some(Decision::Refused(account.budget(now, &quota)))
            }
        }
    }

    /// Decides on a request that `decide_now` did not decide on; waits for the store, at most `LIMIT_WAIT`. May be dropped
    /// at any time.
    pub async fn decide(&self, key: &LimitKey) -> Decision {
        let rules = Rc::clone(&self.rules.borrow());
        let quota = rules.quota(key.tier);
        let account = self.accounts.borrow_mut().of(key, self.store.clock.micros(), &quota);
        if account.bell.waiters() >= WAITERS_MAX {
            return self.decide_alone(&account, &quota, &rules);
        }
        let _place = account.wait();
        let settled = async {
            self.connected().await;
            account.bell.until(|| self.look_again(&account, &quota, &rules)).await
        };
        match monoio::time::timeout(LIMIT_WAIT, settled).await {
            Ok(Some(decision)) => decision,
            Ok(None) => self.decide_alone(&account, &quota, &rules),
            Err(_) => {
                let now = self.store.clock.micros();
                if account.lease.borrow().has_asked_for(now) >= micros(LIMIT_WAIT) {
                    self.calls.is_slow(LIMIT_WAIT);
                }
                self.decide_alone(&account, &quota, &rules)
            }
        }
    }

    /// Waits while the connection is being made for the first time.
    async fn connected(&self) {
        // Where it cannot be made, what asks next finds out.
        let _ = self.store.attempt_ended().await;
    }

    /// What is decided on a request that waits; `None`: the store is still to answer; `Some(None)`: it will not.
    fn look_again(
        &self,
        account: &Rc<Account>,
        quota: &Quota,
        rules: &LimitRules,
    ) -> Option<Option<Decision>> {
        let now = self.store.clock.micros();
        let verdict = account.lease.borrow_mut().again(now, quota);
        match verdict {
            Verdict::Admitted => Some(Some(Decision::Admitted(account.budget(now, quota)))),
            Verdict::Refused => Some(Some(Decision::Refused(account.budget(now, quota)))),
            Verdict::Waits if self.calls.ask(account, quota, rules) => None,
            Verdict::Waits => Some(None),
        }
    }

    fn decide_alone(&self, account: &Account, quota: &Quota, rules: &LimitRules) -> Decision {
        let now = self.store.clock.micros();
        match rules.on_store_error {
            OnStoreError::Allow => Decision::Admitted(account.budget(now, quota)),
            OnStoreError::Deny => Decision::Unavailable,
            OnStoreError::Local => {
                let share = (quota.limit / self.calls.cores(rules.cores)).max(1);
                let admits = account.lease.borrow_mut().admit_alone(now, quota, share);
                let budget = account.budget(now, quota);
                if admits { Decision::Admitted(budget) } else { Decision::Refused(budget) }
            }
        }
    }

    /// The highest tier that one of `names` is in, as far as is known without waiting, and the name that says so; `None`:
    /// `tier` has to be asked. The first tier, by no name, where none of them is in any.
    pub fn tier_now<'a>(&self, names: impl Iterator<Item = &'a str>) -> Option<Membership> {
        let mut best = Membership { tier: 0, name: None };
        for name in names {
            let tier = self.members.tier_now(name)?;
            if tier > best.tier {
                best = Membership { tier, name: Some(name.into()) };
            }
        }
        Some(best)
    }

    /// As `tier_now`, but asks the store where that is needed, at most `MEMBER_WAIT`. What it does not answer counts as in no
    /// tier. May be dropped at any time.
    pub async fn tier<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Membership {
        let all_read = async {
            self.connected().await;
            let reads: Vec<_> = names.clone().filter_map(|name| self.members.read(name)).collect();
            for read in reads {
                read.ended().await;
            }
        };
        // Elapsed says nothing of the counters: names can be made up faster than they are looked for.
        let _ = monoio::time::timeout(MEMBER_WAIT, all_read).await;
        best(names.map(|name| (self.members.known(name), name)))
    }

    /// Upkeep; to be called ten times a second, inside the runtime: tokens of leases that have ended are given back, and
    /// clients that are gone are forgotten.
    pub fn tick(&self) {
        let rules = Rc::clone(&self.rules.borrow());
        let now = self.store.clock.micros();
        let overdue = self.accounts.borrow_mut().sweep(now, |key| rules.quota(key.tier));
        for (account, quota) in overdue {
            self.calls.give_back(&account, &quota, &rules);
        }
        self.ticks.set(self.ticks.get() + 1);
        if self.ticks.get().is_multiple_of(TICKS_A_SECOND) {
            self.calls.show_presence();
        }
    }

    /// Forgets who has used nothing lately, and what can be read again. Leases are lost, which admits nobody more.
    pub fn forget(&self) {
        self.accounts.take();
        self.members.forget();
    }

    /// Waits until no call is under way.
    pub(crate) async fn all_ended(&self) {
        self.calls.all_ended().await;
    }
}

/// Which tier a client is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Its place among the tiers; 0 is the first.
    pub tier: usize,
    /// The name that is in its set; `None`: none is in any.
    pub name: Option<Rc<str>>,
}

/// The first of the highest.
fn best<'a>(tiers: impl Iterator<Item = (usize, &'a str)>) -> Membership {
    let none = Membership { tier: 0, name: None };
    tiers.fold(none, |best, (tier, name)| match tier > best.tier {
        true => Membership { tier, name: Some(name.into()) },
        false => best,
    })
}

impl LimitRules {
    fn quota(&self, tier: usize) -> Quota {
        let tier = &self.tiers[tier.min(self.tiers.len() - 1)];
        Quota { limit: tier.limit, window: micros(self.window) }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

//! One client's limit on one core: tokens lent by the store, spent here without asking it. Pure: time is an argument, and
//! whoever keeps an account sends what it asks and hands it what was answered.
//!
//! ```text
//!            arrive: a token at hand -> Admitted
//!   account  arrive: none, and the store said when to ask again -> Refused
//!            arrive: none -> Waits        ask -> (store) -> answered | lost
//! ```
//!
//! Why no window ever sees more than the limit: `docs/RATE_LIMITS.md`.

use super::history::History;
use super::{BUCKETS, LIFE_MAX};

/// What counts for one client: so many requests in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota {
    /// Requests in any window; at least 1.
    pub(super) limit: u64,
    /// Length of the window in microseconds.
    pub(super) window: u64,
}

impl Quota {
    /// Microseconds of a bucket.
    pub(super) fn bucket(&self) -> u64 {
        self.window / BUCKETS
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A token of the client was spent on it.
    Admitted,
    /// The limit is used up.
    Refused,
    /// The store has to be asked.
    Waits,
}

/// What the store is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ask {
    /// Thousandths of requests a second that tokens are wanted for.
    pub(super) rate: u64,
    /// Tokens that requests wait for.
    pub(super) must: u64,
    /// Buckets the lease may last; 0: to the end of the present one.
    pub(super) life: u64,
    /// The generation of the counter that this core knows; 0: none.
    pub(super) generation: u64,
    /// `spent` is the whole history.
    pub(super) restoring: bool,
    /// Unspent tokens, by the bucket they were charged to.
    pub(super) back: Vec<(u64, u64)>,
    /// Requests that were admitted without a token, by their age in buckets.
    pub(super) spent: Vec<(u64, u64)>,
}

/// What the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The counter that the core knew is lost: it is to give its history.
    Restore,
    /// Tokens, or none.
    Lease(Grant),
}

/// Tokens to spend, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grant {
    /// The counter was reset: what was spent before counts no more.
    pub(super) was_reset: bool,
    pub(super) generation: u64,
    pub(super) tokens: u64,
    /// The bucket they are charged to.
    pub(super) bucket: u64,
    /// Microseconds until that bucket ends, and they with it.
    pub(super) lives: u64,
    /// Microseconds until asking for more is of use.
    pub(super) retry: u64,
    /// Microseconds until the oldest use leaves the window.
    pub(super) leaves: u64,
    /// Tokens left for others.
    pub(super) left: u64,
}

/// One client's limit on one core.
#[derive(Debug)]
pub(super) struct Account {
    leases: [Lease; 2],
    /// Dead leases' tokens, by the bucket they were charged to; 0 of them: a free place.
    back: [(u64, u64); 3],
    /// Nothing is to be had before.
    refused_until: u64,
    /// When the oldest use leaves the window, as far as is known.
    leaves_at: u64,
    /// What others could still take when it was last said.
    left: u64,
    generation: u64,
    standing: Standing,
    /// When the call under way was sent.
    sent_at: u64,
    /// Microseconds that a call takes, smoothed.
    round_trip: u64,
    demand: Demand,
    history: History,
    /// Admitted without a token and not told yet.
    uncounted: u64,
    /// Its counter is not asked before.
    rests_until: u64,
}

/// ```text
///   Known --answer "restore"--> Lost --ask--> Restoring (under way) --answered, lost--> Known
///     \--ask--> Asking --answered, lost--> Known
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// No call is under way.
    Known,
    Asking,
    /// The store has lost the counter; no call is under way.
    Lost,
}

#[derive(Debug, Clone, Copy, Default)]
struct Lease {
    bucket: u64,
    tokens: u64,
    dies: u64,
}

/// Requests in this period and the last.
#[derive(Debug, Clone, Copy)]
struct Demand {
    period: u64,
    now: u64,
    last: u64,
    started: u64,
}

/// Round trips that the tokens at hand have to last for, or more are asked for ahead of need.
const AHEAD: u64 = 6;
/// Tokens that make a call worth while: slow clients take long leases to get so many.
const WORTH: u64 = 16;
/// A core that lent less than this part of the limit does not give it back by a call of its own.
const LEFTOVER: u64 = 64;
/// A refusal is asked anew after this many microseconds at most: a reset, or a raised limit, is in force by then.
const REFUSAL_MAX: u64 = 1_000_000;

impl Account {
    pub(super) fn new(now: u64, quota: &Quota) -> Account {
        Account {
            leases: [Lease::default(); 2],
            back: [(0, 0); 3],
            refused_until: 0,
            leaves_at: now + quota.window,
            left: quota.limit,
            generation: 0,
            standing: Standing::Known,
            sent_at: 0,
            round_trip: 1_000,
            demand: Demand { period: (quota.window / 16).max(1), now: 0, last: 0, started: now },
            history: History::new(now, quota.window),
            uncounted: 0,
            rests_until: 0,
        }
    }

    /// A request comes.
    pub(super) fn arrive(&mut self, now: u64, quota: &Quota) -> Verdict {
        self.demand.count(now);
        self.again(now, quota)
    }

    /// As `arrive`, for a request that has waited and was counted.
    pub(super) fn again(&mut self, now: u64, quota: &Quota) -> Verdict {
        self.bury(now);
        // The one that dies first is spent first.
        let next = self.leases.iter_mut().filter(|lease| lease.tokens > 0).min_by_key(|lease| lease.dies);
        if let Some(lease) = next {
            lease.tokens -= 1;
            self.history.add(now, quota.window, 1);
            Verdict::Admitted
        } else if now < self.refused_until {
            Verdict::Refused
        } else {
            Verdict::Waits
        }
    }

    /// Admits without the store, as long as less than `share` was admitted here in the window.
    pub(super) fn admit_alone(&mut self, now: u64, quota: &Quota, share: u64) -> bool {
        let admits = self.history.sum(now, quota.window) < share;
        if admits {
            self.history.add(now, quota.window, 1);
            self.uncounted += 1;
        }
        admits
    }

    /// Its counter cannot be used: nothing is asked before.
    pub(super) fn rest_until(&mut self, until: u64) {
        self.rests_until = until;
    }

    /// Whether its counter could not be used just now.
    pub(super) fn rests(&self, now: u64) -> bool {
        now < self.rests_until
    }

    /// What to ask now that `waiting` requests wait; `None`: nothing, or a call is under way.
    pub(super) fn ask(&mut self, now: u64, quota: &Quota, waiting: u64) -> Option<Ask> {
        if self.standing == Standing::Asking || !(waiting > 0 || self.runs_low(now)) {
            return None;
        }
        let rate = self.demand.rate(now, quota).max(1);
        let life = life(rate, quota);
        Some(self.send(now, quota, Ask { rate, must: waiting, life, ..Ask::default() }))
    }

    /// Whether unspent tokens are worth a call that gives them back.
    pub(super) fn has_leftovers(&mut self, now: u64, quota: &Quota) -> bool {
        self.bury(now);
        let unspent: u64 = self.back.iter().map(|(_, tokens)| tokens).sum();
        self.standing == Standing::Known && unspent > 0 && unspent * LEFTOVER >= quota.limit
    }

    /// What to say when no request comes: unspent tokens are given back. `None`: nothing.
    pub(super) fn ask_idle(&mut self, now: u64, quota: &Quota) -> Option<Ask> {
        self.has_leftovers(now, quota).then(|| self.send(now, quota, Ask::default()))
    }

    fn send(&mut self, now: u64, quota: &Quota, mut ask: Ask) -> Ask {
        let used = self.history.sum(now, quota.window);
        if self.standing == Standing::Lost {
            ask.restoring = true;
            ask.spent = self.history.ages(now, quota.window, quota.bucket());
        } else {
            // Who has used nothing lately has nothing to restore.
            let has_none = used == 0 && self.leases.iter().all(|lease| lease.tokens == 0);
            ask.generation = if has_none { 0 } else { self.generation };
            // What has left the window counts no more.
            let uncounted = self.uncounted.min(used);
            if uncounted > 0 {
                ask.spent.push((0, uncounted));
            }
            let back = self.back.iter().filter(|(_, tokens)| *tokens > 0 && ask.generation != 0);
            ask.back = back.copied().collect();
        }
        // Said once: whether a call without an answer was heard cannot be known.
        self.uncounted = 0;
        self.back = [(0, 0); 3];
        self.standing = Standing::Asking;
        self.sent_at = now;
        ask
    }

    /// Takes in the answer to what was asked last.
    pub(super) fn answered(&mut self, now: u64, quota: &Quota, answer: &Answer) {
        let took = now.saturating_sub(self.sent_at);
        self.round_trip = (3 * self.round_trip + took) / 4;
        match answer {
            Answer::Restore => {
                self.leases = [Lease::default(); 2];
                self.back = [(0, 0); 3];
                self.generation = 0;
                self.standing = Standing::Lost;
            }
            Answer::Lease(grant) => self.granted(now, quota, grant),
        }
    }

    fn granted(&mut self, now: u64, quota: &Quota, grant: &Grant) {
        self.standing = Standing::Known;
        if grant.was_reset {
            self.history = History::new(now, quota.window);
            self.leases = [Lease::default(); 2];
        }
        self.generation = grant.generation;
        self.left = grant.left;
        self.leaves_at = now + grant.leaves;
        self.refused_until = 0;
        if grant.tokens == 0 || grant.left == 0 {
            self.refused_until = now + grant.retry.min(REFUSAL_MAX);
        }
        if grant.tokens > 0 {
            let margin = quota.bucket() / 20;
            let dies = (self.sent_at + grant.lives - grant.lives / 1_000).saturating_sub(margin);
            let lease = Lease { bucket: grant.bucket, tokens: grant.tokens, dies };
            self.place(lease);
            self.bury(now);
        }
    }

    fn place(&mut self, lease: Lease) {
        let same = self.leases.iter_mut().find(|held| held.tokens > 0 && held.bucket == lease.bucket);
        if let Some(held) = same {
            held.tokens += lease.tokens;
            held.dies = held.dies.min(lease.dies);
            return;
        }
        let at = usize::from(self.leases[0].tokens > 0);
        debug_assert!(self.leases[at].tokens == 0, "no more is asked for while two leases are held");
        self.leases[at] = lease;
    }

    /// Microseconds that an answer has been awaited; 0: none is.
    pub(super) fn has_asked_for(&self, now: u64) -> u64 {
        if self.is_asking() { now.saturating_sub(self.sent_at) } else { 0 }
    }

    /// Asking is of use again: the limit may be another.
    pub(super) fn may_ask(&mut self) {
        self.refused_until = 0;
    }

    /// No answer comes to what was asked last.
    pub(super) fn lost(&mut self) {
        self.standing = Standing::Known;
    }

    /// Moves the tokens of leases that have died to those that are given back.
    fn bury(&mut self, now: u64) {
        for at in 0..self.leases.len() {
            if self.leases[at].tokens > 0 && now >= self.leases[at].dies {
                let Lease { bucket, tokens, .. } = std::mem::take(&mut self.leases[at]);
                self.lay_back(bucket, tokens);
            }
        }
    }

    /// Without a free place they stay charged, which refuses some requests and admits none.
    fn lay_back(&mut self, bucket: u64, tokens: u64) {
        let free = |(_, held): &(u64, u64)| *held == 0;
        if let Some((_, held)) = self.back.iter_mut().find(|(back, held)| *back == bucket && *held > 0) {
            *held += tokens;
        } else if let Some(place) = self.back.iter_mut().find(|place| free(place)) {
            *place = (bucket, tokens);
        }
    }

    /// Whether the tokens at hand will not last until more have come.
    pub(super) fn runs_low(&self, now: u64) -> bool {
        let held = || self.leases.iter().filter(|lease| lease.tokens > 0);
        if held().count() != 1 || now < self.refused_until {
            return false;
        }
        let ahead = AHEAD * self.round_trip;
        held().any(|lease| lease.dies <= now + ahead || self.demand.needs(lease.tokens, now, ahead))
    }

    /// Tokens left in the window, as far as is known here.
    pub(super) fn remaining(&self) -> u64 {
        self.left + self.leases.iter().map(|lease| lease.tokens).sum::<u64>()
    }

    /// Microseconds until the oldest use leaves the window, as far as is known here.
    pub(super) fn leaves_in(&self, now: u64) -> u64 {
        self.leaves_at.saturating_sub(now)
    }

    /// Whether nothing is lost where it is forgotten.
    pub(super) fn is_over(&mut self, now: u64, quota: &Quota) -> bool {
        self.bury(now);
        self.standing != Standing::Asking
            && self.history.sum(now, quota.window) == 0
            && self.leases.iter().all(|lease| lease.tokens == 0)
    }

    /// Whether an answer is awaited.
    pub(super) fn is_asking(&self) -> bool {
        self.standing == Standing::Asking
    }
}

impl Demand {
    fn count(&mut self, now: u64) {
        self.turn(now);
        self.now += 1;
    }

    fn turn(&mut self, now: u64) {
        if now < self.started + self.period {
            return;
        }
        let passed = (now - self.started) / self.period;
        self.last = if passed == 1 { self.now } else { 0 };
        self.now = 0;
        self.started += passed * self.period;
    }

    /// Thousandths of requests a second. A single request tells next to nothing.
    fn rate(&mut self, now: u64, quota: &Quota) -> u64 {
        self.turn(now);
        let (gaps, micros) = match self.now + self.last {
            0 | 1 => (1, self.period),
            requests => (requests - 1, self.period_so_far(now).max(quota.bucket())),
        };
        (gaps * 1_000_000_000).div_ceil(micros)
    }

    /// Whether the next `micros` will need `tokens`, as things stand.
    fn needs(&self, tokens: u64, now: u64, micros: u64) -> bool {
        tokens.saturating_mul(self.period_so_far(now)) <= (self.now + self.last).saturating_mul(micros)
    }

    fn period_so_far(&self, now: u64) -> u64 {
        let last = if self.last > 0 { self.period } else { 0 };
        last + now.saturating_sub(self.started)
    }
}

/// Buckets that a lease should last: long for a client that could not use its limit up at this rate, so that it asks
/// seldom; else none, as what is lent long comes back late.
fn life(rate: u64, quota: &Quota) -> u64 {
    let in_a_window = rate.saturating_mul(quota.window) / 1_000_000_000;
    if in_a_window > quota.limit / 4 {
        return 0;
    }
    (WORTH * BUCKETS).div_ceil(in_a_window.max(1)).min(LIFE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { limit: 500, window: 60_000_000 };

    #[test]
    fn what_was_admitted_alone_counts_as_long_as_it_is_in_the_window() {
        let mut account = Account::new(0, &QUOTA);
        for second in 0..3_600 {
            let now = second * 1_000_000;
            for _ in 0..10 {
                account.admit_alone(now, &QUOTA, 250);
            }
        }
        let told = account.ask(3_600_000_000, &QUOTA, 1).unwrap().spent;
        assert!(matches!(told[..], [(0, 200..=290)]), "{told:?}");
    }
}

//! `lease.lua` in Rust, with the clock as an argument: for thousands of schedules in a second. That both answer alike is
//! tested against a real server.

use std::collections::HashMap;

use super::lease::{Answer, Ask, Grant, Quota};
use super::{BUCKETS, LIFE_MAX};

/// What the script does right; the others are plausible and wrong, for the simulation to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    AsBuilt,
    /// Unspent tokens are taken off the present bucket.
    BackIntoPresent,
    /// A lease is charged to the bucket of its grant and lives longer.
    ChargedAtGrant,
    /// A lost counter begins anew, whatever the cores know.
    NoRestore,
}

impl Variant {
    /// The bucket that tokens of `own` go back to.
    fn back_to(self, own: i64, present: i64) -> i64 {
        if self == Variant::BackIntoPresent { present } else { own }
    }
}

/// One counter as the script keeps it.
pub(super) struct Model {
    pub(super) variant: Variant,
    state: Option<State>,
}

struct State {
    generation: u64,
    was_reset: bool,
    sum: i64,
    oldest: i64,
    last: i64,
    highest: i64,
    buckets: HashMap<i64, i64>,
    expires: u64,
}

impl Model {
    pub(super) fn new(variant: Variant) -> Model {
        Model { variant, state: None }
    }

    /// The server loses its data.
    pub(super) fn lose(&mut self) {
        self.state = None;
    }

    /// One call at `now`, in microseconds of the server's clock.
    pub(super) fn call(&mut self, now: u64, quota: &Quota, ask: &Ask) -> Answer {
        let mut now = now;
        let mut bucket = bucket_of(now, quota);
        let window = BUCKETS as i64;
        self.state.take_if(|state| now >= state.expires || state.last - bucket > window);
        let is_known = ask.generation != 0 && self.variant != Variant::NoRestore;
        if self.state.is_none() && is_known && !ask.restoring {
            return Answer::Restore;
        }
        let state = self.state.get_or_insert_with(|| State::new(now, bucket));
        let is_other = ask.generation != state.generation && (is_known || ask.restoring);
        let was_reset = is_other && state.was_reset;
        if is_other && !was_reset && !ask.restoring {
            return Answer::Restore;
        }
        if bucket < state.last {
            bucket = state.last;
            now = state.last as u64 * quota.bucket();
        }
        let first = bucket - window;
        state.drop_before(first, bucket);
        for (number, tokens) in &ask.back {
            let number = *number as i64;
            if ask.generation == state.generation && number >= first && number <= bucket + LIFE_MAX as i64 {
                let back = (*tokens as i64).min(state.held(number));
                state.add(self.variant.back_to(number, bucket), -back);
            }
        }
        for (age, tokens) in &ask.spent {
            if was_reset || *age > BUCKETS {
                continue;
            }
            let number = bucket - *age as i64;
            state.add(number, *tokens as i64);
            state.oldest = state.oldest.min(number);
            state.highest = state.highest.max(number);
        }
        let mut grant = state.grant((now, bucket), quota, ask, self.variant);
        grant.was_reset = was_reset;
        state.expires = now + expiry(quota);
        state.last = bucket;
        Answer::Lease(grant)
    }
}

impl State {
    fn new(now: u64, bucket: i64) -> State {
        State {
            generation: now,
            was_reset: false,
            sum: 0,
            oldest: bucket,
            last: bucket,
            highest: bucket,
            buckets: HashMap::new(),
            expires: u64::MAX,
        }
    }

    fn held(&self, bucket: i64) -> i64 {
        self.buckets.get(&bucket).copied().unwrap_or(0)
    }

    fn add(&mut self, bucket: i64, tokens: i64) {
        self.sum += tokens;
        *self.buckets.entry(bucket).or_default() += tokens;
    }

    fn drop_before(&mut self, first: i64, bucket: i64) {
        if self.highest < first {
            self.buckets.clear();
            (self.sum, self.oldest) = (0, bucket);
        }
        while self.oldest < first {
            self.sum -= self.buckets.remove(&self.oldest).unwrap_or(0);
            self.oldest += 1;
        }
    }

    fn grant(&mut self, (now, bucket): (u64, i64), quota: &Quota, ask: &Ask, variant: Variant) -> Grant {
        let width = quota.bucket();
        let end_of = |bucket: i64| (bucket + 1) as u64 * width - now;
        let wanted = |bucket| (ask.rate as f64 * end_of(bucket) as f64 * 1.1 / 1e9).ceil() as i64;
        let (limit, must, life) = (quota.limit as i64, ask.must as i64, ask.life as i64);
        let (mut tokens, mut lease) = (0, bucket);
        let available = limit - self.sum;
        let asks = ask.rate > 0 || ask.must > 0;
        let long = wanted(bucket + life).max(4);
        let is_far = life > 0 && (self.sum + long.max(must)) as f64 <= limit as f64 * 0.75;
        let is_nearly_over = (end_of(bucket) as f64) < width as f64 / 4.0;
        if asks {
            lease += if is_far { life } else { i64::from(is_nearly_over) };
            let want = if is_far { long } else { wanted(lease) };
            let share = (limit / (16 * BUCKETS as i64)).max(available.div_euclid(2));
            tokens = available.min(must.max(1).max(want.min(share))).max(0);
        }
        if tokens > 0 {
            self.add(if variant == Variant::ChargedAtGrant { bucket } else { lease }, tokens);
            self.highest = self.highest.max(lease);
            self.oldest = self.oldest.min(lease);
        }
        while self.oldest < self.highest && self.held(self.oldest) == 0 {
            self.oldest += 1;
        }
        let leaves = (self.oldest + BUCKETS as i64 + 1) as u64 * width - now;
        let retry = if self.highest >= bucket { leaves.min(end_of(bucket)) } else { leaves };
        let retry = if asks { retry } else { 0 };
        let generation = self.generation;
        Grant {
            was_reset: false,
            generation,
            tokens: tokens as u64,
            bucket: lease as u64,
            lives: end_of(lease),
            retry,
            leaves,
            left: (limit - self.sum).max(0) as u64,
        }
    }
}

fn bucket_of(now: u64, quota: &Quota) -> i64 {
    (now / quota.bucket()) as i64
}

fn expiry(quota: &Quota) -> u64 {
    ((BUCKETS + LIFE_MAX + 2) * quota.bucket()).div_ceil(1_000) * 1_000
}

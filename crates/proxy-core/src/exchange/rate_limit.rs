//! Whether a request is within its client's limit: where a 429 is decided. Who counts what, and how it is kept exact, is the
//! business of `redis_router`.

use std::net::IpAddr;

use redis_router::{Budget, ClientKey, Decision, LimitKey, Limits, Membership};

use super::Exchange;
use crate::error::Failure;
use crate::identity;
use crate::settings::{Counted, RateLimit};

/// What the client of an exchange may do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limited {
    /// Place of its tier.
    tier: usize,
    budget: Budget,
}

impl Exchange<'_> {
    /// Admits the request within its client's limit.
    pub(super) async fn stay_within_limit(&mut self) -> Result<(), Failure> {
        let (Some(limits), Some(settings)) = (self.core.router.limits(), &self.rules.settings.rate_limit)
        else {
            return Ok(());
        };
        let address = self.client_address();
        if self.core.router.addresses().allows(address) {
            return Ok(());
        }
        let membership = self.membership(limits, settings).await;
        let key = LimitKey { tier: membership.tier, client: counted(settings.counted, &membership, address) };
        let decision = match limits.decide_now(&key) {
            Some(decision) => decision,
            None => limits.decide(&key).await,
        };
        self.count_decision(key.tier, &decision);
        let refusal = match decision {
            Decision::Admitted(budget) => {
                self.limited = Some(Limited { tier: key.tier, budget });
                return Ok(());
            }
            Decision::Refused(budget) => {
                self.limited = Some(Limited { tier: key.tier, budget });
                Failure::OverLimit { seconds: seconds(&budget) }
            }
            Decision::Unavailable => Failure::LimitsUnavailable,
        };
        if settings.dry_run {
            let tier = &settings.rules.tiers[key.tier].name;
            self.core.complaints.log(format_args!("dry run: {} of tier {tier}: {refusal}", key.client));
            return Ok(());
        }
        Err(refusal)
    }

    fn count_decision(&self, tier: usize, decision: &Decision) {
        let Some(tier) = self.core.account.limits.get(tier) else { return };
        let counter = match decision {
            Decision::Admitted(_) => &tier.admitted,
            Decision::Refused(_) => &tier.refused,
            Decision::Unavailable => &tier.unavailable,
        };
        counter.add(1);
    }

    async fn membership(&self, limits: &Limits, settings: &RateLimit) -> Membership {
        let names = identity::names(self.request, &settings.identify);
        let names = names.iter().map(|name| &**name);
        match limits.tier_now(names.clone()) {
            Some(membership) => membership,
            None => limits.tier(names).await,
        }
    }

    /// Appends what the client may still do (draft-ietf-httpapi-ratelimit-headers-10), where it is to be told.
    pub(super) fn limit_lines(&self, lines: &mut Vec<u8>, failure: Option<&Failure>) {
        let (Some(limited), Some(settings)) = (&self.limited, &self.rules.settings.rate_limit) else {
            return;
        };
        let refused = match failure {
            Some(Failure::OverLimit { seconds }) => Some(*seconds),
            _ => None,
        };
        if let Some(seconds) = refused {
            put(lines, "Retry-After: ", seconds);
            lines.extend_from_slice(b"\r\n");
        }
        if settings.dry_run || (refused.is_none() && !settings.headers) {
            return;
        }
        let told = &self.rules.told_limits[limited.tier];
        let left = if refused.is_some() { 0 } else { limited.budget.left };
        lines.reserve(told.text.len() + LEFT_AND_TIME_BYTES);
        put(lines, &told.text, left);
        // What was lent ahead of its use counts as used at the end of its lease.
        put(lines, ";t=", seconds(&limited.budget).min(told.window));
        lines.extend_from_slice(b"\r\n");
    }

    /// The name of the tier that the request was counted in.
    pub(super) fn tier(&self) -> Option<&str> {
        let settings = self.rules.settings.rate_limit.as_ref()?;
        Some(&settings.rules.tiers[self.limited?.tier].name)
    }
}

/// Whose requests are counted. A name that is in no tier counts for nothing: anyone can make up as many as he likes.
fn counted(counted: Counted, membership: &Membership, address: IpAddr) -> ClientKey {
    match (counted, &membership.name) {
        (Counted::Identity, Some(name)) => ClientKey::Identity(name.clone()),
        _ => ClientKey::at(address),
    }
}

/// Bytes that two numbers and what stands between them take at most.
const LEFT_AND_TIME_BYTES: usize = 48;

/// Whole seconds until more is to be had; at least one.
fn seconds(budget: &Budget) -> u64 {
    let begun = u64::from(budget.resets_in.subsec_nanos() > 0);
    (budget.resets_in.as_secs() + begun).max(1)
}

fn put(lines: &mut Vec<u8>, text: &str, number: u64) {
    lines.extend_from_slice(text.as_bytes());
    lines.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

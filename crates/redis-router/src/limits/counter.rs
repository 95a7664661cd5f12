//! A client's counter in the store, as commands look at it and reset it.

use std::time::Duration;

use redis::{Cmd, Value, cmd};

use super::lease::{Answer, Ask, Quota};
use super::{ClientKey, LimitRules, names, script};
use crate::edit::Used;

/// The counter of one tier.
pub(crate) struct Counter {
    pub(crate) key: String,
    pub(crate) tier: String,
    quota: Quota,
}

/// Those of `client`, in the order of the tiers. `prefix` stands before every key.
pub(crate) fn counters(prefix: &str, rules: &LimitRules, client: &ClientKey) -> Vec<Counter> {
    let counter = |place: usize| {
        let tier = rules.tiers[place].name.clone();
        let key = format!("{prefix}{}", names::counter(rules.window, &tier, client));
        Counter { key, tier, quota: rules.quota(place) }
    };
    (0..rules.tiers.len()).map(counter).collect()
}

impl Counter {
    /// Asks for nothing, which tells how it stands.
    pub(crate) fn look(&self) -> Cmd {
        let mut call = cmd("EVAL");
        call.arg(script::SOURCE).arg(1).arg(&self.key);
        script::arguments(&mut call, &self.quota, &Ask::default());
        call
    }

    /// What the answer to `look` says; `None`: nothing that the script would say.
    pub(crate) fn used(&self, reply: &Value) -> Option<Used> {
        let Answer::Lease(grant) = script::answer(reply)? else { return None };
        let used = self.quota.limit.saturating_sub(grant.left);
        let resets_in = (used > 0).then(|| Duration::from_micros(grant.leaves));
        Some(Used { used, resets_in, ..self.unused() })
    }

    /// What is used of one that is not there.
    pub(crate) fn unused(&self) -> Used {
        Used { tier: self.tier.clone(), limit: self.quota.limit, used: 0, resets_in: None }
    }

    pub(crate) fn reset(&self) -> Cmd {
        cmd("EVAL").arg(script::RESET).arg(1).arg(&self.key).arg(self.quota.bucket()).take()
    }
}

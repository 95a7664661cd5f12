//! What a client has used of its limits, and forgetting it.

use std::time::Duration;

use redis::{Cmd, Value, cmd};

use super::Session;
use crate::edit::failure::Failure;
use crate::limits::{ClientKey, Counter, LimitRules, counters};

/// What a client has used of the limit of one tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// Name of the tier.
    pub tier: String,
    /// Requests in a window.
    pub limit: u64,
    /// Of these, used up or lent to cores.
    pub used: u64,
    /// Until the oldest of them leaves the window; `None`: there is none.
    pub resets_in: Option<Duration>,
}

impl Session {
    /// What `client` has used of each tier, in the order of the tiers.
    ///
    /// # Errors
    /// The server could not be asked.
    pub fn limits(&mut self, rules: &LimitRules, client: &ClientKey) -> Result<Vec<Used>, Failure> {
        let counters = counters(&self.prefixes.all, rules, client);
        let exist: Vec<Cmd> = counters.iter().map(|counter| cmd("EXISTS").arg(&counter.key).take()).collect();
        let exist = self.call(&exist)?;
        let mut used = Vec::new();
        for (counter, exists) in counters.iter().zip(&exist) {
            used.push(match exists {
                Value::Int(0) => counter.unused(),
                Value::Int(_) => self.look_at(counter)?,
                other => return Err(self.unexpected(Some(other), "EXISTS", &counter.key)),
            });
        }
        Ok(used)
    }

    fn look_at(&mut self, counter: &Counter) -> Result<Used, Failure> {
        let reply = self.call(&[counter.look()])?.pop();
        let used = reply.as_ref().and_then(|reply| counter.used(reply));
        used.ok_or_else(|| self.unexpected(reply.as_ref(), "EVAL", &counter.key))
    }

    /// Forgets what `client` has used; cores follow within a second. The names of the tiers it had used something of.
    ///
    /// # Errors
    /// The server could not be written.
    pub fn reset_limits(&mut self, rules: &LimitRules, client: &ClientKey) -> Result<Vec<String>, Failure> {
        let counters = counters(&self.prefixes.all, rules, client);
        let resets: Vec<Cmd> = counters.iter().map(Counter::reset).collect();
        let replies = self.call(&resets)?;
        let mut tiers = Vec::new();
        for (counter, reply) in counters.into_iter().zip(&replies) {
            match reply {
                Value::Int(0) => {}
                Value::Int(_) => tiers.push(counter.tier),
                other => return Err(self.unexpected(Some(other), "EVAL", &counter.key)),
            }
        }
        Ok(tiers)
    }
}

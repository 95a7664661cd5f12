//! What the admin listener tells of the process in JSON, for programs. Counts are those of the metrics.

use redis_router::LimitRules;
use serde_json::{Map, Value, json};

use crate::account::{CLASSES, Counter, RoutesState};
use crate::board::{CoreView, Reason, View};

/// `/api/v1/cores`: each core over all its lives.
pub(super) fn cores(view: &View) -> String {
    let cores: Vec<Value> = view.cores.iter().enumerate().map(|(number, of)| core(number, of)).collect();
    json!({
        "cores": cores,
        "driver": view.driver,
        "draining": view.stopping,
        "uptime": view.uptime.as_secs(),
    })
    .to_string()
}

fn core(number: usize, core: &CoreView) -> Value {
    let totals = &core.totals;
    let classes = CLASSES.iter().zip(totals.by_class.iter().map(Counter::get));
    let replaced = Reason::ALL.iter().map(|&reason| (reason.name(), core.replaced[reason as usize]));
    json!({
        "core": number,
        "routes": core.routes.map(|routes| match routes {
            RoutesState::Unknown => "unknown",
            RoutesState::Away => "away",
            RoutesState::Usable => "usable",
        }),
        "requests": object(classes.map(|(&class, count)| (class, count))),
        "connections": totals.connections.get(),
        "refused": totals.refused.get(),
        "open": core.open,
        "sentBytes": totals.bytes.get(),
        "memoryBytes": core.held,
        "replaced": object(replaced),
    })
}

/// `/api/v1/limits`: the tiers as they are in force, and what was decided in each. `null` where nothing is limited.
pub(super) fn limits(view: &View, rules: Option<&LimitRules>) -> String {
    let Some(rules) = rules else { return Value::Null.to_string() };
    let tiers = rules.tiers.iter().enumerate().take(crate::bounds::TIERS).map(|(place, tier)| {
        let of = |counter: fn(&crate::account::LimitCounters) -> &Counter| -> u64 {
            view.cores.iter().map(|core| counter(&core.totals.limits[place]).get()).sum()
        };
        json!({
            "name": tier.name,
            "limit": tier.limit,
            "admitted": of(|tier| &tier.admitted),
            "refused": of(|tier| &tier.refused),
            "unavailable": of(|tier| &tier.unavailable),
        })
    });
    json!({ "window": rules.window.as_secs_f64(), "tiers": tiers.collect::<Vec<_>>() }).to_string()
}

fn object(members: impl Iterator<Item = (&'static str, u64)>) -> Value {
    Value::Object(members.map(|(name, count)| (name.to_owned(), count.into())).collect::<Map<_, _>>())
}

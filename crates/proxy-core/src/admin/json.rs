//! What the admin listener tells of the process in JSON, for programs. Counts are those of the metrics.

use redis_router::{LimitRules, StoreState};
use serde_json::{Map, Value, json};

use super::gathering::Gathered;
use crate::account::{CLASSES, Counter, RoutesState};
use crate::board::{CoreView, Reason, View};
use crate::survey::{Of, Part, SeenBackend, SeenFrontend, State};

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

/// `/api/v1/frontends` and `/api/v1/backends`, whichever was asked for.
pub(super) fn survey(gathered: &Gathered, of: Of, store: &str) -> String {
    let found: Vec<Value> = match of {
        Of::Frontends => {
            gathered.frontends.iter().map(|(key, (seen, cores))| frontend(key, seen, cores)).collect()
        }
        Of::Backends => gathered.backends.iter().map(|(url, seen)| backend(url, seen)).collect(),
    };
    let name = match of {
        Of::Frontends => "frontends",
        Of::Backends => "backends",
    };
    let cores = gathered.cores.iter().enumerate().map(|(number, part)| match part {
        Some(part) => store_of(part),
        None => json!({ "core": number, "missing": true }),
    });
    json!({
        name: found,
        "matching": gathered.matching,
        "cores": cores.collect::<Vec<_>>(),
        "store": store,
    })
    .to_string()
}

fn frontend(key: &str, frontend: &SeenFrontend, cores: &[usize]) -> Value {
    let backends = frontend.backends.iter().map(|seen| {
        json!({
            "url": seen.url,
            "weight": seen.weight,
            "drain": seen.drain,
            "state": seen.state.name(),
            "why": seen.mark.why,
            "until": seen.mark.end(),
        })
    });
    let invalid = frontend.invalid.iter().map(|(url, why)| json!({ "url": url, "why": why }));
    json!({
        "key": key,
        "identifier": frontend.identifier,
        "cores": cores,
        "backends": backends.collect::<Vec<_>>(),
        "invalid": invalid.collect::<Vec<_>>(),
    })
}

fn backend(url: &str, seen: &SeenBackend) -> Value {
    let mut told = json!({
        "url": url,
        "frontends": seen.frontends,
        "why": seen.mark.why,
        "until": seen.mark.end(),
    });
    for (state, count) in State::ALL.iter().zip(seen.states) {
        told[state.name()] = count.into();
    }
    told
}

fn store_of(part: &Part) -> Value {
    let (store, why) = match &part.store {
        StoreState::Connecting => ("connecting", None),
        StoreState::Tracking => ("tracking", None),
        StoreState::Keyspace { .. } => ("keyspace", None),
        StoreState::Polling { .. } => ("polling", None),
        StoreState::Away { reason } => ("away", Some(reason)),
        StoreState::Table => ("table", None),
    };
    json!({ "core": part.core, "store": store, "why": why, "hosts": part.hosts })
}

fn object(members: impl Iterator<Item = (&'static str, u64)>) -> Value {
    Value::Object(members.map(|(name, count)| (name.to_owned(), count.into())).collect::<Map<_, _>>())
}

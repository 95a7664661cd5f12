//! What a configuration read anew can change while the cores run. Pure.

use std::sync::Arc;

use redis_router::Source;

use crate::settings::{Admin, Https, RateLimit, Settings};

/// The settings to go by from now on: `new`, but for what is fixed at the start; and the keys whose new values wait for
/// a restart.
pub(crate) fn merge(old: &Settings, new: Settings) -> (Settings, Vec<&'static str>) {
    let mut waiting = Vec::new();
    let mut fixed = |differs: bool, keys: &'static str| {
        if differs {
            waiting.push(keys);
        }
    };
    fixed(old.listen != new.listen, "server.bind, server.port and server.backlog");
    fixed(old.cores != new.cores, "server.workers");
    let rate_limit = merge_limits(old.rate_limit.as_ref(), new.rate_limit.as_ref(), &mut fixed);
    fixed(!is_same_store(&old.routes, &new.routes) || old.store_trust != new.store_trust, "redis and driver");
    fixed(old.route_cache != new.route_cache, "server.lruCache");
    fixed(old.identity != new.identity, "user and group");
    let https = merge_https(old.https.as_ref(), new.https.as_ref(), &mut fixed);
    let admin = merge_admin(old.admin.as_ref(), new.admin.as_ref(), &mut fixed);
    // The log's thread and each core's buffer are made at the start.
    let begins_log = old.access_log.is_none() && new.access_log.is_some();
    fixed(begins_log, "server.accessLog (none at the start)");
    let merged = Settings {
        listen: old.listen.clone(),
        https,
        cores: old.cores,
        routes: old.routes.clone(),
        store_trust: old.store_trust.clone(),
        route_cache: old.route_cache,
        identity: old.identity.clone(),
        rate_limit,
        admin,
        access_log: if begins_log { None } else { new.access_log.clone() },
        ..new
    };
    (merged, waiting)
}

/// Limits change; the names of the tiers are followed in the store from the start.
fn merge_limits(
    old: Option<&RateLimit>,
    new: Option<&RateLimit>,
    fixed: &mut impl FnMut(bool, &'static str),
) -> Option<RateLimit> {
    let (Some(old), Some(new)) = (old, new) else {
        fixed(old.is_some() != new.is_some(), "rateLimit (on or off)");
        return old.cloned();
    };
    let names =
        |limit: &RateLimit| limit.rules.tiers.iter().map(|tier| tier.name.clone()).collect::<Vec<_>>();
    if names(old) != names(new) {
        fixed(true, "rateLimit.tiers (names)");
        return Some(old.clone());
    }
    Some(new.clone())
}

/// The token changes; the sockets are made at the start.
fn merge_admin(
    old: Option<&Admin>,
    new: Option<&Admin>,
    fixed: &mut impl FnMut(bool, &'static str),
) -> Option<Admin> {
    let addresses = |admin: Option<&Admin>| admin.map(|admin| admin.addresses.clone());
    fixed(addresses(old) != addresses(new), "admin.bind and admin.port");
    let (Some(old), Some(new)) = (old, new) else { return old.cloned() };
    Some(Admin { addresses: old.addresses.clone(), token: new.token.clone() })
}

/// Whether routes come from where they came from; what sets are followed there apart.
fn is_same_store(old: &Source, new: &Source) -> bool {
    match (old, new) {
        (Source::Redis(old), Source::Redis(new)) => {
            (&old.deployment, &old.prefix) == (&new.deployment, &new.prefix)
        }
        (old, new) => old == new,
    }
}

/// Certificates and what goes with them change; the sockets stay. A certificate that is of no use now stays as it was.
fn merge_https(
    old: Option<&Https>,
    new: Option<&Https>,
    fixed: &mut impl FnMut(bool, &'static str),
) -> Option<Https> {
    let (Some(old), Some(new)) = (old, new) else {
        fixed(old.is_some() != new.is_some(), "https (on or off)");
        return old.cloned();
    };
    fixed(old.addresses != new.addresses, "https.bind and https.port");
    let served = Arc::new(new.served.after(&old.served));
    Some(Https { addresses: old.addresses.clone(), served, ..new.clone() })
}

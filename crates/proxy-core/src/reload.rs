//! What a configuration read anew can change while the cores run. Pure.

use crate::settings::Settings;

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
    fixed(old.routes != new.routes || old.store_trust != new.store_trust, "redis and driver");
    fixed(old.route_cache != new.route_cache, "server.lruCache");
    fixed(old.identity != new.identity, "user and group");
    // The log's thread and each core's buffer are made at the start.
    let begins_log = old.access_log.is_none() && new.access_log.is_some();
    fixed(begins_log, "server.accessLog (none at the start)");
    let merged = Settings {
        listen: old.listen.clone(),
        cores: old.cores,
        routes: old.routes.clone(),
        store_trust: old.store_trust.clone(),
        route_cache: old.route_cache,
        identity: old.identity.clone(),
        access_log: if begins_log { None } else { new.access_log.clone() },
        ..new
    };
    (merged, waiting)
}

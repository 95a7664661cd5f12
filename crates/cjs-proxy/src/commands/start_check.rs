//! Before `run` serves: whether the configured Redis is one that can ever be used.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use proxy_core::settings::Settings;
use redis_router::Source;
use redis_router::edit::{Unusable, check_kind, servers};

use crate::error::Failure;

use super::routes::link;

/// How long a start may wait for the answer in all. A Redis that is away keeps nobody from serving.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks the servers once; what cannot be asked in time is no reason not to start.
///
/// # Errors
/// A server is a node of a Redis Cluster, or a sentinel.
pub(super) fn refuse_unusable(settings: &Settings) -> Result<(), Failure> {
    let Source::Redis(redis) = &settings.routes else { return Ok(()) };
    let (servers, (tell, told)) = (servers(redis), mpsc::channel());
    let trust = settings.store_trust.clone();
    // A thread of its own: a name may take the resolver longer.
    let asking = thread::Builder::new().name("start check".into()).spawn(move || {
        let unusable = servers.iter().find_map(|endpoint| {
            let mut connection = link::dial(endpoint, &trust, PATIENCE).ok()?;
            match check_kind(&mut *connection, &endpoint.login) {
                Err(Unusable::Kind(problem)) => Some(format!("redis {}: {problem}", endpoint.server)),
                Ok(()) | Err(Unusable::Refused(_)) => None,
            }
        });
        // Nobody waits any more where it took too long.
        let _ = tell.send(unusable);
    });
    let unusable = asking.ok().and_then(|_| told.recv_timeout(PATIENCE).ok()).flatten();
    unusable.map_or(Ok(()), |problem| Err(Failure::Start(problem)))
}

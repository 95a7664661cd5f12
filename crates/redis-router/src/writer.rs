//! Keeps the connection to the master of a pair, which takes the marks while a replica is read.

use std::rc::Rc;

use log::{info, warn};

use crate::bounds::{DIAL_WAIT, PING_INTERVAL, PING_WAIT};
use crate::connection::{Connection, Dialect, Lost};
use crate::dial::Dialer;
use crate::handshake::{log_in, one};
use crate::line::{Line, NoLine};
use crate::signs::{self, Role, read_role, role};
use crate::source::Endpoint;
use crate::store::Store;
use crate::upkeep::Pause;

/// Works until the store is stopped; then every task it started has ended.
pub(crate) async fn keep<D: Dialer>(store: &Rc<Store>, dialer: &D, endpoint: &Endpoint) {
    let (mut pause, mut said) = (Pause::default(), String::new());
    while !store.is_stopped() {
        let reason = match Line::open(store, dialer, (endpoint, DIAL_WAIT, Dialect::Plain), |_, _| {}).await {
            Err(NoLine::Stopped) => break,
            Err(NoLine::Failed(reason)) => reason,
            Ok(line) => {
                let served = serve(store, &line.connection, endpoint, (&mut said, &mut pause));
                let reason = store.unless_stopped(served).await;
                store.set_writer(None);
                line.end().await;
                let Some(reason) = reason else { break };
                reason
            }
        };
        if reason != said {
            warn!(
                "redis {}: the master cannot be written to: {reason}; deaths of backends are known to this proxy alone",
                endpoint.server
            );
            said = reason;
        }
        pause.longer();
        pause.pass(store).await;
    }
}

/// Returns why the connection ended.
async fn serve(
    store: &Store,
    connection: &Rc<Connection>,
    endpoint: &Endpoint,
    (said, pause): (&mut String, &mut Pause),
) -> String {
    if let Err(reason) = greet(connection, endpoint).await {
        return reason;
    }
    store.set_writer(Some(connection.clone()));
    info!("redis {}: connected, deaths of backends are written here", endpoint.server);
    said.clear();
    *pause = Pause::default();
    loop {
        connection.closed_within(PING_INTERVAL).await;
        if let Err(Lost) = connection.call_within(PING_WAIT, signs::ping()).await {
            return connection.reason().to_owned();
        }
    }
}

async fn greet(connection: &Connection, endpoint: &Endpoint) -> Result<(), String> {
    log_in(connection, endpoint).await?;
    if let redis::Value::ServerError(error) = one(connection, redis::cmd("SELECT").arg(endpoint.db)).await? {
        return Err(crate::handshake::text_of(&error));
    }
    match read_role(&one(connection, &role()).await?) {
        Some(Role::Replica { .. }) => {
            Err("it is a replica; redis.masterHost, or the second address of driver, names the master".into())
        }
        Some(Role::Master) | None => Ok(()),
    }
}

//! Keeps the connection to the master of a pair, which takes the marks while a replica is read.

use std::rc::Rc;

use log::{info, warn};

use crate::bounds::{DIAL_WAIT, PING_INTERVAL, PING_WAIT};
use crate::connection::{Connection, Dialect};
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
        let begun_ms = store.clock.refresh();
        let reason = match Line::open(store, dialer, (endpoint, DIAL_WAIT, Dialect::Plain), |_, _| {}).await {
            Err(NoLine::Stopped) => break,
            Err(NoLine::Failed(reason)) => reason,
            Ok(line) => {
                let connection = line.connection.clone();
                let served = serve(store, &connection, endpoint, &mut said);
                let reason = store.closing_with_stop(&connection, served).await;
                store.set_writer(None);
                line.end().await;
                reason
            }
        };
        if reason != said && !store.is_stopped() {
            warn!(
                "redis {}: the master cannot be written to: {reason}; deaths of backends are known to this proxy alone",
                endpoint.server
            );
            said = reason;
        }
        // One that drops us again and again is given longer and longer rests.
        pause.after_life_of(store.clock.refresh() - begun_ms);
        pause.pass(store).await;
    }
}

/// Returns why the connection ended.
async fn serve(store: &Store, connection: &Rc<Connection>, endpoint: &Endpoint, said: &mut String) -> String {
    if let Err(reason) = greet(connection, endpoint).await {
        return reason;
    }
    store.set_writer(Some(connection.clone()));
    loop {
        connection.closed_within(PING_INTERVAL).await;
        let Ok(replies) = connection.call_within(PING_WAIT, signs::only_role()).await else {
            return connection.reason().to_owned();
        };
        if let Some(Role::Replica { .. }) = replies.first().and_then(read_role) {
            return DEMOTED.into();
        }
        if said != CONNECTED {
            info!("redis {}: connected, deaths of backends are written here", endpoint.server);
            CONNECTED.clone_into(said);
        }
    }
}

/// Said of a connection that has lasted a while, in the place of what was wrong before.
const CONNECTED: &str = "connected";
const DEMOTED: &str = "it is a replica; redis.masterHost, or the second address of driver, names the master";

async fn greet(connection: &Connection, endpoint: &Endpoint) -> Result<(), String> {
    log_in(connection, endpoint).await?;
    if let redis::Value::ServerError(error) = one(connection, redis::cmd("SELECT").arg(endpoint.db)).await? {
        return Err(crate::handshake::text_of(&error));
    }
    match read_role(&one(connection, &role()).await?) {
        Some(Role::Replica { .. }) => Err(DEMOTED.into()),
        Some(Role::Master) | None => Ok(()),
    }
}

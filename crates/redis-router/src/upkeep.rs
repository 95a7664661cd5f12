//! Keeps the connection to the server up: dial, greet, ping, and again after a pause. Logs each change once.

use std::rc::Rc;
use std::time::Duration;

use log::{info, warn};
use redis::{Value, cmd};

use crate::bounds::{BACKOFF_MAX_MS, BACKOFF_MIN_MS, DIAL_WAIT, PING_INTERVAL, PING_WAIT, TICK_MS};
use crate::connection::{Connection, Lost, Pipeline};
use crate::dial::Dialer;
use crate::handshake::{CHECKER_KEY, Granted, Mode, greet, read_checker_age, read_swap_count, swap_count};
use crate::store::{Store, StoreState};

/// Works until the store is stopped; then every task it started has ended.
pub(crate) async fn keep<D: Dialer>(store: &Rc<Store>, dialer: &D) {
    let ticking = monoio::spawn(tick(store.clone()));
    let mut log = ChangeLog { store: store.clone(), said: Vec::new(), said_deaf: false };
    let mut pause_ms = 0;
    while !store.is_stopped() {
        match attempt(store, dialer, &mut log).await {
            Ended::Stopped => break,
            Ended::Lost { reason, lived_ms } => {
                store.link_lost();
                log.lost(&reason);
                // A server that drops us again and again is given longer and longer rests.
                pause_ms = if lived_ms >= BACKOFF_MAX_MS { BACKOFF_MIN_MS } else { longer(pause_ms) };
            }
            Ended::Failed(reason) => {
                store.link_failed(&reason);
                log.failed(reason);
                pause_ms = longer(pause_ms);
            }
        }
        let jittered = Duration::from_millis(fastrand::u64(pause_ms / 2..=pause_ms));
        store.unless_stopped(monoio::time::sleep(jittered)).await;
    }
    store.link_failed("stopped");
    ticking.await;
}

fn longer(pause_ms: u64) -> u64 {
    (2 * pause_ms).clamp(BACKOFF_MIN_MS, BACKOFF_MAX_MS)
}

async fn tick(store: Rc<Store>) {
    let sleep = || monoio::time::sleep(Duration::from_millis(TICK_MS));
    while store.unless_stopped(sleep()).await.is_some() {
        store.clock.refresh();
    }
}

/// How one attempt ended.
enum Ended {
    /// Never usable.
    Failed(String),
    /// Was in use.
    Lost {
        reason: String,
        lived_ms: u64,
    },
    Stopped,
}

async fn attempt<D: Dialer>(store: &Rc<Store>, dialer: &D, log: &mut ChangeLog) -> Ended {
    let dialling = monoio::time::timeout(DIAL_WAIT, dialer.dial(&store.settings.server));
    let link = match store.unless_stopped(dialling).await {
        None => return Ended::Stopped,
        Some(Err(_)) => return Ended::Failed(format!("no connection within {} ms", DIAL_WAIT.as_millis())),
        Some(Ok(Err(error))) => return Ended::Failed(error.to_string()),
        Some(Ok(Ok(link))) => link,
    };
    let connection = Rc::new(Connection::new(link.hang_up));
    let (receiver, pushed_to) = (connection.clone(), store.clone());
    let receiving = monoio::spawn(async move {
        receiver.receive(link.read, |kind, data| pushed_to.pushed(&kind, data)).await;
    });
    let sender = connection.clone();
    let sending = monoio::spawn(async move { sender.send(link.write).await });
    let ended = store.unless_stopped(serve(store, &connection, log)).await.unwrap_or(Ended::Stopped);
    connection.close("no longer used".into());
    receiving.await;
    sending.await;
    ended
}

async fn serve(store: &Rc<Store>, connection: &Rc<Connection>, log: &mut ChangeLog) -> Ended {
    let Granted { mode, deaf } = match greet(connection, &store.settings, &store.prefixes).await {
        Ok(granted) => granted,
        Err(reason) => return Ended::Failed(reason),
    };
    store.link_up(connection, &mode);
    log.up(&mode);
    if let Some(why) = deaf {
        log.deaf(&why);
    }
    let mut swaps = match mode {
        Mode::Tracking { swaps } => swaps,
        Mode::Polling { .. } => None,
    };
    loop {
        match ping(store, connection, swaps.is_some()).await {
            Err(Lost) => {
                return Ended::Lost { reason: connection.reason().to_owned(), lived_ms: store.up_for_ms() };
            }
            Ok(seen) if seen.is_some() && seen != swaps => {
                // SWAPDB is pushed by nothing.
                store.tracking.everything();
                swaps = seen;
            }
            Ok(_) => {}
        }
        connection.closed_within(PING_INTERVAL).await;
    }
}

/// Any answer shows that the server lives. Looks for the sign of a checker, and returns the SWAPDB calls where they are
/// asked for.
async fn ping(store: &Store, connection: &Connection, with_swaps: bool) -> Result<Option<u64>, Lost> {
    let mut pipeline = Pipeline::default();
    pipeline.push(cmd("GET").arg(CHECKER_KEY));
    pipeline.push(&cmd("TIME"));
    if with_swaps {
        pipeline.push(&swap_count());
    }
    let replies: Vec<Value> = connection.call_within(PING_WAIT, pipeline).await?;
    store.deaths.checker_seen(read_checker_age(&replies[0], &replies[1]));
    Ok(replies.get(2).and_then(read_swap_count))
}

/// Says each change once, not each attempt.
struct ChangeLog {
    store: Rc<Store>,
    said: Vec<String>,
    said_deaf: bool,
}

/// Reasons remembered between two connections; a server has few of them.
const REASONS_MAX: usize = 16;

impl ChangeLog {
    fn up(&mut self, mode: &Mode) {
        self.said.clear();
        let server = &self.store.settings.server;
        match (mode, self.store.state()) {
            (Mode::Polling { why }, StoreState::Polling { max_age_ms }) => warn!(
                "redis {server}: connected, but it pushes no changes ({why}): routes are read again after {max_age_ms} ms; \
                 Redis 6 or newer with CLIENT TRACKING allowed (ACL +client|tracking) pushes them"
            ),
            _ => info!("redis {server}: connected, routes are followed live"),
        }
    }

    /// Deaths that others announce are not heard.
    fn deaf(&mut self, why: &str) {
        if !std::mem::replace(&mut self.said_deaf, true) {
            let server = &self.store.settings.server;
            warn!(
                "redis {server}: deaths of backends that others announce are not heard ({why}); the dead sets are read"
            );
        }
    }

    fn lost(&self, reason: &str) {
        warn!("redis {}: connection lost: {reason}; known routes stay in use", self.store.settings.server);
    }

    fn failed(&mut self, reason: String) {
        if self.said.len() >= REASONS_MAX || self.said.contains(&reason) {
            return;
        }
        let (server, known) = (&self.store.settings.server, self.store.rows.borrow().len());
        warn!("redis {server}: not usable: {reason}; trying again, the {known} hosts known stay in use");
        self.said.push(reason);
    }
}

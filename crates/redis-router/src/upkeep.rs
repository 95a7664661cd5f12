//! Keeps the connection that routes are read and followed over: dial, greet, ask for signs of life, and again after a pause.

use std::rc::Rc;
use std::time::Duration;

use crate::addresses;
use crate::bounds::{BACKOFF_MAX_MS, BACKOFF_MIN_MS, DIAL_WAIT, PING_INTERVAL, PING_WAIT, TICK_MS};
use crate::change_log::ChangeLog;
use crate::connection::{Connection, Dialect, Lost};
use crate::dial::Dialer;
use crate::freshness::{self, Granted, Mode, greet};
use crate::line::{Line, NoLine};
use crate::sentinel;
use crate::signs::{self, Role, Signs};
use crate::source::{Deployment, Endpoint};
use crate::store::{self, Store};
use crate::writer;

/// Works until the store is stopped; then every task it started has ended.
pub(crate) async fn keep<D: Dialer>(store: &Rc<Store>, dialer: D) {
    let dialer = Rc::new(dialer);
    let ticking = monoio::spawn(tick(store.clone()));
    let addresses = monoio::spawn(addresses::keep(store.clone()));
    let beside = beside(store, &dialer);
    follow(store, &*dialer).await;
    store.link_failed("stopped");
    ticking.await;
    addresses.await;
    if let Some(beside) = beside {
        beside.await;
    }
}

/// What else a deployment wants kept: the connection to the master of a pair, or an ear at a sentinel.
fn beside<D: Dialer>(store: &Rc<Store>, dialer: &Rc<D>) -> Option<monoio::task::JoinHandle<()>> {
    let (store, dialer) = (store.clone(), dialer.clone());
    match store.deployment.clone() {
        Deployment::Single(_) => None,
        Deployment::Pair { writes, .. } => {
            Some(monoio::spawn(async move { writer::keep(&store, &*dialer, &writes).await }))
        }
        Deployment::Sentinel(sentinels) => {
            Some(monoio::spawn(async move { sentinel::listen(&store, &dialer, &sentinels).await }))
        }
    }
}

async fn follow<D: Dialer>(store: &Rc<Store>, dialer: &D) {
    let mut log = ChangeLog::new(store.clone());
    let mut pause = Pause::default();
    while !store.is_stopped() {
        match attempt(store, dialer, &mut log).await {
            Ended::Stopped => break,
            Ended::Lost { server, reason, lived_ms } => {
                store.link_lost();
                log.lost(&server, &reason);
                pause.after_life_of(lived_ms);
            }
            Ended::Failed(reason) => {
                store.link_failed(&reason);
                log.failed(reason);
                pause.longer();
            }
        }
        pause.pass(store).await;
    }
}

async fn tick(store: Rc<Store>) {
    let sleep = || monoio::time::sleep(Duration::from_millis(TICK_MS));
    while store.unless_stopped(sleep()).await.is_some() {
        store.clock.refresh();
    }
}

/// The pause between two attempts: longer each time, up to a second, never the same on two cores.
#[derive(Default)]
pub(crate) struct Pause {
    ms: u64,
}

impl Pause {
    pub(crate) fn longer(&mut self) {
        self.ms = (2 * self.ms).clamp(BACKOFF_MIN_MS, BACKOFF_MAX_MS);
    }

    /// A server that drops us again and again is given longer and longer rests.
    pub(crate) fn after_life_of(&mut self, lived_ms: u64) {
        if lived_ms >= BACKOFF_MAX_MS {
            self.ms = BACKOFF_MIN_MS;
        } else {
            self.longer();
        }
    }

    /// Lets it pass, unless the store is stopped.
    pub(crate) async fn pass(&self, store: &Store) {
        let jittered = Duration::from_millis(fastrand::u64(self.ms / 2..=self.ms));
        store.unless_stopped(monoio::time::sleep(jittered)).await;
    }
}

/// How one attempt ended.
enum Ended {
    /// Never usable.
    Failed(String),
    /// Was in use.
    Lost {
        server: String,
        reason: String,
        lived_ms: u64,
    },
    Stopped,
}

impl From<NoLine> for Ended {
    fn from(no_line: NoLine) -> Ended {
        match no_line {
            NoLine::Failed(reason) => Ended::Failed(reason),
            NoLine::Stopped => Ended::Stopped,
        }
    }
}

async fn attempt<D: Dialer>(store: &Rc<Store>, dialer: &D, log: &mut ChangeLog) -> Ended {
    let sentinels = match &store.deployment {
        Deployment::Single(endpoint) | Deployment::Pair { reads: endpoint, .. } => {
            return use_endpoint(store, dialer, endpoint, log).await;
        }
        Deployment::Sentinel(sentinels) => sentinels,
    };
    let master = match sentinel::find_master(store, dialer, sentinels).await {
        Ok(master) => master,
        Err(no_line) => return no_line.into(),
    };
    match use_endpoint(store, dialer, &master, log).await {
        Ended::Failed(reason) => {
            sentinel::distrust(store, sentinels);
            Ended::Failed(format!("{}: {reason}", master.server))
        }
        ended => ended,
    }
}

async fn use_endpoint<D: Dialer>(
    store: &Rc<Store>,
    dialer: &D,
    endpoint: &Endpoint,
    log: &mut ChangeLog,
) -> Ended {
    let line = match open(store, dialer, endpoint, Dialect::Plain).await {
        Ok(line) => line,
        Err(no_line) => return no_line.into(),
    };
    let connection = line.connection.clone();
    let served = serve(store, dialer, (&connection, endpoint), log);
    let ended = store.closing_with_stop(&connection, served).await;
    line.end().await;
    if store.is_stopped() { Ended::Stopped } else { ended }
}

async fn open<D: Dialer>(
    store: &Rc<Store>,
    dialer: &D,
    endpoint: &Endpoint,
    dialect: Dialect,
) -> Result<Line, NoLine> {
    let pushed_to = store.clone();
    let on_push = move |kind, data: &[_]| pushed_to.pushed(&kind, data);
    Line::open(store, dialer, (endpoint, DIAL_WAIT, dialect), on_push).await
}

async fn serve<D: Dialer>(
    store: &Rc<Store>,
    dialer: &D,
    (connection, endpoint): (&Rc<Connection>, &Endpoint),
    log: &mut ChangeLog,
) -> Ended {
    let mut granted = match greet(connection, endpoint, &store.prefixes).await {
        Ok(granted) => granted,
        Err(reason) => return Ended::Failed(reason),
    };
    if let Err(reason) = check_role(store, granted.signs.role) {
        return Ended::Failed(reason);
    }
    let mut listener = None;
    if granted.needs_listener {
        match open_listener(store, dialer, (connection, endpoint), &mut granted).await {
            Ok(line) => listener = Some(line),
            Err(ended) => return ended,
        }
    }
    let listening = listener.as_ref().map(|line| line.connection.clone());
    let ended = use_up(store, (connection, listening.as_deref(), endpoint), granted, log).await;
    if let Some(line) = listener {
        line.end().await;
    }
    ended
}

/// A connection beside `connection` for what the server says unasked, where that speaks RESP2.
async fn open_listener<D: Dialer>(
    store: &Rc<Store>,
    dialer: &D,
    (connection, endpoint): (&Connection, &Endpoint),
    granted: &mut Granted,
) -> Result<Line, Ended> {
    let line = open(store, dialer, endpoint, Dialect::Subscriber).await?;
    match freshness::listen((connection, &line.connection), endpoint, &store.prefixes, granted).await {
        Ok(()) => Ok(line),
        Err(reason) => {
            line.end().await;
            Err(Ended::Failed(reason))
        }
    }
}

/// Has the connection used until it is lost, and looks for signs each second.
async fn use_up(
    store: &Rc<Store>,
    (connection, listener, endpoint): (&Rc<Connection>, Option<&Connection>, &Endpoint),
    granted: Granted,
    log: &mut ChangeLog,
) -> Ended {
    let Granted { mode, deaf, signs, .. } = granted;
    store.session_begun();
    if let Err(Lost) = addresses::read_first(store, connection, store::age_ms(&mode, None)).await {
        return Ended::Failed(connection.reason().to_owned());
    }
    store.link_up(connection, &endpoint.server, &mode);
    log.up(&endpoint.server, &mode, signs.role);
    if let Some(why) = deaf {
        log.deaf(&why);
    }
    let (allowed, mut upheavals) = (signs.allowed(), signs.upheavals);
    take_in(store, &signs, log);
    if let Some(reason) = store.deposed(&endpoint.server) {
        // Heard while it was greeted.
        connection.close(reason);
    }
    loop {
        connection.closed_within(PING_INTERVAL).await;
        let Ok(replies) =
            connection.call_within(PING_WAIT, signs::ask(&store.prefixes.checker_sign, allowed)).await
        else {
            break;
        };
        let signs = signs::read(&replies, allowed, mode == Mode::Tracking);
        if signs.upheavals.is_some() && signs.upheavals != upheavals {
            store.everything_changed();
            upheavals = signs.upheavals;
        }
        take_in(store, &signs, log);
        if let Err(reason) = check_role(store, signs.role) {
            connection.close(reason);
        }
        if let Some(reason) = store.deposed(&endpoint.server) {
            connection.close(reason);
        }
        if let Some(listener) = listener
            && let Err(Lost) = listener.call_within(PING_WAIT, signs::ping()).await
        {
            connection.close(format!("the connection for what it says was lost: {}", listener.reason()));
        }
    }
    Ended::Lost {
        server: endpoint.server.to_string(),
        reason: connection.reason().to_owned(),
        lived_ms: store.up_for_ms(),
    }
}

fn take_in(store: &Store, signs: &Signs, log: &ChangeLog) {
    store.deaths.checker_seen(signs.checker_age_ms);
    store.deaths.own_checker_seen(signs.own_checker);
    let cut_off = signs.role == Some(Role::Replica { linked: false });
    if store.set_cut_off(cut_off) {
        log.cut_off(cut_off);
    }
}

/// Sentinels may name a server that has not become the master yet, or is not any more: it must say so itself.
fn check_role(store: &Store, role: Option<Role>) -> Result<(), String> {
    match (&store.deployment, role) {
        (Deployment::Sentinel(_), Some(Role::Replica { .. })) => {
            Err("it is a replica; the sentinels are asked for the master again".into())
        }
        (Deployment::Sentinel(_), None) => {
            Err("it does not say whether it is the master; allow it: ACL SETUSER with +role".into())
        }
        _ => Ok(()),
    }
}

//! The master that sentinels know by name: asked for before each connection, and heard of when it changes.
//! (Redis documentation, "Guidelines for Redis clients with support for Redis Sentinel".)

use std::cell::Cell;
use std::rc::Rc;

use redis::{Cmd, PushKind, Value, cmd};

use crate::bounds::{PING_INTERVAL, PING_WAIT, SENTINEL_WAIT, SENTINELS_ANEW_MS};
use crate::connection::{Connection, Dialect, Lost};
use crate::dial::Dialer;
use crate::handshake::{authenticate, one, text_of};
use crate::line::{Line, NoLine};
use crate::signs;
use crate::source::{Endpoint, Sentinels, Server};
use crate::store::Store;
use crate::upkeep::Pause;

/// The channel on which a sentinel tells of a new master.
const SWITCH: &str = "+switch-master";

/// The sentinel that is asked first: the one that was of use last.
#[derive(Default)]
pub(crate) struct First(Cell<usize>);

/// The newest fail-over that a sentinel has told of.
#[derive(Default)]
pub(crate) struct Newest {
    epoch: Cell<u64>,
    /// Since when all that answer lag behind it; `None`: they do not.
    missed_since_ms: Cell<Option<u64>>,
}

impl Newest {
    /// Whether one that tells of the fail-over `epoch` is up to date, which it then is known to be.
    fn is_told(&self, epoch: u64) -> bool {
        let is_told = epoch >= self.epoch.get();
        if is_told {
            self.believe(epoch);
        }
        is_told
    }

    /// Whether it has been missed for so long that those who lag behind it must have been set up anew.
    fn is_missed(&self, now_ms: u64) -> bool {
        let since_ms = self.missed_since_ms.get().unwrap_or(now_ms);
        self.missed_since_ms.set(Some(since_ms));
        now_ms >= since_ms + SENTINELS_ANEW_MS
    }

    /// Nobody answers at all, so nobody lags behind either.
    fn is_unheard(&self) {
        self.missed_since_ms.set(None);
    }

    fn believe(&self, epoch: u64) {
        self.epoch.set(epoch);
        self.missed_since_ms.set(None);
    }
}

/// A master, as one sentinel names it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    server: Server,
    /// The fail-over that made it the master, counted by all sentinels together; 0: none did, or it is not told.
    epoch: u64,
}

/// The master, as the first sentinel says that knows it. One that lags behind a fail-over that others have told of may name
/// a server that has come back empty: it is passed over, until all have lagged behind for `SENTINELS_ANEW_MS`.
///
/// # Errors
/// What each sentinel answered instead.
pub(crate) async fn find_master<D: Dialer>(
    store: &Store,
    dialer: &D,
    sentinels: &Sentinels,
) -> Result<Endpoint, NoLine> {
    let (mut answers, mut behind) = (Vec::new(), None::<Named>);
    let (first, count) = (store.first_sentinel.0.get(), sentinels.addresses.len());
    for turn in 0..count {
        let place = (first + turn) % count;
        let sentinel = sentinels.sentinel(sentinels.addresses[place].clone());
        match ask(store, dialer, &sentinel, &sentinels.master_name).await {
            Ok(named) if store.newest_master.is_told(named.epoch) => {
                store.first_sentinel.0.set(place);
                return Ok(sentinels.master(named.server));
            }
            Ok(named) => {
                answers.push(format!("{}: it lags behind a fail-over", sentinel.server));
                behind = behind.into_iter().chain([named]).max_by_key(|named| named.epoch);
            }
            Err(NoLine::Stopped) => return Err(NoLine::Stopped),
            Err(NoLine::Failed(reason)) => answers.push(format!("{}: {reason}", sentinel.server)),
        }
    }
    match behind {
        Some(named) if store.newest_master.is_missed(store.clock.refresh()) => {
            store.newest_master.believe(named.epoch);
            store.master_is(&named.server);
            return Ok(sentinels.master(named.server));
        }
        Some(_) => {}
        None => store.newest_master.is_unheard(),
    }
    Err(NoLine::Failed(format!("no sentinel names the master: {}", answers.join("; "))))
}

/// Another sentinel is asked first the next time: what this one says is of no use.
pub(crate) fn distrust(store: &Store, sentinels: &Sentinels) {
    store.first_sentinel.0.set((store.first_sentinel.0.get() + 1) % sentinels.addresses.len());
}

async fn ask<D: Dialer>(
    store: &Store,
    dialer: &D,
    sentinel: &Endpoint,
    master_name: &str,
) -> Result<Named, NoLine> {
    let line = Line::open(store, dialer, (sentinel, SENTINEL_WAIT, Dialect::Plain), |_, _| {}).await?;
    let asked = monoio::time::timeout(SENTINEL_WAIT, address_of(&line.connection, sentinel, master_name));
    let answer = store.unless_stopped(asked).await;
    line.end().await;
    match answer {
        None => Err(NoLine::Stopped),
        Some(Ok(answer)) => answer.map_err(NoLine::Failed),
        Some(Err(_)) => Err(NoLine::Failed(format!("no answer within {} ms", SENTINEL_WAIT.as_millis()))),
    }
}

async fn address_of(
    connection: &Connection,
    sentinel: &Endpoint,
    master_name: &str,
) -> Result<Named, String> {
    authenticate(connection, &sentinel.login).await.map_err(at_sentinel)?;
    // First, so that a fail-over between the two makes the answer look old and not the old master new.
    let described = one(connection, cmd("SENTINEL").arg("MASTER").arg(master_name)).await?;
    let server = read_address(one(connection, &where_is(master_name)).await?, master_name)?;
    Ok(Named { server, epoch: epoch(&described) })
}

/// The `config-epoch` in the description of a master; 0 where it is not told (NOPERM).
fn epoch(described: &Value) -> u64 {
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    };
    let Value::Array(parts) = described else { return 0 };
    let mut fields = parts.chunks_exact(2);
    let epoch = fields.find(|field| text(&field[0]).as_deref() == Some("config-epoch"));
    epoch.and_then(|field| text(&field[1])?.parse().ok()).unwrap_or(0)
}

/// Asks a sentinel for the master.
pub(crate) fn where_is(master_name: &str) -> Cmd {
    cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master_name).take()
}

/// Reads the reply to [`where_is`].
///
/// # Errors
/// What was answered instead, and what mends it.
pub(crate) fn read_address(reply: Value, master_name: &str) -> Result<Server, String> {
    match reply {
        Value::Array(parts) => match parts.as_slice() {
            [Value::BulkString(host), Value::BulkString(port)] => {
                server(host, port).ok_or_else(|| "its answer is no address".into())
            }
            _ => Err("its answer is no address".into()),
        },
        Value::Nil => Err(format!("it knows no master {master_name:?} (redis.masterName)")),
        Value::ServerError(error) if error.code() == "ERR" && is_unknown_command(error.details()) => {
            Err("it is no sentinel".into())
        }
        Value::ServerError(error) => Err(at_sentinel(text_of(&error))),
        _ => Err("its answer is no address".into()),
    }
}

fn is_unknown_command(details: Option<&str>) -> bool {
    details.is_some_and(|details| details.starts_with("unknown command"))
}

/// Sentinels have logins of their own.
pub(crate) fn at_sentinel(said: String) -> String {
    let login = ["NOAUTH", "WRONGPASS", "NOPERM"].iter().any(|code| said.starts_with(code));
    if login { format!("{said} (redis.sentinelUsername, redis.sentinelPassword)") } else { said }
}

fn server(host: &[u8], port: &[u8]) -> Option<Server> {
    let text = |bytes| str::from_utf8(bytes).ok();
    Some(Server::Tcp(text(host)?.to_owned(), text(port)?.parse().ok()?))
}

/// Listens for a new master at every sentinel, until the store is stopped; then every task it started has ended. At every
/// one: those of a minority that is cut off are not told of a switch.
pub(crate) async fn listen<D: Dialer>(store: &Rc<Store>, dialer: &Rc<D>, sentinels: &Sentinels) {
    let mut listeners = Vec::with_capacity(sentinels.addresses.len());
    for place in 0..sentinels.addresses.len() {
        let (store, dialer, sentinels) = (store.clone(), dialer.clone(), sentinels.clone());
        listeners
            .push(monoio::spawn(async move { keep_listening(&store, &*dialer, &sentinels, place).await }));
    }
    for listener in listeners {
        listener.await;
    }
}

async fn keep_listening<D: Dialer>(store: &Rc<Store>, dialer: &D, sentinels: &Sentinels, place: usize) {
    let mut pause = Pause::default();
    while !store.is_stopped() {
        let begun_ms = store.clock.refresh();
        listen_at(store, dialer, sentinels, place).await;
        pause.after_life_of(store.clock.refresh() - begun_ms);
        pause.pass(store).await;
    }
}

/// A sentinel that cannot be listened to is of no use; `find_master` says why in the log.
async fn listen_at<D: Dialer>(store: &Rc<Store>, dialer: &D, sentinels: &Sentinels, place: usize) {
    let sentinel = sentinels.sentinel(sentinels.addresses[place].clone());
    let (told, master_name) = (store.clone(), sentinels.master_name.clone());
    let on_push = move |kind, data: &[Value]| {
        if let Some(master) = new_master(&kind, data, &master_name) {
            told.first_sentinel.0.set(place);
            told.master_is(&master);
        }
    };
    let opened = Line::open(store, dialer, (&sentinel, SENTINEL_WAIT, Dialect::Subscriber), on_push).await;
    let Ok(line) = opened else { return };
    let connection = line.connection.clone();
    let heard = hear(store, dialer, (&connection, &sentinel), sentinels);
    store.closing_with_stop(&connection, heard).await;
    line.end().await;
}

async fn hear<D: Dialer>(
    store: &Store,
    dialer: &D,
    (connection, sentinel): (&Connection, &Endpoint),
    sentinels: &Sentinels,
) {
    if authenticate(connection, &sentinel.login).await.is_err()
        || one(connection, cmd("SUBSCRIBE").arg(SWITCH)).await != Ok(Value::Okay)
    {
        return;
    }
    // What was told before we listened. One that lags behind is not believed alone.
    if let Ok(named) = ask(store, dialer, sentinel, &sentinels.master_name).await
        && !store.uses(&named.server)
        && let Some(master) = elected(store, dialer, sentinels).await
    {
        store.master_is(&master);
    }
    while connection.is_open() {
        connection.closed_within(PING_INTERVAL).await;
        if let Err(Lost) = connection.call_within(PING_WAIT, signs::ping()).await {
            return;
        }
    }
}

/// The master that the newest fail-over any sentinel knows of has made; where none is told of, the one that more than half
/// of all sentinels name.
async fn elected<D: Dialer>(store: &Store, dialer: &D, sentinels: &Sentinels) -> Option<Server> {
    let mut named = Vec::new();
    for address in &sentinels.addresses {
        let sentinel = sentinels.sentinel(address.clone());
        named.extend(ask(store, dialer, &sentinel, &sentinels.master_name).await);
    }
    named.retain(|named: &Named| store.newest_master.is_told(named.epoch));
    chosen(&named, sentinels.addresses.len())
}

fn chosen(named: &[Named], sentinels: usize) -> Option<Server> {
    let newest = named.iter().max_by_key(|named| named.epoch)?;
    if newest.epoch > 0 {
        return Some(newest.server.clone());
    }
    let votes = |server: &Server| named.iter().filter(|other| other.server == *server).count();
    named.iter().map(|named| &named.server).find(|server| 2 * votes(server) > sentinels).cloned()
}

/// `<master name> <old host> <old port> <new host> <new port>`.
fn new_master(kind: &PushKind, data: &[Value], master_name: &str) -> Option<Server> {
    let (PushKind::Message, [Value::BulkString(channel), Value::BulkString(message)]) = (kind, data) else {
        return None;
    };
    let rest = str::from_utf8(message).ok()?.strip_prefix(master_name)?.strip_prefix(' ')?;
    let words: Vec<&str> = rest.split(' ').collect();
    match words.as_slice() {
        [_, _, host, port] if channel == SWITCH.as_bytes() => server(host.as_bytes(), port.as_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use redis::{PushKind, Value};

    use super::{Named, Newest, chosen, epoch, new_master};
    use crate::bounds::SENTINELS_ANEW_MS;
    use crate::source::Server;

    #[test]
    fn the_newest_fail_over_counts_more_than_many() {
        let named = |port, epoch| Named { server: Server::Tcp("h".into(), port), epoch };
        let port = |all: &[Named]| match chosen(all, 3) {
            Some(Server::Tcp(_, port)) => port,
            _ => 0,
        };
        assert_eq!(port(&[named(1, 4), named(1, 4), named(2, 5)]), 2);
        assert_eq!(port(&[named(1, 0), named(1, 0), named(2, 0)]), 1);
        assert_eq!(port(&[named(1, 0), named(2, 0)]), 0);
        assert_eq!(port(&[]), 0);
    }

    #[test]
    fn those_who_lag_behind_are_believed_late() {
        let newest = Newest::default();
        assert!(newest.is_told(0) && newest.is_told(3) && !newest.is_told(2));
        assert!(!newest.is_missed(100) && !newest.is_missed(99 + SENTINELS_ANEW_MS));
        assert!(newest.is_told(3), "one that knows of it answers again");
        assert!(!newest.is_missed(100 + SENTINELS_ANEW_MS), "counted anew");
        assert!(newest.is_missed(100 + 2 * SENTINELS_ANEW_MS));
        newest.is_unheard();
        assert!(!newest.is_missed(100 + 2 * SENTINELS_ANEW_MS), "a silence of all is no lag");
        newest.believe(1);
        assert!(newest.is_told(1) && !newest.is_missed(100 + 3 * SENTINELS_ANEW_MS));
    }

    #[test]
    fn epochs_are_found_where_they_are_told() {
        let text = |text: &str| Value::BulkString(text.into());
        let described = Value::Array(["name", "main", "config-epoch", "7", "quorum", "2"].map(text).to_vec());
        assert_eq!(epoch(&described), 7);
        for other in [
            Value::Array(vec![text("config-epoch"), text("x")]),
            Value::Array(vec![text("config-epoch")]),
            Value::Nil,
        ] {
            assert_eq!(epoch(&other), 0);
        }
    }

    #[test]
    fn what_a_switch_says() {
        let told = |channel: &str, message: &str| {
            let data = [Value::BulkString(channel.into()), Value::BulkString(message.into())];
            new_master(&PushKind::Message, &data, "my master")
        };
        let moved = Some(Server::Tcp("10.0.0.2".into(), 6380));
        assert_eq!(told("+switch-master", "my master 10.0.0.1 6379 10.0.0.2 6380"), moved);
        for (channel, message) in [
            ("+switch-master", "my master2 10.0.0.1 6379 10.0.0.2 6380"),
            ("+switch-master", "other 10.0.0.1 6379 10.0.0.2 6380"),
            ("+switch-master", "my master 10.0.0.1 6379 10.0.0.2"),
            ("+switch-master", "my master 10.0.0.1 6379 10.0.0.2 port"),
            ("+sdown", "my master 10.0.0.1 6379 10.0.0.2 6380"),
        ] {
            assert_eq!(told(channel, message), None, "{channel} {message}");
        }
        assert_eq!(new_master(&PushKind::Subscribe, &[], "my master"), None);
    }
}

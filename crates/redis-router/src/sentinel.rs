//! The master that sentinels know by name: asked for before each connection, and heard of when it changes.
//! (Redis documentation, "Guidelines for Redis clients with support for Redis Sentinel".)

use std::cell::Cell;
use std::rc::Rc;

use redis::{Cmd, PushKind, Value, cmd};

use crate::bounds::{PING_INTERVAL, PING_WAIT, SENTINEL_WAIT};
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

/// The master, as the first sentinel says that knows it.
///
/// # Errors
/// What each sentinel answered instead.
pub(crate) async fn find_master<D: Dialer>(
    store: &Store,
    dialer: &D,
    sentinels: &Sentinels,
) -> Result<Endpoint, NoLine> {
    let mut answers = Vec::new();
    let (first, count) = (store.first_sentinel.0.get(), sentinels.addresses.len());
    for turn in 0..count {
        let place = (first + turn) % count;
        let sentinel = sentinels.sentinel(sentinels.addresses[place].clone());
        match ask(store, dialer, &sentinel, &sentinels.master_name).await {
            Ok(server) => {
                store.first_sentinel.0.set(place);
                return Ok(sentinels.master(server));
            }
            Err(NoLine::Stopped) => return Err(NoLine::Stopped),
            Err(NoLine::Failed(reason)) => answers.push(format!("{}: {reason}", sentinel.server)),
        }
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
) -> Result<Server, NoLine> {
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
) -> Result<Server, String> {
    authenticate(connection, &sentinel.login).await.map_err(at_sentinel)?;
    read_address(one(connection, &where_is(master_name)).await?, master_name)
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
    if let Ok(master) = ask(store, dialer, sentinel, &sentinels.master_name).await
        && !store.uses(&master)
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

/// The master that more than half of all sentinels name.
async fn elected<D: Dialer>(store: &Store, dialer: &D, sentinels: &Sentinels) -> Option<Server> {
    let mut named = Vec::new();
    for address in &sentinels.addresses {
        let sentinel = sentinels.sentinel(address.clone());
        named.extend(ask(store, dialer, &sentinel, &sentinels.master_name).await);
    }
    let votes = |server: &Server| named.iter().filter(|other| *other == server).count();
    named.iter().find(|server| 2 * votes(server) > sentinels.addresses.len()).cloned()
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

    use super::new_master;
    use crate::source::Server;

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

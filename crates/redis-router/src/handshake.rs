//! The first words on a new connection: protocol, user, database, what is to be pushed, and whether reads are allowed.

use redis::{Cmd, ServerError, Value, cmd};

use crate::bounds::PING_WAIT;
use crate::connection::{Connection, Lost, Pipeline};
use crate::keys::Prefixes;
use crate::message::CHANNEL;
use crate::source::RedisSettings;

/// What a connection is good for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Every change is pushed. `swaps`: SWAPDB calls so far, which nothing is pushed for; `None`: INFO is not allowed.
    Tracking { swaps: Option<u64> },
    /// Changes are not pushed, for this reason.
    Polling { why: String },
}

/// What the server granted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) mode: Mode,
    /// Why deaths that others announce are not heard; `None`: they are.
    pub(crate) deaf: Option<String>,
}

/// Greets the server, asks for pushes of every key behind `prefixes`, and for what is announced of deaths.
///
/// # Errors
/// What the server said and what mends it; `Lost` comes out as the connection's own reason.
pub(crate) async fn greet(
    connection: &Connection,
    settings: &RedisSettings,
    prefixes: &Prefixes,
) -> Result<Granted, String> {
    let refused = hello(connection, settings).await?;
    let probes = [
        cmd("SELECT").arg(settings.db).take(),
        cmd("LRANGE").arg(format!("{}*", prefixes.lists)).arg(0).arg(0).take(),
        cmd("SMEMBERS").arg(format!("{}*", prefixes.dead)).take(),
        cmd("HGETALL").arg(format!("{}*", prefixes.options)).take(),
        cmd("PTTL").arg(format!("{}*", prefixes.lists)).take(),
    ];
    let mut pipeline = Pipeline::default();
    probes.iter().for_each(|probe| pipeline.push(probe));
    if refused.is_none() {
        pipeline.push(&tracking(prefixes));
        pipeline.push(&swap_count());
        pipeline.push(cmd("SUBSCRIBE").arg(CHANNEL));
    }
    let mut replies = call(connection, pipeline).await?.into_iter();
    let probed = replies.by_ref().take(probes.len());
    if let Some(error) = probed.filter_map(server_error).find(|error| error.code() != "WRONGTYPE") {
        return Err(explain(&error, settings));
    }
    if let Some(why) = refused {
        return Ok(Granted { deaf: Some(why.clone()), mode: Mode::Polling { why } });
    }
    let (tracked, swaps) = (replies.next(), replies.next().and_then(|reply| read_swap_count(&reply)));
    let mode = match refusal(tracked, "CLIENT TRACKING") {
        None => Mode::Tracking { swaps },
        Some(why) => Mode::Polling { why },
    };
    Ok(Granted { mode, deaf: refusal(replies.next(), "SUBSCRIBE") })
}

/// Why `command` was not granted.
fn refusal(reply: Option<Value>, command: &str) -> Option<String> {
    match reply {
        Some(Value::Okay) => None,
        Some(Value::ServerError(error)) => Some(text_of(&error)),
        _ => Some(format!("{command} was not acknowledged")),
    }
}

/// Where hipache-hchecker shows that it is at work; it knows no prefix.
pub(crate) const CHECKER_KEY: &str = "hchecker_ping";

/// Milliseconds since the checker's sign, by the server's own clock; `None` where there is none. `ping` answers GET of
/// `CHECKER_KEY` (Unix seconds, as text), `time` answers TIME.
pub(crate) fn read_checker_age(ping: &Value, time: &Value) -> Option<u64> {
    let (Value::BulkString(ping), Value::Array(time)) = (ping, time) else { return None };
    let Some(Value::BulkString(now)) = time.first() else { return None };
    let seconds = |bytes: &[u8]| str::from_utf8(bytes).ok()?.trim().parse::<u64>().ok();
    Some(seconds(now)?.saturating_sub(seconds(ping)?).saturating_mul(1_000))
}

/// Asks how often SWAPDB was called.
pub(crate) fn swap_count() -> Cmd {
    cmd("INFO").arg("commandstats").take()
}

/// Reads the answer to `swap_count`; `None` where INFO is not allowed.
pub(crate) fn read_swap_count(reply: &Value) -> Option<u64> {
    let info = match reply {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok()?,
        Value::VerbatimString { text, .. } => text,
        _ => return None,
    };
    let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_swapdb:calls="));
    Some(line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0))
}

/// An error reply in the server's words, without the arguments it may quote: a password can be among them.
pub(crate) fn text_of(error: &ServerError) -> String {
    let details = error.details().unwrap_or_default();
    let details = details.split_once(", with args beginning with").map_or(details, |(text, _)| text);
    format!("{} {details}", error.code())
}

/// Speaks RESP3 from here on; `Some` says why that is not to be had.
async fn hello(connection: &Connection, settings: &RedisSettings) -> Result<Option<String>, String> {
    let user = settings.username.as_deref().unwrap_or("default");
    let mut hello = cmd("HELLO");
    hello.arg(3);
    if let Some(password) = &settings.password {
        hello.arg("AUTH").arg(user).arg(password);
    }
    match one(connection, &hello).await? {
        Value::ServerError(error) if knows_no_hello(&error) => {
            authenticate(connection, settings).await?;
            Ok(Some(text_of(&error)))
        }
        Value::ServerError(error) => Err(explain(&error, settings)),
        Value::Map(_) => Ok(None),
        _ => Ok(Some("HELLO 3 did not turn RESP3 on".into())),
    }
}

fn knows_no_hello(error: &ServerError) -> bool {
    let full = error.details().is_some_and(|details| details.starts_with("max number of clients"));
    matches!(error.code(), "ERR" | "NOPROTO" | "NOPERM") && !full
}

/// The way of servers before HELLO.
async fn authenticate(connection: &Connection, settings: &RedisSettings) -> Result<(), String> {
    let Some(password) = &settings.password else { return Ok(()) };
    let mut auth = cmd("AUTH");
    if let Some(user) = &settings.username {
        auth.arg(user);
    }
    match one(connection, auth.arg(password)).await? {
        Value::ServerError(error) => Err(explain(&error, settings)),
        _ => Ok(()),
    }
}

fn tracking(prefixes: &Prefixes) -> Cmd {
    let mut tracking = cmd("CLIENT");
    tracking.arg("TRACKING").arg("ON").arg("BCAST");
    for prefix in [&prefixes.lists, &prefixes.dead, &prefixes.options] {
        tracking.arg("PREFIX").arg(prefix);
    }
    tracking
}

async fn one(connection: &Connection, command: &Cmd) -> Result<Value, String> {
    let mut pipeline = Pipeline::default();
    pipeline.push(command);
    Ok(call(connection, pipeline).await?.pop().expect("one command has one reply"))
}

async fn call(connection: &Connection, pipeline: Pipeline) -> Result<Vec<Value>, String> {
    let outcome = connection.call_within(PING_WAIT, pipeline).await;
    outcome.map_err(|Lost| connection.reason().to_owned())
}

fn server_error(value: Value) -> Option<ServerError> {
    match value {
        Value::ServerError(error) => Some(error),
        _ => None,
    }
}

fn explain(error: &ServerError, settings: &RedisSettings) -> String {
    let said = text_of(error);
    match error.code() {
        "NOAUTH" => format!("{said}; it wants a password: set redis.password"),
        "WRONGPASS" => format!("{said}; redis.username or redis.password is wrong"),
        "NOPERM" => {
            let (user, prefix) = (settings.username.as_deref().unwrap_or("default"), &settings.prefix);
            let deaths = format!("~{CHECKER_KEY} &{CHANNEL} +@pubsub +time +multi +exec +sadd +expire");
            format!("{said}; allow it: ACL SETUSER {user} ~{prefix}* +@read +@connection +info {deaths}")
        }
        "LOADING" => format!("{said}; routes are read once it has loaded its data"),
        "DENIED" => format!("{said}; give the server a password or turn its protected mode off"),
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::{read_checker_age, read_swap_count, server_error, text_of};

    #[test]
    fn age_of_the_checkers_sign() {
        let text = |text: &str| Value::BulkString(text.into());
        let time = Value::Array(vec![text("1700000030"), text("999999")]);
        for (sign, age) in [
            (text("1700000000"), Some(30_000)),
            (text("1699990030"), Some(10_000_000)),
            (text("1700000031"), Some(0)),
            (text("soon"), None),
            (text("-1"), None),
            (Value::Nil, None),
        ] {
            assert_eq!(read_checker_age(&sign, &time), age, "{sign:?}");
        }
        assert_eq!(read_checker_age(&text("1700000000"), &Value::Nil), None);
        assert_eq!(read_checker_age(&text("1700000000"), &Value::Array(vec![])), None);
    }

    #[test]
    fn quoted_arguments_are_left_out() {
        let wire =
            b"-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'secret' \r\n";
        let error = server_error(redis::parse_redis_value(wire).unwrap()).unwrap();
        assert_eq!(text_of(&error), "ERR unknown command 'HELLO'");
    }

    #[test]
    fn swap_count_in_info() {
        let info = "# Commandstats\r\ncmdstat_swapdb:calls=12,usec=3\r\ncmdstat_get:calls=1,usec=2\r\n";
        assert_eq!(read_swap_count(&Value::BulkString(info.into())), Some(12));
        assert_eq!(read_swap_count(&Value::BulkString("# Commandstats\r\n".into())), Some(0));
        assert_eq!(read_swap_count(&Value::Nil), None);
    }
}

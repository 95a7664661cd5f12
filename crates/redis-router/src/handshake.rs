//! The first words on a new connection: protocol, user, database, what is to be pushed, and whether reads are allowed.

use redis::{Cmd, ServerError, Value, cmd};

use crate::bounds::PING_WAIT;
use crate::connection::{Connection, Lost, Pipeline};
use crate::source::RedisSettings;

/// What a connection is good for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Every change is pushed. `swaps`: SWAPDB calls so far, which nothing is pushed for; `None`: INFO is not allowed.
    Tracking { swaps: Option<u64> },
    /// Changes are not pushed, for this reason.
    Polling { why: String },
}

/// Greets the server and asks for pushes of every key that begins with one of `prefixes`; none may be the beginning of
/// another (Redis refuses the whole command).
///
/// # Errors
/// What the server said and what mends it; `Lost` comes out as the connection's own reason.
pub(crate) async fn greet(
    connection: &Connection,
    settings: &RedisSettings,
    prefixes: &[String],
) -> Result<Mode, String> {
    let refused = hello(connection, settings).await?;
    let tracks = refused.is_none();
    let mut pipeline = Pipeline::default();
    pipeline.push(cmd("SELECT").arg(settings.db));
    for prefix in prefixes {
        pipeline.push(cmd("LRANGE").arg(format!("{prefix}*")).arg(0).arg(0));
        pipeline.push(cmd("PTTL").arg(format!("{prefix}*")));
    }
    if tracks {
        pipeline.push(&tracking(prefixes));
        pipeline.push(&swap_count());
    }
    let mut replies = call(connection, pipeline).await?.into_iter();
    let probes = replies.by_ref().take(1 + 2 * prefixes.len());
    if let Some(error) = probes.filter_map(server_error).find(|error| error.code() != "WRONGTYPE") {
        return Err(explain(&error, settings));
    }
    if let Some(why) = refused {
        return Ok(Mode::Polling { why });
    }
    match replies.next() {
        Some(Value::Okay) => {
            Ok(Mode::Tracking { swaps: replies.next().and_then(|reply| read_swap_count(&reply)) })
        }
        Some(Value::ServerError(error)) => Ok(Mode::Polling { why: text_of(&error) }),
        _ => Ok(Mode::Polling { why: "CLIENT TRACKING was not acknowledged".into() }),
    }
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

fn tracking(prefixes: &[String]) -> Cmd {
    let mut tracking = cmd("CLIENT");
    tracking.arg("TRACKING").arg("ON").arg("BCAST");
    for prefix in prefixes {
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
            format!("{said}; allow it: ACL SETUSER {user} ~{prefix}* +@read +@connection +info")
        }
        "LOADING" => format!("{said}; routes are read once it has loaded its data"),
        "DENIED" => format!("{said}; give the server a password or turn its protected mode off"),
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::{read_swap_count, server_error, text_of};

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

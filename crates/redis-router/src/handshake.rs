//! The first words on a new connection: protocol, user, database, and whether the server is one that can be used.

use redis::{Cmd, ServerError, Value, cmd};

use crate::bounds::PING_WAIT;
use crate::connection::{Connection, Lost, Pipeline};
use crate::message::CHANNEL;
use crate::signs::CHECKER_KEY;
use crate::source::{Endpoint, Login};

/// What is spoken on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// The server can push.
    Resp3,
    /// The server says so much of why RESP3 is not to be had.
    Resp2 { why: String },
}

/// Speaks RESP3 from here on where the server can, as the user of `endpoint`.
///
/// # Errors
/// What the server said and what mends it; a connection that is lost gives its own reason.
pub(crate) async fn log_in(connection: &Connection, endpoint: &Endpoint) -> Result<Protocol, String> {
    let user = endpoint.login.username.as_deref().unwrap_or("default");
    let mut hello = cmd("HELLO");
    hello.arg(3);
    if let Some(password) = &endpoint.login.password {
        hello.arg("AUTH").arg(user).arg(password);
    }
    match one(connection, &hello).await? {
        Value::ServerError(error) if knows_no_hello(&error) => {
            authenticate(connection, &endpoint.login).await?;
            check_mode(mode_in_info(&one(connection, cmd("INFO").arg("server")).await?))?;
            Ok(Protocol::Resp2 { why: text_of(&error) })
        }
        Value::ServerError(error) => Err(explain(&error, &endpoint.login, "")),
        Value::Map(fields) => {
            check_mode(mode_in_hello(&fields))?;
            Ok(Protocol::Resp3)
        }
        _ => Ok(Protocol::Resp2 { why: "HELLO 3 did not turn RESP3 on".into() }),
    }
}

/// The way of servers before HELLO, and of connections that only listen.
///
/// # Errors
/// As [`log_in`].
pub(crate) async fn authenticate(connection: &Connection, login: &Login) -> Result<(), String> {
    let Some(auth) = auth(login) else { return Ok(()) };
    match one(connection, &auth).await? {
        Value::ServerError(error) => Err(explain(&error, login, "")),
        _ => Ok(()),
    }
}

/// Says who we are; `None`: nobody in particular.
pub(crate) fn auth(login: &Login) -> Option<Cmd> {
    let password = login.password.as_ref()?;
    let mut auth = cmd("AUTH");
    if let Some(user) = &login.username {
        auth.arg(user);
    }
    auth.arg(password);
    Some(auth)
}

/// Whether the server is one that is of use, in whatever state it is.
///
/// # Errors
/// What it is instead.
pub(crate) fn check_mode(mode: Option<&str>) -> Result<(), String> {
    match mode {
        Some("cluster") => Err(CLUSTER.into()),
        Some("sentinel") => Err(
            "it is a sentinel, which holds no routes: name it in redis.sentinels, beside redis.masterName"
                .into(),
        ),
        _ => Ok(()),
    }
}

/// What is said of a Redis Cluster: its nodes hold parts of the keys, and none pushes what another holds.
pub const CLUSTER: &str = "it is a node of a Redis Cluster, whose routes are spread over many servers, and is not used: \
                           keep the routes in one Redis, for high availability with replicas and sentinels \
                           (redis.sentinels and redis.masterName)";

/// Its mode as HELLO says it.
pub(crate) fn mode_in_hello(fields: &[(Value, Value)]) -> Option<&str> {
    let mode = fields.iter().find(|(field, _)| text(field) == Some("mode"))?;
    text(&mode.1)
}

/// `redis_mode` as INFO says it; `None` where INFO is not allowed.
pub(crate) fn mode_in_info(info: &Value) -> Option<&str> {
    info_text(info)?.lines().find_map(|line| line.strip_prefix("redis_mode:"))
}

/// The text that INFO answers.
pub(crate) fn info_text(reply: &Value) -> Option<&str> {
    match reply {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok(),
        Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// An error reply in the server's words, without the arguments it may quote: a password can be among them.
pub(crate) fn text_of(error: &ServerError) -> String {
    let details = error.details().unwrap_or_default();
    let details = details.split_once(", with args beginning with").map_or(details, |(text, _)| text);
    format!("{} {details}", error.code())
}

/// Whether HELLO was refused as a server before RESP3 refuses it.
pub(crate) fn knows_no_hello(error: &ServerError) -> bool {
    let full = error.details().is_some_and(|details| details.starts_with("max number of clients"));
    matches!(error.code(), "ERR" | "NOPROTO" | "NOPERM") && !full
}

/// The reply to one command.
///
/// # Errors
/// Why the connection is lost.
pub(crate) async fn one(connection: &Connection, command: &Cmd) -> Result<Value, String> {
    let mut pipeline = Pipeline::default();
    pipeline.push(command);
    Ok(call(connection, pipeline).await?.pop().expect("one command has one reply"))
}

/// The replies to a pipeline.
///
/// # Errors
/// Why the connection is lost.
pub(crate) async fn call(connection: &Connection, pipeline: Pipeline) -> Result<Vec<Value>, String> {
    let outcome = connection.call_within(PING_WAIT, pipeline).await;
    outcome.map_err(|Lost| connection.reason().to_owned())
}

/// The server's error, and what mends it. `prefix` stands before every key.
pub(crate) fn explain(error: &ServerError, login: &Login, prefix: &str) -> String {
    let said = text_of(error);
    match error.code() {
        "NOAUTH" => format!("{said}; it wants a password: set redis.password"),
        "WRONGPASS" => format!("{said}; redis.username or redis.password is wrong"),
        "NOPERM" => {
            let user = login.username.as_deref().unwrap_or("default");
            let deaths = format!(
                "~{CHECKER_KEY} &{CHANNEL} +@pubsub +time +role +multi +exec +sadd +srem +expire +hset"
            );
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

    use super::{CLUSTER, check_mode, mode_in_hello, mode_in_info, text_of};

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn servers_of_no_use_are_known_by_their_mode() {
        let hello = |mode: &str| {
            vec![(text("server"), text("redis")), (Value::SimpleString("mode".into()), text(mode))]
        };
        for (mode, is_usable) in [("standalone", true), ("cluster", false), ("sentinel", false), ("", true)] {
            assert_eq!(check_mode(mode_in_hello(&hello(mode))).is_ok(), is_usable, "{mode}");
            let info = text(&format!("# Server\r\nredis_version:5.0.0\r\nredis_mode:{mode}\r\nos:Linux\r\n"));
            assert_eq!(check_mode(mode_in_info(&info)).is_ok(), is_usable, "{mode}");
        }
        assert_eq!(mode_in_hello(&[]), None);
        assert_eq!(mode_in_info(&Value::Nil), None);
        assert!(CLUSTER.contains("redis.sentinels"));
    }

    #[test]
    fn an_error_hides_what_the_server_quotes() {
        let reply =
            b"-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'geheim'\r\n";
        let Ok(Value::ServerError(error)) = redis::parse_redis_value(reply) else { panic!("no error reply") };
        assert_eq!(text_of(&error), "ERR unknown command 'HELLO'");
    }
}

//! How changes in the store become known here, the best way the server grants: pushes of client-side caching, keyspace
//! notifications, or rows that live for a short time.
//!
//! ```text
//!   CLIENT TRACKING granted ----------------------------------> Tracking
//!     | refused, or RESP2 alone
//!     v
//!   notify-keyspace-events has what is needed, and it can be subscribed to --> Keyspace
//!     | not
//!     v
//!   Polling
//! ```

use std::time::Duration;

use redis::{Cmd, ServerError, Value, cmd};

use crate::bounds::{NOTIFIED_AGE, POLLED_AGE};
use crate::connection::{Connection, Pipeline};
use crate::handshake::{Protocol, call, explain, log_in, one, text_of};
use crate::keys::Prefixes;
use crate::message::CHANNEL;
use crate::signs::{self, Allowed, Signs};
use crate::source::Endpoint;

/// How changes become known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Every change is pushed.
    Tracking,
    /// Every change of a key is notified, and why there is nothing better.
    Keyspace { why: String },
    /// Nothing is said of changes, for this reason.
    Polling { why: String },
}

impl Mode {
    /// How long a row read in this mode lives; `None`: until it is changed. `configured`: as the operator set it.
    pub(crate) fn age_max(&self, configured: Option<Duration>) -> Option<Duration> {
        match self {
            Mode::Tracking => None,
            Mode::Keyspace { .. } => Some(configured.unwrap_or(NOTIFIED_AGE).min(NOTIFIED_AGE)),
            Mode::Polling { .. } => Some(configured.unwrap_or(POLLED_AGE)),
        }
    }
}

/// What the server granted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) mode: Mode,
    /// Why deaths that others announce are not heard; `None`: they are.
    pub(crate) deaf: Option<String>,
    /// The server speaks RESP2 alone: what it says unasked comes over a connection of its own.
    pub(crate) needs_listener: bool,
    pub(crate) signs: Signs,
}

/// Greets the server and asks for everything that changes behind `prefixes`, and for what is announced of deaths.
///
/// # Errors
/// What the server said and what mends it; a connection that is lost gives its own reason.
pub(crate) async fn greet(
    connection: &Connection,
    endpoint: &Endpoint,
    prefixes: &Prefixes,
) -> Result<Granted, String> {
    let protocol = log_in(connection, endpoint).await?;
    check_reads(connection, endpoint, prefixes).await?;
    let mode = match protocol {
        Protocol::Resp3 => track(connection, endpoint.db, prefixes).await?,
        Protocol::Resp2 { ref why } => Mode::Polling { why: why.clone() },
    };
    let asked = call(connection, signs::ask(&prefixes.checker_sign, Allowed::ALL)).await?;
    let signs = signs::read(&asked, Allowed::ALL, mode == Mode::Tracking);
    let (deaf, needs_listener) = match protocol {
        Protocol::Resp3 => (subscribe(connection, &[cmd("SUBSCRIBE").arg(CHANNEL).take()]).await?, false),
        Protocol::Resp2 { why } => (Some(why), true),
    };
    Ok(Granted { mode, deaf, needs_listener, signs })
}

/// Chooses the database and tries each kind of read.
async fn check_reads(
    connection: &Connection,
    endpoint: &Endpoint,
    prefixes: &Prefixes,
) -> Result<(), String> {
    let mut pipeline = Pipeline::default();
    pipeline.push(cmd("SELECT").arg(endpoint.db));
    pipeline.push(cmd("LRANGE").arg(format!("{}*", prefixes.lists)).arg(0).arg(0));
    pipeline.push(cmd("SMEMBERS").arg(format!("{}*", prefixes.dead)));
    pipeline.push(cmd("HGETALL").arg(format!("{}*", prefixes.options)));
    pipeline.push(cmd("PTTL").arg(format!("{}*", prefixes.lists)));
    let mut errors = call(connection, pipeline).await?.into_iter().filter_map(server_error);
    match errors.find(|error| error.code() != "WRONGTYPE") {
        Some(error) => Err(explain(&error, &endpoint.login, &prefixes.all)),
        None => Ok(()),
    }
}

/// The best way to hear of changes over `connection`, turned on.
async fn track(connection: &Connection, db: u32, prefixes: &Prefixes) -> Result<Mode, String> {
    let Some(why) = refusal(one(connection, &tracking(prefixes)).await?, "CLIENT TRACKING") else {
        return Ok(Mode::Tracking);
    };
    if let Some(missing) = missing_notifications(connection).await? {
        return Ok(Mode::Polling { why: format!("{why}; {missing}") });
    }
    match subscribe(connection, &notifications(db, prefixes)).await? {
        None => Ok(Mode::Keyspace { why }),
        Some(refused) => Ok(Mode::Polling { why: format!("{why}; {refused}") }),
    }
}

/// Asks that every change behind `prefixes` be pushed.
pub(crate) fn tracking(prefixes: &Prefixes) -> Cmd {
    let mut tracking = cmd("CLIENT");
    tracking.arg("TRACKING").arg("ON").arg("BCAST");
    for prefix in prefixes.followed() {
        tracking.arg("PREFIX").arg(prefix);
    }
    tracking
}

/// Listens over `listener`, a connection of its own in RESP2, where `connection` hears nothing. Changes `granted` to what
/// is had then.
///
/// # Errors
/// As [`greet`].
pub(crate) async fn listen(
    (connection, listener): (&Connection, &Connection),
    endpoint: &Endpoint,
    prefixes: &Prefixes,
    granted: &mut Granted,
) -> Result<(), String> {
    granted.deaf = subscribe(listener, &[cmd("SUBSCRIBE").arg(CHANNEL).take()]).await?;
    let Mode::Polling { why } = granted.mode.clone() else { return Ok(()) };
    let refused = match missing_notifications(connection).await? {
        Some(missing) => Some(missing),
        None => subscribe(listener, &notifications(endpoint.db, prefixes)).await?,
    };
    granted.mode = match refused {
        None => Mode::Keyspace { why },
        Some(refused) => Mode::Polling { why: format!("{why}; {refused}") },
    };
    Ok(())
}

/// Why keyspace notifications are not enough; `None`: they are.
async fn missing_notifications(connection: &Connection) -> Result<Option<String>, String> {
    Ok(lacking(&one(connection, &flags()).await?))
}

/// Asks which notifications are on.
pub(crate) fn flags() -> Cmd {
    cmd("CONFIG").arg("GET").arg(NOTIFY).take()
}

/// Why the notifications that [`flags`] was answered with are not enough; `None`: they are.
pub(crate) fn lacking(reply: &Value) -> Option<String> {
    match notified(reply) {
        Ok(flags) if has_all(&flags) => None,
        Ok(flags) => {
            Some(format!("{NOTIFY} is {flags:?} and lacks some of \"{NEEDED}\": CONFIG SET {NOTIFY} KA"))
        }
        Err(said) => Some(format!("{NOTIFY} cannot be read ({said}; ACL +config|get)")),
    }
}

const NOTIFY: &str = "notify-keyspace-events";
/// Messages by key; generic, list, set and hash commands; expiry.
const NEEDED: &str = "Kglshx";

fn has_all(flags: &str) -> bool {
    let has = |flag| flags.contains(flag);
    NEEDED.chars().all(|needed| has(needed) || (needed != 'K' && has('A')))
}

/// The flags that CONFIG GET answers.
fn notified(reply: &Value) -> Result<String, String> {
    let value = match reply {
        Value::Map(fields) => fields.first().map(|(_, value)| value),
        Value::Array(parts) => parts.get(1),
        Value::ServerError(error) => return Err(text_of(error)),
        _ => None,
    };
    match value {
        Some(Value::BulkString(flags)) => Ok(String::from_utf8_lossy(flags).into_owned()),
        _ => Err("it was not answered".into()),
    }
}

/// Subscribes to them. One command a pattern: each is acknowledged on its own.
pub(crate) fn notifications(db: u32, prefixes: &Prefixes) -> Vec<Cmd> {
    let pattern = |prefix: &str| format!("{}{}*", notified_prefix(db), escaped(prefix));
    prefixes.followed().into_iter().map(|prefix| cmd("PSUBSCRIBE").arg(pattern(prefix)).take()).collect()
}

/// What stands before the key in the channel of a notification.
fn notified_prefix(db: u32) -> String {
    format!("__keyspace@{db}__:")
}

/// The key that a notification is about; `channel` is where it came.
pub(crate) fn notified_key(channel: &[u8]) -> Option<&[u8]> {
    let rest = channel.strip_prefix(b"__keyspace@")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    rest[digits..].strip_prefix(b"__:")
}

/// A text that stands for itself in a pattern of Redis.
pub(crate) fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// Why one of `subscriptions` was not granted.
async fn subscribe(connection: &Connection, subscriptions: &[Cmd]) -> Result<Option<String>, String> {
    let mut pipeline = Pipeline::default();
    subscriptions.iter().for_each(|subscription| pipeline.push(subscription));
    let mut replies = call(connection, pipeline).await?.into_iter();
    Ok(replies.find_map(|reply| refusal(reply, "SUBSCRIBE")))
}

/// Why `command` was not granted.
pub(crate) fn refusal(reply: Value, command: &str) -> Option<String> {
    match reply {
        Value::Okay => None,
        Value::ServerError(error) => Some(text_of(&error)),
        _ => Some(format!("{command} was not acknowledged")),
    }
}

fn server_error(value: Value) -> Option<ServerError> {
    match value {
        Value::ServerError(error) => Some(error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::{escaped, has_all, notified, notified_key};

    #[test]
    fn flags_that_are_enough() {
        for (flags, enough) in [
            ("AK", true),
            ("AKE", true),
            ("glshxK", true),
            ("gl$shzxeKm", true),
            ("A", false),
            ("AE", false),
            ("", false),
            ("glsxK", false),
            ("glshK", false),
        ] {
            assert_eq!(has_all(flags), enough, "{flags}");
        }
    }

    #[test]
    fn flags_in_both_protocols() {
        let text = |text: &str| Value::BulkString(text.into());
        let flags = Ok("AK".to_owned());
        assert_eq!(notified(&Value::Map(vec![(text("notify-keyspace-events"), text("AK"))])), flags);
        assert_eq!(notified(&Value::Array(vec![text("notify-keyspace-events"), text("AK")])), flags);
        assert!(notified(&Value::Array(vec![])).is_err());
    }

    #[test]
    fn keys_of_notifications() {
        assert_eq!(notified_key(b"__keyspace@15__:frontend:a__:b"), Some(&b"frontend:a__:b"[..]));
        assert_eq!(notified_key(b"__keyevent@0__:del"), None);
        assert_eq!(notified_key(b"dead"), None);
    }

    #[test]
    fn a_prefix_stands_for_itself_in_a_pattern() {
        assert_eq!(escaped("a:*[b]?\\^frontend:"), "a:\\*\\[b\\]\\?\\\\\\^frontend:");
    }
}

//! What a server is asked once a second: that it lives, whose it is, whether all keys changed at once, and whether an
//! external checker is at work. Pure.

use redis::{Cmd, Value, cmd};

use crate::connection::Pipeline;
use crate::handshake::info_text;

/// Where hipache-hchecker shows that it is at work; it knows no prefix.
pub(crate) const CHECKER_KEY: &str = "hchecker_ping";

/// Commands after which every key may be another, and which no key tells of. With tracking the server pushes the second.
const SWAPS: [&str; 1] = ["swapdb"];
const SWAPS_AND_FLUSHES: [&str; 3] = ["swapdb", "flushall", "flushdb"];

/// What stands behind an address now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Master,
    Replica {
        /// It hears its master.
        linked: bool,
    },
}

/// What the server said of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Signs {
    /// Milliseconds since the sign of an external checker.
    pub(crate) checker_age_ms: Option<u64>,
    /// A built-in checker of some proxy is at work.
    pub(crate) own_checker: bool,
    /// `None`: ROLE is not allowed.
    pub(crate) role: Option<Role>,
    /// Calls so far that change every key; `None`: INFO is not allowed.
    pub(crate) upheavals: Option<u64>,
}

/// Which of the signs the server lets us see: one that was refused is not asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub(crate) role: bool,
    pub(crate) stats: bool,
}

/// Asks for the signs; `own_sign` is the key of built-in checkers.
pub(crate) fn ask(own_sign: &str, allowed: Allowed) -> Pipeline {
    let mut pipeline = Pipeline::default();
    pipeline.push(cmd("GET").arg(CHECKER_KEY));
    pipeline.push(&cmd("TIME"));
    pipeline.push(cmd("EXISTS").arg(own_sign));
    if allowed.role {
        pipeline.push(&role());
    }
    if allowed.stats {
        pipeline.push(cmd("INFO").arg("commandstats"));
    }
    pipeline
}

/// Asks for the role alone.
pub(crate) fn only_role() -> Pipeline {
    let mut pipeline = Pipeline::default();
    pipeline.push(&role());
    pipeline
}

/// Asks for nothing but an answer.
pub(crate) fn ping() -> Pipeline {
    let mut pipeline = Pipeline::default();
    pipeline.push(&cmd("PING"));
    pipeline
}

/// Reads the replies to [`ask`]. `flushes_are_pushed`: as with tracking.
pub(crate) fn read(replies: &[Value], allowed: Allowed, flushes_are_pushed: bool) -> Signs {
    let [ping, time, own, rest @ ..] = replies else { return Signs::default() };
    let (role, stats) = rest.split_at(usize::from(allowed.role).min(rest.len()));
    let counted: &[&str] = if flushes_are_pushed { &SWAPS } else { &SWAPS_AND_FLUSHES };
    Signs {
        checker_age_ms: checker_age(ping, time),
        own_checker: *own == Value::Int(1),
        role: role.first().and_then(read_role),
        upheavals: stats.first().and_then(info_text).map(|stats| calls(stats, counted)),
    }
}

impl Signs {
    /// Which of them can be had, these being the first.
    pub(crate) fn allowed(&self) -> Allowed {
        Allowed { role: self.role.is_some(), stats: self.upheavals.is_some() }
    }
}

impl Allowed {
    pub(crate) const ALL: Allowed = Allowed { role: true, stats: true };
}

pub(crate) fn role() -> Cmd {
    cmd("ROLE")
}

/// The answer to ROLE; `None` where it is not allowed.
pub(crate) fn read_role(reply: &Value) -> Option<Role> {
    let Value::Array(parts) = reply else { return None };
    match parts.as_slice() {
        [Value::BulkString(role), ..] if role == b"master" => Some(Role::Master),
        [Value::BulkString(role), _, _, Value::BulkString(state), ..] if role == b"slave" => {
            Some(Role::Replica { linked: state == b"connected" })
        }
        _ => None,
    }
}

/// By the server's own clock; `None` where there is none. `ping` answers GET of `CHECKER_KEY` (Unix seconds, as text),
/// `time` answers TIME.
fn checker_age(ping: &Value, time: &Value) -> Option<u64> {
    let (Value::BulkString(ping), Value::Array(time)) = (ping, time) else { return None };
    let Some(Value::BulkString(now)) = time.first() else { return None };
    let seconds = |bytes: &[u8]| str::from_utf8(bytes).ok()?.trim().parse::<u64>().ok();
    Some(seconds(now)?.saturating_sub(seconds(ping)?).saturating_mul(1_000))
}

fn calls(stats: &str, commands: &[&str]) -> u64 {
    let of = |line: &str| {
        let (command, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        if commands.contains(&command) { rest.split(',').next()?.parse::<u64>().ok() } else { None }
    };
    stats.lines().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::{Allowed, Role, Signs, checker_age, read, read_role};

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn age_of_the_checkers_sign() {
        let time = Value::Array(vec![text("1700000030"), text("999999")]);
        for (sign, age) in [
            (text("1700000000"), Some(30_000)),
            (text("1699990030"), Some(10_000_000)),
            (text("1700000031"), Some(0)),
            (text(" 1700000029\n"), Some(1_000)),
            (text("0"), Some(1_700_000_030_000)),
            (text("soon"), None),
            (text("-1"), None),
            (text(""), None),
            (Value::Nil, None),
            (Value::Int(1_700_000_000), None),
        ] {
            assert_eq!(checker_age(&sign, &time), age, "{sign:?}");
        }
        assert_eq!(checker_age(&text("1700000000"), &Value::Nil), None);
    }

    #[test]
    fn upheavals_are_counted() {
        let of = |stats: &str, pushed| {
            let replies = [Value::Nil, Value::Nil, Value::Nil, Value::Nil, text(stats)];
            read(&replies, Allowed::ALL, pushed).upheavals
        };
        let stats = "# Commandstats\r\ncmdstat_get:calls=9,usec=1\r\ncmdstat_swapdb:calls=12,usec=3\r\n\
                     cmdstat_flushall:calls=2,usec=3\r\ncmdstat_flushdb:calls=3,usec=1\r\n";
        assert_eq!((of(stats, true), of(stats, false)), (Some(12), Some(17)));
        assert_eq!(of("# Commandstats\r\n", false), Some(0));
    }

    #[test]
    fn what_was_refused_is_not_asked_again() {
        let signs = read(&[Value::Nil, Value::Nil, Value::Int(1), Value::Nil, text("")], Allowed::ALL, true);
        assert_eq!((signs.allowed(), signs.own_checker), (Allowed { role: false, stats: true }, true));
        let again = read(
            &[Value::Nil, Value::Nil, Value::Nil, text("cmdstat_swapdb:calls=1,usec=3\r\n")],
            signs.allowed(),
            true,
        );
        assert_eq!(again.upheavals, Some(1));
        assert_eq!(read(&[], Allowed::ALL, true), Signs::default());
    }

    #[test]
    fn roles() {
        let of = |parts: &[Value]| read_role(&Value::Array(parts.to_vec()));
        let replica =
            |state| of(&[text("slave"), text("10.0.0.1"), Value::Int(6379), text(state), Value::Int(7)]);
        assert_eq!(of(&[text("master"), Value::Int(7), Value::Array(vec![])]), Some(Role::Master));
        assert_eq!(replica("connected"), Some(Role::Replica { linked: true }));
        for state in ["connect", "connecting", "handshake", "sync", "none"] {
            assert_eq!(replica(state), Some(Role::Replica { linked: false }), "{state}");
        }
        assert_eq!(of(&[text("sentinel"), Value::Array(vec![])]), None);
        assert_eq!(read_role(&Value::Nil), None);
    }
}

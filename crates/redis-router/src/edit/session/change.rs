//! Adding and removing backends: read, decide, and write in one transaction that is refused where others wrote.

use std::ops::Range;

use redis::{Cmd, ToRedisArgs, Value, cmd};

use crate::edit::failure::Failure;
use crate::edit::plan::{self, Added, Removed};
use crate::question::bytes_of;

use super::walk::Fields;
use super::{Session, pairs};

/// The keys of one host.
pub(super) struct HostKeys {
    pub(super) list: String,
    pub(super) dead: String,
    pub(super) died: String,
    pub(super) options: String,
}

/// A dead set and what is told of its deaths, each with the milliseconds it lasts; `None`: for ever.
#[derive(Default)]
struct Marks {
    members: Vec<Vec<u8>>,
    set_left_ms: Option<u64>,
    reports: Fields,
    reports_left_ms: Option<u64>,
}

impl Session {
    pub(super) fn keys_of(&self, host: &str) -> HostKeys {
        let prefixes = &self.prefixes;
        let of = |prefix: &str| format!("{prefix}{host}");
        HostKeys {
            list: of(&prefixes.lists),
            dead: of(&prefixes.dead),
            died: of(&prefixes.reports),
            options: of(&prefixes.options),
        }
    }

    pub(crate) fn add(&mut self, host: &str, id: Option<&str>, urls: &[String]) -> Result<Added, Failure> {
        let keys = self.keys_of(host);
        let reads = [cmd("LRANGE").arg(&keys.list).arg(0).arg(-1).take()];
        self.change(&[&keys.list], &reads, &|session, mut replies| {
            let list = session.the_list(replies.pop(), &keys.list)?;
            let added = plan::addition(host, &list, id, urls)?;
            let new = &plan::extended(&list, &added)[list.len()..];
            if new.is_empty() {
                return Ok((Vec::new(), added));
            }
            let mut commands = vec![cmd("RPUSH").arg(&keys.list).arg(new).take()];
            let before = list.len().saturating_sub(1);
            commands.extend(forget_marks(&keys, before..before + added.added.len()));
            Ok((commands, added))
        })
    }

    pub(crate) fn remove(&mut self, host: &str, backend: Option<&str>) -> Result<Removed, Failure> {
        let removed = match backend {
            None => self.remove_frontend(host)?,
            Some(backend) => self.remove_backend(host, backend)?,
        };
        match removed {
            Some(removed) => Ok(removed),
            None => Err(Failure::UnknownHost { host: host.into(), known: self.hosts()? }),
        }
    }

    fn remove_frontend(&mut self, host: &str) -> Result<Option<Removed>, Failure> {
        let keys = self.keys_of(host);
        let reads =
            [cmd("LRANGE").arg(&keys.list).arg(0).arg(-1).take(), cmd("EXISTS").arg(&keys.options).take()];
        self.change(&[&keys.list], &reads, &|session, mut replies| {
            let has_options = matches!(replies.pop(), Some(Value::Int(1..)));
            let list = session.the_list(replies.pop(), &keys.list)?;
            if list.is_empty() {
                return Ok((Vec::new(), None));
            }
            let all: Vec<usize> = (0..list.len() - 1).collect();
            let backends = plan::texts_at(&list, &all);
            let gone = cmd("DEL").arg(&keys.list).arg(&keys.dead).arg(&keys.died).take();
            Ok((vec![gone], Some(Removed { backends, left: None, has_options })))
        })
    }

    fn remove_backend(&mut self, host: &str, backend: &str) -> Result<Option<Removed>, Failure> {
        let keys = self.keys_of(host);
        let reads = [
            cmd("LRANGE").arg(&keys.list).arg(0).arg(-1).take(),
            cmd("SMEMBERS").arg(&keys.dead).take(),
            cmd("PTTL").arg(&keys.dead).take(),
            cmd("HGETALL").arg(&keys.died).take(),
            cmd("PTTL").arg(&keys.died).take(),
        ];
        self.change(&[&keys.list, &keys.dead, &keys.died], &reads, &|session, replies| {
            let mut replies = replies.into_iter();
            let list = session.the_list(replies.next(), &keys.list)?;
            if list.is_empty() {
                return Ok((Vec::new(), None));
            }
            let gone = plan::occurrences(host, &list, backend)?;
            let marks = Marks::read(replies);
            let (backends, left) = (plan::texts_at(&list, &gone), plan::without(&list, &gone).len() - 1);
            let mut commands = take_out(&keys.list, &list, &gone);
            commands.extend(marks.renumbered(&keys, &gone));
            Ok((commands, Some(Removed { backends, left: Some(left), has_options: false })))
        })
    }

    /// The elements that LRANGE answered.
    ///
    /// # Errors
    /// Something else than a list stands there.
    pub(super) fn the_list(&self, reply: Option<Value>, key: &str) -> Result<Vec<Vec<u8>>, Failure> {
        self.read_list(reply, key)?.ok_or_else(|| Failure::NoList { key: key.into() })
    }
}

/// Marks at these indexes would come to rest on backends that were not there when they were made.
pub(super) fn forget_marks(keys: &HostKeys, indexes: Range<usize>) -> Vec<Cmd> {
    let indexes: Vec<usize> = indexes.collect();
    if indexes.is_empty() {
        return Vec::new();
    }
    vec![cmd("SREM").arg(&keys.dead).arg(&indexes).take(), cmd("HDEL").arg(&keys.died).arg(&indexes).take()]
}

/// Takes the elements at `gone` out of the list. Counted from its end, so that an identifier of the same text stays.
fn take_out(key: &str, list: &[Vec<u8>], gone: &[usize]) -> Vec<Cmd> {
    let mut texts: Vec<&Vec<u8>> = gone.iter().map(|index| &list[index + 1]).collect();
    texts.sort_unstable();
    let count = |text: &Vec<u8>| -(gone.iter().filter(|index| list[**index + 1] == *text).count() as i64);
    texts.dedup();
    texts.into_iter().map(|text| cmd("LREM").arg(key).arg(count(text)).arg(text).take()).collect()
}

impl Marks {
    /// Replies to SMEMBERS, PTTL, HGETALL and PTTL. What is of another type holds no marks.
    fn read(mut replies: impl Iterator<Item = Value>) -> Marks {
        let mut marks = Marks::default();
        if let Some(Value::Array(members) | Value::Set(members)) = replies.next() {
            marks.members = members.into_iter().map(bytes_of).collect();
        }
        marks.set_left_ms = left_ms(replies.next());
        if let Some(Value::Array(parts)) = replies.next() {
            marks.reports =
                pairs(parts).into_iter().map(|(field, value)| (bytes_of(field), bytes_of(value))).collect();
        }
        marks.reports_left_ms = left_ms(replies.next());
        marks
    }

    /// Writes them anew for the list without the backends at `gone`. What is no index stays as it is.
    fn renumbered(&self, keys: &HostKeys, gone: &[usize]) -> Vec<Cmd> {
        let moved = |text: &Vec<u8>| match str::from_utf8(text).ok().and_then(|text| text.parse().ok()) {
            Some(index) => plan::renumbered(index, gone).map(|index| index.to_string().into_bytes()),
            None => Some(text.clone()),
        };
        let members: Vec<Vec<u8>> = self.members.iter().filter_map(moved).collect();
        let reports: Fields =
            self.reports.iter().filter_map(|(field, report)| Some((moved(field)?, report.clone()))).collect();
        let mut commands = Vec::new();
        if !self.members.is_empty() {
            commands.extend(replace(&keys.dead, "SADD", &members, members.is_empty(), self.set_left_ms));
        }
        if !self.reports.is_empty() {
            commands.extend(replace(&keys.died, "HSET", &reports, reports.is_empty(), self.reports_left_ms));
        }
        commands
    }
}

fn replace(
    key: &str,
    command: &str,
    content: impl ToRedisArgs,
    is_empty: bool,
    left_ms: Option<u64>,
) -> Vec<Cmd> {
    let mut commands = vec![cmd("DEL").arg(key).take()];
    if !is_empty {
        commands.push(cmd(command).arg(key).arg(content).take());
        commands.extend(left_ms.map(|left_ms| cmd("PEXPIRE").arg(key).arg(left_ms).take()));
    }
    commands
}

/// What PTTL answered; `None`: for ever.
fn left_ms(reply: Option<Value>) -> Option<u64> {
    match reply {
        Some(Value::Int(left_ms)) => u64::try_from(left_ms).ok(),
        _ => None,
    }
}

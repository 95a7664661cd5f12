//! Going through everything a server holds: keys by SCAN, then what stands there, in batches.

use std::collections::BTreeSet;

use redis::{Cmd, Value, cmd};

use crate::bounds::{BACKENDS_MAX, EDIT_BATCH, SCAN_COUNT};
use crate::edit::failure::Failure;
use crate::edit::held::Held;
use crate::edit::{Listed, Take, Told};
use crate::freshness::escaped;
use crate::frontend::Frontend;
use crate::handshake::text_of;
use crate::question::{bytes_of, members_of};

use super::{Session, pairs};

/// Fields and values of a hash.
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

impl Session {
    /// What stands behind `prefix` in the keys that begin so, sorted.
    pub(super) fn scan(&mut self, prefix: &str) -> Result<Vec<Vec<u8>>, Failure> {
        let (pattern, mut cursor, mut found) =
            (format!("{}*", escaped(prefix)), b"0".to_vec(), BTreeSet::new());
        loop {
            let step = cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN_COUNT).take();
            let reply = self.call(&[step])?.pop();
            let Some(Value::Array(parts)) = reply else {
                return Err(self.unexpected(reply.as_ref(), "SCAN", &pattern));
            };
            let Ok([Value::BulkString(next), Value::Array(keys)]) = <[Value; 2]>::try_from(parts) else {
                return Err(self.unexpected(None, "SCAN", &pattern));
            };
            let behind = |key: Value| Some(bytes_of(key).strip_prefix(prefix.as_bytes())?.to_vec());
            found.extend(keys.into_iter().filter_map(behind));
            if next == b"0" {
                return Ok(found.into_iter().collect());
            }
            cursor = next;
        }
    }

    /// The failure that a reply of another kind than `command` has is.
    pub(super) fn unexpected(&self, reply: Option<&Value>, command: &str, key: &str) -> Failure {
        match reply {
            Some(Value::ServerError(error)) => self.refused(error, key),
            _ => self.failure(format!("{command} {key:?} was answered with something else")),
        }
    }

    pub(crate) fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        let lists = self.prefixes.lists.clone();
        Ok(self.scan(&lists)?.into_iter().filter_map(|host| String::from_utf8(host).ok()).collect())
    }

    pub(crate) fn list(&mut self, take: &mut Take<'_, Listed>) -> Result<(), Failure> {
        let lists = self.prefixes.lists.clone();
        let hosts = texts(self.scan(&lists)?, &lists, take)?;
        for batch in hosts.chunks(EDIT_BATCH) {
            let dead = &self.prefixes.dead;
            let reads = batch.iter().flat_map(|host| {
                let list = cmd("LRANGE").arg(format!("{lists}{host}")).arg(0).arg(BACKENDS_MAX + 1).take();
                [list, cmd("SMEMBERS").arg(format!("{dead}{host}")).take()]
            });
            let mut replies = self.call(&reads.collect::<Vec<Cmd>>())?.into_iter();
            for host in batch {
                let (list, members) = (replies.next(), replies.next());
                let key = format!("{lists}{host}");
                let told = match self.read_list(list, &key)? {
                    // It went away in between.
                    Some(list) if list.is_empty() => continue,
                    Some(list) => Told::Entry(listed(host, &list, members)),
                    None => Told::Note(no_list(&key)),
                };
                take(told).map_err(Failure::Output)?;
            }
        }
        Ok(())
    }

    pub(crate) fn export(&mut self, take: &mut Take<'_, (String, Held)>) -> Result<(), Failure> {
        let (lists, options) = (self.prefixes.lists.clone(), self.prefixes.options.clone());
        let mut hosts: BTreeSet<String> = texts(self.scan(&lists)?, &lists, take)?.into_iter().collect();
        hosts.extend(texts(self.scan(&options)?, &options, take)?);
        let hosts: Vec<String> = hosts.into_iter().collect();
        for batch in hosts.chunks(EDIT_BATCH) {
            for (host, (list, hash)) in batch.iter().zip(self.read_batch(batch)?) {
                let mut notes = Vec::new();
                let held = self.held(host, (list, hash), &mut notes)?;
                let entry = (held != Held::default()).then(|| Told::Entry((host.clone(), held)));
                let mut told = notes.into_iter().map(Told::Note).chain(entry);
                told.try_for_each(&mut *take).map_err(Failure::Output)?;
            }
        }
        Ok(())
    }

    /// What the replies of a host say; what is of another type counts as absent, and of that a note is made.
    fn held(
        &self,
        host: &str,
        (list, hash): (Value, Value),
        notes: &mut Vec<String>,
    ) -> Result<Held, Failure> {
        let keys = self.keys_of(host);
        let mut held = Held::default();
        match self.read_list(Some(list), &keys.list)? {
            Some(list) => held.list = list,
            None => notes.push(no_list(&keys.list)),
        }
        match self.read_hash(hash, &keys.options)? {
            Some(hash) => held.options = hash.into_iter().collect(),
            None => notes.push(format!("key {:?} holds no hash and counts as absent", keys.options)),
        }
        Ok(held)
    }

    /// The replies about list and options of each host.
    pub(super) fn read_batch(&mut self, hosts: &[String]) -> Result<Vec<(Value, Value)>, Failure> {
        let (lists, options) = (&self.prefixes.lists, &self.prefixes.options);
        let reads = hosts.iter().flat_map(|host| {
            let list = cmd("LRANGE").arg(format!("{lists}{host}")).arg(0).arg(-1).take();
            [list, cmd("HGETALL").arg(format!("{options}{host}")).take()]
        });
        let reads: Vec<Cmd> = reads.collect();
        Ok(pairs(self.call(&reads)?))
    }

    /// The elements that LRANGE answered; `None`: there is something else.
    pub(super) fn read_list(&self, reply: Option<Value>, key: &str) -> Result<Option<Vec<Vec<u8>>>, Failure> {
        match reply {
            Some(Value::Array(elements)) => Ok(Some(elements.into_iter().map(bytes_of).collect())),
            Some(Value::ServerError(error)) if error.code() == "WRONGTYPE" => Ok(None),
            other => Err(self.unexpected(other.as_ref(), "LRANGE", key)),
        }
    }

    /// The fields and values that HGETALL answered; `None`: there is something else.
    pub(super) fn read_hash(&self, reply: Value, key: &str) -> Result<Option<Fields>, Failure> {
        let fields = match reply {
            Value::Array(parts) => pairs(parts),
            Value::Map(fields) => fields,
            Value::ServerError(error) if error.code() == "WRONGTYPE" => return Ok(None),
            other => return Err(self.unexpected(Some(&other), "HGETALL", key)),
        };
        Ok(Some(fields.into_iter().map(|(field, value)| (bytes_of(field), bytes_of(value))).collect()))
    }
}

fn listed(host: &str, list: &[Vec<u8>], members: Option<Value>) -> Listed {
    let frontend = Frontend::from_list(host, list);
    let dead = members.and_then(members_of).map(|(indexes, _)| indexes).unwrap_or_default();
    Listed {
        host: host.into(),
        identifier: frontend.identifier.into(),
        backends: frontend.listed,
        invalid: frontend.invalid.len(),
        dead: Some(dead.into_iter().filter(|index| *index < frontend.listed).collect()),
    }
}

/// Those of `hosts` that are text: no request can name another.
fn texts<T>(hosts: Vec<Vec<u8>>, prefix: &str, take: &mut Take<'_, T>) -> Result<Vec<String>, Failure> {
    let mut texts = Vec::with_capacity(hosts.len());
    for host in hosts {
        match String::from_utf8(host) {
            Ok(text) => texts.push(text),
            Err(error) => {
                let key = format!("{prefix}{}", String::from_utf8_lossy(error.as_bytes()));
                let note = format!("key {key:?} is not UTF-8 and no host is looked up by it: it is left out");
                take(Told::Note(note)).map_err(Failure::Output)?;
            }
        }
    }
    Ok(texts)
}

fn no_list(key: &str) -> String {
    format!("key {key:?} holds no list and counts as absent")
}

/// The server's words for why a reply is none.
pub(super) fn error_in(reply: Option<&Value>) -> Option<String> {
    match reply {
        Some(Value::ServerError(error)) => Some(text_of(error)),
        _ => None,
    }
}

//! What Redis is asked for one host, and what its replies say. Pure.

use redis::{Value, cmd};

use crate::bounds::{BACKENDS_MAX, TICK_MS};
use crate::complaints::{Complaints, Kind};
use crate::connection::Pipeline;
use crate::handshake::text_of;
use crate::keys::{Prefixes, candidates, dead_name};

/// The keys of one host: the lists of its candidates, their options, and the dead set Hipache keeps for the host.
pub(crate) struct Question {
    names: Vec<String>,
    /// Lists, then options, each in look-up order, then the dead set.
    keys: Vec<String>,
    pub(crate) dead_name: String,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) list: Option<First<Vec<Vec<u8>>>>,
    pub(crate) options: Option<First<Vec<(String, String)>>>,
    pub(crate) dead: Members,
}

/// The first key that is not empty.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct First<T> {
    /// Which of the candidates.
    pub(crate) candidate: usize,
    pub(crate) value: T,
    /// Milliseconds until it expires; `u64::MAX`: never.
    pub(crate) lives_ms: u64,
}

/// A dead set.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    /// Ascending.
    pub(crate) indexes: Vec<usize>,
    /// Milliseconds until it expires; `u64::MAX`: never.
    pub(crate) lives_ms: u64,
}

impl Question {
    pub(crate) fn of(host: &str, prefixes: &Prefixes) -> Question {
        let names: Vec<String> = candidates(host).map(|candidate| candidate.to_string()).collect();
        let dead_name = dead_name(host).to_owned();
        let under = |prefix: &str| names.iter().map(|name| format!("{prefix}{name}")).collect::<Vec<_>>();
        let keys =
            [under(&prefixes.lists), under(&prefixes.options), vec![format!("{}{dead_name}", prefixes.dead)]];
        Question { keys: keys.concat(), names, dead_name }
    }

    /// The name under which Hipache marks the backends of the list `key`, where that is another: the host asked for. It
    /// knows no list of a host with port.
    pub(crate) fn also_marked_as(&self, key: &str, host: &str) -> Option<&str> {
        (key != self.dead_name && key != host).then_some(&*self.dead_name)
    }

    pub(crate) fn name(&self, candidate: usize) -> &str {
        &self.names[candidate]
    }

    pub(crate) fn options_key(&self, candidate: usize) -> &str {
        &self.keys[self.names.len() + candidate]
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(String::as_str)
    }

    /// The keys of lists, in look-up order.
    pub(crate) fn list_keys(&self) -> impl Iterator<Item = &str> {
        self.keys().take(self.names.len())
    }

    /// Positions of the keys that `found` depends on: those up to the hit, and the dead set.
    pub(crate) fn depends_on(&self, found: &Found) -> impl Iterator<Item = usize> {
        let count = self.names.len();
        let lists = found.list.as_ref().map_or(count, |first| first.candidate + 1);
        let options = found.options.as_ref().map_or(count, |first| first.candidate + 1);
        (0..lists).chain(count..count + options).chain([2 * count])
    }

    pub(crate) fn pipeline(&self) -> Pipeline {
        let mut pipeline = Pipeline::default();
        let (lists, rest) = self.keys.split_at(self.names.len());
        for key in lists {
            // The identifier, the backends, and one more that shows whether there are too many.
            pipeline.push(cmd("LRANGE").arg(key).arg(0).arg(BACKENDS_MAX + 1));
            pipeline.push(cmd("PTTL").arg(key));
        }
        for key in &rest[..self.names.len()] {
            pipeline.push(cmd("HGETALL").arg(key));
            pipeline.push(cmd("PTTL").arg(key));
        }
        ask_members(&mut pipeline, &self.keys[2 * self.names.len()]);
        pipeline
    }

    /// Goes through the replies to `pipeline`; an error past a hit does not matter.
    ///
    /// # Errors
    /// The server's error.
    pub(crate) fn read(&self, replies: Vec<Value>, complaints: &Complaints) -> Result<Found, String> {
        let count = self.names.len();
        let (lists, options) = self.keys.split_at(count);
        let mut replies = replies.into_iter();
        let list = first(lists, replies.by_ref().take(2 * count), complaints, Kind::List, list_of)?;
        let options =
            first(&options[..count], replies.by_ref().take(2 * count), complaints, Kind::Hash, hash_of)?;
        Ok(Found { list, options, dead: read_members(&self.keys[2 * count], replies, complaints)? })
    }
}

/// Asks for the dead set `key`.
pub(crate) fn ask_members(pipeline: &mut Pipeline, key: &str) {
    pipeline.push(cmd("SMEMBERS").arg(key));
    pipeline.push(cmd("PTTL").arg(key));
}

/// Reads the replies to `ask_members`.
///
/// # Errors
/// The server's error.
pub(crate) fn read_members(
    key: &String,
    replies: impl Iterator<Item = Value>,
    complaints: &Complaints,
) -> Result<Members, String> {
    let found = first(std::slice::from_ref(key), replies, complaints, Kind::Set, members_of)?;
    Ok(found.map_or(Members::default(), |first| Members { indexes: first.value, lives_ms: first.lives_ms }))
}

/// The first of `keys` that is not empty; each has two replies: its value and its PTTL. `read` gives `None` for no such
/// value, and whether it is empty.
fn first<T>(
    keys: &[String],
    mut replies: impl Iterator<Item = Value>,
    complaints: &Complaints,
    kind: Kind,
    read: impl Fn(Value) -> Option<(T, bool)>,
) -> Result<Option<First<T>>, String> {
    let mut found = None;
    for (candidate, key) in keys.iter().enumerate() {
        let (Some(value), Some(expiry)) = (replies.next(), replies.next()) else {
            return Err(format!("key {key:?} was not answered"));
        };
        if found.is_some() {
            continue;
        }
        let value = match value {
            Value::ServerError(error) if error.code() == "WRONGTYPE" => {
                complaints.wrong_type(key, kind);
                continue;
            }
            Value::ServerError(error) => return Err(text_of(&error)),
            value => value,
        };
        let (value, is_empty) =
            read(value).ok_or_else(|| format!("key {key:?} was answered with no {kind:?}"))?;
        if !is_empty {
            found = Some(First { candidate, value, lives_ms: read_expiry(expiry)? });
        }
    }
    Ok(found)
}

fn read_expiry(reply: Value) -> Result<u64, String> {
    match reply {
        Value::Int(-1) => Ok(u64::MAX),
        // -2: it expired between the two commands.
        Value::Int(left_ms) => Ok(u64::try_from(left_ms).unwrap_or(0)),
        Value::ServerError(error) => Err(text_of(&error)),
        _ => Err("PTTL was answered with no number".into()),
    }
}

/// Clock milliseconds at which what was read at `sent_ms` is to be read again: a tick of the coarse clock early.
pub(crate) fn deadline_ms(sent_ms: u64, lives_ms: u64) -> u64 {
    if lives_ms == u64::MAX { u64::MAX } else { sent_ms.saturating_add(lives_ms.saturating_sub(TICK_MS)) }
}

fn list_of(value: Value) -> Option<(Vec<Vec<u8>>, bool)> {
    let Value::Array(elements) = value else { return None };
    let list: Vec<_> = elements.into_iter().map(bytes_of).collect();
    let is_empty = list.is_empty();
    Some((list, is_empty))
}

/// A map in RESP3, a list of fields and values in RESP2.
fn hash_of(value: Value) -> Option<(Vec<(String, String)>, bool)> {
    let text = |value| String::from_utf8_lossy(&bytes_of(value)).into_owned();
    let fields: Vec<_> = match value {
        Value::Map(fields) => fields.into_iter().map(|(field, value)| (text(field), text(value))).collect(),
        Value::Array(elements) => {
            let mut elements = elements.into_iter();
            std::iter::from_fn(|| Some((text(elements.next()?), text(elements.next()?)))).collect()
        }
        _ => return None,
    };
    let is_empty = fields.is_empty();
    Some((fields, is_empty))
}

/// A set in RESP3, a list in RESP2. What is no index (`undefined` of ConcussionJS proxy) is passed over.
pub(crate) fn members_of(value: Value) -> Option<(Vec<usize>, bool)> {
    let (Value::Set(elements) | Value::Array(elements)) = value else { return None };
    let index = |element| str::from_utf8(&bytes_of(element)).ok()?.parse().ok();
    let mut indexes: Vec<usize> =
        elements.into_iter().filter_map(index).filter(|index| *index < BACKENDS_MAX).collect();
    indexes.sort_unstable();
    indexes.dedup();
    let is_empty = indexes.is_empty();
    Some((indexes, is_empty))
}

/// The bytes of an element of a list, a set or a hash.
pub(crate) fn bytes_of(element: Value) -> Vec<u8> {
    match element {
        Value::BulkString(bytes) => bytes,
        Value::SimpleString(text) => text.into_bytes(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use redis::{Value, parse_redis_value};

    use super::{First, Found, Members, Question, deadline_ms};
    use crate::complaints::Complaints;
    use crate::keys::Prefixes;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn list(elements: &[&str]) -> Value {
        Value::Array(elements.iter().map(|one| text(one)).collect())
    }

    fn error(line: &str) -> Value {
        parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap()
    }

    fn question() -> Question {
        Question::of("a.tld", &Prefixes::new("p:", &[]))
    }

    /// Replies of `a.tld`, `*.tld`, `*`: lists, options, then the dead set.
    fn read(lists: [[Value; 2]; 3], options: [[Value; 2]; 3], dead: [Value; 2]) -> Result<Found, String> {
        let replies = lists.into_iter().chain(options).flatten().chain(dead).collect();
        question().read(replies, &Complaints::default())
    }

    fn none() -> [Value; 2] {
        [list(&[]), Value::Int(-2)]
    }

    fn nothing() -> [[Value; 2]; 3] {
        [none(), none(), none()]
    }

    fn app(left_ms: i64) -> [Value; 2] {
        [list(&["app"]), Value::Int(left_ms)]
    }

    fn lists(lists: [[Value; 2]; 3]) -> Result<Option<(usize, u64)>, String> {
        let found = read(lists, nothing(), none())?;
        Ok(found.list.map(|first| (first.candidate, first.lives_ms)))
    }

    #[test]
    fn first_list_wins_with_its_own_expiry() {
        assert_eq!(lists([none(), app(-1), none()]), Ok(Some((1, u64::MAX))));
        assert_eq!(lists([app(5_100), app(1), none()]), Ok(Some((0, 5_100))));
        assert_eq!(lists([app(-2), none(), none()]), Ok(Some((0, 0))));
        assert_eq!(lists(nothing()), Ok(None));
    }

    #[test]
    fn errors_count_up_to_the_hit() {
        let wrong_type = || [error("WRONGTYPE no list"), Value::Int(-1)];
        let loading = || [error("LOADING wait"), error("LOADING wait")];
        assert_eq!(lists([wrong_type(), app(-1), none()]), Ok(Some((1, u64::MAX))));
        assert_eq!(lists([wrong_type(), wrong_type(), wrong_type()]), Ok(None));
        assert_eq!(lists([app(-1), loading(), loading()]), Ok(Some((0, u64::MAX))));
        assert_eq!(lists([loading(), app(-1), none()]), Err("LOADING wait".into()));
        assert_eq!(lists([[list(&["a"]), error("NOPERM no")], none(), none()]), Err("NOPERM no".into()));
        assert!(lists([[Value::Int(1), Value::Int(-1)], none(), none()]).unwrap_err().contains("no List"));
        assert_eq!(read(nothing(), nothing(), wrong_type()).unwrap().dead, Members::default());
        assert_eq!(read(nothing(), [wrong_type(), none(), none()], none()).unwrap().options, None);
        assert_eq!(read(nothing(), nothing(), loading()), Err("LOADING wait".into()));
    }

    #[test]
    fn options_and_members_in_both_protocols() {
        let fields = vec![("balance".to_owned(), "random".to_owned())];
        for hash in [Value::Map(vec![(text("balance"), text("random"))]), list(&["balance", "random"])] {
            let found = read(nothing(), [none(), [hash, Value::Int(7)], none()], none()).unwrap();
            assert_eq!(found.options, Some(First { candidate: 1, value: fields.clone(), lives_ms: 7 }));
        }
        let members = ["10", "2", "undefined", "-1", "4096", "02"];
        for set in [Value::Set(members.iter().map(|one| text(one)).collect()), list(&members)] {
            let found = read(nothing(), nothing(), [set, Value::Int(9)]).unwrap();
            assert_eq!(found.dead, Members { indexes: vec![2, 10], lives_ms: 9 });
        }
    }

    #[test]
    fn it_depends_on_what_was_looked_at() {
        let depends = |lists, options| {
            let found = read(lists, options, none()).unwrap();
            let keys: Vec<String> = question().keys().map(str::to_owned).collect();
            question().depends_on(&found).map(|key| keys[key].clone()).collect::<Vec<_>>()
        };
        let hash = || [list(&["sticky", "cookie"]), Value::Int(-1)];
        assert_eq!(
            depends([none(), app(-1), none()], [hash(), none(), none()]),
            ["p:frontend:a.tld", "p:frontend:*.tld", "p:options:a.tld", "p:dead:a.tld"]
        );
        assert_eq!(depends(nothing(), nothing()).len(), 7);
    }

    #[test]
    fn a_deadline_is_a_tick_early() {
        assert_eq!(
            [deadline_ms(7, 5_100), deadline_ms(7, 50), deadline_ms(7, u64::MAX)],
            [5_007, 7, u64::MAX]
        );
    }
}

//! Reading a host's row from Redis: one pipeline of its candidates, shared by everyone who waits for that host.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use redis::{Value, cmd};

use crate::bell::Bell;
use crate::bounds::{BACKENDS_MAX, READS_MAX, REREADS_MAX, TICK_MS, WAITERS_MAX};
use crate::complaints::Complaints;
use crate::connection::Pipeline;
use crate::error::Unavailable;
use crate::frontend::Frontend;
use crate::handshake::text_of;
use crate::keys::candidates;
use crate::options::Options;
use crate::route::Route;
use crate::store::{InUse, Store};
use crate::table::Answer;
use crate::tracking::Since;

/// The reads under way, at most one a host.
pub(crate) struct Reads {
    store: Rc<Store>,
    by_host: RefCell<HashMap<Rc<str>, Rc<Read>, foldhash::fast::RandomState>>,
    all_ended: Bell,
}

/// One read and those who wait for it.
pub(crate) struct Read {
    host: Rc<str>,
    outcome: RefCell<Option<Outcome>>,
    ended: Bell,
}

#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Answer(Answer),
    /// The connection ended first.
    Lost,
    /// The server's error.
    Refused(String),
}

impl Read {
    pub(crate) async fn outcome(&self) -> Outcome {
        self.ended.until(|| self.outcome.borrow().clone()).await
    }
}

impl Reads {
    pub(crate) fn new(store: Rc<Store>) -> Reads {
        Reads { store, by_host: RefCell::default(), all_ended: Bell::default() }
    }

    /// Waits until no read is under way.
    pub(crate) async fn all_ended(&self) {
        self.all_ended.until_true(|| self.by_host.borrow().is_empty()).await;
    }

    /// The read of `host` that is under way, or a new one.
    pub(crate) fn read_of(self: &Rc<Self>, host: &str) -> Result<Rc<Read>, Unavailable> {
        let mut reads = self.by_host.borrow_mut();
        let busy = || Unavailable::Busy { server: self.store.settings.server.clone() };
        if let Some(read) = reads.get(host) {
            return if read.ended.waiters() < WAITERS_MAX { Ok(read.clone()) } else { Err(busy()) };
        }
        if reads.len() >= READS_MAX {
            return Err(busy());
        }
        let host: Rc<str> = host.into();
        let read = Rc::new(Read { host: host.clone(), outcome: RefCell::new(None), ended: Bell::default() });
        reads.insert(host, read.clone());
        drop(reads);
        // A task of its own: the request that began it may go away while others wait.
        monoio::spawn(self.clone().carry_out(read.clone()));
        Ok(read)
    }

    async fn carry_out(self: Rc<Self>, read: Rc<Read>) {
        let outcome = self.read_row(&read.host).await;
        self.by_host.borrow_mut().remove(&read.host);
        read.outcome.replace(Some(outcome));
        read.ended.ring();
        self.all_ended.ring();
    }

    /// Reads until no key was written between sending and answer. After `REREADS_MAX` repeats the last answer is given,
    /// and its row, being marked already, is read again for the next request.
    async fn read_row(&self, host: &Rc<str>) -> Outcome {
        let store = &*self.store;
        let keys: Vec<String> =
            candidates(host).map(|candidate| format!("{}{candidate}", store.list_prefix)).collect();
        let mut last = None;
        for _ in 0..=REREADS_MAX {
            let Some(InUse { connection, age_max_ms }) = store.in_use() else { return Outcome::Lost };
            let sent_ms = store.clock.refresh();
            let moment = store.tracking.moment(keys.iter().map(String::as_str));
            let Ok(replies) = connection.call(pipeline(&keys)).await else { return Outcome::Lost };
            let found = match Found::among(&keys, replies, &store.complaints) {
                Ok(found) => found,
                Err(reason) => return Outcome::Refused(reason),
            };
            let stamp = moment.stamp(found.keys_read);
            let lives_ms = found.lives_ms.min(age_max_ms);
            let answer = found.list.map(|list| self.route(&keys[found.keys_read - 1], &list));
            store.rows.borrow_mut().put(host, answer.clone(), stamp, sent_ms.saturating_add(lives_ms));
            if store.tracking.since(&stamp) != Since::Push {
                return Outcome::Answer(answer);
            }
            last = answer;
        }
        Outcome::Answer(last)
    }

    fn route(&self, key: &str, list: &[Vec<u8>]) -> Rc<Route> {
        let key = key.strip_prefix(self.store.list_prefix.as_str()).unwrap_or(key);
        let frontend = Frontend::from_list(key, list);
        self.store.complaints.invalid_backends(&frontend);
        Rc::new(Route { frontend: self.store.frontends.intern(frontend), options: Options::default() })
    }
}

fn pipeline(keys: &[String]) -> Pipeline {
    let mut pipeline = Pipeline::default();
    for key in keys {
        // The identifier, the backends, and one more that shows whether there are too many.
        pipeline.push(cmd("LRANGE").arg(key).arg(0).arg(BACKENDS_MAX + 1));
        pipeline.push(cmd("PTTL").arg(key));
    }
    pipeline
}

/// The first list that is not empty.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    list: Option<Vec<Vec<u8>>>,
    /// Keys the answer depends on: those up to the one that holds the list.
    keys_read: usize,
    /// Milliseconds until the list expires, less a tick of the coarse clock; `u64::MAX`: never.
    lives_ms: u64,
}

impl Found {
    /// Goes through the replies to `pipeline(keys)`; an error past the list does not matter.
    fn among(keys: &[String], replies: Vec<Value>, complaints: &Complaints) -> Result<Found, String> {
        let mut replies = replies.into_iter();
        for (index, key) in keys.iter().enumerate() {
            let (list, expiry) = (replies.next(), replies.next());
            let list = match list {
                Some(Value::Array(elements)) => elements,
                Some(Value::ServerError(error)) if error.code() == "WRONGTYPE" => {
                    complaints.wrong_type(key);
                    continue;
                }
                Some(Value::ServerError(error)) => return Err(text_of(&error)),
                _ => return Err("LRANGE was answered with no list".into()),
            };
            if list.is_empty() {
                continue;
            }
            let lives_ms = match expiry {
                Some(Value::Int(-1)) => u64::MAX,
                // -2: it expired between the two commands.
                Some(Value::Int(left_ms)) => u64::try_from(left_ms).unwrap_or(0).saturating_sub(TICK_MS),
                Some(Value::ServerError(error)) => return Err(text_of(&error)),
                _ => return Err("PTTL was answered with no number".into()),
            };
            let list = list.into_iter().map(bytes_of).collect();
            return Ok(Found { list: Some(list), keys_read: index + 1, lives_ms });
        }
        Ok(Found { list: None, keys_read: keys.len(), lives_ms: u64::MAX })
    }
}

fn bytes_of(element: Value) -> Vec<u8> {
    match element {
        Value::BulkString(bytes) => bytes,
        Value::SimpleString(text) => text.into_bytes(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use redis::{Value, parse_redis_value};

    use super::Found;
    use crate::complaints::Complaints;

    fn list(elements: &[&str]) -> Value {
        Value::Array(elements.iter().map(|one| Value::BulkString((*one).into())).collect())
    }

    fn error(line: &str) -> Value {
        parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap()
    }

    fn among(replies: Vec<Value>) -> Result<Found, String> {
        let keys: Vec<String> = (0..replies.len() / 2).map(|index| format!("frontend:{index}")).collect();
        Found::among(&keys, replies, &Complaints::default())
    }

    #[test]
    fn first_list_wins_with_its_own_expiry() {
        let none = || [list(&[]), Value::Int(-2)];
        let found = |elements: &[&str], keys_read, lives_ms| {
            let list = Some(elements.iter().map(|one| one.as_bytes().to_vec()).collect());
            Ok(Found { list, keys_read, lives_ms })
        };
        let chain = |parts: Vec<[Value; 2]>| among(parts.into_iter().flatten().collect());
        assert_eq!(chain(vec![none(), [list(&["a"]), Value::Int(-1)], none()]), found(&["a"], 2, u64::MAX));
        assert_eq!(
            chain(vec![[list(&["a"]), Value::Int(5_100)], [list(&["b"]), Value::Int(1)]]),
            found(&["a"], 1, 5_000)
        );
        assert_eq!(chain(vec![[list(&["a"]), Value::Int(-2)]]), found(&["a"], 1, 0));
        assert_eq!(chain(vec![none(), none()]), Ok(Found { list: None, keys_read: 2, lives_ms: u64::MAX }));
    }

    #[test]
    fn errors_count_up_to_the_list() {
        let wrong_type = || [error("WRONGTYPE no list"), Value::Int(-1)];
        let loading = || [error("LOADING wait"), error("LOADING wait")];
        let app = || [list(&["a"]), Value::Int(-1)];
        let chain = |parts: Vec<[Value; 2]>| among(parts.into_iter().flatten().collect());
        assert_eq!(chain(vec![wrong_type(), app()]).unwrap().keys_read, 2);
        assert!(chain(vec![wrong_type(), wrong_type()]).unwrap().list.is_none());
        assert_eq!(chain(vec![app(), loading()]).unwrap().keys_read, 1);
        assert_eq!(chain(vec![loading(), app()]), Err("LOADING wait".into()));
        assert_eq!(chain(vec![[list(&["a"]), error("NOPERM no")]]), Err("NOPERM no".into()));
    }
}

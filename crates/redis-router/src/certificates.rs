//! Certificates of hosts, as bytes: the hash `tls:<host>`, else `tls:*.<parent>` (one label, as certificates have it), with
//! the fields `certificate` and `key` (PlanB). Read when first asked for, remembered within bounds, followed like routes.
//! Whether they are any good is not this crate's business.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use redis::{Value, cmd};

use crate::bell::Bell;
use crate::bounds::{CERTIFICATES_MAX, REREADS_MAX, STORE_WAIT, WAITERS_MAX};
use crate::complaints::Kind;
use crate::connection::{Lost, Pipeline};
use crate::error::Unavailable;
use crate::handshake::text_of;
use crate::question::{deadline_ms, read_expiry};
use crate::remembered::{Held, Remembered};
use crate::store::{InUse, Store};
use crate::tracking::{Since, Stamp};

/// A certificate with its chain and its key, as they stand in Redis.
#[derive(PartialEq, Eq)]
pub struct Pem {
    /// The key it stands under, prefix included: for messages.
    pub source: Box<str>,
    /// PEM, the host's own certificate first.
    pub certificate: Vec<u8>,
    /// PEM.
    pub key: Vec<u8>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem").field("source", &self.source).finish_non_exhaustive()
    }
}

/// The certificate of a host; `None`: the store holds none for it.
type Answer = Option<Rc<Pem>>;

/// The certificates one core knows.
pub(crate) struct Certificates {
    store: Rc<Store>,
    rows: RefCell<Remembered<Row>>,
    /// Hosts whose rows are being read, and those who wait.
    under_way: RefCell<HashMap<Rc<str>, Rc<Bell>, foldhash::fast::RandomState>>,
}

struct Row {
    answer: Answer,
    stamp: Stamp,
    deadline_ms: u64,
}

/// What a row says.
enum Look {
    Fresh(Answer),
    /// To be read again; this where that fails.
    Stale(Answer),
    Unknown,
}

impl Certificates {
    pub(crate) fn new(store: Rc<Store>) -> Certificates {
        let rows = RefCell::new(Remembered::new(CERTIFICATES_MAX));
        Certificates { store, rows, under_way: RefCell::default() }
    }

    /// As [`crate::Router::certificate`].
    pub(crate) async fn find(&self, host: &str) -> Result<Answer, Unavailable> {
        if let Look::Fresh(answer) = self.look(host) {
            return Ok(answer);
        }
        let read = monoio::time::timeout(STORE_WAIT, self.ask(host)).await;
        let slow = || Err(Unavailable::Slow { store: self.store.name.clone() });
        read.unwrap_or_else(|_| slow()).or_else(|unavailable| match self.look(host) {
            Look::Fresh(answer) | Look::Stale(answer) => Ok(answer),
            Look::Unknown => Err(unavailable),
        })
    }

    /// Drops what can be read again.
    pub(crate) fn forget(&self) {
        self.rows.borrow_mut().clear();
    }

    fn look(&self, host: &str) -> Look {
        let rows = self.rows.borrow();
        let Some(row) = rows.get(host) else { return Look::Unknown };
        let answer = row.answer.clone();
        match self.store.is_current(&row.stamp, row.deadline_ms) {
            true => Look::Fresh(answer),
            false => Look::Stale(answer),
        }
    }

    /// Reads the row of `host`, or waits for the one who reads it.
    async fn ask(&self, host: &str) -> Result<Answer, Unavailable> {
        loop {
            self.store.attempt_ended().await?;
            let read_by = self.under_way.borrow().get(host).cloned();
            let Some(read_by) = read_by else { return self.read_alone(host).await };
            if read_by.waiters() >= WAITERS_MAX {
                return Err(self.store.busy());
            }
            read_by.until_true(|| !self.under_way.borrow().contains_key(host)).await;
            if let Look::Fresh(answer) = self.look(host) {
                return Ok(answer);
            }
        }
    }

    async fn read_alone(&self, host: &str) -> Result<Answer, Unavailable> {
        let host: Rc<str> = host.into();
        self.under_way.borrow_mut().insert(host.clone(), Rc::default());
        let _turn = Turn { certificates: self, host: &host };
        let mut reads_left = 1 + REREADS_MAX;
        loop {
            let row = self.read_once(&host).await?;
            reads_left -= 1;
            let is_current = self.store.tracking.since(&row.stamp) != Since::Push;
            let answer = row.answer.clone();
            self.rows.borrow_mut().put(&host, Held::from(answer.is_some()), row);
            if is_current || reads_left == 0 {
                return Ok(answer);
            }
        }
    }

    async fn read_once(&self, host: &str) -> Result<Row, Unavailable> {
        let store = &*self.store;
        let lost = || store.away("the connection was lost under the read".into());
        let Some(InUse { connection, age_max_ms, .. }) = store.in_use() else { return Err(lost()) };
        let (keys, sent_ms) = (self.keys(host), store.clock.refresh());
        let moment = store.tracking.moment(keys.iter().map(String::as_str));
        let mut pipeline = Pipeline::default();
        for key in &keys {
            pipeline.push(cmd("HMGET").arg(key).arg("certificate").arg("key"));
            pipeline.push(cmd("PTTL").arg(key));
        }
        let replies = connection.call(pipeline).await.map_err(|Lost| lost())?;
        let mut lives_ms = u64::MAX;
        let (mut answer, mut depends_on) = (None, 0);
        for (key, reply) in keys.iter().zip(replies.chunks_exact(2)) {
            depends_on += 1;
            answer = self.pem(key, &reply[0])?;
            if answer.is_some() {
                lives_ms = read_expiry(reply[1].clone()).map_err(|reason| self.refused(reason))?;
                break;
            }
        }
        let deadline_ms = deadline_ms(sent_ms, lives_ms).min(sent_ms.saturating_add(age_max_ms));
        let answer = answer.map(|pem| self.same_as_before(host, pem));
        Ok(Row { answer, stamp: moment.stamp(0..depends_on), deadline_ms })
    }

    /// `tls:www.example.tld`, then `tls:*.example.tld`.
    fn keys(&self, host: &str) -> Vec<String> {
        let prefix = &self.store.prefixes.certificates;
        let wildcard = host.split_once('.').map(|(_, parent)| format!("{prefix}*.{parent}"));
        [format!("{prefix}{host}")].into_iter().chain(wildcard).collect()
    }

    /// The pair that the fields of `key` hold; one without the other is none.
    fn pem(&self, key: &str, reply: &Value) -> Result<Option<Pem>, Unavailable> {
        match reply {
            Value::Array(fields) => match fields.as_slice() {
                [Value::Nil, Value::Nil] => Ok(None),
                [Value::BulkString(certificate), Value::BulkString(secret)] => Ok(Some(Pem {
                    source: key.into(),
                    certificate: certificate.clone(),
                    key: secret.clone(),
                })),
                _ => {
                    self.store.complaints.half_certificate(key);
                    Ok(None)
                }
            },
            Value::ServerError(error) if error.code() == "WRONGTYPE" => {
                self.store.complaints.wrong_type(key, Kind::Hash);
                Ok(None)
            }
            Value::ServerError(error) => Err(self.refused(text_of(error))),
            _ => Err(self.refused("HMGET was answered with no list".into())),
        }
    }

    /// The one known of `host` where nothing about it has changed.
    fn same_as_before(&self, host: &str, pem: Pem) -> Rc<Pem> {
        let known = self.rows.borrow().get(host).and_then(|row| row.answer.clone());
        known.filter(|known| **known == pem).unwrap_or_else(|| Rc::new(pem))
    }

    fn refused(&self, reason: String) -> Unavailable {
        Unavailable::Refused { store: self.store.name.clone(), reason }
    }
}

/// Ends a read, however it ends: those who wait look for themselves.
struct Turn<'a> {
    certificates: &'a Certificates,
    host: &'a Rc<str>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let bell = self.certificates.under_way.borrow_mut().remove(self.host);
        bell.iter().for_each(|bell| bell.ring());
    }
}

#[cfg(test)]
mod tests {
    use super::Pem;

    #[test]
    fn no_key_shows_in_a_message() {
        let pem = Pem { source: "tls:a".into(), certificate: b"c".into(), key: b"geheim".into() };
        assert!(!format!("{pem:?}").contains("geheim") && !format!("{pem:?}").contains("103"));
    }
}

//! Telling the others on the store of a backend's death, in tasks of their own.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use log::warn;
use redis::{Value, cmd};

use crate::bell::Bell;
use crate::bounds::{ANNOUNCEMENTS_MAX, REFUSAL_PAUSE_MS};
use crate::clock::unix_seconds;
use crate::connection::{Connection, Pipeline};
use crate::handshake::text_of;
use crate::message::{CHANNEL, Death};
use crate::report::{Report, signature};
use crate::store::Store;

/// The announcements under way.
pub(crate) struct Announcements {
    store: Rc<Store>,
    under_way: Cell<usize>,
    all_ended: Bell,
    refusal_said_ms: Cell<Option<u64>>,
    /// Who tells.
    signature: String,
}

/// What is to be told.
struct News {
    /// The death, as it is said on the channel.
    message: String,
    why: String,
    /// The set must not come to hold all of these beside it.
    others: Box<[usize]>,
}

impl Announcements {
    pub(crate) fn new(store: Rc<Store>) -> Announcements {
        let (under_way, refusal_said_ms) = (Cell::new(0), Cell::new(None));
        Announcements {
            store,
            under_way,
            all_ended: Bell::default(),
            refusal_said_ms,
            signature: signature(),
        }
    }

    /// Waits until none is under way.
    pub(crate) async fn all_ended(&self) {
        self.all_ended.until_true(|| self.under_way.get() == 0).await;
    }

    /// Announces `death` unless the store is away or too many are under way. It is taken back where the set turns out to
    /// hold all of `others` as well; empty: it stands in any case.
    pub(crate) fn begin(self: &Rc<Self>, death: &Death<'_>, others: Box<[usize]>, why: String) {
        let Some(connection) = self.store.writer() else { return };
        if self.under_way.get() >= ANNOUNCEMENTS_MAX {
            return;
        }
        self.under_way.set(self.under_way.get() + 1);
        let (all, news) = (self.clone(), News { message: death.to_string(), why, others });
        monoio::spawn(async move {
            all.carry_out(&connection, &news).await;
            all.under_way.set(all.under_way.get() - 1);
            all.all_ended.ring();
        });
    }

    /// Lost with the connection it is not sent again: the mark is known here, and others see the death themselves.
    async fn carry_out(&self, connection: &Connection, news: &News) {
        let death = Death::parse(&news.message).expect("it was written from a death");
        let deaths = &self.store.deaths;
        let ttl_s = (!deaths.checker_is_active()).then(|| whole_seconds(deaths.ttl()));
        let sent_ms = self.store.clock.refresh();
        let Ok(replies) = connection.call(self.pipeline(&death, &news.message, ttl_s)).await else { return };
        match (replies.iter().find_map(refusal), ttl_s) {
            (Some(said), Some(_)) => {
                self.complain(&said);
                // The set cannot be written (READONLY, OOM, NOPERM); the message may still be heard.
                let Ok(_) = connection.call(self.pipeline(&death, &news.message, None)).await else { return };
            }
            (Some(said), None) => self.complain(&said),
            (None, Some(ttl_s)) => {
                deaths.entered(&death, sent_ms, ttl_s * 1_000);
                if !news.others.is_empty() {
                    self.spare_the_last(connection, &death, &news.others).await;
                }
            }
            (None, None) => {}
        }
        self.report(connection, &death, news).await;
    }

    /// Writes why it died, for `routes show`. Apart from the mark: a user who may not write this must not lose that.
    async fn report(&self, connection: &Connection, death: &Death<'_>, news: &News) {
        let key = format!("{}{}", self.store.prefixes.reports, death.frontend);
        let (url, by, why) = (death.url.to_owned(), self.signature.clone(), news.why.clone());
        let report = Report { url, since: unix_seconds(), by, why };
        let mut pipeline = Pipeline::default();
        pipeline.push(cmd("HSET").arg(&key).arg(death.index).arg(report.to_field()));
        pipeline.push(cmd("EXPIRE").arg(&key).arg(whole_seconds(self.store.deaths.ttl())));
        // Where it is refused or lost, the mark stands without a reason.
        let _ = connection.call(pipeline).await;
    }

    /// Two who saw a different backend of two fail at the same moment each took the other for live: the later finds both
    /// in the set and takes its own mark back.
    async fn spare_the_last(&self, connection: &Connection, death: &Death<'_>, others: &[usize]) {
        let key = self.key(death);
        let mut members = Pipeline::default();
        members.push(cmd("SMEMBERS").arg(&key));
        let Ok(replies) = connection.call(members).await else { return };
        let Some(Value::Array(members) | Value::Set(members)) = replies.into_iter().next() else { return };
        let members: Vec<usize> = members.iter().filter_map(index_of).collect();
        if !others.iter().all(|other| members.contains(other)) {
            return;
        }
        self.store.deaths.take_back(death);
        let mut removal = Pipeline::default();
        removal.push(cmd("SREM").arg(&key).arg(death.index));
        // Where it is lost the mark ends by its time.
        let _ = connection.call(removal).await;
    }

    fn key(&self, death: &Death<'_>) -> String {
        format!("{}{}", self.store.prefixes.dead, death.frontend)
    }

    /// The mark and the message as one; the message alone where an external checker owns the sets (no `ttl_s`).
    fn pipeline(&self, death: &Death<'_>, message: &str, ttl_s: Option<u64>) -> Pipeline {
        let mut pipeline = Pipeline::default();
        let publish = cmd("PUBLISH").arg(CHANNEL).arg(message).take();
        let Some(ttl_s) = ttl_s else {
            pipeline.push(&publish);
            return pipeline;
        };
        let key = self.key(death);
        pipeline.push(&cmd("MULTI"));
        pipeline.push(cmd("SADD").arg(&key).arg(death.index));
        pipeline.push(cmd("EXPIRE").arg(&key).arg(ttl_s));
        pipeline.push(&publish);
        pipeline.push(&cmd("EXEC"));
        pipeline
    }

    fn complain(&self, said: &str) {
        let now_ms = self.store.clock.refresh();
        if self.refusal_said_ms.get().is_none_or(|said_ms| now_ms >= said_ms + REFUSAL_PAUSE_MS) {
            self.refusal_said_ms.set(Some(now_ms));
            let name = &self.store.name;
            warn!(
                "redis {name}: the death of a backend was not marked: {said}; who does not hear of it on the channel \
                 \"dead\" does not know"
            );
        }
    }
}

/// EXPIRE with 0 would delete the set.
fn whole_seconds(ttl: Duration) -> u64 {
    ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0)).max(1)
}

fn index_of(member: &Value) -> Option<usize> {
    match member {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

/// The error in a reply, that of a command within EXEC included.
fn refusal(reply: &Value) -> Option<String> {
    match reply {
        Value::ServerError(error) => Some(text_of(error)),
        Value::Array(replies) => replies.iter().find_map(refusal),
        _ => None,
    }
}

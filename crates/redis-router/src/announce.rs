//! Telling the others on the store of a backend's death, in tasks of their own.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use log::warn;
use redis::{Value, cmd};

use crate::bell::Bell;
use crate::bounds::{ANNOUNCEMENTS_MAX, REFUSAL_PAUSE_MS};
use crate::connection::{Connection, Pipeline};
use crate::handshake::text_of;
use crate::message::{CHANNEL, Death};
use crate::store::Store;

/// The announcements under way.
pub(crate) struct Announcements {
    store: Rc<Store>,
    under_way: Cell<usize>,
    all_ended: Bell,
    refusal_said_ms: Cell<Option<u64>>,
}

impl Announcements {
    pub(crate) fn new(store: Rc<Store>) -> Announcements {
        let (under_way, refusal_said_ms) = (Cell::new(0), Cell::new(None));
        Announcements { store, under_way, all_ended: Bell::default(), refusal_said_ms }
    }

    /// Waits until none is under way.
    pub(crate) async fn all_ended(&self) {
        self.all_ended.until_true(|| self.under_way.get() == 0).await;
    }

    /// Announces `death` unless the store is away or too many are under way. It is taken back where the set turns out to
    /// hold all of `others` as well; empty: it stands in any case.
    pub(crate) fn begin(self: &Rc<Self>, death: &Death<'_>, others: Box<[usize]>) {
        let Some(connection) = self.store.writer() else { return };
        if self.under_way.get() >= ANNOUNCEMENTS_MAX {
            return;
        }
        self.under_way.set(self.under_way.get() + 1);
        let (all, message) = (self.clone(), death.to_string());
        monoio::spawn(async move {
            all.carry_out(&connection, &message, &others).await;
            all.under_way.set(all.under_way.get() - 1);
            all.all_ended.ring();
        });
    }

    /// Lost with the connection it is not sent again: the mark is known here, and others see the death themselves.
    async fn carry_out(&self, connection: &Connection, message: &str, others: &[usize]) {
        let death = Death::parse(message).expect("it was written from a death");
        let deaths = &self.store.deaths;
        let ttl_s = (!deaths.checker_is_active()).then(|| whole_seconds(deaths.ttl()));
        let sent_ms = self.store.clock.refresh();
        let Ok(replies) = connection.call(self.pipeline(&death, message, ttl_s)).await else { return };
        match (replies.iter().find_map(refusal), ttl_s) {
            (Some(said), Some(_)) => {
                self.complain(&said);
                // The set cannot be written (READONLY, OOM, NOPERM); the message may still be heard.
                let Ok(_) = connection.call(self.pipeline(&death, message, None)).await else { return };
            }
            (Some(said), None) => self.complain(&said),
            (None, Some(ttl_s)) => {
                deaths.entered(&death, sent_ms, ttl_s * 1_000);
                if !others.is_empty() {
                    self.spare_the_last(connection, &death, others).await;
                }
            }
            (None, None) => {}
        }
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

//! Reading a host's row from Redis: one pipeline of its candidates (a second one where the dead set of the key that
//! matched is another than the host's), shared by everyone who waits for that host.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::bell::Bell;
use crate::bounds::{READS_MAX, REREADS_MAX, WAITERS_MAX};
use crate::connection::{Connection, Lost, Pipeline};
use crate::error::Unavailable;
use crate::frontend::Frontend;
use crate::marks::DeadSet;
use crate::options::Options;
use crate::question::{Found, Members, Question, ask_members, deadline_ms, read_members};
use crate::route::Route;
use crate::store::{InUse, Store};
use crate::table::Answer;
use crate::tracking::{Since, Stamp};

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
        let busy = || self.store.busy();
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
        let question = Question::of(host, &self.store.prefixes);
        let mut reads_left = 1 + REREADS_MAX;
        loop {
            let row = match self.read_once(host, &question).await {
                Ok(row) => row,
                Err(outcome) => return outcome,
            };
            reads_left -= 1;
            let is_current = self.store.tracking.since(&row.stamp) != Since::Push;
            if let (Some(route), true) = (&row.answer, is_current || reads_left == 0) {
                row.dead
                    .iter()
                    .for_each(|(name, set)| self.store.deaths.set_read(name, set, &route.frontend));
            }
            self.store.rows.borrow_mut().put(host, row.answer.clone(), row.stamp, row.deadline_ms);
            if is_current || reads_left == 0 {
                return Outcome::Answer(row.answer);
            }
        }
    }

    async fn read_once(&self, host: &str, question: &Question) -> Result<Row, Outcome> {
        let store = &*self.store;
        let Some(InUse { connection, age_max_ms, .. }) = store.in_use() else { return Err(Outcome::Lost) };
        let (sent_ms, announcements) = (store.clock.refresh(), store.deaths.announcements());
        let moment = store.tracking.moment(question.keys());
        let replies = connection.call(question.pipeline()).await?;
        let found = question.read(replies, &store.complaints).map_err(Outcome::Refused)?;
        let mut stamp = moment.stamp(question.depends_on(&found));
        let options_ms = found.options.as_ref().map_or(u64::MAX, |options| options.lives_ms);
        let list_ms = found.list.as_ref().map_or(u64::MAX, |list| list.lives_ms);
        let deadline_ms =
            deadline_ms(sent_ms, list_ms.min(options_ms)).min(sent_ms.saturating_add(age_max_ms));
        let answer = self.route(host, question, &found);
        let mut dead = Vec::new();
        if let Some(route) = &answer {
            let set = |sent_ms: u64, members: Members| {
                let until_ms = sent_ms.saturating_add(members.lives_ms);
                DeadSet { members: members.indexes, until_ms, announcements }
            };
            let (key, host_name) = (&route.frontend.key, &question.dead_name);
            if **key != **host_name {
                let sent_ms = store.clock.refresh();
                let members = self.members(&connection, key, &mut stamp).await?;
                dead.push((key.clone(), set(sent_ms, members)));
            }
            if **key == **host_name || route.is_marked_as(host_name) {
                dead.push((host_name.as_str().into(), set(sent_ms, found.dead)));
            }
        }
        Ok(Row { answer, dead, stamp, deadline_ms })
    }

    /// Reads the dead set of a frontend.
    async fn members(
        &self,
        connection: &Connection,
        name: &str,
        stamp: &mut Stamp,
    ) -> Result<Members, Outcome> {
        let key = format!("{}{name}", self.store.prefixes.dead);
        self.store.tracking.add(stamp, &key);
        let mut pipeline = Pipeline::default();
        ask_members(&mut pipeline, &key);
        let replies = connection.call(pipeline).await?;
        read_members(&key, replies.into_iter(), &self.store.complaints).map_err(Outcome::Refused)
    }

    /// The route that was found; the one known of `host` where it says the same.
    fn route(&self, host: &str, question: &Question, found: &Found) -> Answer {
        let list = found.list.as_ref()?;
        let key = question.name(list.candidate);
        let frontend = Frontend::from_list(key, &list.value);
        self.store.complaints.invalid_backends(&frontend);
        let frontend = self.store.frontends.intern(frontend);
        let also_marked_as = question.also_marked_as(key, host).map(Into::into);
        let route =
            Route::new(frontend, self.options(question, found), also_marked_as, self.store.deaths.clone());
        match self.store.rows.borrow().peek(host) {
            Some(Some(known)) if known.is_same(&route) => Some(known.clone()),
            _ => Some(Rc::new(route)),
        }
    }

    fn options(&self, question: &Question, found: &Found) -> Options {
        let mut options = Options::default();
        let Some(hash) = &found.options else { return options };
        for (field, value) in &hash.value {
            if let Err(reason) = options.take(field, value) {
                self.store.complaints.invalid_option(question.options_key(hash.candidate), field, &reason);
            }
        }
        options
    }
}

/// What one read found.
struct Row {
    answer: Answer,
    /// The dead sets that concern it, by name.
    dead: Vec<(Box<str>, DeadSet)>,
    stamp: Stamp,
    deadline_ms: u64,
}

impl From<Lost> for Outcome {
    fn from(Lost: Lost) -> Outcome {
        Outcome::Lost
    }
}

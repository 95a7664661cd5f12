//! Which tier a name is in: membership in the sets that are named as the tiers, read once and followed by pushes. While it
//! is read again the tier of before counts.

use std::cell::RefCell;
use std::rc::Rc;

use hashbrown::HashMap;
use redis::{Value, cmd};

use crate::bell::Bell;
use crate::bounds::{MEMBERS_MAX, NAME_BYTES_MAX, WAITERS_MAX};
use crate::complaints::Kind;
use crate::connection::Pipeline;
use crate::remembered::{Held, Remembered};
use crate::store::{InUse, Store};
use crate::tracking::Stamp;

pub(super) struct Members {
    store: Rc<Store>,
    /// Keys of the sets, of the tiers from the second on.
    sets: Vec<String>,
    rows: RefCell<Remembered<Row>>,
    under_way: RefCell<HashMap<Rc<str>, Rc<Bell>, foldhash::fast::RandomState>>,
}

struct Row {
    tier: usize,
    stamp: Stamp,
    deadline_ms: u64,
}

/// A name whose tier is being read.
pub(super) struct Reading<'a> {
    members: &'a Members,
    name: &'a str,
    bell: Rc<Bell>,
}

impl Reading<'_> {
    /// Waits until it was read, or could not be.
    pub(super) async fn ended(self) {
        self.bell.until_true(|| !self.members.under_way.borrow().contains_key(self.name)).await;
    }
}

impl Members {
    pub(super) fn new<'a>(store: Rc<Store>, tiers: impl Iterator<Item = &'a str>) -> Members {
        let sets = tiers.skip(1).map(|tier| format!("{}{tier}", store.prefixes.all)).collect();
        let rows = RefCell::new(Remembered::new(MEMBERS_MAX));
        Members { store, sets, rows, under_way: RefCell::default() }
    }

    /// The tier of `name`; `None`: `tier` has to be asked. One that may be of another tier by now is read again meanwhile.
    pub(super) fn tier_now(self: &Rc<Self>, name: &str) -> Option<usize> {
        if self.sets.is_empty() || name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Some(0);
        }
        let rows = self.rows.borrow();
        let row = rows.get(name)?;
        let tier = row.tier;
        if !self.store.is_current(&row.stamp, row.deadline_ms) {
            drop(rows);
            // Where it cannot be read now a later request begins.
            let _ = self.begin(name);
        }
        Some(tier)
    }

    /// The tier of `name`, as it was last read; the first where it never was.
    pub(super) fn known(&self, name: &str) -> usize {
        self.rows.borrow().get(name).map_or(0, |row| row.tier)
    }

    /// Begins to read the tier of `name` where it is not known; `None`: it is, or cannot be read now.
    pub(super) fn read<'a>(self: &'a Rc<Self>, name: &'a str) -> Option<Reading<'a>> {
        if self.tier_now(name).is_some() {
            return None;
        }
        let bell = self.begin(name)?;
        Some(Reading { members: self, name, bell })
    }

    pub(super) fn forget(&self) {
        if self.store.in_use().is_some() {
            self.rows.borrow_mut().clear();
        }
    }

    /// Begins to read the row of `name`, unless it is read already; what rings when it was. `None`: it cannot be read now.
    fn begin(self: &Rc<Self>, name: &str) -> Option<Rc<Bell>> {
        if let Some(bell) = self.under_way.borrow().get(name) {
            return Some(Rc::clone(bell)).filter(|bell| bell.waiters() < WAITERS_MAX);
        }
        if self.under_way.borrow().len() >= WAITERS_MAX {
            return None;
        }
        let in_use = self.store.in_use()?;
        let (name, bell): (Rc<str>, Rc<Bell>) = (name.into(), Rc::default());
        self.under_way.borrow_mut().insert(Rc::clone(&name), Rc::clone(&bell));
        let (all, rung) = (Rc::clone(self), Rc::clone(&bell));
        monoio::spawn(async move {
            if let Some(row) = all.ask(&name, in_use).await {
                all.rows.borrow_mut().put(&name, Held::from(row.tier > 0), row);
            }
            all.under_way.borrow_mut().remove(&name);
            rung.ring();
        });
        Some(bell)
    }

    async fn ask(&self, name: &str, InUse { connection, age_max_ms, .. }: InUse) -> Option<Row> {
        let sent_ms = self.store.clock.refresh();
        let moment = self.store.tracking.moment(self.sets.iter().map(String::as_str));
        let mut pipeline = Pipeline::default();
        self.sets.iter().for_each(|set| pipeline.push(cmd("SISMEMBER").arg(set).arg(name)));
        // Where the connection is lost it is read again when it is back.
        let replies = connection.call(pipeline).await.ok()?;
        let tier = self.highest(&replies)?;
        let deadline_ms = sent_ms.saturating_add(age_max_ms);
        Some(Row { tier, stamp: moment.stamp(0..self.sets.len()), deadline_ms })
    }

    /// The last set that says yes; 0: none. `None`: one cannot be read.
    fn highest(&self, replies: &[Value]) -> Option<usize> {
        let mut tier = 0;
        for (number, reply) in replies.iter().enumerate() {
            match reply {
                Value::Int(1) | Value::Boolean(true) => tier = number + 1,
                Value::Int(_) | Value::Boolean(false) => {}
                Value::ServerError(error) if error.code() == "WRONGTYPE" => {
                    self.store.complaints.wrong_type(&self.sets[number], Kind::Set);
                }
                _ => return None,
            }
        }
        Some(tier)
    }
}

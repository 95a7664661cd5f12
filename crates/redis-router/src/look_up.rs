//! Answers a look-up: from the rows, or by a read that it waits for a bounded time.

use std::rc::Rc;

use crate::announce::Announcements;
use crate::bounds::STORE_WAIT;
use crate::certificates::Certificates;
use crate::error::Unavailable;
use crate::reads::{Outcome, Reads};
use crate::store::{Look, Store};
use crate::table::Answer;

pub(crate) struct LookUp {
    pub(crate) store: Rc<Store>,
    pub(crate) reads: Rc<Reads>,
    pub(crate) announcements: Rc<Announcements>,
    pub(crate) certificates: Certificates,
}

impl LookUp {
    pub(crate) fn new(store: Store) -> LookUp {
        let store = Rc::new(store);
        let reads = Rc::new(Reads::new(store.clone()));
        let announcements = Rc::new(Announcements::new(store.clone()));
        LookUp { reads, announcements, certificates: Certificates::new(store.clone()), store }
    }

    /// What can be answered without waiting; an ageing answer is read again in the background.
    pub(crate) fn answer_now(&self, host: &str) -> Option<Answer> {
        let look = self.store.look(host);
        match look {
            Look::Fresh(answer) => Some(answer),
            Look::Ageing(answer) => {
                if self.store.in_use().is_some() {
                    // Where no further read may start now, a later request starts it.
                    let _ = self.reads.read_of(host);
                }
                Some(answer)
            }
            Look::Stale(answer) => self.store.in_use().is_none().then_some(answer),
            Look::Unknown => None,
        }
    }

    /// Asks the store; what is known from before stands in for an answer that does not come.
    pub(crate) async fn find(&self, host: &str) -> Result<Answer, Unavailable> {
        if let Some(answer) = self.answer_now(host) {
            return Ok(answer);
        }
        let outcome = monoio::time::timeout(STORE_WAIT, self.ask(host)).await;
        let slow = || Err(Unavailable::Slow { store: self.store.name.clone() });
        outcome.unwrap_or_else(|_| slow()).or_else(|unavailable| self.store.known(host).ok_or(unavailable))
    }

    /// Reads once more where the connection is lost under the read and another is being made.
    async fn ask(&self, host: &str) -> Result<Answer, Unavailable> {
        for _ in 0..2 {
            self.store.attempt_ended().await?;
            let read = self.reads.read_of(host)?;
            match read.outcome().await {
                Outcome::Answer(answer) => return Ok(answer),
                Outcome::Refused(reason) => {
                    return Err(Unavailable::Refused { store: self.store.name.clone(), reason });
                }
                Outcome::Lost => {}
            }
        }
        Err(self.store.away("the connection was lost twice".into()))
    }
}

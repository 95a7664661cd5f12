//! Names of backends, resolved on threads of their own: the cores never wait for a name server. Each core keeps
//! what it was told and asks again when that is old or led nowhere.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{IpAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use slab::Slab;

use crate::bounds::{ADDRESSES_PER_NAME, NAMES_PER_CORE, RESOLVED_SECONDS};

/// A question for the resolver threads. `answer` is called on one of them.
pub(crate) struct Question {
    name: Arc<str>,
    answer: Arc<dyn Fn(Resolved) + Send + Sync>,
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    /// The name as it was asked for.
    pub(crate) name: Arc<str>,
    /// Its addresses, or why there are none.
    pub(crate) addresses: Result<Arc<[IpAddr]>, String>,
}

/// Answers questions until every sender is gone. Runs on a thread of its own.
pub(crate) fn answer_questions(questions: &Mutex<Receiver<Question>>) {
    loop {
        let question = match questions.lock() {
            Ok(receiver) => receiver.recv(),
            Err(_) => return,
        };
        let Ok(Question { name, answer }) = question else { return };
        let addresses = look_up(&name);
        answer(Resolved { name, addresses });
    }
}

fn look_up(name: &str) -> Result<Arc<[IpAddr]>, String> {
    let found = (name, 0).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found.map(|address| address.ip()) {
        if !addresses.contains(&address) && addresses.len() < ADDRESSES_PER_NAME {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err("the name has no address".into()) } else { Ok(addresses.into()) }
}

/// One core's view of names.
pub(crate) struct Resolver {
    names: RefCell<HashMap<Arc<str>, Rc<Name>, foldhash::fast::RandomState>>,
    questions: SyncSender<Question>,
    answer: Arc<dyn Fn(Resolved) + Send + Sync>,
    /// Seconds, moved on by the core's tick.
    now: Cell<u64>,
}

#[derive(Default)]
struct Name {
    addresses: RefCell<Option<Result<Arc<[IpAddr]>, String>>>,
    asked_at: Cell<Option<u64>>,
    answered_at: Cell<u64>,
    waiting: RefCell<Slab<Waker>>,
}

/// One request's wait for an answer. Dropping it leaves nothing behind.
struct Wait<'a> {
    name: &'a Name,
    key: Option<usize>,
}

impl Wait<'_> {
    fn poll(&mut self, waker: &Waker) -> Poll<Result<Arc<[IpAddr]>, String>> {
        if let Some(known) = &*self.name.addresses.borrow() {
            return Poll::Ready(known.clone());
        }
        let mut waiting = self.name.waiting.borrow_mut();
        match self.key {
            Some(key) => waiting[key].clone_from(waker),
            None => self.key = Some(waiting.insert(waker.clone())),
        }
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.name.waiting.borrow_mut().remove(key);
        }
    }
}

impl Resolver {
    /// `answer` brings what the threads found back to this core, which passes it to [`Self::learn`].
    pub(crate) fn new(questions: SyncSender<Question>, answer: Arc<dyn Fn(Resolved) + Send + Sync>) -> Self {
        Self { names: RefCell::default(), questions, answer, now: Cell::new(0) }
    }

    pub(crate) fn tick(&self, now: u64) {
        self.now.set(now);
    }

    /// The addresses of `name`: what is known even if it is old (it is then asked for in the background), else
    /// waited for.
    ///
    /// # Errors
    /// Why there are none, in words.
    pub(crate) async fn addresses(&self, name: &str) -> Result<Arc<[IpAddr]>, String> {
        let entry = self.entry(name)?;
        let is_old = self.now.get().saturating_sub(entry.answered_at.get()) >= RESOLVED_SECONDS;
        let is_known = matches!(*entry.addresses.borrow(), Some(Ok(_)));
        let asked = if !is_known || is_old { self.ask(name, &entry) } else { Ok(()) };
        if !is_known {
            // What is known serves even where there is no asking.
            asked?;
            entry.addresses.borrow_mut().take_if(|known| known.is_err());
        }
        let mut wait = Wait { name: &entry, key: None };
        poll_fn(|context| wait.poll(context.waker())).await
    }

    /// Has `name` asked for again: its addresses led nowhere. Once a second at most, as requests may fail faster.
    pub(crate) fn doubt(&self, name: &str) {
        let known = self.names.borrow().get(name).map(Rc::clone);
        if let Some(entry) = known.filter(|entry| entry.answered_at.get() < self.now.get()) {
            // A full queue means that it will be asked for by age.
            let _ = self.ask(name, &entry);
        }
    }

    /// Takes in an answer.
    pub(crate) fn learn(&self, resolved: Resolved) {
        let Some(entry) = self.names.borrow().get(&resolved.name).map(Rc::clone) else { return };
        entry.asked_at.set(None);
        entry.answered_at.set(self.now.get());
        let had_addresses = matches!(*entry.addresses.borrow(), Some(Ok(_)));
        match resolved.addresses {
            // A name server that fails does not take away what it said before.
            Err(error) if had_addresses => log::warn!("cannot resolve {} again: {error}", resolved.name),
            addresses => *entry.addresses.borrow_mut() = Some(addresses),
        }
        entry.waiting.borrow().iter().for_each(|(_, waker)| waker.wake_by_ref());
    }

    fn entry(&self, name: &str) -> Result<Rc<Name>, String> {
        let mut names = self.names.borrow_mut();
        if let Some(entry) = names.get(name) {
            return Ok(Rc::clone(entry));
        }
        if names.len() >= NAMES_PER_CORE {
            let now = self.now.get();
            names.retain(|_, entry| now.saturating_sub(entry.answered_at.get()) < 2 * RESOLVED_SECONDS);
        }
        if names.len() >= NAMES_PER_CORE {
            return Err("too many backend names".into());
        }
        let entry = Rc::new(Name::default());
        names.insert(name.into(), Rc::clone(&entry));
        Ok(entry)
    }

    /// Puts one question, unless one is under way.
    fn ask(&self, name: &str, entry: &Name) -> Result<(), String> {
        if entry.asked_at.get().is_some() {
            return Ok(());
        }
        let question = Question { name: name.into(), answer: Arc::clone(&self.answer) };
        match self.questions.try_send(question) {
            Ok(()) => {
                entry.asked_at.set(Some(self.now.get()));
                Ok(())
            }
            Err(TrySendError::Full(_)) => Err("too many names wait to be resolved".into()),
            Err(TrySendError::Disconnected(_)) => Err("the resolver has ended".into()),
        }
    }
}

#[cfg(test)]
mod tests;

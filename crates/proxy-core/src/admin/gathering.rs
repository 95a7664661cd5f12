//! One survey of the cores, from the question until all have answered or time is up. Knows no sockets of visitors.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use crate::board::Board;
use crate::inbox::{Asker, Message};
use crate::survey::{Found, Part, Query, SeenBackend, SeenFrontend};

/// Answers under way.
pub(super) struct Gathering {
    parts: Receiver<Part>,
    come: Vec<Part>,
    cores: usize,
}

/// All answers as one.
pub(super) struct Gathered {
    /// By its number; `None`: the core gave no answer.
    pub(super) cores: Vec<Option<Part>>,
    pub(super) frontends: BTreeMap<Box<str>, (SeenFrontend, Vec<usize>)>,
    pub(super) backends: BTreeMap<Box<str>, SeenBackend>,
    /// How many match at least: cores know different ones.
    pub(super) matching: usize,
}

impl Gathering {
    /// Asks the cores of a board, which have time until then. `wake` is written to at each answer.
    pub(super) fn begin(
        (board, wake): (&Board, &Arc<UnixStream>),
        query: &Arc<Query>,
        until: Instant,
    ) -> Self {
        // As many places as are used: a channel that grows would be the cores' memory.
        let (sender, parts) = sync_channel(board.len());
        let ask = |core| {
            let asker = Asker { core, until, parts: sender.clone(), wake: Arc::clone(wake) };
            Message::Survey(Arc::clone(query), asker)
        };
        let cores = board.tell(ask);
        Self { parts, come: Vec::new(), cores }
    }

    /// Whether no more answers can come.
    pub(super) fn is_over(&mut self) -> bool {
        self.come.extend(self.parts.try_iter());
        self.come.len() >= self.cores
    }

    /// Joins what has come; at most `limit` of each are kept.
    pub(super) fn end(self, limit: usize) -> Gathered {
        let mut gathered = Gathered {
            cores: std::iter::repeat_with(|| None).take(self.cores).collect(),
            frontends: BTreeMap::new(),
            backends: BTreeMap::new(),
            matching: 0,
        };
        self.come.into_iter().for_each(|part| gathered.join(part));
        while gathered.frontends.len() > limit {
            gathered.frontends.pop_last();
        }
        while gathered.backends.len() > limit {
            gathered.backends.pop_last();
        }
        gathered
    }
}

impl Gathered {
    fn join(&mut self, mut part: Part) {
        match std::mem::replace(&mut part.found, Found::Frontends(BTreeMap::new())) {
            Found::Frontends(found) => {
                found.into_iter().for_each(|(key, seen)| self.join_frontend(key, seen, part.core));
            }
            Found::Backends(found) => found.into_iter().for_each(|(url, seen)| self.join_backend(url, seen)),
        }
        self.matching = self.matching.max(part.matching).max(self.frontends.len()).max(self.backends.len());
        if let Some(place) = self.cores.get_mut(part.core) {
            *place = Some(part);
        }
    }

    fn join_frontend(&mut self, key: Box<str>, seen: SeenFrontend, core: usize) {
        match self.frontends.get_mut(&key) {
            Some((before, cores)) => {
                before.join(seen);
                cores.push(core);
            }
            None => drop(self.frontends.insert(key, (seen, vec![core]))),
        }
    }

    fn join_backend(&mut self, url: Box<str>, seen: SeenBackend) {
        match self.backends.get_mut(&url) {
            Some(before) => before.join(seen),
            None => drop(self.backends.insert(url, seen)),
        }
    }
}

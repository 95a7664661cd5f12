//! How many connections of clients the process has, in all and of each client, so that both can be limited exactly. The
//! one thing that cores share and change: touched when a connection is accepted and when it has ended, never by a
//! request; the part with locks only while the connections of a client are limited.
//!
//! Each life of a core has a roll of what it holds. One that has died, or hangs, gives all of that back at once; what of
//! it ends later belongs to a term of the roll that is over, and counts no more.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use crate::bounds::CENSUS_SHARDS;

/// Bits of a roll's state that count connections; those above number its term.
const COUNT_BITS: u32 = 32;

/// The connections of all cores.
pub(crate) struct Census {
    open: AtomicU64,
    rolls: AtomicU64,
    shards: [Mutex<Shard>; CENSUS_SHARDS],
    spread: RandomState,
}

/// The connections of some clients. Its memory counts with whichever core made it grow.
#[derive(Default)]
struct Shard {
    clients: HashMap<Client, u64, RandomState>,
    /// How many of them each term of a roll holds.
    held: HashMap<(Client, Term), u64, RandomState>,
}

/// Who counts as one client: an IPv4 address, or a network of IPv6 (/64), as one machine has all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Client {
    Address(u32),
    Network(u64),
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::Address(address.to_bits()),
            IpAddr::V6(address) => Self::Network((address.to_bits() >> 64) as u64),
        }
    }
}

/// A roll, by its number, between two times that it gave everything back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Term {
    roll: u64,
    number: u64,
}

/// What one life of a core holds.
pub(crate) struct Roll {
    census: Arc<Census>,
    id: u64,
    /// The number of its term above, the connections of that term below.
    state: AtomicU64,
}

/// A connection that is counted, until this is dropped.
pub(crate) struct Counted {
    roll: Arc<Roll>,
    term: u64,
    /// Whose it is, where it counts among a client's.
    client: Option<Client>,
}

impl Census {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            open: AtomicU64::new(0),
            rolls: AtomicU64::new(0),
            shards: std::array::from_fn(|_| Mutex::default()),
            spread: RandomState::default(),
        })
    }

    /// The roll of a new life.
    pub(crate) fn roll(self: &Arc<Self>) -> Arc<Roll> {
        let id = self.rolls.fetch_add(1, Relaxed);
        Arc::new(Roll { census: Arc::clone(self), id, state: AtomicU64::new(0) })
    }

    fn shard(&self, client: Client) -> MutexGuard<'_, Shard> {
        let place = self.spread.hash_one(client) as usize % CENSUS_SHARDS;
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Roll {
    /// Counts a connection. `None`: `limit` are open; it is to be closed.
    pub(crate) fn enter(self: &Arc<Self>, limit: Option<u64>) -> Option<Counted> {
        let more = |open| limit.is_none_or(|limit| open < limit).then_some(open + 1);
        self.census.open.fetch_update(Relaxed, Relaxed, more).ok()?;
        let before = self.state.fetch_add(1, Relaxed);
        Some(Counted { roll: Arc::clone(self), term: before >> COUNT_BITS, client: None })
    }

    fn leave(&self, term: u64) {
        let less = |state| (state >> COUNT_BITS == term).then_some(state - 1);
        if self.state.fetch_update(Relaxed, Relaxed, less).is_ok() {
            self.census.open.fetch_sub(1, Relaxed);
        }
    }

    /// Counts none of its connections any more: nobody is left to tell of their ends.
    pub(crate) fn give_back(&self) {
        // Before the shards are looked at: whoever counts a client afterwards finds that the term is over.
        let next_term = |state| Some(((state >> COUNT_BITS) + 1) << COUNT_BITS);
        let before = self.state.fetch_update(Relaxed, Relaxed, next_term).unwrap_or_else(|state| state);
        self.census.open.fetch_sub(before & ((1 << COUNT_BITS) - 1), Relaxed);
        let is_over = |term: &Term| term.roll == self.id && term.number <= before >> COUNT_BITS;
        for shard in &self.census.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).give_back(is_over);
        }
    }
}

impl Shard {
    /// Forgets what the terms that are over hold.
    fn give_back(&mut self, is_over: impl Fn(&Term) -> bool) {
        let Self { clients, held } = self;
        held.retain(|(client, term), count| {
            let stays = !is_over(term);
            if !stays {
                take_off(clients, client, *count);
            }
            stays
        });
    }
}

impl Counted {
    /// Counts it among those of the client at `address` too, once. False: that one has `limit` open; it is to be closed.
    pub(crate) fn count_client(&mut self, address: IpAddr, limit: Option<u64>) -> bool {
        debug_assert!(self.client.is_none(), "a connection has one client");
        let Some(limit) = limit else { return true };
        let client = Client::from(address);
        let mut shard = self.roll.census.shard(client);
        let Shard { clients, held } = &mut *shard;
        if clients.get(&client).is_some_and(|open| *open >= limit) {
            return false;
        }
        if self.roll.state.load(Relaxed) >> COUNT_BITS == self.term {
            *clients.entry(client).or_default() += 1;
            *held.entry((client, self.held_by())).or_default() += 1;
            self.client = Some(client);
        }
        true
    }

    fn held_by(&self) -> Term {
        Term { roll: self.roll.id, number: self.term }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.roll.leave(self.term);
        let Some(client) = self.client else { return };
        let mut shard = self.roll.census.shard(client);
        let Shard { clients, held } = &mut *shard;
        let key = (client, self.held_by());
        // One that was given back is not there.
        if let Some(count) = held.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                held.remove(&key);
            }
            take_off(clients, &client, 1);
        }
    }
}

/// A client without connections is not remembered.
fn take_off(clients: &mut HashMap<Client, u64, RandomState>, client: &Client, count: u64) {
    let Some(open) = clients.get_mut(client) else { return };
    *open -= count;
    if *open == 0 {
        clients.remove(client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: &str = "192.0.2.1";

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn of(roll: &Arc<Roll>, client: &str, limit: u64) -> Option<Counted> {
        let mut counted = roll.enter(None)?;
        counted.count_client(address(client), Some(limit)).then_some(counted)
    }

    /// Connections, clients, and entries of who holds them.
    fn left(census: &Census) -> (u64, usize, usize) {
        let shards: Vec<_> = census.shards.iter().map(|shard| shard.lock().unwrap()).collect();
        let clients = shards.iter().map(|shard| shard.clients.len()).sum();
        (census.open.load(Relaxed), clients, shards.iter().map(|shard| shard.held.len()).sum())
    }

    #[test]
    fn lets_in_as_many_as_the_limit_over_all_rolls() {
        let census = Census::new();
        let (one, other) = (census.roll(), census.roll());
        let mut open: Vec<_> = (0..2).flat_map(|_| [one.enter(Some(4)), other.enter(Some(4))]).collect();
        assert!(open.iter().all(Option::is_some));
        assert!(one.enter(Some(4)).is_none() && other.enter(Some(4)).is_none());
        open.pop();
        assert!(one.enter(Some(4)).is_some());
        let more = one.enter(None);
        assert!(more.is_some() && other.enter(Some(4)).is_none());
        drop((open, more));
        assert_eq!(left(&census), (0, 0, 0));
    }

    #[test]
    fn counts_each_client_apart() {
        let census = Census::new();
        let (one, other) = (census.roll(), census.roll());
        let open = [of(&one, NOBODY, 2), of(&other, "::ffff:192.0.2.1", 2)];
        assert!(open.iter().all(Option::is_some));
        assert!(of(&one, NOBODY, 2).is_none() && of(&one, "192.0.2.2", 2).is_some());
        let network = [of(&one, "2001:db8::1", 2), of(&one, "2001:db8::ffff:0:0:1", 2)];
        assert!(network.iter().all(Option::is_some));
        assert!(of(&other, "2001:db8::2", 2).is_none() && of(&other, "2001:db8:0:1::2", 2).is_some());
        assert_eq!(left(&census), (4, 2, 3));
        drop((open, network));
        assert_eq!(left(&census), (0, 0, 0));
    }

    #[test]
    fn what_came_before_the_limit_is_not_a_clients() {
        let census = Census::new();
        let roll = census.roll();
        let mut before = roll.enter(None).unwrap();
        assert!(before.count_client(address(NOBODY), None));
        let counted = of(&roll, NOBODY, 1);
        drop(before);
        assert!(counted.is_some() && of(&roll, NOBODY, 1).is_none());
        drop(counted);
        assert_eq!(left(&census), (0, 0, 0));
    }

    #[test]
    fn a_life_that_is_over_gives_back_what_it_held_and_no_more() {
        let census = Census::new();
        let (dead, live) = (census.roll(), census.roll());
        let lost: Vec<_> = (0..5).map(|_| of(&dead, NOBODY, 9)).collect();
        let kept = [of(&live, NOBODY, 9), of(&live, "192.0.2.2", 9)];
        let mut unnamed = dead.enter(None).unwrap();
        dead.give_back();
        assert_eq!(left(&census), (2, 2, 2));
        // It was believed to hang, and wakes.
        assert!(unnamed.count_client(address("192.0.2.3"), Some(1)));
        let later = of(&dead, NOBODY, 9);
        drop((lost, unnamed));
        assert_eq!(left(&census), (3, 2, 3));
        dead.give_back();
        dead.give_back();
        drop(later);
        assert_eq!(left(&census), (2, 2, 2));
        drop(kept);
        assert_eq!(left(&census), (0, 0, 0));
    }

    /// Lets connections in and ends them. Whether there were ever too many.
    fn come_and_go(census: &Census, roll: &Arc<Roll>, number: usize) -> bool {
        let (mut open, mut over) = (Vec::new(), false);
        for turn in 0..20_000 {
            let client = address(&format!("192.0.2.{}", (turn * 7 + number) % 5));
            let counted = roll.enter(Some(20));
            open.extend(
                counted.and_then(|mut counted| counted.count_client(client, Some(6)).then_some(counted)),
            );
            let (all, clients, _) = left(census);
            over |= all > 20 || clients > 5;
            if turn % 3 == 0 {
                open.pop();
            }
        }
        over
    }

    #[test]
    fn counts_exactly_while_cores_come_and_go() {
        let census = Census::new();
        let rolls: Vec<_> = (0..4).map(|_| census.roll()).collect();
        let of_core = |number: usize| come_and_go(&census, &rolls[number], number);
        let over = std::thread::scope(|scope| {
            let begin = |number| scope.spawn(move || of_core(number));
            let cores: Vec<_> = (0..rolls.len()).map(begin).collect();
            while !cores.iter().all(|core| core.is_finished()) {
                rolls.iter().for_each(|roll| roll.give_back());
            }
            cores.into_iter().any(|core| core.join().unwrap())
        });
        assert!(!over);
        assert_eq!(left(&census), (0, 0, 0));
    }
}

//! What others than the supervisor may see of the cores: the counters of each, over all its lives, and whether the
//! process can be sent requests. Written by the fleet, read by the admin listener; no core ever waits for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::account::{Account, RoutesState};
use crate::inbox::{Message, Outbox};
use crate::{clock, memory};

/// Why a core was given another life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Memory,
    Stall,
    Death,
}

impl Reason {
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Stall, Self::Death];

    /// As metrics name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Stall => "stall",
            Self::Death => "death",
        }
    }
}

/// What is written down of all cores.
pub(crate) struct Board {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    driver: &'static str,
    stopping: bool,
}

#[derive(Default)]
struct Slot {
    /// What lives that have ended had counted.
    past: Account,
    /// Those that have not.
    lives: Vec<Life>,
    /// The life that accepts.
    serving: Option<u64>,
    replaced: [u64; Reason::ALL.len()],
}

struct Life {
    number: u64,
    account: Arc<Account>,
    outbox: Outbox,
}

/// One core at one moment.
pub(crate) struct CoreView {
    /// Over all its lives.
    pub(crate) totals: Account,
    /// Connections that are open.
    pub(crate) open: u64,
    /// Bytes of memory that its lives hold.
    pub(crate) held: u64,
    /// Of the life that accepts; `None`: there is none.
    pub(crate) routes: Option<RoutesState>,
    /// How often it was given another life, in the order of [`Reason::ALL`].
    pub(crate) replaced: [u64; Reason::ALL.len()],
}

/// All cores at one moment.
pub(crate) struct View {
    pub(crate) cores: Vec<CoreView>,
    pub(crate) uptime: Duration,
    /// The io driver of the cores.
    pub(crate) driver: &'static str,
    pub(crate) stopping: bool,
}

impl Board {
    pub(crate) fn new(cores: usize) -> Arc<Self> {
        let slots = (0..cores).map(|_| Slot::default()).collect();
        let state = Mutex::new(State { slots, ..State::default() });
        Arc::new(Self { started: clock::now(), state })
    }

    /// Whoever panicked left nothing half-done: each change is one assignment.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A life has begun that counts in this account and hears by this outbox.
    pub(crate) fn begun(&self, core: usize, number: u64, (account, outbox): (Arc<Account>, Outbox)) {
        self.state().slots[core].lives.push(Life { number, account, outbox });
    }

    /// Cores there are.
    pub(crate) fn len(&self) -> usize {
        self.state().slots.len()
    }

    /// Tells each life that accepts; returns how many cores there are.
    pub(crate) fn tell(&self, message: impl Fn(usize) -> Message) -> usize {
        let state = self.state();
        for (core, slot) in state.slots.iter().enumerate() {
            slot.serving().iter().for_each(|life| life.outbox.send(message(core)));
        }
        state.slots.len()
    }

    pub(crate) fn serves(&self, core: usize, life: u64, driver: &'static str) {
        let mut state = self.state();
        state.driver = driver;
        state.slots[core].serving = Some(life);
    }

    pub(crate) fn ended(&self, core: usize, life: u64) {
        let slot = &mut self.state().slots[core];
        slot.serving.take_if(|serving| *serving == life);
        if let Some(place) = slot.lives.iter().position(|other| other.number == life) {
            let life = slot.lives.swap_remove(place);
            slot.past.absorb(&life.account);
        }
    }

    pub(crate) fn replaced(&self, core: usize, reason: Reason) {
        self.state().slots[core].replaced[reason as usize] += 1;
    }

    pub(crate) fn stopping(&self) {
        self.state().stopping = true;
    }

    pub(crate) fn view(&self) -> View {
        let state = self.state();
        View {
            cores: state.slots.iter().map(Slot::view).collect(),
            uptime: clock::now() - self.started,
            driver: state.driver,
            stopping: state.stopping,
        }
    }
}

impl Slot {
    /// The life that accepts.
    fn serving(&self) -> Option<&Life> {
        self.lives.iter().find(|life| self.serving == Some(life.number))
    }

    fn view(&self) -> CoreView {
        let totals = Account::default();
        totals.absorb(&self.past);
        self.lives.iter().for_each(|life| totals.absorb(&life.account));
        CoreView {
            totals,
            open: self.lives.iter().map(|life| life.account.open.get()).sum(),
            held: self.lives.iter().map(|life| memory::held_by(life.number)).sum(),
            routes: self.serving().map(|life| life.account.routes()),
            replaced: self.replaced,
        }
    }
}

impl View {
    /// Whether requests can be sent here.
    ///
    /// # Errors
    /// Why not, in words.
    pub(crate) fn readiness(&self) -> Result<(), String> {
        if self.stopping {
            return Err("draining".into());
        }
        for (number, core) in self.cores.iter().enumerate() {
            match core.routes {
                None => return Err(format!("core {number} does not accept")),
                Some(RoutesState::Unknown) => {
                    return Err(format!("core {number} has not reached the route store yet"));
                }
                Some(RoutesState::Away | RoutesState::Usable) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Outbox {
        crate::inbox::inbox().unwrap().0
    }

    #[test]
    fn totals_outlast_lives() {
        let board = Board::new(1);
        let lives = [Arc::new(Account::default()), Arc::new(Account::default())];
        for (life, account) in lives.iter().enumerate() {
            board.begun(0, life as u64, (Arc::clone(account), outbox()));
            account.count_request(200, Duration::ZERO, None);
            account.open.set(3);
        }
        let seen = || {
            let view = board.view();
            (view.cores[0].totals.requests(), view.cores[0].open)
        };
        assert_eq!(seen(), (2, 6));
        board.ended(0, 0);
        board.ended(0, 0);
        assert_eq!(seen(), (2, 3));
        lives[1].count_request(200, Duration::ZERO, None);
        board.ended(0, 1);
        assert_eq!(seen(), (3, 0));
    }

    #[test]
    fn ready_once_every_core_knows_routes() {
        let board = Board::new(2);
        let lives = [Arc::new(Account::default()), Arc::new(Account::default())];
        for (core, account) in lives.iter().enumerate() {
            board.begun(core, core as u64, (Arc::clone(account), outbox()));
            board.serves(core, core as u64, "epoll");
            assert!(board.view().readiness().is_err());
        }
        lives[0].set_routes(true);
        assert_eq!(board.view().readiness().unwrap_err(), "core 1 has not reached the route store yet");
        lives[1].set_routes(true);
        lives[1].set_routes(false);
        assert_eq!(board.view().readiness(), Ok(()));
        board.stopping();
        assert_eq!(board.view().readiness().unwrap_err(), "draining");
    }
}

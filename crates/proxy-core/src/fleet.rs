//! The cores and their lives. A core is started, replaced without a connection being refused, started anew when it has
//! died, and stood in for when it hangs.
//!
//! ```text
//!   arriving --accepts--> serving --replaced, or the process stops--> leaving --drained--> ended
//!      ^                     |--------------------died------------------------------------> ended
//!      |<---after a pause----/
//! ```
//!
//! Each slot keeps its listening sockets. A new life accepts from them before the old one is told to leave, and both may
//! do so at once.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender};
use std::thread::Builder;
use std::time::Instant;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use redis_router::Table;

use crate::accept::Door;
use crate::account::Account;
use crate::board::{Board, Reason};
use crate::bounds::{HANG, RELIEF_PAUSE, RESTART_PAUSE_MAX, RESTART_PAUSE_MIN, STALL, STEADY_LIFE};
use crate::census::{Census, Roll};
use crate::error::StartError;
use crate::event::Event;
use crate::inbox::{Message, Outbox, inbox};
use crate::log_writer::LogWriter;
use crate::runtime::Driver;
use crate::settings::Settings;
use crate::upstream::resolve::Question;
use crate::{clock, core, memory};

/// What cores are started with.
pub(crate) struct Supplies {
    pub(crate) settings: Arc<Settings>,
    /// The embedded route table as it is now.
    pub(crate) table: Option<Arc<Table>>,
    pub(crate) log: Option<LogWriter>,
    pub(crate) questions: SyncSender<Question>,
    pub(crate) tell: Sender<Event>,
}

/// One life of a core.
struct Life {
    id: u64,
    outbox: Outbox,
    account: Arc<Account>,
    roll: Arc<Roll>,
    started: Instant,
    /// The pulse that was seen last, and when it was new.
    pulse: (u64, Instant),
    /// Why it is to leave; `None`: it is not.
    leaves: Option<String>,
    /// It was told to leave, and has no pulse.
    hangs: bool,
}

/// A core's place: its sockets, and who serves them.
struct Slot {
    sockets: Vec<Door>,
    serving: Option<Life>,
    /// Started, and does not accept yet.
    arriving: Option<Life>,
    /// Told to leave, or hanging.
    leaving: Vec<Life>,
    /// Lives in a row that ended soon after they began.
    failures: u32,
    /// When the next life begins, where the last one died.
    restart_at: Option<Instant>,
    /// When a life was replaced for its memory last.
    relieved_at: Option<Instant>,
    /// The life there was told to let go of what it can.
    shrunk: bool,
}

/// All cores of the process.
pub(crate) struct Fleet {
    pub(crate) supplies: Supplies,
    pub(crate) board: Arc<Board>,
    census: Arc<Census>,
    slots: Vec<Slot>,
    /// The kernel's numbers of the CPUs that cores are pinned to, one each; empty: they are not.
    cpus: Vec<usize>,
    lives: u64,
    hangs: u32,
    /// When the cores were looked after last.
    looked: Instant,
    stopping: bool,
    hurry: bool,
}

impl Fleet {
    /// Starts a core for each element of `sockets`; none accepts yet.
    ///
    /// # Errors
    /// No more threads or file descriptors.
    pub(crate) fn start(supplies: Supplies, sockets: Vec<Vec<Door>>) -> Result<Self, StartError> {
        let cpus = cpus_for(sockets.len());
        let slot = |sockets| Slot {
            sockets,
            serving: None,
            arriving: None,
            leaving: Vec::new(),
            failures: 0,
            restart_at: None,
            relieved_at: None,
            shrunk: false,
        };
        let slots: Vec<Slot> = sockets.into_iter().map(slot).collect();
        let looked = clock::now();
        let mut fleet = Self {
            supplies,
            board: Board::new(slots.len()),
            census: Census::new(),
            slots,
            cpus,
            lives: 0,
            hangs: 0,
            looked,
            stopping: false,
            hurry: false,
        };
        for core in 0..fleet.slots.len() {
            fleet.begin(core).map_err(StartError::Core)?;
        }
        Ok(fleet)
    }

    /// Begins a life in the slot of `core`.
    fn begin(&mut self, core: usize) -> io::Result<()> {
        let (supplies, slot) = (&self.supplies, &mut self.slots[core]);
        let id = self.lives;
        self.lives += 1;
        slot.restart_at = None;
        let (outbox, inbox) = inbox()?;
        let (account, roll) = (Arc::new(Account::default()), self.census.roll());
        let (tell, told) = (supplies.tell.clone(), supplies.tell.clone());
        let parts = core::Parts {
            settings: Arc::clone(&supplies.settings),
            outbox: outbox.clone(),
            questions: supplies.questions.clone(),
            log: supplies.log.as_ref().map(LogWriter::sink),
            table: supplies.table.clone(),
            account: Arc::clone(&account),
            roll: Arc::clone(&roll),
            #[cfg(debug_assertions)]
            replace_me: {
                let tell = supplies.tell.clone();
                Box::new(move || drop(tell.send(Event::Replace(core))))
            },
        };
        let start = core::Start {
            parts,
            sockets: slot.sockets.iter().map(Door::try_clone).collect::<io::Result<_>>()?,
            inbox,
            // A supervisor that has ended needs no telling.
            ready: Box::new(move |driver| drop(told.send(Event::CoreReady(core, id, driver)))),
        };
        let cpu = self.cpus.get(core).copied();
        let serve = move || {
            pin(cpu);
            memory::count_as(id);
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| core::run(start)));
            let ended =
                ended.unwrap_or_else(|_| Err(io::Error::other("it panicked (the message above says where)")));
            let _ = tell.send(Event::CoreEnded(core, id, ended));
        };
        Builder::new().name(format!("core-{core}")).spawn(serve)?;
        self.board.begun(core, id, (Arc::clone(&account), outbox.clone()));
        let now = clock::now();
        let pulse = (0, now);
        slot.arriving =
            Some(Life { id, outbox, account, roll, started: now, pulse, leaves: None, hangs: false });
        Ok(())
    }

    /// A core accepts: who served in its place leaves. Returns whether every core serves now.
    pub(crate) fn ready(&mut self, core: usize, id: u64, driver: Driver) -> bool {
        let slot = &mut self.slots[core];
        if slot.arriving.as_ref().is_some_and(|life| life.id == id) {
            self.board.serves(core, id, driver.name());
            let before = std::mem::replace(&mut slot.serving, slot.arriving.take());
            slot.leaving.extend(before);
        }
        self.urge();
        self.slots.iter().all(|slot| slot.serving.is_some())
    }

    /// A core has ended. Reports it; one that died has another life soon.
    ///
    /// # Errors
    /// The error it ended with, where it never served: it will not do better.
    pub(crate) fn ended(&mut self, core: usize, id: u64, ended: io::Result<()>) -> Result<(), StartError> {
        self.board.ended(core, id);
        let slot = &mut self.slots[core];
        if let Some(place) = slot.leaving.iter().position(|life| life.id == id) {
            let life = slot.leaving.swap_remove(place);
            life.roll.give_back();
            life.report(core, &ended);
            memory::give_back();
            return Ok(());
        }
        let is_first = slot.serving.is_none() && self.lives <= self.slots.len() as u64;
        let slot = &mut self.slots[core];
        let was_serving = slot.serving.as_ref().is_some_and(|life| life.id == id);
        let life = if was_serving { slot.serving.take() } else { slot.arriving.take() };
        let Some(life) = life else { return Ok(()) };
        life.roll.give_back();
        if self.stopping {
            return Ok(());
        }
        if is_first {
            return Err(ended.err().map_or(StartError::CoreDied(core), StartError::Core));
        }
        life.report(core, &ended);
        self.board.replaced(core, Reason::Death);
        let now = clock::now();
        let is_soon = now - life.started < STEADY_LIFE;
        slot.failures = if is_soon { slot.failures + 1 } else { 1 };
        let pause = RESTART_PAUSE_MIN * 2u32.pow((slot.failures - 1).min(16));
        slot.restart_at = Some(now + pause.min(RESTART_PAUSE_MAX));
        Ok(())
    }

    /// Looks after the cores: begins lives that are due, finds those that stand still. To be called about once a second,
    /// or when [`Self::next_restart`] is due.
    pub(crate) fn look(&mut self) {
        let now = clock::now();
        // Where this thread was late the whole process was halted: nobody could have a pulse.
        let was_halted = now - std::mem::replace(&mut self.looked, now) > STALL;
        for core in 0..self.slots.len() {
            self.feel_pulses(core, now, was_halted);
            let due = self.slots[core].restart_at.is_some_and(|at| at <= now);
            if !self.stopping && (due || self.stands_still(core, now)) {
                self.begin_again(core, now);
            }
        }
        self.urge();
    }

    /// Takes down how long the lives of a slot have been without a pulse; one that is leaving and has none for too long
    /// hangs.
    fn feel_pulses(&mut self, core: usize, now: Instant, was_halted: bool) {
        let slot = &mut self.slots[core];
        for life in slot.serving.iter_mut().chain(&mut slot.leaving) {
            let pulse = life.account.pulse();
            if was_halted || pulse != life.pulse.0 {
                life.pulse = (pulse, now);
            }
        }
        for life in slot.leaving.iter_mut().filter(|life| !life.hangs && now - life.pulse.1 >= HANG) {
            life.hangs = true;
            life.roll.give_back();
            self.hangs += 1;
            log::error!("core {core} hangs: no pulse for {} s; its own exchanges are stuck", HANG.as_secs());
        }
    }

    fn begin_again(&mut self, core: usize, now: Instant) {
        if let Err(error) = self.begin(core) {
            log::error!("core {core} cannot be started: {error}; trying again");
            self.slots[core].restart_at = Some(now + RESTART_PAUSE_MAX);
        }
    }

    /// Whether the core stands still and nobody stands in for it yet. It cannot be ended from outside; should it wake, it
    /// finds that it is to leave.
    fn stands_still(&mut self, core: usize, now: Instant) -> bool {
        let slot = &mut self.slots[core];
        let life =
            slot.serving.as_mut().filter(|life| slot.arriving.is_none() && now - life.pulse.1 >= STALL);
        let Some(life) = life else { return false };
        life.leaves = Some("it stood still".into());
        log::warn!("core {core} stands still for {} s: another takes over its sockets", STALL.as_secs());
        slot.leaving.extend(slot.serving.take());
        self.board.replaced(core, Reason::Stall);
        true
    }

    /// When the next life is due, where one is.
    pub(crate) fn next_restart(&self) -> Option<Instant> {
        self.slots.iter().filter_map(|slot| slot.restart_at).min()
    }

    /// Cores that hung since the start.
    pub(crate) fn hangs(&self) -> u32 {
        self.hangs
    }

    /// Has another life take over from the one that serves `core`, which drains. `why` is for the report.
    pub(crate) fn replace(&mut self, core: usize, why: &str) {
        let slot = &mut self.slots[core];
        if self.stopping || slot.arriving.is_some() {
            return;
        }
        let Some(life) = &mut slot.serving else { return };
        life.leaves = Some(why.into());
        if let Err(error) = self.begin(core) {
            log::error!("core {core} is not replaced ({why}): {error}");
        }
    }

    /// Looks at the memory of each core. One over the limit first lets go of what can be had again; where that is not
    /// enough by the next look it is replaced, though not again and again. Returns whether that look should be soon.
    pub(crate) fn weigh(&mut self) -> bool {
        let mut soon = false;
        let limit = self.supplies.settings.memory.bytes;
        let now = clock::now();
        for core in 0..self.slots.len() {
            let slot = &mut self.slots[core];
            let Some(life) = slot.serving.as_ref().filter(|_| slot.arriving.is_none()) else { continue };
            let held = memory::held_by(life.id);
            if held <= limit {
                slot.shrunk = false;
                continue;
            }
            if !slot.shrunk {
                (slot.shrunk, soon) = (true, true);
                life.outbox.send(Message::Shrink);
                log::warn!(
                    "core {core} holds {}: it drops cached routes and idle connections",
                    of_limit(held, limit)
                );
                continue;
            }
            if slot.relieved_at.is_none_or(|at| now - at >= RELIEF_PAUSE) {
                (slot.relieved_at, slot.shrunk) = (Some(now), false);
                self.board.replaced(core, Reason::Memory);
                self.replace(core, &format!("it held {}", of_limit(held, limit)));
            }
        }
        soon
    }

    /// Tells those that are to leave so. A message may find an inbox full: it is said again.
    fn urge(&self) {
        for life in self.slots.iter().flat_map(|slot| &slot.leaving) {
            life.outbox.send(Message::Drain { hurry: self.hurry });
        }
    }

    /// Tells every core.
    pub(crate) fn tell_all(&self, message: impl Fn() -> Message) {
        for life in
            self.slots.iter().flat_map(|slot| slot.serving.iter().chain(&slot.arriving).chain(&slot.leaving))
        {
            life.outbox.send(message());
        }
    }

    /// Duplicates of all listening sockets.
    ///
    /// # Errors
    /// No more file descriptors.
    pub(crate) fn sockets(&self) -> io::Result<Vec<Door>> {
        self.slots.iter().flat_map(|slot| &slot.sockets).map(Door::try_clone).collect()
    }

    /// Drains every core and lets go of the sockets; in a `hurry` idle clients are not waited for long.
    pub(crate) fn stop(&mut self, hurry: bool) {
        (self.stopping, self.hurry) = (true, self.hurry || hurry);
        self.board.stopping();
        for slot in &mut self.slots {
            // While anyone holds a listening socket, the kernel goes on queueing connections.
            slot.sockets.clear();
            slot.restart_at = None;
            let lives = slot.serving.take().into_iter().chain(slot.arriving.take());
            slot.leaving.extend(lives.map(|life| Life { leaves: Some("stopped".into()), ..life }));
        }
        self.urge();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Whether no core is left but those that hang.
    pub(crate) fn is_over(&self) -> bool {
        self.stopping && self.slots.iter().all(|slot| slot.leaving.iter().all(|life| life.hangs))
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

impl Life {
    /// Tells the operator what the core has done and how it ended.
    fn report(&self, core: usize, ended: &io::Result<()>) {
        let account = &self.account;
        let did = format!(
            "up {} s, {} requests, {} connections, {} bytes sent",
            (clock::now() - self.started).as_secs(),
            account.requests(),
            account.connections.get(),
            account.bytes.get(),
        );
        let did = match account.refused.get() {
            0 => did,
            refused => format!("{did}, {refused} connections refused"),
        };
        match (ended, &self.leaves) {
            (Ok(()), Some(why)) => log::info!("core {core} has ended gracefully ({why}): {did}"),
            (Ok(()), None) => log::error!("core {core} has ended though nobody asked it to: {did}"),
            (Err(error), _) => {
                log::error!(
                    "core {core} has died: {error}: {did}; {} connections are lost",
                    account.open.get()
                );
            }
        }
    }
}

fn of_limit(held: u64, limit: u64) -> String {
    const MEGABYTE: u64 = 1024 * 1024;
    let process =
        memory::resident().map_or(String::new(), |bytes| format!(", the process {} MB", bytes / MEGABYTE));
    format!("{} MB of server.memoryLimit {} MB{process}", held / MEGABYTE, limit / MEGABYTE)
}

/// A CPU for each of `cores` where there are enough; else none.
fn cpus_for(cores: usize) -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0));
    let is_allowed = |cpu: &usize| allowed.as_ref().is_ok_and(|set| set.is_set(*cpu).unwrap_or(false));
    let mut cpus: Vec<usize> = (0..CpuSet::count()).filter(is_allowed).collect();
    if cores > cpus.len() {
        return Vec::new();
    }
    if cores < cpus.len() {
        // Several proxies on one machine should not all sit on its first CPUs.
        let first = std::process::id() as usize % cpus.len();
        cpus.rotate_left(first);
    }
    cpus.truncate(cores);
    cpus
}

/// Binds the calling thread to `cpu`. Where that is refused the scheduler decides, as it would have.
fn pin(cpu: Option<usize>) {
    let Some(cpu) = cpu else { return };
    let mut set = CpuSet::new();
    let pinned = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    if let Err(error) = pinned {
        log::debug!("not pinned to CPU {cpu}: {error}");
    }
}

//! Time-outs on connections: one coarse wheel per core. A time-out per read would cost half a microsecond and
//! lose bytes when it dropped the read; here a deadline that passes marks its slot and shuts the socket down, and
//! the pending read or write comes back by itself.

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nix::sys::socket::{Shutdown, shutdown};
use slab::Slab;

use crate::bounds::TICK_MILLIS;

/// Places of the wheel. Deadlines further away than one turn are placed again when their place comes by.
const PLACES: u64 = 1024;

/// A time-out in ticks of the wheel; [`Ticks::NONE`] never passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticks(u64);

impl Ticks {
    pub(crate) const NONE: Self = Self(u64::MAX);

    /// So many whole ticks: the present one is already running.
    pub(crate) fn whole(count: u64) -> Self {
        Self(count.saturating_add(1))
    }

    /// Rounded up, and one more because the present tick is already running: never early.
    pub(crate) fn of(timeout: Option<Duration>) -> Self {
        let ticks = |timeout: Duration| timeout.as_millis().div_ceil(u128::from(TICK_MILLIS)) + 1;
        timeout.map_or(Self::NONE, |timeout| Self(u64::try_from(ticks(timeout)).unwrap_or(u64::MAX)))
    }
}

/// What happens to the socket when a deadline passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Reads end; an answer can still be written.
    Read,
    /// Reads and writes end.
    Both,
    /// Nothing: who polls the deadline is woken.
    None,
}

/// The deadlines of one core.
#[derive(Debug, Clone)]
pub(crate) struct Wheel(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    now: u64,
    slots: Slab<Slot>,
    /// Slot keys by the tick they are to be looked at, modulo [`PLACES`].
    places: Vec<Vec<usize>>,
}

#[derive(Debug)]
struct Slot {
    fd: RawFd,
    cut: Cut,
    /// Tick at which it passes; `u64::MAX`: not armed.
    at: u64,
    /// Tick at which the wheel looks at it: never later than `at`.
    placed: Option<u64>,
    /// Index within its place.
    index: usize,
    passed: bool,
    waker: Option<Waker>,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        let places = (0..PLACES).map(|_| Vec::new()).collect();
        Self(Rc::new(RefCell::new(Inner { now: 0, slots: Slab::new(), places })))
    }

    /// A deadline for the socket `fd`, not armed. It must be dropped before the socket is closed: another socket
    /// may get the same number.
    pub(crate) fn deadline(&self, fd: RawFd, cut: Cut) -> Deadline {
        let slot = Slot { fd, cut, at: u64::MAX, placed: None, index: 0, passed: false, waker: None };
        let key = self.0.borrow_mut().slots.insert(slot);
        Deadline { wheel: self.clone(), key }
    }

    /// A deadline of something that is no socket, not armed: [`Deadline::poll_passed`] waits for it.
    pub(crate) fn timer(&self) -> Deadline {
        self.deadline(-1, Cut::None)
    }

    /// Moves time on to `tick` and cuts what has passed.
    pub(crate) fn advance(&self, tick: u64) {
        let mut inner = self.0.borrow_mut();
        let from = inner.now + 1;
        inner.now = tick.max(inner.now);
        let mut wakers = Vec::new();
        // After a long stall each place needs one look only.
        for passed in from.max((tick + 1).saturating_sub(PLACES))..=tick {
            inner.look_at(passed, &mut wakers);
        }
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Inner {
    fn look_at(&mut self, tick: u64, wakers: &mut Vec<Waker>) {
        let place = std::mem::take(&mut self.places[(tick % PLACES) as usize]);
        for key in place {
            let slot = &mut self.slots[key];
            slot.placed = None;
            if slot.at <= self.now {
                wakers.extend(slot.pass());
            } else if slot.at != u64::MAX {
                self.place(key);
            }
        }
    }

    /// Puts the slot where the wheel will look at it in time.
    fn place(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        let tick = slot.at.clamp(self.now + 1, self.now + PLACES - 1);
        let place = &mut self.places[(tick % PLACES) as usize];
        (slot.placed, slot.index) = (Some(tick), place.len());
        place.push(key);
    }

    fn unplace(&mut self, key: usize) {
        let Some(tick) = self.slots[key].placed.take() else { return };
        let index = self.slots[key].index;
        let place = &mut self.places[(tick % PLACES) as usize];
        place.swap_remove(index);
        if let Some(&moved) = place.get(index) {
            self.slots[moved].index = index;
        }
    }
}

impl Slot {
    /// Whom to wake.
    fn pass(&mut self) -> Option<Waker> {
        self.passed = true;
        self.at = u64::MAX;
        let how = match self.cut {
            Cut::Read => Shutdown::Read,
            Cut::Both => Shutdown::Both,
            Cut::None => return self.waker.take(),
        };
        // The only error is that the peer is gone already, which ends the pending operation as well.
        let _ = shutdown(self.fd, how);
        None
    }
}

/// A deadline of one socket. Dropping it disarms it.
#[derive(Debug)]
pub(crate) struct Deadline {
    wheel: Wheel,
    key: usize,
}

impl Deadline {
    /// Passes `after` from now, whatever was set before.
    pub(crate) fn arm(&self, after: Ticks) {
        let mut inner = self.wheel.0.borrow_mut();
        let at = inner.now.saturating_add(after.0);
        let slot = &mut inner.slots[self.key];
        slot.at = at;
        // A look that comes earlier finds the later time by itself.
        if at == u64::MAX || slot.placed.is_some_and(|placed| placed <= at) {
            return;
        }
        inner.unplace(self.key);
        inner.place(self.key);
    }

    pub(crate) fn disarm(&self) {
        self.wheel.0.borrow_mut().slots[self.key].at = u64::MAX;
    }

    /// The present tick of its wheel.
    pub(crate) fn now(&self) -> u64 {
        self.wheel.0.borrow().now
    }

    /// Waits until it has passed, for a [`Wheel::timer`]. Whoever polled last is woken.
    pub(crate) fn poll_passed(&self, context: &Context<'_>) -> Poll<()> {
        let slot = &mut self.wheel.0.borrow_mut().slots[self.key];
        if slot.passed {
            return Poll::Ready(());
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => slot.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Whether it has ever passed.
    pub(crate) fn has_passed(&self) -> bool {
        self.wheel.0.borrow().slots[self.key].passed
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let mut inner = self.wheel.0.borrow_mut();
        inner.unplace(self.key);
        inner.slots.remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn ticks(count: u64) -> Ticks {
        Ticks(count)
    }

    #[test]
    fn cuts_when_due_and_not_before() {
        let (mut ours, _theirs) = UnixStream::pair().unwrap();
        let wheel = Wheel::new();
        let deadline = wheel.deadline(ours.as_raw_fd(), Cut::Both);
        for far in [1, 5, PLACES - 1, PLACES, 3 * PLACES + 7] {
            deadline.arm(ticks(far));
            let start = wheel.0.borrow().now;
            for tick in start + 1..start + far {
                wheel.advance(tick);
                assert!(!deadline.has_passed(), "{far} passed at {}", tick - start);
            }
            if far > 3 * PLACES {
                wheel.advance(start + far);
                assert!(deadline.has_passed());
            } else {
                deadline.disarm();
                wheel.advance(start + far);
                assert!(!deadline.has_passed());
            }
        }
        assert_eq!(ours.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn an_earlier_time_replaces_a_later_one_and_the_reverse() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let wheel = Wheel::new();
        let deadline = wheel.deadline(ours.as_raw_fd(), Cut::Both);
        deadline.arm(ticks(600));
        deadline.arm(ticks(100));
        wheel.advance(50);
        deadline.arm(ticks(300));
        wheel.advance(349);
        assert!(!deadline.has_passed());
        wheel.advance(350);
        assert!(deadline.has_passed());
    }

    #[test]
    fn a_dropped_deadline_leaves_nothing_behind() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let wheel = Wheel::new();
        let kept = wheel.deadline(ours.as_raw_fd(), Cut::Read);
        for _ in 0..100 {
            let dropped = wheel.deadline(ours.as_raw_fd(), Cut::Both);
            dropped.arm(ticks(10));
        }
        kept.arm(ticks(10));
        assert_eq!(wheel.0.borrow().places.iter().map(Vec::len).sum::<usize>(), 1);
        assert_eq!(wheel.0.borrow().slots.len(), 1);
        wheel.advance(5000);
        assert!(kept.has_passed());
    }

    #[test]
    fn a_timer_wakes_whoever_polled_it_last() {
        struct Flag(std::sync::atomic::AtomicBool);
        impl std::task::Wake for Flag {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let flag = std::sync::Arc::new(Flag(false.into()));
        let waker = Waker::from(std::sync::Arc::clone(&flag));
        let wheel = Wheel::new();
        let timer = wheel.timer();
        timer.arm(ticks(3));
        assert!(timer.poll_passed(&Context::from_waker(Waker::noop())).is_pending());
        assert!(timer.poll_passed(&Context::from_waker(&waker)).is_pending());
        wheel.advance(2);
        assert!(!flag.0.load(std::sync::atomic::Ordering::Relaxed));
        wheel.advance(3);
        assert!(flag.0.load(std::sync::atomic::Ordering::Relaxed));
        assert!(timer.poll_passed(&Context::from_waker(&waker)).is_ready());
    }

    #[test]
    fn rounds_up() {
        assert_eq!(Ticks::of(None), Ticks::NONE);
        assert_eq!(Ticks::of(Some(Duration::from_millis(1))), ticks(2));
        assert_eq!(Ticks::of(Some(Duration::from_secs(1))), ticks(11));
    }
}

//! How much memory each core holds. Each core's thread counts what it allocates and frees in a slot of its own; what
//! crosses threads comes back (`log_writer.rs`) or is made [`uncounted`], or the accounts would drift.
#![allow(unsafe_code, reason = "an allocator is unsafe by its nature; this one only counts and hands on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

/// Slots there are: several for each core that can be configured, as a life keeps its own until it ends. The first is
/// everybody else's, who are not counted.
const SLOTS: usize = 16 * 1024;

/// A line of its own for each, so that no core waits for another's.
#[repr(align(128))]
struct Slot(AtomicI64);

static HELD: [Slot; SLOTS] = [const { Slot(AtomicI64::new(0)) }; SLOTS];

thread_local! {
    static SLOT: Cell<usize> = const { Cell::new(0) };
}

/// The process's allocator: the system's, and a count for the core it is asked by. To be named by the program as its
/// `#[global_allocator]`; without that, nothing is counted and no core is ever over its limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountingAllocator;

fn count(bytes: i64) {
    // Fails only while a thread ends.
    let slot = SLOT.try_with(Cell::get).unwrap_or(0);
    if slot > 0 {
        let held = &HELD[slot].0;
        // The thread of the slot is its only writer.
        held.store(held.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed on to the system's allocator as it came; counting neither allocates nor fails.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as above; the memory is `System`'s, as all that this allocator gives.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// Counts what the calling thread allocates from now on as the core's whose life has this number. A number is free
/// again long after its life has ended.
pub(crate) fn count_as(life: u64) {
    let slot = slot_of(life);
    HELD[slot].0.store(0, Ordering::Relaxed);
    SLOT.set(slot);
}

/// Counts nothing of what `make` allocates and frees: for what a core gives away to other threads for good.
pub(crate) fn uncounted<T>(make: impl FnOnce() -> T) -> T {
    struct Back(usize);
    impl Drop for Back {
        fn drop(&mut self) {
            SLOT.set(self.0);
        }
    }
    let _back = Back(SLOT.replace(0));
    make()
}

/// Bytes that the core of this life holds.
pub(crate) fn held_by(life: u64) -> u64 {
    u64::try_from(HELD[slot_of(life)].0.load(Ordering::Relaxed)).unwrap_or(0)
}

fn slot_of(life: u64) -> usize {
    1 + (life % (SLOTS as u64 - 1)) as usize
}

/// Resident bytes of the process; `None`: the system does not say.
pub(crate) fn resident() -> Option<u64> {
    memory_stats::memory_stats().map(|stats| stats.physical_mem as u64)
}

/// Has the system's allocator give free memory back to the system: by itself it keeps what a core that has ended held.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time from any thread.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_away_is_not_counted() {
        let held = std::thread::spawn(|| {
            count_as(8);
            let layout = Layout::from_size_align(1000, 8).unwrap();
            // SAFETY: the layouts are those the memory was asked for with.
            let memory = uncounted(|| unsafe { CountingAllocator.alloc(layout) });
            assert_eq!(held_by(8), 0);
            let panicked = std::panic::catch_unwind(|| uncounted(|| panic!("it is on purpose")));
            assert!(panicked.is_err());
            // SAFETY: as above.
            let counted = unsafe { CountingAllocator.alloc(layout) };
            // SAFETY: as above.
            uncounted(|| unsafe { CountingAllocator.dealloc(memory, layout) });
            let held = held_by(8);
            // SAFETY: as above.
            unsafe { CountingAllocator.dealloc(counted, layout) };
            held
        });
        assert_eq!(held.join().unwrap(), 1000);
    }

    #[test]
    fn counts_what_its_thread_holds_and_nothing_else() {
        let held = std::thread::spawn(|| {
            count_as(7);
            // By hand: the test's own allocator is not the counting one.
            // SAFETY: the layouts are those the memory was asked for with.
            unsafe {
                let layout = Layout::from_size_align(1000, 8).unwrap();
                let memory = CountingAllocator.alloc(layout);
                assert_eq!(held_by(7), 1000);
                let memory = CountingAllocator.realloc(memory, layout, 3000);
                assert_eq!(held_by(7), 3000);
                let layout = Layout::from_size_align(3000, 8).unwrap();
                CountingAllocator.dealloc(memory, layout);
            }
            held_by(7)
        });
        assert_eq!(held.join().unwrap(), 0);
        // This thread is no core.
        // SAFETY: as above.
        unsafe {
            let layout = Layout::from_size_align(1000, 8).unwrap();
            let memory = CountingAllocator.alloc_zeroed(layout);
            CountingAllocator.dealloc(memory, layout);
        }
        assert_eq!(held_by(7), 0);
    }
}

//! Counts what this process allocates, so that a look-up can be shown to allocate nothing.
#![allow(unsafe_code, reason = "an allocator is unsafe by its nature; this one only counts and hands on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

static MADE: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, and a count of what it was asked for. Growing something counts as well: it allocates anew.
pub(crate) struct Counting;

// SAFETY: every call is handed on to the system's allocator as it came; counting neither allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MADE.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above; the memory is `System`'s, as all that this allocator gives.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Allocations of the process while `work` runs.
pub(crate) fn made_by(work: impl FnOnce()) -> u64 {
    let before = MADE.load(Ordering::Relaxed);
    work();
    MADE.load(Ordering::Relaxed) - before
}

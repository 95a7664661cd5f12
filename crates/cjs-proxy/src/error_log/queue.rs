//! Lines on their way to the thread that writes them: bounded, and nobody who puts one in waits for the writer. Its memory is
//! there from the start and goes back and forth: what a core allocates counts as its own.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::Level;

use super::repeats::{PERIOD, Repeats, Site, Verdict};
use super::{clock, line};

/// Bytes that wait at most: some seconds of a busy log, and little beside the memory of one core.
const BYTES_MAX: usize = 1024 * 1024;

pub(super) struct Queue {
    state: Mutex<State>,
    /// Something is there to be written.
    filled: Condvar,
    /// What was taken is written.
    emptied: Condvar,
}

struct State {
    /// With room for `BYTES_MAX`.
    lines: String,
    /// Lines that did not fit, or were not taken, since this was last told.
    lost: u64,
    repeats: Repeats,
    /// Whether the writer has lines that it has not written yet.
    writing: bool,
}

impl Default for Queue {
    fn default() -> Self {
        let repeats = Repeats::default();
        let state = State { lines: Self::room(), lost: 0, repeats, writing: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), emptied: Condvar::new() }
    }
}

impl Queue {
    /// Room for lines, to be filled by [`Queue::take`].
    pub(super) fn room() -> String {
        String::with_capacity(BYTES_MAX)
    }

    /// Puts a line in; `of` is where it comes from, where that is counted.
    pub(super) fn put(&self, text: String, of: Option<(Site, Level)>, now: Instant) {
        let mut state = self.lock();
        state.tell_withheld(now);
        match of.map_or(Verdict::Said, |(site, level)| state.repeats.count(site, level, now)) {
            Verdict::Said => state.append(&text),
            // The writer may sleep without an end; it is to tell of this one and those that follow.
            Verdict::WithheldFirst => {}
            Verdict::Withheld => return,
        }
        self.filled.notify_one();
    }

    /// Waits for lines, and puts them all in the place of `written`, which is empty. To be followed by [`Queue::written`].
    pub(super) fn take(&self, written: &mut String) {
        let mut state = self.lock();
        loop {
            state.tell_withheld(clock::now());
            if !state.lines.is_empty() {
                std::mem::swap(&mut state.lines, written);
                state.tell_lost(written);
                state.writing = true;
                return;
            }
            state = if state.repeats.is_withholding() {
                let waited = self.filled.wait_timeout(state, PERIOD / 10);
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.filled.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    /// What was taken is written, but for so many lines.
    pub(super) fn written(&self, lost: u64) {
        let mut state = self.lock();
        state.writing = false;
        state.lost += lost;
        drop(state);
        self.emptied.notify_all();
    }

    /// Waits until everything is written, but not longer than `patience`.
    pub(super) fn wait_until_written(&self, patience: Duration) {
        let is_under_way = |state: &mut State| state.writing || !state.lines.is_empty();
        // Whoever does not read the log has it cut short.
        drop(self.emptied.wait_timeout_while(self.lock(), patience, is_under_way));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn append(&mut self, text: &str) {
        if self.lines.len() + text.len() > BYTES_MAX {
            self.lost += 1;
        } else {
            self.lines.push_str(text);
        }
    }

    /// Adds to `lines`, on top of their bound, how many did not fit.
    fn tell_lost(&mut self, lines: &mut String) {
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            let text = format_args!("{lost} lines of this log were lost: stderr did not take them in time");
            lines.push_str(&line::of(clock::unix_seconds(), Level::Warn, module_path!(), &text));
        }
    }

    fn tell_withheld(&mut self, now: Instant) {
        for withheld in self.repeats.ended(now) {
            let (count, seconds) = (withheld.lines, PERIOD.as_secs());
            let text = format_args!("… and {count} more of this in the last {seconds} s");
            self.append(&line::of(clock::unix_seconds(), withheld.level, withheld.module, &text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_log::repeats::LINES_OF_ONE_PLACE;

    fn taken(queue: &Queue) -> String {
        let mut lines = Queue::room();
        queue.take(&mut lines);
        lines
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told_of() {
        let queue = Queue::default();
        let long = "x".repeat(BYTES_MAX / 2 - 1) + "\n";
        (0..5).for_each(|_| queue.put(long.clone(), None, clock::now()));
        let first = taken(&queue);
        assert_eq!(first.lines().filter(|line| line.starts_with('x')).count(), 2);
        let told = "] 3 lines of this log were lost: stderr did not take them in time\n";
        assert!(first.ends_with(told));
        queue.put("next\n".into(), None, clock::now());
        assert_eq!(taken(&queue), "next\n");
    }

    #[test]
    fn repeats_are_told_of_when_their_period_is_over() {
        let (queue, start) = (Queue::default(), clock::now());
        let site = || Site { module: "m", line: 1 };
        for _ in 0..LINES_OF_ONE_PLACE + 1234 {
            queue.put("same\n".into(), Some((site(), Level::Warn)), start);
        }
        queue.put("later\n".into(), None, start + PERIOD);
        let taken = taken(&queue);
        assert_eq!(taken.lines().filter(|line| *line == "same").count() as u32, LINES_OF_ONE_PLACE);
        assert!(taken.contains(" WARN  m] … and 1234 more of this in the last 10 s\nlater\n"), "{taken}");
    }

    #[test]
    fn who_ends_waits_for_the_last_lines_and_not_for_ever() {
        let queue = Queue::default();
        queue.wait_until_written(Duration::MAX);
        queue.put("last\n".into(), None, clock::now());
        queue.wait_until_written(Duration::from_millis(1));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                taken(&queue);
                queue.written(0);
            });
            queue.wait_until_written(Duration::from_secs(60));
        });
        assert!(queue.lock().lines.is_empty());
    }
}

//! The error log: one line an event on stderr. Whoever logs hands its line to a queue and goes on; one thread writes,
//! so that a full disk or a pipe that nobody reads holds up no core. What does not fit is counted and told of later.

mod clock;
mod levels;
mod line;
mod queue;
mod repeats;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use env_filter::Filter;
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::error::Failure;
use queue::Queue;
use repeats::Site;

pub(crate) use levels::{AREAS, Area, Levels};

/// The environment variable that sets the levels in place of the config.
const LEVELS_VARIABLE: &str = "RUST_LOG";
/// How long a process that ends waits for its last lines to be taken: who reads a log does so at once, and an end must
/// not hang on one that is not read.
const LAST_LINES_WAIT: Duration = Duration::from_secs(1);

/// The same for a thread that panics: a core, most likely.
const PANIC_WAIT: Duration = Duration::from_millis(100);

/// The log, once started.
#[derive(Clone)]
pub(crate) struct ErrorLog {
    filter: Arc<RwLock<Filter>>,
    /// Whether `RUST_LOG` decides, and the config does not.
    fixed: bool,
}

impl ErrorLog {
    /// Starts it; once a process.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(levels: &Levels) -> Result<Self, Failure> {
        let variable = std::env::var(LEVELS_VARIABLE).ok();
        let filter = match &variable {
            Some(directives) => env_filter::Builder::new().parse(directives).build(),
            None => levels.filter(),
        };
        log::set_max_level(filter.filter());
        let log = Self { filter: Arc::new(RwLock::new(filter)), fixed: variable.is_some() };
        let queue = Arc::new(Queue::default());
        let emptied = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("error-log".into())
            .spawn(move || write_all_of(&emptied))
            .map_err(|error| Failure::Start(format!("the error log cannot be started: {error}")))?;
        let logger = Logger { filter: Arc::clone(&log.filter), queue: Arc::clone(&queue) };
        if log::set_boxed_logger(Box::new(logger)).is_ok() {
            log_panics(queue);
        }
        Ok(log)
    }

    /// Follows the config.
    pub(crate) fn set_levels(&self, levels: &Levels) {
        if self.fixed {
            return;
        }
        let filter = levels.filter();
        let most = filter.filter();
        *self.filter.write().unwrap_or_else(PoisonError::into_inner) = filter;
        log::set_max_level(most);
    }

    /// One that leaves the levels of the test process alone.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self { filter: Arc::new(RwLock::new(env_filter::Builder::new().build())), fixed: true }
    }
}

struct Logger {
    filter: Arc<RwLock<Filter>>,
    queue: Arc<Queue>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.read().unwrap_or_else(PoisonError::into_inner).enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // Who asks for debug lines wants them all.
        let site = (record.level() <= LevelFilter::Info).then(|| Site {
            module: record.module_path_static().unwrap_or("-"),
            line: record.line().unwrap_or(0),
        });
        let text = line::of(clock::unix_seconds(), record.level(), record.target(), record.args());
        self.queue.put(text, site.map(|site| (site, record.level())), clock::now());
    }

    fn flush(&self) {
        self.queue.wait_until_written(LAST_LINES_WAIT);
    }
}

/// Has a panic told of by the log too, whatever its levels: written by the core itself it could wait for a reader of
/// stderr. It waits a moment all the same, as a second panic on its heels would end the process.
fn log_panics(queue: Arc<Queue>) {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        // Where, a line end, why.
        let mut text = panic.to_string().replacen('\n', " ", 1);
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            text = format!("{text}\n{backtrace}");
        }
        let told = format_args!("thread '{}' {text}", thread.name().unwrap_or("without a name")).to_string();
        let line = line::of(clock::unix_seconds(), Level::Error, module_path!(), &format_args!("{told}"));
        queue.put(line, None, clock::now());
        queue.wait_until_written(PANIC_WAIT);
    }));
}

/// Writes what is put into the queue, for as long as the process lives. Lines that stderr did not take are counted.
fn write_all_of(queue: &Queue) {
    // Not through the standard library's lock, which whoever tells of a failed start needs.
    let mut output = std::io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let (mut lines, mut torn) = (Queue::room(), false);
    loop {
        queue.take(&mut lines);
        if torn {
            lines.insert(0, '\n');
        }
        let written = output.as_mut().map_or(0, |output| write_to(output, lines.as_bytes()));
        let (done, left) = lines.as_bytes().split_at(written);
        let lost = left.iter().filter(|&&byte| byte == b'\n').count();
        // The end of a torn line is none of its own.
        let lost = lost - usize::from(torn && done.is_empty());
        torn = done.last().map_or(torn, |&last| last != b'\n');
        lines.clear();
        queue.written(lost as u64);
    }
}

/// Writes as much as can be; how many bytes that were.
fn write_to(output: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match output.write(&bytes[written..]) {
            Ok(count @ 1..) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes three bytes at once, and so many in all.
    struct Narrow(usize);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let count = bytes.len().min(self.0).min(3);
            self.0 -= count;
            (count > 0).then_some(count).ok_or(ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_not_taken_is_known() {
        for (room, written) in [(0, 0), (2, 2), (7, 7), (100, 9)] {
            assert_eq!(write_to(&mut Narrow(room), b"one\ntwo\n3"), written);
        }
    }

    #[test]
    fn the_levels_follow_the_config_unless_they_are_fixed() {
        let log = ErrorLog { fixed: false, ..ErrorLog::for_tests() };
        log.set_levels(&Levels::of(LevelFilter::Debug));
        assert_eq!(log::max_level(), LevelFilter::Debug);
        ErrorLog::for_tests().set_levels(&Levels::of(LevelFilter::Info));
        assert_eq!(log::max_level(), LevelFilter::Debug);
        log.set_levels(&Levels::of(LevelFilter::Info));
        assert_eq!(log::max_level(), LevelFilter::Info);
    }
}

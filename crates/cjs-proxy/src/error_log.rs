//! The error log: one line an event on stderr. Whoever logs hands its line to a queue and goes on; one thread writes,
//! so that a full disk or a pipe that nobody reads holds up no core. What does not fit is counted and told of later.

mod clock;
mod levels;
mod line;
mod queue;
mod repeats;

use std::io::Write;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use env_filter::Filter;
use log::{LevelFilter, Log, Metadata, Record};

use crate::error::Failure;
use queue::Queue;
use repeats::Site;

pub(crate) use levels::{AREAS, Area, Levels};

/// The environment variable that sets the levels in place of the config.
const LEVELS_VARIABLE: &str = "RUST_LOG";
/// How long a process that ends waits for its last lines to be taken: who reads a log does so at once, and an end must
/// not hang on one that is not read.
const LAST_LINES_WAIT: Duration = Duration::from_secs(1);

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
        let logger = Logger { filter: Arc::clone(&log.filter), queue };
        if log::set_boxed_logger(Box::new(logger)).is_ok() {
            log_panics();
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

/// Has a panic told of by the log too: written by the core itself it could wait for a reader of stderr.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        // Where, a line end, why.
        let text = panic.to_string().replacen('\n', " ", 1);
        log::error!("thread '{}' {text}", thread.name().unwrap_or("without a name"));
        if thread.name() == Some("main") {
            log::logger().flush();
        }
    }));
}

/// Writes what is put into the queue, for as long as the process lives.
fn write_all_of(queue: &Queue) {
    let mut lines = Queue::room();
    loop {
        queue.take(&mut lines);
        // Where stderr takes nothing there is nowhere left to say so.
        let _ = std::io::stderr().write_all(lines.as_bytes());
        lines.clear();
        queue.written();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

//! The error log: stderr, with time stamps. Its level follows `server.debug`, also when the config is read anew,
//! unless `RUST_LOG` sets it.

use env_logger::{Builder, DEFAULT_FILTER_ENV, Env};
use log::LevelFilter;

/// The log, once started.
#[derive(Debug, Clone, Copy)]
pub(super) struct ErrorLog {
    /// Whether `RUST_LOG` decides, and `server.debug` does not.
    fixed: bool,
}

impl ErrorLog {
    /// Starts it; once a process.
    pub(super) fn start(debug: bool) -> Self {
        let fixed = std::env::var_os(DEFAULT_FILTER_ENV).is_some();
        // What passes `log::max_level` must pass the logger itself too, so that the level can be raised later.
        Builder::from_env(Env::default().default_filter_or("debug")).init();
        let log = Self { fixed };
        log.set_debug(debug);
        log
    }

    /// Follows `server.debug`.
    pub(super) fn set_debug(self, debug: bool) {
        if !self.fixed {
            log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Info });
        }
    }
}

#[cfg(test)]
impl ErrorLog {
    /// One that leaves the level of the test process alone.
    pub(super) fn for_tests() -> Self {
        Self { fixed: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_follows_debug_unless_it_is_fixed() {
        let follows = ErrorLog { fixed: false };
        follows.set_debug(true);
        assert_eq!(log::max_level(), LevelFilter::Debug);
        ErrorLog { fixed: true }.set_debug(false);
        assert_eq!(log::max_level(), LevelFilter::Debug);
        follows.set_debug(false);
        assert_eq!(log::max_level(), LevelFilter::Info);
    }
}

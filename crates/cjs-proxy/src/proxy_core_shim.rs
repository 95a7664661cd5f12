//! Stands in for proxy-core's entry points until they are there.

use std::fmt;

use proxy_core::settings::Settings;

/// Why the proxy did not start.
#[derive(Debug)]
pub(crate) struct StartError;

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this build has no data plane")
    }
}

pub(crate) fn run(_settings: Settings) -> Result<(), StartError> {
    Err(StartError)
}

pub(crate) fn io_driver() -> &'static str {
    "no io driver"
}

//! `run`: serves by a config file.

use std::path::Path;

use log::{info, warn};
use proxy_core::settings::Settings;

use crate::config::{Config, Remark};
use crate::error::Failure;
use crate::version;

/// Serves until told to stop.
///
/// # Errors
/// A bad config file, or a start that failed.
pub(crate) fn run(file: Option<&Path>) -> Result<(), Failure> {
    let config = super::load(file)?;
    start_log(config.debug);
    info!("{}", version::line());
    tell(&config);
    serve(config.settings)
}

/// Hands over to the data plane; returns once it has drained.
pub(super) fn serve(settings: Settings) -> Result<(), Failure> {
    proxy_core::supervisor::run(settings, &|| Err("not available yet".into()))
        .map_err(|error| Failure::Start(error.to_string()))
}

/// The error log: stderr, with time stamps; `RUST_LOG` overrides the level.
pub(super) fn start_log(debug: bool) {
    let level = if debug { "debug" } else { "info" };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level)).init();
}

fn tell(config: &Config) {
    for remark in &config.remarks {
        match remark {
            Remark::Note(text) => info!("{text}"),
            Remark::Warning(text) => warn!("{text}"),
        }
    }
}

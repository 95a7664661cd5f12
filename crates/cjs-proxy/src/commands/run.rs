//! `run`: serves by a config file, and reads it again when told to.

use std::path::Path;

use log::{info, warn};
use proxy_core::settings::Settings;
use proxy_core::supervisor::{self, Program};

use crate::config::{self, Config, Fault, Machine, Remark};
use crate::error::Failure;
use crate::error_log::ErrorLog;
use crate::version;

/// Serves until told to stop.
///
/// # Errors
/// A bad config file, or a start that failed.
pub(crate) fn run(file: Option<&Path>) -> Result<(), Failure> {
    let path = super::locate(file)?;
    let config = config::load(&path, Machine::here()).map_err(Failure::Config)?;
    let log = ErrorLog::start(&config.levels)?;
    info!("{}", version::line());
    tell(&config);
    super::start_check::refuse_unusable(&config.settings)?;
    let control = Some(super::upgrade::name_of(&path));
    serve(config.settings, Program { reload: &move || reload(&path, &log), control, build: version::BUILD })
}

/// Hands over to the data plane; returns once it has drained.
pub(super) fn serve(settings: Settings, program: Program<'_>) -> Result<(), Failure> {
    supervisor::run(settings, program).map_err(|error| Failure::Start(error.to_string()))
}

/// The same file once more. Nothing changes where it has faults, the log levels neither.
fn reload(path: &Path, log: &ErrorLog) -> Result<Settings, String> {
    let config = config::load(path, Machine::here()).map_err(|faults| lines(&faults))?;
    log.set_levels(&config.levels);
    tell(&config);
    Ok(config.settings)
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn tell(config: &Config) {
    for remark in &config.remarks {
        match remark {
            Remark::Note(text) | Remark::Difference(text) => info!("{text}"),
            Remark::Warning(text) => warn!("{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_reads_the_same_file_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.json");
        let again = |text: &str| {
            std::fs::write(&path, text).unwrap();
            reload(&path, &ErrorLog::for_tests())
        };
        assert_eq!(again(r#"{"server": {"retryOnError": 7}}"#).unwrap().upstream.retries, 7);
        let faults = again(r#"{"server": {"retryOnError": -1, "zebra": 1}}"#).unwrap_err();
        let named = format!("{}: server.", path.display());
        assert_eq!(faults.lines().filter(|line| line.starts_with(&named)).count(), 2, "{faults}");
        std::fs::remove_file(&path).unwrap();
        let gone = reload(&path, &ErrorLog::for_tests()).unwrap_err();
        assert!(gone.ends_with("c.json: No such file or directory (os error 2)"), "{gone}");
    }
}

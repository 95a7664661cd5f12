//! `check`: validates the config file and prints what it means.

use std::io::Write;
use std::path::Path;

use crate::config::{self, Machine};
use crate::error::Failure;

/// Prints the effective config on stdout, notes and warnings on stderr.
///
/// # Errors
/// All faults of the file.
pub(crate) fn check(file: Option<&Path>) -> Result<(), Failure> {
    let path = super::locate(file)?;
    let config = config::load(&path, Machine::here()).map_err(Failure::Config)?;
    for remark in &config.remarks {
        let _ = writeln!(std::io::stderr(), "{remark}");
    }
    super::print(&format!("{:#}", config.effective));
    Ok(())
}

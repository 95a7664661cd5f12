//! `upgrade`: has the running proxy replace its executable.

use std::path::Path;

use proxy_core::control;

use crate::error::Failure;

/// Asks the proxy that runs by this config file, and prints the process that serves now.
///
/// # Errors
/// No such proxy runs, or the new executable does not serve; then the old one goes on.
pub(crate) fn upgrade(file: Option<&Path>) -> Result<(), Failure> {
    let path = super::locate(file)?;
    let process = control::ask_for_upgrade(&name_of(&path)).map_err(Failure::Start)?;
    super::print(&format!("process {process} serves now; the old one answers what is in flight and ends"));
    Ok(())
}

/// What a proxy is called by: the whole path of its config file.
pub(super) fn name_of(config: &Path) -> String {
    // A file that cannot be found has been told of before, or is about to be.
    std::fs::canonicalize(config).unwrap_or_else(|_| config.to_owned()).display().to_string()
}

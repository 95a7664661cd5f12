//! The commands, one file each.

mod check;
mod demo;
mod run;

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::cli::Command;
use crate::config::{self, Config, Machine};
use crate::error::Failure;
use crate::version;

/// Does what was asked.
///
/// # Errors
/// Why it could not be done.
pub(crate) fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(file) => run::run(file.as_deref()),
        Command::Check(file) => check::check(file.as_deref()),
        Command::Demo => demo::demo(),
        Command::Version => {
            print(&version::line());
            Ok(())
        }
        Command::Print(text) => {
            print(text.trim_end());
            Ok(())
        }
    }
}

/// The named config file, or the one that is found.
fn load(file: Option<&Path>) -> Result<Config, Failure> {
    let path: PathBuf = match file {
        Some(path) => path.to_owned(),
        None => config::locate().map_err(Failure::NoConfig)?,
    };
    config::load(&path, Machine::here()).map_err(Failure::Config)
}

/// Prints a line; a reader that went away is no error.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

//! The commands, one file each.

mod check;
mod demo;
mod generate;
mod limits;
mod routes;
mod run;
mod start_check;
mod upgrade;

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::cli::Command;
use crate::config;
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
        Command::Upgrade(file) => upgrade::upgrade(file.as_deref()),
        Command::Routes(command) => routes::routes(command),
        Command::Limits(command) => limits::limits(command),
        Command::Generate(form) => {
            print(generate::text(form).trim_end());
            Ok(())
        }
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
fn locate(file: Option<&Path>) -> Result<PathBuf, Failure> {
    match file {
        Some(path) => Ok(path.to_owned()),
        None => config::locate().map_err(Failure::NoConfig),
    }
}

/// Prints a line; a reader that went away is no error.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

//! cjs-proxy, the program: command line, config file, commands. The proxy itself is proxy-core.

mod cli;
mod commands;
mod config;
mod error;
mod proxy_core_shim;
mod version;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::command().and_then(commands::execute) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}

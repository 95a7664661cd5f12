//! cjs-proxy, the program: command line, config file, commands. The proxy itself is proxy-core.

mod cli;
mod commands;
mod config;
mod error;
mod error_log;
mod version;

use std::io::Write;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: proxy_core::CountingAllocator = proxy_core::CountingAllocator;

fn main() -> ExitCode {
    let outcome = cli::command().and_then(commands::execute);
    log::logger().flush();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // A closed stderr leaves the exit code to tell.
            let _ = writeln!(std::io::stderr(), "{failure}");
            failure.exit_code()
        }
    }
}

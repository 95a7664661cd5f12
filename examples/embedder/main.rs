//! proxy-core as a library: a proxy whose whole configuration is its command line. Every host is served by the
//! backends that are named there, the less busy of two first.
//!
//! The library takes over the process: it handles signals (SIGTERM drains and ends it), raises the limit of open
//! files, tells systemd, and returns when all is over. It keeps the thread it is called on.

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;

use env_logger::{Builder, Env};
use proxy_core::settings::{Balance, Build, Settings, Source};
use proxy_core::supervisor::{self, Program};
use serde_json::json;

/// What can be asked of it.
const USAGE: &str = "usage: embedder ADDRESS BACKEND-URL…";

/// Without it no core knows what it holds, and none is ever over its limit.
#[global_allocator]
static ALLOCATOR: proxy_core::CountingAllocator = proxy_core::CountingAllocator;

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until the process is told to stop.
fn serve() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or(USAGE)?.parse().map_err(|_| USAGE)?;
    let backends: Vec<String> = arguments.collect();
    if backends.is_empty() {
        return Err(USAGE.into());
    }
    Builder::from_env(Env::default().default_filter_or("info")).init();
    let reload = || Err("there is no file to read again".to_owned());
    let build = Build { version: env!("CARGO_PKG_VERSION"), commit: "unknown" };
    supervisor::run(settings(address, &backends), Program { reload: &reload, control: None, build })?;
    Ok(())
}

/// The defaults of cjs-proxy, and what is different here.
fn settings(address: SocketAddr, backends: &[String]) -> Settings {
    let mut frontend = vec!["embedded"];
    frontend.extend(backends.iter().map(String::as_str));
    let table = json!({ "*": frontend }).to_string();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut settings = Settings::new(&[address], cores, Source::Embedded(table));
    settings.balance = Balance::LeastRequests;
    settings
}

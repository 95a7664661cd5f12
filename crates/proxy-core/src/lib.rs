//! The data plane of cjs-proxy: takes HTTP requests on every core, finds their backend, and relays.
//!
//! [`supervisor::run`] serves by [`settings::Settings`]. `exchange.rs` tells the life of one request.

mod accept;
mod access_log;
mod account;
mod admin;
mod answer;
mod api_version;
#[cfg(test)]
#[path = "../../tls/tests/scene/authority.rs"]
mod authority;
mod board;
pub mod bounds;
mod buffer;
mod census;
mod certificate_watch;
mod certificates;
mod checker;
mod checking;
mod choice;
mod clock;
mod conn;
mod context;
pub mod control;
mod conversation;
mod core;
mod deadline;
mod debug_header;
mod dialer;
mod downstream;
mod error;
mod event;
mod exchange;
mod exposition;
mod file_watch;
mod fleet;
mod handover;
mod handshakes;
#[cfg(debug_assertions)]
mod hooks;
pub mod http;
mod identity;
mod inbox;
mod json_log;
mod listening;
mod log_writer;
mod memory;
mod message_reader;
mod metrics;
mod pace;
mod pick;
pub mod proxy_header;
#[doc(hidden)]
pub mod pure_path;
mod readiness;
mod refusals;
mod relay;
mod reload;
mod runtime;
mod secured;
mod service;
pub mod settings;
mod socket;
mod sticky;
mod stored_certificates;
mod stream;
pub mod supervisor;
mod survey;
mod upgrades;
mod upstream;
mod watch;
mod workers;

pub use error::StartError;
pub use memory::CountingAllocator;

/// Seconds since 1970 by the wall clock; 0 before that.
pub fn unix_seconds() -> u64 {
    clock::unix_seconds()
}

/// The host of a request in the spelling that routes are looked up by; `None`: no request can name it.
pub fn look_up_spelling(host: &str) -> Option<String> {
    let mut spelling = String::new();
    http::host::normalize(host.as_bytes(), &mut spelling).ok().map(|()| spelling)
}

/// The kernel interface that cores would use on this machine, as it is named to users.
pub fn io_driver() -> &'static str {
    runtime::probe().name()
}

//! Each example as its readers run it: real processes, and a request through the proxy. The executable `cjs-proxy` is
//! looked for beside those of the examples: `cargo test --workspace` builds all of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod process;
#[allow(dead_code, reason = "the scenarios of the proxy, whose file it is, use all of it")]
#[path = "../../../crates/cjs-proxy/tests/support/wait.rs"]
mod wait;
mod wire;

mod embedder;
mod monoio_backend;
mod static_table;
mod websocket_echo;

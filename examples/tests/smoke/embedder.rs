//! Any host reaches the backend that stands on the command line.

use super::process::Process;
use super::wire::{ask, backend};

#[test]
fn a_host_of_no_table_reaches_the_backend() {
    let url = format!("http://127.0.0.1:{}", backend("of the backend"));
    let embedder = Process::start(env!("CARGO_BIN_EXE_embedder"), &["127.0.0.1:0", &url]);
    let answer = ask(&embedder.address(), "any.example");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("of the backend"), "{answer}");
}

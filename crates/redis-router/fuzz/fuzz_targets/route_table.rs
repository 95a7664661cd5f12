//! Any text as a route table: no panic, and every mistake names what is accepted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redis_router::Table;

fuzz_target!(|text: &str| {
    if let Err(error) = Table::parse(text) {
        assert!(error.to_string().contains("accepted: "));
    }
});

//! Any bytes as a PROXY header: no panic, and the same verdict however the bytes arrive.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy_core::proxy_header::{Introduction, parse};

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    if let Ok(Some(Introduction { length, .. })) = whole {
        assert!(length <= bytes.len());
    }
    for length in 0..bytes.len() {
        match parse(&bytes[..length]) {
            Ok(None) => {}
            early => return assert_eq!(early, whole, "the verdict changes with what follows"),
        }
    }
});

//! Any bytes as a response head: no panic, and what is accepted has a status and a length that cannot be mistaken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy_core::http::head::{HeadLimits, HeadScan, Length};
use proxy_core::http::response::ResponseHead;

const LIMITS: HeadLimits = HeadLimits { bytes: 4096, fields: 32, target: 0 };

fuzz_target!(|input: (bool, Vec<u8>)| {
    let (to_head, bytes) = input;
    let Ok(Some(length)) = HeadScan::default().advance(&bytes, LIMITS.bytes) else { return };
    let mut head = ResponseHead::default();
    if head.parse(&bytes[..length], to_head, LIMITS).is_err() {
        return;
    }
    assert!((100..600).contains(&head.status()));
    if to_head || head.status() < 200 || head.status() == 204 || head.status() == 304 {
        assert_eq!(head.body_length(), Length::None);
    }
});

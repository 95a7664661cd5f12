//! Any bytes as a request head: no panic; the end of the head does not depend on how the bytes arrive; what is
//! accepted reaches a backend as one head that is accepted again and means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy_core::http::encode::request_for_fuzzing;
use proxy_core::http::head::{HeadLimits, HeadScan};
use proxy_core::http::request::RequestHead;

const LIMITS: HeadLimits = HeadLimits { bytes: 4096, fields: 32, target: 1024 };

fuzz_target!(|input: (u16, Vec<u8>)| {
    let (cut, bytes) = input;
    let whole = HeadScan::default().advance(&bytes, LIMITS.bytes);
    let mut scan = HeadScan::default();
    let cut = usize::from(cut).min(bytes.len());
    let in_two = match scan.advance(&bytes[..cut], LIMITS.bytes) {
        Ok(None) => scan.advance(&bytes, LIMITS.bytes),
        settled => settled,
    };
    assert_eq!(whole, in_two);
    let Ok(Some(length)) = whole else { return };
    let mut head = RequestHead::default();
    if head.parse(bytes[..length].to_vec(), length, LIMITS).is_err() {
        return;
    }
    let sent = request_for_fuzzing(&head);
    assert_eq!(HeadScan::default().advance(&sent, usize::MAX), Ok(Some(sent.len())), "one head, and nothing behind it");
    let mut again = RequestHead::default();
    let limits = HeadLimits { bytes: usize::MAX, fields: 64, target: usize::MAX };
    let length = sent.len();
    again.parse(sent, length, limits).expect("what is sent is acceptable");
    assert_eq!(again.method(), head.method());
    assert_eq!(again.body_length(), head.body_length());
});

//! Any list under a key: no panic, and nothing in a backend that could split a request or an address.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redis_router::Frontend;

fuzz_target!(|list: Vec<Vec<u8>>| {
    let frontend = Frontend::from_list("*.example.tld", &list);
    for backend in &frontend.backends {
        assert!(backend.port > 0 && backend.weight > 0 && backend.index + 1 < list.len());
        assert!(backend.path_prefix.is_empty() || backend.path_prefix.starts_with('/'));
        assert!(!backend.path_prefix.ends_with('/'));
        for part in [&backend.path_prefix, &backend.authority] {
            assert!(part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b'?'));
        }
    }
});

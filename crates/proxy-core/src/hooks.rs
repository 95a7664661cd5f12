//! Faults on demand, for tests: a request for the host `__hook__` makes its core panic, die, hang, hold memory, or be
//! replaced. Not in a release build, and only where the environment asks for it.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::time::Duration;

use crate::context::Core;

const HOST: &str = "__hook__";
const MEGABYTE: usize = 1024 * 1024;

thread_local! {
    static HELD: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Does what `target` says where `host` asks for it. Returns whether it did: then the request is answered as `__ping__`.
pub(crate) fn run(core: &Core, host: &str, target: &[u8]) -> bool {
    static ASKED_FOR: OnceLock<bool> = OnceLock::new();
    if host != HOST || !*ASKED_FOR.get_or_init(|| std::env::var_os("CJS_PROXY_HOOKS").is_some()) {
        return false;
    }
    match target {
        b"/panic" => panic!("asked for by a test"),
        b"/die" => drop(monoio::spawn(async { panic!("asked for by a test, outside of any connection") })),
        #[expect(clippy::infinite_loop, reason = "that is what hangs")]
        b"/hang" => {
            log::warn!("asked for by a test: this core stands still from now on");
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        b"/grow" => HELD.with_borrow_mut(|held| held.push(vec![1; 16 * MEGABYTE])),
        b"/replace" => (core.replace_me)(),
        _ => return false,
    }
    true
}

/// Whether connections without TLS begin with HTTP/2, for tests that write raw frames.
pub(crate) fn begins_with_http_2() -> bool {
    static ASKED_FOR: OnceLock<bool> = OnceLock::new();
    *ASKED_FOR.get_or_init(|| std::env::var_os("CJS_PROXY_HTTP_2").is_some())
}

/// Window and grace of `limits.bodyRate`, for tests that cannot wait so long.
pub(crate) fn body_rate_window() -> Option<Duration> {
    static ASKED_FOR: OnceLock<Option<Duration>> = OnceLock::new();
    *ASKED_FOR.get_or_init(|| {
        let millis = std::env::var("CJS_PROXY_BODY_RATE_MILLIS").ok()?.parse().ok()?;
        Some(Duration::from_millis(millis))
    })
}

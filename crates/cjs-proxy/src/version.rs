//! What `--version` prints.

use proxy_core::io_driver;

/// Version, git commit and the io driver this kernel gives.
pub(crate) fn line() -> String {
    format!("cjs-proxy {} (commit {}, {})", env!("CARGO_PKG_VERSION"), env!("CJS_PROXY_COMMIT"), io_driver())
}

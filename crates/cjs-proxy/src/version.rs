//! What `--version` prints.

use proxy_core::io_driver;
use proxy_core::settings::Build;

pub(crate) const BUILD: Build =
    Build { version: env!("CARGO_PKG_VERSION"), commit: env!("CJS_PROXY_COMMIT") };

/// Version, git commit and the io driver this kernel gives.
pub(crate) fn line() -> String {
    format!("cjs-proxy {} (commit {}, {})", BUILD.version, BUILD.commit, io_driver())
}

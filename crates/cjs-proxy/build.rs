//! Records the git commit for `--version`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rustc-env=CJS_PROXY_COMMIT={}", commit().unwrap_or_else(|| "unknown".into()));
    // Only files that are there: cargo rebuilds at every call for one that is missing.
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["HEAD", "logs/HEAD"] {
        let watched = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists());
        if let Some(path) = watched {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

/// The commit of this workspace, not of a repository it was unpacked into.
fn commit() -> Option<String> {
    let top = Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().ok()?;
    if top == workspace { git(&["rev-parse", "--short=12", "HEAD"]) } else { None }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

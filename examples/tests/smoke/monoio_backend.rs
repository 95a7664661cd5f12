//! The backend shows what the proxy made of a request.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::process::{Process, proxy};
use super::wire::ask;

/// Builds the example, which is a workspace of its own.
fn built() -> String {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("monoio-backend");
    let build = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(package.join("target"))
        .status();
    assert!(build.unwrap().success());
    package.join("target/debug/monoio-backend").display().to_string()
}

#[test]
#[ignore = "builds some seventy crates: `cargo test -p examples -- --ignored`"]
fn the_request_is_shown_as_the_proxy_sent_it() {
    let backend = Process::start(&built(), &["127.0.0.1:0"]);
    let table = json!({ "www.example": ["www", format!("http://{}", backend.address())] });
    let (proxy, _folder) = proxy(&table);
    let answer = ask(&proxy.address(), "www.example");
    for part in ["HTTP/1.1 200 ", "GET /here?a=1\n", "host: www.example\n", "x-forwarded-for: 127.0.0.1\n"] {
        assert!(answer.contains(part), "{answer}");
    }
}

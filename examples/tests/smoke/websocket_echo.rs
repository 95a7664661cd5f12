//! A message goes through the proxy to the echo, and comes back.

use serde_json::json;

use super::process::{Process, printed_by, proxy};

#[test]
fn a_message_comes_back_through_the_proxy() {
    let executable = env!("CARGO_BIN_EXE_websocket-echo");
    let echo = Process::start(executable, &["127.0.0.1:0"]);
    let table = json!({ "echo.example": ["echo", format!("http://{}", echo.address())] });
    let (proxy, _folder) = proxy(&table);
    let said = printed_by(executable, &["say", &proxy.address(), "echo.example", "hello there"]);
    assert_eq!(said, "hello there\n");
    proxy.wait_for("\"GET / HTTP/1.1\" 101 ");
}

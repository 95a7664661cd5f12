//! Programs of others that tests run against the proxy.

use std::io::ErrorKind;
use std::process::{Command, Output, Stdio};

/// Runs `command` to its end, without standard input.
pub(crate) fn output(command: &mut Command) -> Output {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("{program} is not installed; `just test` installs it, as does `.ci/packages {program}`")
        }
        Err(error) => panic!("{program} cannot be run: {error}"),
    }
}

/// What `command` prints; it is to succeed.
pub(crate) fn stdout(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = output(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(status.success(), "{command:?}: {status}\n{}{}", text(&stdout), text(&stderr));
    text(&stdout)
}

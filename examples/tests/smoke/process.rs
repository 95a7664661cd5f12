//! A process of an example, or the proxy: started, watched by what it prints, ended by its handle.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tempfile::TempDir;

use super::wait;

/// One that runs until it is dropped.
pub(crate) struct Process {
    child: Child,
    printed: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts `executable`.
    pub(crate) fn start(executable: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(executable)
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{executable}: {error}; `cargo test --workspace` builds it"));
        let printed = Arc::default();
        gather(child.stdout.take().unwrap(), &printed);
        gather(child.stderr.take().unwrap(), &printed);
        Self { child, printed }
    }

    /// Waits for a line with `part`, and gives what stands behind that.
    pub(crate) fn wait_for(&self, part: &str) -> String {
        wait::until_some(&format!("{part:?} in {:#?}", self.printed.lock().unwrap()), || {
            let printed = self.printed.lock().unwrap();
            printed.iter().find_map(|line| Some(line.split_once(part)?.1.to_owned()))
        })
    }

    /// Address and port it listens on.
    pub(crate) fn address(&self) -> String {
        self.wait_for("listening on ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("printed: {:#?}", self.printed.lock().unwrap());
        }
        // Fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The proxy, whose routes are those of `table`.
pub(crate) fn proxy(table: &serde_json::Value) -> (Process, TempDir) {
    let config = json!({
        "server": { "bind": "127.0.0.1", "port": 0, "workers": 1, "accessLog": "stdout" },
        "driver": "file:routes.json",
    });
    proxy_of(&config, table)
}

/// The proxy by `config`, which names the file `routes.json`, and by `table`, which becomes that file.
pub(crate) fn proxy_of(config: &serde_json::Value, table: &serde_json::Value) -> (Process, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.path().join("routes.json"), table.to_string()).unwrap();
    let executable = Path::new(env!("CARGO_BIN_EXE_websocket-echo")).with_file_name("cjs-proxy");
    let config = folder.path().join("config.json");
    let proxy = Process::start(executable.to_str().unwrap(), &["run", "-c", config.to_str().unwrap()]);
    (proxy, folder)
}

/// What `executable` prints in all, which must end well.
pub(crate) fn printed_by(executable: &str, arguments: &[&str]) -> String {
    let output = Command::new(executable).args(arguments).stdin(Stdio::null()).output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{executable}: {stdout}{stderr}");
    stdout
}

fn gather(stream: impl Read + Send + 'static, printed: &Arc<Mutex<Vec<String>>>) {
    let printed = Arc::clone(printed);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            printed.lock().unwrap().push(line);
        }
    });
}

//! The real binary run to its end: `routes` and `limits`, and what they print.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A config file that commands are given.
pub(crate) struct Config(TempDir);

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Config {
    pub(crate) fn of(config: Value) -> Self {
        let config_file = Self(tempfile::tempdir().unwrap());
        std::fs::write(config_file.path().join("c.json"), config.to_string()).unwrap();
        config_file
    }

    /// One Redis on this port of loopback.
    pub(crate) fn redis(port: u16) -> Self {
        Self::of(json!({ "redis": { "port": port } }))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn routes(&self, arguments: &[&str]) -> Ended {
        routes(&self.path().join("c.json"), arguments, "")
    }

    pub(crate) fn limits(&self, arguments: &[&str]) -> Ended {
        command("limits", &self.path().join("c.json"), arguments, "")
    }

    /// With this on its standard input.
    pub(crate) fn routes_reading(&self, arguments: &[&str], input: &str) -> Ended {
        routes(&self.path().join("c.json"), arguments, input)
    }
}

/// `routes` with this config file.
pub(crate) fn routes(config: &Path, arguments: &[&str], input: &str) -> Ended {
    command("routes", config, arguments, input)
}

fn command(name: &str, config: &Path, arguments: &[&str], input: &str) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cjs-proxy"))
        .arg(name)
        .args(arguments)
        .arg("-c")
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that does not read it may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

impl Ended {
    /// What it printed; it is to have succeeded.
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    pub(crate) fn json(self) -> Value {
        let printed = self.done();
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
    }

    /// What it said; it is to have failed with 1.
    pub(crate) fn failed(self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.err.ends_with('\n') && !self.err.contains("note: \n"), "{self:?}");
        self.err
    }
}

/// Four editors add 25 backends each to `a.example` at the same time.
pub(crate) fn edit_at_once(routes: impl Fn(&[&str]) -> Ended + Sync) {
    let edit = |editor: usize| {
        for number in 0..25 {
            routes(&["add", "a.example", &format!("http://10.0.{editor}.{number}")]).done();
        }
    };
    std::thread::scope(|scope| {
        for editor in 0..4 {
            let edit = &edit;
            scope.spawn(move || edit(editor));
        }
    });
}

//! The real binary: exit codes, and what goes to which stream.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// The binary in a folder, with no flavor and no log level from outside.
fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cjs-proxy"));
    command.current_dir(folder).env_remove("SETTINGS_FLAVOR").env_remove("RUST_LOG");
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    program(folder).args(arguments).output().unwrap()
}

fn folder_with(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn usage_errors_exit_with_2() {
    let folder = folder_with(&[]);
    for arguments in [
        &["serve"][..],
        &["--confg", "x"],
        &["-c"],
        &["run", "x"],
        &["routes"],
        &["routes", "add", "h"],
        &["limits", "show"],
        &["-d", "upgrade"],
        &["demo", "-c", "x"],
    ] {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
        assert_ne!(stderr(&output), "", "{arguments:?}");
    }
    let raw = program(folder.path()).arg(OsStr::from_bytes(b"\xff")).output().unwrap();
    assert_eq!(raw.status.code(), Some(2));
}

#[test]
fn help_and_version_exit_with_0() {
    let folder = folder_with(&[]);
    let help = run(folder.path(), &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(stdout(&help).contains("demo"));
    let version = run(folder.path(), &["--version"]);
    assert_eq!(version.status.code(), Some(0));
    let line = format!("cjs-proxy {} (commit ", env!("CARGO_PKG_VERSION"));
    assert!(stdout(&version).starts_with(&line), "{}", stdout(&version));
}

#[test]
fn every_command_reports_a_bad_file_alike() {
    let folder = folder_with(&[("c.json", r#"{"server": {"port": -1, "prot": 80}}"#)]);
    let lines = "c.json: server.prot: unknown key; did you mean \"server.port\"?\n\
                 c.json: server.port: -1 is out of range; accepted: a whole number from 0 to 65535\n";
    for arguments in [
        &["check", "-c", "c.json"][..],
        &["run", "-c", "c.json"],
        &["-c", "c.json"],
        &["--config", "c.json", "--dry"],
        &["-d", "-c", "c.json"],
    ] {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_eq!(stderr(&output), lines, "{arguments:?}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let folder = folder_with(&[]);
    let named = run(folder.path(), &["check", "-c", "none.json"]);
    assert_eq!(named.status.code(), Some(1));
    assert_eq!(stderr(&named), "none.json: No such file or directory (os error 2)\n");
    let looked_for = program(folder.path()).env("SETTINGS_FLAVOR", "nowhere").output().unwrap();
    assert_eq!(looked_for.status.code(), Some(1));
    assert_eq!(
        stderr(&looked_for),
        "no config file: tried config/config_nowhere.json, /etc/cjs-proxy/config_nowhere.json, \
         /etc/cjs-proxy/config/config_nowhere.json; name one with -c\n"
    );
}

#[test]
fn check_prints_the_effective_config() {
    let text = r#"{"redisPassword": "quiet", "http": {"port": 81}, "server": {"lruCache": {"size": 1}}}"#;
    let folder = folder_with(&[("c.json", text)]);
    let output = run(folder.path(), &["check", "-c", "c.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let printed: serde_json::Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(printed["server"]["port"], 81);
    assert_eq!(printed["redis"]["password"], "***");
    let told: Vec<&str> = stderr(&output).lines().collect();
    assert_eq!(told[0], "note: c.json: server.lruCache.size: 1 is raised to 10000");
    let is_row = |line: &&str| line.starts_with("MIGRATION.md row ");
    assert!(told.len() > 1 && told[1..].iter().all(is_row), "{told:?}");
    assert!(!stdout(&output).contains("quiet"));
}

#[test]
fn the_flavor_chooses_the_file() {
    let files = [
        ("config/config.json", r#"{"server": {"port": 1001}}"#),
        ("config/config_dev.json", r#"{"server": {"port": 1002}}"#),
    ];
    let folder = folder_with(&files);
    let port = |output: Output| {
        let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        printed["server"]["port"].clone()
    };
    assert_eq!(port(run(folder.path(), &["check"])), 1001);
    assert_eq!(port(program(folder.path()).arg("-d").env("SETTINGS_FLAVOR", "dev").output().unwrap()), 1002);
}

#[test]
fn files_of_the_predecessors_are_checked() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let program = |name: &str| {
        let output = program(&samples).args(["check", "-c", name]).output().unwrap();
        assert!(!stderr(&output).is_empty(), "{name}");
        output.status.code()
    };
    for name in
        ["concussionjs-0.0.1.json", "hipache-0.1.json", "hipache-0.2-strings.json", "hipache-0.3.json"]
    {
        assert_eq!(program(name), Some(0), "{name}");
    }
    for name in ["concussionjs-0.0.1-https.json", "hipache-0.3-etcd.json", "hipache-0.4-undefined.txt"] {
        assert_eq!(program(name), Some(1), "{name}");
    }
}

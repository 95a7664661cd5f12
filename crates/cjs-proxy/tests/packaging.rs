//! What a package holds besides the binary: files that have to agree with it and with each other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/deploy").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(deployed(name)).unwrap()
}

/// What the unit says for `key`, which stands once.
fn of_unit(key: &str) -> String {
    let unit = text("cjs-proxy.service");
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let value = values.next().unwrap_or_else(|| panic!("no {key}"));
    assert_eq!(values.next(), None, "{key}");
    value.to_owned()
}

/// The config in force by that file, of which nothing is to be said but to who runs the test as root.
fn checked(config: &Path) -> serde_json::Value {
    let mut check = Command::new(env!("CARGO_BIN_EXE_cjs-proxy"));
    let Output { status, stdout, stderr } = check.arg("check").arg("-c").arg(config).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(status.success(), "{said}");
    assert_eq!(said.lines().find(|line| !line.contains("the process is root")), None);
    serde_json::from_slice(&stdout).unwrap()
}

#[test]
fn the_shipped_config_is_in_order() {
    let config = checked(&deployed("config.json"));
    assert_eq!(config["server"]["port"], 80);
    assert_eq!(config["admin"]["bind"], "127.0.0.1");
    assert_eq!(config["server"]["accessLog"], "/var/log/cjs-proxy/access.log");
}

#[test]
fn systemd_waits_longer_than_a_drain() {
    let stop: f64 = of_unit("TimeoutStopSec").parse().unwrap();
    for config in ["config.json", "container.json", "../config_prod.json"].map(deployed) {
        let drain = checked(&config)["server"]["gracefulWait"].as_f64().unwrap();
        assert!(drain + 10.0 <= stop, "{}: {drain} s, {stop} s", config.display());
    }
}

#[test]
fn the_log_folder_is_the_same_to_all() {
    let folder = of_unit("LogsDirectory");
    let (mode, user, group) = (of_unit("LogsDirectoryMode"), of_unit("User"), of_unit("Group"));
    assert_eq!(text("cjs-proxy.tmpfiles"), format!("d /var/log/{folder} {mode} {user} {group} -\n"));
    assert!(text("cjs-proxy.sysusers").starts_with(&format!("u {user} ")));
    let rotation = text("cjs-proxy.logrotate");
    assert!(rotation.starts_with(&format!("/var/log/{folder}/*.log {{")), "{rotation}");
    assert!(rotation.contains(&format!("su {user} {group}\n")), "{rotation}");
}

fn generated(form: &str) -> String {
    let binary = env!("CARGO_BIN_EXE_cjs-proxy");
    String::from_utf8(Command::new(binary).args(["generate", form]).output().unwrap().stdout).unwrap()
}

/// What `program` makes of `input`; `None`: this machine does not have it.
fn through(program: &str, arguments: &[&str], input: &str) -> Option<Output> {
    let pipe = Stdio::piped;
    let mut child =
        Command::new(program).args(arguments).stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().ok()?;
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

/// Who is there reads it without a word; bash is everywhere.
#[test]
fn shells_and_roff_read_what_is_generated() {
    let readers: &[(&str, &str, &[&str])] = &[
        ("bash", "bash", &["-n"]),
        ("zsh", "zsh", &["-n"]),
        ("fish", "fish", &["-n"]),
        ("man", "groff", &["-man", "-Tutf8", "-ww", "-z"]),
        ("man", "mandoc", &["-T", "lint", "-W", "error"]),
    ];
    for (form, program, arguments) in readers {
        let Some(read) = through(program, arguments, &generated(form)) else { continue };
        let said = [read.stdout, read.stderr].concat();
        assert!(read.status.success(), "{program}: {}", String::from_utf8_lossy(&said));
        assert_eq!(String::from_utf8_lossy(&said), "", "{program}");
    }
    assert!(through("bash", &["-n"], "x() {").is_some_and(|read| !read.status.success()));
}

#[test]
fn bash_completes_by_what_stands_before() {
    let table = [
        ("ro", "routes"),
        ("routes sh", "show"),
        ("limits sh", "show"),
        ("-c run routes e", "export"),
        ("routes import --pr", "--prune"),
        ("generate b", "bash"),
        ("run --id li", ""),
    ];
    for (typed, completed) in table {
        let ask =
            format!("COMP_WORDS=(cjs-proxy {typed}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _cjs_proxy");
        let script = format!("{}\n{ask}\necho \"${{COMPREPLY[*]}}\"", generated("bash"));
        let answer = through("bash", &["--norc"], &script).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.stdout).trim_end(), completed, "{typed}");
    }
}

/// The command by which an image says whether it is well, told of another port.
fn health_check(port: u16) -> std::process::ExitStatus {
    let image = text("Dockerfile");
    let line = image.lines().find(|line| line.starts_with("HEALTHCHECK")).unwrap();
    let port = format!("127.0.0.1/{port}");
    let words = line.split_once(" CMD ").unwrap().1.replace("127.0.0.1/9180", &port);
    let words: Vec<String> = serde_json::from_str(&words).unwrap();
    Command::new(&words[0]).args(&words[1..]).stderr(Stdio::null()).status().unwrap()
}

#[test]
fn an_image_is_well_as_the_admin_listener_says() {
    let container = checked(&deployed("container.json"));
    assert_eq!(container["admin"]["port"], 9180);
    assert!(text("Dockerfile").contains("/dev/tcp/127.0.0.1/9180 "));
    for (answer, well) in [("200 OK", true), ("503 Service Unavailable", false)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let admin = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut asked = [0; 25];
            client.read_exact(&mut asked).unwrap();
            client.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).unwrap();
            String::from_utf8_lossy(&asked).into_owned()
        });
        assert_eq!(health_check(port).success(), well, "{answer}");
        assert_eq!(admin.join().unwrap(), "GET /healthz HTTP/1.0\r\n\r\n");
        assert!(!health_check(port).success(), "nobody listens any more");
    }
}

/// What a container engine would forbid otherwise; and that no other process can be looked into.
#[test]
fn the_seccomp_profile_allows_io_uring() {
    let profile: serde_json::Value = serde_json::from_str(&text("seccomp.json")).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let rules = profile["syscalls"].as_array().unwrap();
    let allowed = |name: &str| {
        let names =
            |rule: &serde_json::Value| rule["names"].as_array().unwrap().iter().any(|one| one == name);
        rules.iter().any(|rule| rule["action"] == "SCMP_ACT_ALLOW" && names(rule))
    };
    for name in ["io_uring_setup", "io_uring_enter", "io_uring_register", "epoll_wait", "sendmmsg"] {
        assert!(allowed(name), "{name}");
    }
    for name in ["ptrace", "mount", "unshare", "bpf", "process_vm_readv", "clone3", "keyctl"] {
        assert!(!allowed(name), "{name}");
    }
}

//! The real binary: started with a config, watched by its error log, ended by its handle.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Client;
use super::wait;

/// Among the variables of a proxy: its limit of open files.
pub(crate) const OPEN_FILES: &str = "OPEN_FILES";
/// Among the variables of a proxy: the file that it, and nobody else, sees as /etc/hosts. Asks for a kernel that lets
/// users have mounts of their own, see [`can_have_hosts`].
pub(crate) const HOSTS: &str = "HOSTS";
/// Puts a program where `HOSTS` is /etc/hosts.
const WITH_HOSTS: &str = "mount --bind \"$HOSTS\" /etc/hosts && exec \"$0\" \"$@\"";
/// Its config file, in the folder of its own.
const CONFIG: &str = "config.json";

pub(crate) struct Proxy {
    child: Child,
    executable: PathBuf,
    dir: TempDir,
    log: Lines,
    output: Lines,
}

/// Lines of a stream, gathered by a thread.
type Lines = Arc<Mutex<Vec<String>>>;

/// Copies an executable by a process of its own: a file that this one has open for writing cannot be executed, nor can
/// it while a child forked meanwhile by another test has yet to close it ("Text file busy").
pub(crate) fn install(from: &Path, to: &Path) {
    let copied = Command::new("cp").args([from, to]).status().unwrap();
    assert!(copied.success());
}

impl Proxy {
    /// Serves by `config` over defaults that suit tests.
    pub(crate) fn start(config: Value) -> Self {
        Self::launch(config).serving()
    }

    /// As `start`, from a copy of the executable in the proxy's folder.
    pub(crate) fn start_installed(config: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        install(Path::new(env!("CARGO_BIN_EXE_cjs-proxy")), &dir.path().join("cjs-proxy"));
        Self::launch_in(dir, config).serving()
    }

    pub(crate) fn serving(mut self) -> Self {
        wait::until("it serves", || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the proxy does not start: {:#?}", self.log());
            find(&self.log, "serving on ").is_some()
        });
        self
    }

    /// Starts it without waiting for anything.
    pub(crate) fn launch(config: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::launch_in(dir, config)
    }

    /// As `launch`, with the config file and the access log in a folder that has files already.
    pub(crate) fn launch_in(dir: TempDir, config: Value) -> Self {
        Self::launch_with(dir, config, &[])
    }

    /// As `launch_in`, with more variables in its environment.
    pub(crate) fn launch_with(dir: TempDir, config: Value, variables: &[(&str, PathBuf)]) -> Self {
        let mut whole = json!({ "server": {
            "port": 0, "bind": "127.0.0.1", "workers": 2, "accessLog": dir.path().join("access.log"),
        } });
        merge(&mut whole, config);
        let file = dir.path().join(CONFIG);
        std::fs::write(&file, whole.to_string()).unwrap();
        Self::spawn_with(dir, &["run", "-c", &file.display().to_string()], variables)
    }

    pub(crate) fn spawn(dir: TempDir, arguments: &[&str]) -> Self {
        Self::spawn_with(dir, arguments, &[])
    }

    fn spawn_with(dir: TempDir, arguments: &[&str], variables: &[(&str, PathBuf)]) -> Self {
        let installed = dir.path().join("cjs-proxy");
        let executable = if installed.exists() { installed } else { env!("CARGO_BIN_EXE_cjs-proxy").into() };
        // The limit of open files is taken over by what a shell starts.
        let limited = variables.iter().find(|(name, _)| *name == OPEN_FILES);
        let has_hosts = variables.iter().any(|(name, _)| *name == HOSTS);
        let started = match (limited, has_hosts) {
            (Some(_), _) => Path::new("sh"),
            (None, true) => Path::new("unshare"),
            (None, false) => &executable,
        };
        let mut command = Command::new(started);
        if has_hosts {
            command.args(["-rm", "sh", "-c", WITH_HOSTS]).arg(&executable);
        }
        if let Some((_, limit)) = limited {
            command
                .arg("-c")
                .arg(format!("ulimit -n {}; exec \"$0\" \"$@\"", limit.display()))
                .arg(&executable);
        }
        let mut child = command
            .args(arguments)
            .current_dir(dir.path())
            .env_remove("SETTINGS_FLAVOR")
            .env_remove("RUST_LOG")
            .env("CJS_PROXY_HOOKS", "1")
            .envs(variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (log, output) = (gather(child.stderr.take().unwrap()), gather(child.stdout.take().unwrap()));
        Self { child, executable, dir, log, output }
    }

    /// Where its executable stands.
    pub(crate) fn executable(&self) -> PathBuf {
        self.executable.clone()
    }

    /// Puts the keys of `change` into its config file.
    pub(crate) fn rewrite(&self, change: Value) {
        let text = std::fs::read_to_string(self.dir().join(CONFIG)).unwrap();
        let mut whole = serde_json::from_str(&text).unwrap();
        merge(&mut whole, change);
        std::fs::write(self.dir().join(CONFIG), whole.to_string()).unwrap();
    }

    /// Puts the keys of `change` into its config file and has it read anew.
    pub(crate) fn reload(&self, change: Value) {
        self.rewrite(change);
        self.signal(Signal::SIGHUP);
    }

    /// Makes `text` its config file and has it read anew.
    pub(crate) fn reload_text(&self, text: &str) {
        std::fs::write(self.dir().join(CONFIG), text).unwrap();
        self.signal(Signal::SIGHUP);
    }

    /// Waits for a line of the error log that has `part` in it.
    pub(crate) fn wait_for_log(&self, part: &str) -> String {
        wait::until_some(&format!("{part:?} in the error log: {:#?}", self.log()), || find(&self.log, part))
    }

    /// Lines of the error log that have `part` in them.
    pub(crate) fn count_in_log(&self, part: &str) -> usize {
        self.log().iter().filter(|line| line.contains(part)).count()
    }

    /// Waits for a line on stdout that has `part` in it.
    pub(crate) fn wait_for_output(&self, part: &str) -> String {
        wait::until_some(&format!("{part:?} on stdout"), || find(&self.output, part))
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn output(&self) -> Vec<String> {
        self.output.lock().unwrap().clone()
    }

    /// Addresses it listens on.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let log = self.log();
        let found = log.iter().filter_map(|line| line.split_once("listening on ")?.1.parse().ok());
        found.collect()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses()[0]
    }

    /// Where it speaks HTTPS first.
    pub(crate) fn https_address(&self) -> SocketAddr {
        self.https_addresses()[0]
    }

    pub(crate) fn https_addresses(&self) -> Vec<SocketAddr> {
        let said =
            |line: &String| line.split_once("listening on ")?.1.strip_suffix(" for HTTPS")?.parse().ok();
        self.log().iter().filter_map(said).collect()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::to(self.address())
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn access_log(&self) -> PathBuf {
        self.dir.path().join("access.log")
    }

    /// Waits until the access log has `count` lines, and gives them.
    pub(crate) fn wait_for_access(&self, count: usize) -> Vec<String> {
        wait_for_lines(&self.access_log(), count)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn resident_kilobytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait_for_exit(&mut self) -> ExitStatus {
        wait::until_some("end of the proxy", || self.child.try_wait().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("error log of the proxy: {:#?}", self.log());
        }
        // Fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Those that took over from it.
        let successors = self.log().into_iter().filter_map(|line| {
            let (_, rest) = line.split_once("upgrade: process ")?;
            rest.split_once(" serves")?.0.parse().ok()
        });
        for successor in successors {
            let _ = kill(Pid::from_raw(successor), Signal::SIGKILL);
        }
    }
}

/// Waits until `file` has `count` whole lines, and gives them.
pub(crate) fn wait_for_lines(file: &Path, count: usize) -> Vec<String> {
    wait::until_some(&format!("{count} lines in {}", file.display()), || {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        let is_whole = lines.len() >= count && text.ends_with('\n');
        is_whole.then(|| lines.iter().map(|line| line.trim_end().to_owned()).collect())
    })
}

fn find(lines: &Lines, part: &str) -> Option<String> {
    lines.lock().unwrap().iter().find(|line| line.contains(part)).cloned()
}

fn gather(stream: impl Read + Send + 'static) -> Lines {
    let lines = Lines::default();
    let kept = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            kept.lock().unwrap().push(line);
        }
    });
    lines
}

/// Whether a proxy can be given an /etc/hosts of its own here.
pub(crate) fn can_have_hosts() -> bool {
    let mut trial = Command::new("unshare");
    trial.args(["-rm", "sh", "-c", WITH_HOSTS, "true"]).env(HOSTS, "/etc/hosts");
    trial.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Puts the keys of `over` into `base`, objects into objects.
pub(crate) fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

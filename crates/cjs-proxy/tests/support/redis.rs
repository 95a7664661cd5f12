//! A real Redis server of the test's own.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::{Connection, FromRedisValue};
use tempfile::TempDir;

use super::wait;

pub(crate) struct Redis {
    child: Option<Child>,
    dir: TempDir,
    pub(crate) port: u16,
    options: Vec<String>,
}

impl Redis {
    /// A server that runs and answers.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(options: &[&str]) -> Self {
        let mut redis = Self::absent();
        redis.options = options.iter().map(|option| (*option).to_owned()).collect();
        redis.child = Some(wait::until_some("a port for redis-server", || {
            redis.port = free_port();
            redis.try_start()
        }));
        redis
    }

    /// A server that does not run yet.
    pub(crate) fn absent() -> Self {
        Self { child: None, dir: tempfile::tempdir().unwrap(), port: free_port(), options: Vec::new() }
    }

    /// Starts it on the port it has had all along.
    pub(crate) fn run(&mut self) {
        self.run_with(&[]);
    }

    /// As `run`, with more options for this one time.
    fn run_with(&mut self, more: &[&str]) {
        self.take_connections_with(more);
        wait::until("redis-server has loaded its data", || {
            redis::cmd("PING").exec(&mut self.connection().unwrap()).is_ok()
        });
    }

    /// As `run`, but returns while it still loads its data; with more options for this one time.
    pub(crate) fn take_connections_with(&mut self, more: &[&str]) {
        let usual = self.options.len();
        self.options.extend(more.iter().map(|option| (*option).to_owned()));
        self.child = Some(wait::until_some("redis-server on its old port", || self.try_start()));
        self.options.truncate(usual);
    }

    /// Changes what it holds while nobody else reaches it. It does not run before and after.
    pub(crate) fn while_unreachable(&mut self, change: impl FnOnce(&Self)) {
        self.run_with(&["--port", "0"]);
        change(self);
        self.kill();
    }

    /// `None`: somebody else took the port in the meantime.
    fn try_start(&self) -> Option<Child> {
        let _ = std::fs::remove_file(self.socket());
        let mut child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--port", &self.port.to_string()])
            .arg("--unixsocket")
            .arg(self.socket())
            .arg("--dir")
            .arg(self.dir.path())
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("redis-server does not start ({error}); install it: apt-get install redis-server")
            });
        // It opens the socket after the port: whoever answers there is this child, and has its port.
        let runs = wait::until_some("redis-server answers or ends", || {
            let ended = child.try_wait().unwrap().is_some();
            if ended { Some(false) } else { self.connection().map(|_| true) }
        });
        runs.then_some(child)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// Where others open connections of their own.
    pub(crate) fn url(&self) -> String {
        let password = self.options.iter().skip_while(|option| *option != "--requirepass").nth(1);
        let query = password.map(|password| format!("?pass={password}")).unwrap_or_default();
        format!("redis+unix://{}{query}", self.socket().display())
    }

    fn connection(&self) -> Option<Connection> {
        redis::Client::open(self.url()).unwrap().get_connection().ok()
    }

    /// Asks for another password from now on; the server must have one already.
    pub(crate) fn set_password(&mut self, password: &str) {
        self.command(&format!("CONFIG SET requirepass {password}"));
        let at = self.options.iter().position(|option| option == "--requirepass").unwrap();
        password.clone_into(&mut self.options[at + 1]);
    }

    /// Runs a command written as on the command line.
    pub(crate) fn command(&self, line: &str) -> redis::Value {
        self.query(line)
    }

    /// What a command written as on the command line answers.
    pub(crate) fn query<T: FromRedisValue>(&self, line: &str) -> T {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut connection = self.connection().unwrap();
        let (select, words) = match words.as_slice() {
            ["-n", db, rest @ ..] => (*db, rest),
            rest => ("0", rest),
        };
        redis::cmd("SELECT").arg(select).exec(&mut connection).unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut connection).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Makes `frontend:<host>` a list of identifier and backend URLs, at once.
    pub(crate) fn route(&self, host: &str, list: &[&str]) {
        let mut connection = self.connection().unwrap();
        let key = format!("frontend:{host}");
        let replace = redis::pipe().atomic().del(&key).rpush(&key, list).exec(&mut connection);
        replace.unwrap();
    }

    /// Makes `key` a hash of these fields, at once.
    pub(crate) fn hash(&self, key: &str, fields: &[(&str, &str)]) {
        let mut connection = self.connection().unwrap();
        redis::pipe().atomic().del(key).hset_multiple(key, fields).exec(&mut connection).unwrap();
    }

    /// Sets one field of a hash.
    pub(crate) fn set_field(&self, key: &str, field: &str, value: &str) {
        let mut connection = self.connection().unwrap();
        redis::cmd("HSET").arg(key).arg(field).arg(value).exec(&mut connection).unwrap();
    }

    /// Indexes in `dead:<frontend>`, in rising order.
    pub(crate) fn marks(&self, frontend: &str) -> Vec<usize> {
        let mut marks: Vec<usize> = self.query(&format!("SMEMBERS dead:{frontend}"));
        marks.sort_unstable();
        marks
    }

    /// What is published on `channel` from now on, for as long as the server runs.
    pub(crate) fn subscribe(&self, channel: &'static str) -> Heard {
        let (heard, (begun, begins)) = (Heard::default(), mpsc::channel());
        let (kept, mut connection) = (heard.clone(), self.connection().unwrap());
        std::thread::spawn(move || {
            let mut messages = connection.as_pubsub();
            messages.subscribe(channel).unwrap();
            begun.send(()).unwrap();
            while let Ok(message) = messages.get_message() {
                kept.0
                    .lock()
                    .unwrap()
                    .push(String::from_utf8_lossy(message.get_payload_bytes()).into_owned());
            }
        });
        begins.recv().unwrap();
        heard
    }

    /// Calls of each command since the last `CONFIG RESETSTAT`.
    pub(crate) fn calls(&self) -> BTreeMap<String, usize> {
        let info: String =
            redis::cmd("INFO").arg("commandstats").query(&mut self.connection().unwrap()).unwrap();
        let lines = info.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
        lines.map(|(name, rest)| (name.into(), rest.split(',').next().unwrap().parse().unwrap())).collect()
    }

    /// SIGSTOP halts it without closing anything, SIGCONT lets it go on.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().unwrap().id();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// Messages of a channel, in the order they came.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Waits for so many messages, and gives all there are.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<String> {
        wait::until(&format!("{count} messages"), || self.lines().len() >= count);
        self.lines()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

//! A real Redis server of the test's own, a dialer to it, and waiting for what has to come.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "test support: a failure is to stop the test")]

use std::cell::Cell;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

use monoio::io::{OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::{TcpStream, UnixStream};
use redis_router::{
    CacheSettings, Cached, Deployment, Dialer, Endpoint, Link, Login, RedisSettings, Route, Router,
    Sentinels, Server, StoreState,
};

/// Longest wait for anything a test waits for.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct RedisServer {
    child: Option<Child>,
    dir: tempfile::TempDir,
    pub port: u16,
    options: Vec<String>,
}

impl RedisServer {
    /// A server that runs and answers.
    pub fn start() -> RedisServer {
        Self::start_with(&[])
    }

    pub fn start_with(options: &[&str]) -> RedisServer {
        let mut server = Self::absent();
        server.options = options.iter().map(|option| (*option).to_owned()).collect();
        server.run();
        server
    }

    /// A server that does not run yet.
    pub fn absent() -> RedisServer {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        RedisServer { child: None, dir, port, options: Vec::new() }
    }

    /// Starts it and waits until it takes connections.
    pub fn run(&mut self) {
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--enable-debug-command", "yes"])
            .args(["--repl-diskless-sync-delay", "0"])
            .args(["--port", &self.port.to_string(), "--unixsocket", &self.socket().display().to_string()])
            .arg("--dir")
            .arg(self.dir.path())
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("redis-server does not start ({error}); install it: apt-get install redis-server")
            });
        self.child = Some(child);
        // Its own socket: on the port another test's server could answer.
        for _ in 0..2_000 {
            if std::os::unix::net::UnixStream::connect(self.socket()).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("redis-server does not start on port {}", self.port);
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// `STOP` halts it without closing anything, `CONT` lets it go on.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
    }

    pub fn admin(&self) -> Admin {
        self.try_admin().unwrap()
    }

    /// As `admin`, for a server that may not take connections just now.
    pub fn try_admin(&self) -> redis::RedisResult<Admin> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port))?;
        Ok(Admin(client.get_connection()?))
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    pub fn settings(&self) -> RedisSettings {
        single(self.endpoint())
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::plain(Server::Tcp("127.0.0.1".into(), self.port))
    }
}

/// The settings of that server for one of its users.
pub fn as_user(server: &RedisServer, username: Option<&str>, password: &str) -> RedisSettings {
    let mut endpoint = server.endpoint();
    endpoint.login = Login { username: username.map(str::to_owned), password: Some(password.into()) };
    single(endpoint)
}

/// One server for everything, no prefix.
pub fn single(endpoint: Endpoint) -> RedisSettings {
    RedisSettings { deployment: Deployment::Single(endpoint), prefix: String::new(), sets: Vec::new() }
}

/// The master called main, as the sentinels at these ports know it.
pub fn watched_by(ports: impl Iterator<Item = u16>) -> RedisSettings {
    let sentinels = Sentinels {
        addresses: ports.map(|port| Server::Tcp("127.0.0.1".into(), port)).collect(),
        master_name: "main".into(),
        login: Default::default(),
        master_login: Default::default(),
        db: 0,
        tls: false,
    };
    RedisSettings { deployment: Deployment::Sentinel(sentinels), prefix: String::new(), sets: Vec::new() }
}

/// A port that stays free while its server is away: below those that the system gives to outgoing connections.
pub fn free_port() -> u16 {
    static TAKEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let mut taken = TAKEN.lock().unwrap();
    let is_free = |port: &u16| !taken.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = std::iter::repeat_with(|| fastrand::u16(16_000..22_000)).take(1_000).find(is_free).unwrap();
    taken.push(port);
    port
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Answers every connection with `words`, then keeps it open or closes it.
pub fn impostor(words: &'static [u8], keep_open: bool) -> RedisSettings {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // The reader may be gone already: that is its right.
            let _ = stream.write_all(words);
            while keep_open && stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {}
        }
    });
    single(Endpoint::plain(Server::Tcp("127.0.0.1".into(), port)))
}

/// A connection that writes what the proxy is to follow.
pub struct Admin(pub redis::Connection);

impl Admin {
    /// Runs a command written as on the command line.
    pub fn run(&mut self, line: &str) -> redis::Value {
        self.try_run(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    pub fn try_run(&mut self, line: &str) -> redis::RedisResult<redis::Value> {
        let mut words = line.split_whitespace();
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>());
        command.query(&mut self.0)
    }

    /// Calls of `command` since the last `CONFIG RESETSTAT`.
    pub fn calls(&mut self, command: &str) -> u64 {
        let info: String = redis::cmd("INFO").arg("commandstats").query(&mut self.0).unwrap();
        let start = format!("cmdstat_{command}:calls=");
        let line = info.lines().find_map(|line| line.strip_prefix(&start));
        line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    }
}

/// Connects with the standard library, which can hand out a second descriptor: so hanging up never meets a reused one.
pub struct TcpDialer;

impl Dialer for TcpDialer {
    type Read = OwnedReadHalf<TcpStream>;
    type Write = OwnedWriteHalf<TcpStream>;

    async fn dial(&self, endpoint: &Endpoint) -> io::Result<Link<Self::Read, Self::Write>> {
        let Server::Tcp(host, port) = &endpoint.server else { return Err(io::ErrorKind::Unsupported.into()) };
        let stream = std::net::TcpStream::connect((host.as_str(), *port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(!monoio::utils::detect_uring())?;
        let handle = stream.try_clone()?;
        let (read, write) = TcpStream::from_std(stream)?.into_split();
        Ok(Link { read, write, hang_up: once(move || drop(handle.shutdown(Shutdown::Both))) })
    }
}

pub struct UnixDialer;

impl Dialer for UnixDialer {
    type Read = OwnedReadHalf<UnixStream>;
    type Write = OwnedWriteHalf<UnixStream>;

    async fn dial(&self, endpoint: &Endpoint) -> io::Result<Link<Self::Read, Self::Write>> {
        let Server::Unix(path) = &endpoint.server else { return Err(io::ErrorKind::Unsupported.into()) };
        let stream = std::os::unix::net::UnixStream::connect(path)?;
        stream.set_nonblocking(!monoio::utils::detect_uring())?;
        let handle = stream.try_clone()?;
        let (read, write) = UnixStream::from_std(stream)?.into_split();
        Ok(Link { read, write, hang_up: once(move || drop(handle.shutdown(Shutdown::Both))) })
    }
}

/// Hanging up is asked for at most once.
fn once(hang_up: impl Fn() + 'static) -> Box<dyn Fn()> {
    let done = Cell::new(false);
    Box::new(move || {
        assert!(!done.replace(true), "hung up twice");
        hang_up();
    })
}

/// Runs `scenario` with a router that follows `settings`, and checks that the router ends when stopped.
pub fn scene<D: Dialer, F: Future<Output = ()>>(
    settings: RedisSettings,
    dialer: D,
    scenario: impl FnOnce(Router) -> F,
) {
    scene_with(settings, CacheSettings { rows: 10_000, max_age: None }, dialer, scenario);
}

pub fn scene_with<D: Dialer, F: Future<Output = ()>>(
    settings: RedisSettings,
    cache: CacheSettings,
    dialer: D,
    scenario: impl FnOnce(Router) -> F,
) {
    let mut runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new().enable_timer().build().unwrap();
    runtime.block_on(async move {
        let router = Router::redis(settings, cache);
        let running = router.clone();
        let ended = monoio::spawn(async move { running.run(dialer).await });
        scenario(router.clone()).await;
        router.stop();
        monoio::time::timeout(DEADLINE, ended).await.expect("the router ends when it is stopped");
    });
}

/// Looks again and again until `check` holds.
pub async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let looked = async {
        while !check().await {
            monoio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if monoio::time::timeout(DEADLINE, looked).await.is_err() {
        panic!("not within {DEADLINE:?}: {what}");
    }
}

pub async fn tracking(router: &Router) {
    eventually("routes are followed", async || router.state() == StoreState::Tracking).await;
}

/// Identifier of the frontend that serves `host`; `-` where there is none.
pub async fn served(router: &Router, host: &str) -> String {
    match router.find(host).await {
        Ok(route) => name(route),
        Err(unavailable) => format!("unavailable: {unavailable}"),
    }
}

pub fn name(route: Option<Rc<Route>>) -> String {
    route.map_or("-".into(), |route| route.frontend.identifier.to_string())
}

/// As `served`, without asking the store; `?` where it would have to be asked.
pub fn known(router: &Router, host: &str) -> String {
    match router.cached(host) {
        Cached::Route(route) => route.frontend.identifier.to_string(),
        Cached::NoFrontend => "-".into(),
        Cached::Unknown => "?".into(),
    }
}

pub async fn serves(router: &Router, host: &str, expected: &str) {
    let check = async || served(router, host).await == expected;
    eventually(&format!("{host} is served by {expected}"), check).await;
}

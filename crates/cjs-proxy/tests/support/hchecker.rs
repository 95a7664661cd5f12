//! A double of hipache-hchecker 0.2.3 and later that keeps to its published protocol step by step (`check.go`,
//! `cache.go` of samalba/hipache-hchecker). It knows nothing of the proxy: only Redis and the backends' ports.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use redis::Connection;
use url::Url;

use super::redis::Redis;
use super::wait::{self, Gate};

/// The hash of locks, emptied by every checker that starts.
const LOCKS: &str = "hchecker";
const HEARTBEAT: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);
const EXCHANGE: Duration = Duration::from_secs(3);
/// How long a mark of its own lasts in Redis, in seconds.
const MARK: u32 = 60;
const RENEW_MARK: Duration = Duration::from_secs(30);
const LOOK_AT_LOCK: Duration = Duration::from_secs(60);
const GIVE_UP: Duration = Duration::from_secs(1800);

/// A checker that runs until this is dropped.
pub(crate) struct Checker(Arc<Shared>);

struct Shared {
    redis: String,
    id: String,
    /// Between two checks of one backend; 3 s unless told otherwise.
    interval: Duration,
    stopped: Gate,
    watched: Mutex<HashMap<String, Watched>>,
    /// Lines it could not make sense of.
    warnings: Mutex<Vec<String>>,
    /// Backends it has asked, each time.
    checks: Mutex<Vec<String>>,
}

/// What is known of a backend URL under check.
#[derive(Default)]
struct Watched {
    /// Index by frontend.
    mapping: BTreeMap<String, u32>,
    poked: bool,
}

/// Where the checks of one backend have got to.
struct Course {
    alive: bool,
    /// The next check is written whatever it finds.
    first: bool,
    changed: Instant,
    written: Instant,
    slept: Duration,
}

/// One line of the channel `dead`.
struct Announcement<'a> {
    frontend: &'a str,
    url: &'a str,
    index: u32,
    count: u32,
}

impl Checker {
    /// Runs, listens and has given its first sign of life.
    pub(crate) fn start(redis: &Redis, interval: Duration) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let shared = Arc::new(Shared {
            redis: redis.url(),
            id: format!("{}#{}", host.trim(), std::process::id()),
            interval,
            stopped: Gate::default(),
            watched: Mutex::default(),
            warnings: Mutex::default(),
            checks: Mutex::default(),
        });
        redis::cmd("DEL").arg(LOCKS).exec(&mut shared.connect()).unwrap();
        shared.listen();
        shared.beat();
        Self(shared)
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.0.warnings.lock().unwrap().clone()
    }

    /// URLs of the backends it has asked, each time.
    pub(crate) fn checks(&self) -> Vec<String> {
        self.0.checks.lock().unwrap().clone()
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.0.stopped.open();
    }
}

impl Shared {
    fn connect(&self) -> Connection {
        redis::Client::open(self.redis.as_str()).unwrap().get_connection().unwrap()
    }

    fn has_stopped(&self) -> bool {
        self.stopped.opens_within(Duration::ZERO)
    }

    /// Subscribes to `dead`; returns once that is in force.
    fn listen(self: &Arc<Self>) {
        let (shared, (begun, begins)) = (Arc::clone(self), mpsc::channel());
        let mut connection = self.connect();
        std::thread::spawn(move || {
            let mut messages = connection.as_pubsub();
            messages.subscribe("dead").unwrap();
            begun.send(()).unwrap();
            // Ends with the server, or with the first line after it was stopped.
            while let (Ok(message), false) = (messages.get_message(), shared.has_stopped()) {
                shared.hear(&String::from_utf8_lossy(message.get_payload_bytes()));
            }
        });
        begins.recv().unwrap();
    }

    /// Gives signs of life; returns after the first.
    fn beat(self: &Arc<Self>) {
        let (shared, mut connection) = (Arc::clone(self), self.connect());
        let mut beat = move || {
            let now = wait::unix_time().as_secs();
            redis::cmd("SET").arg("hchecker_ping").arg(now).exec(&mut connection).is_ok()
        };
        assert!(beat());
        std::thread::spawn(move || while !shared.stopped.opens_within(HEARTBEAT) && beat() {});
    }

    fn hear(self: &Arc<Self>, line: &str) {
        let Some(heard) = Announcement::parse(line) else {
            self.warnings.lock().unwrap().push(line.to_owned());
            return;
        };
        if heard.count <= 1 {
            return;
        }
        let (locked, mine) = self.lock(heard.url);
        if !locked && !mine {
            return;
        }
        let mut watched = self.watched.lock().unwrap();
        let entry = watched.entry(heard.url.to_owned()).or_default();
        entry.mapping.insert(heard.frontend.to_owned(), heard.index);
        entry.poked = !locked;
        if locked {
            let (shared, url) = (Arc::clone(self), heard.url.to_owned());
            std::thread::spawn(move || shared.watch(&url));
        }
    }

    /// Whether the backend was free and is locked now, and whether this checker has it already.
    fn lock(&self, url: &str) -> (bool, bool) {
        let (mut connection, mine) = (self.connect(), self.mark_of_mine(url));
        redis::pipe()
            .atomic()
            .cmd("HSETNX")
            .arg(&[LOCKS, url, "1"])
            .cmd("HEXISTS")
            .arg(&[LOCKS, &mine])
            .query(&mut connection)
            .unwrap()
    }

    fn mark_of_mine(&self, url: &str) -> String {
        format!("{url};{}", self.id)
    }

    /// Checks one backend until nothing is left to be written of it. Errors of Redis end it: the server has gone.
    fn watch(&self, url: &str) {
        let now = wait::unix_time();
        let signature = format!("{};{}.{}", self.id, now.as_secs(), now.subsec_nanos());
        let mut connection = self.connect();
        let mine = self.mark_of_mine(url);
        let set = redis::pipe()
            .hset(LOCKS, url, &signature)
            .ignore()
            .hset(LOCKS, &mine, 1)
            .ignore()
            .exec(&mut connection);
        if set.is_ok() && self.check_again_and_again(url, &signature, &mut connection).is_ok() {
            let _ = redis::cmd("HDEL").arg(&[LOCKS, url, &mine]).exec(&mut connection);
        }
        self.watched.lock().unwrap().remove(url);
    }

    fn check_again_and_again(
        &self,
        url: &str,
        signature: &str,
        connection: &mut Connection,
    ) -> redis::RedisResult<()> {
        let mut course = Course {
            alive: false,
            first: true,
            changed: wait::now(),
            written: wait::now(),
            slept: Duration::ZERO,
        };
        while self.round(url, &mut course)? && !self.stopped.opens_within(self.interval) {
            course.slept += self.interval;
            if course.slept < LOOK_AT_LOCK {
                continue;
            }
            course.slept = Duration::ZERO;
            let held: Option<String> = redis::cmd("HGET").arg(&[LOCKS, url]).query(connection)?;
            if held.as_deref() != Some(signature) {
                break;
            }
        }
        Ok(())
    }

    /// One check and what follows from it; `false`: the last one.
    fn round(&self, url: &str, course: &mut Course) -> redis::RedisResult<bool> {
        course.first |= std::mem::take(&mut self.watched.lock().unwrap().get_mut(url).unwrap().poked);
        let alive = self.check(url);
        let is_news = course.first || alive != course.alive;
        if is_news || (!alive && course.written.elapsed() >= RENEW_MARK) {
            if !self.write(url, alive)? {
                return Ok(false);
            }
            course.written = wait::now();
        }
        if is_news {
            course.changed = wait::now();
        }
        (course.alive, course.first) = (alive, false);
        Ok(course.changed.elapsed() < GIVE_UP)
    }

    /// Marks the backend dead or takes its marks away, in every frontend where it still stands at its index.
    /// `false`: in none.
    fn write(&self, url: &str, alive: bool) -> redis::RedisResult<bool> {
        let mapping = self.watched.lock().unwrap()[url].mapping.clone();
        let (mut writes, mut reads) = (self.connect(), self.connect());
        redis::cmd("MULTI").exec(&mut writes)?;
        for (frontend, index) in mapping {
            let list = format!("frontend:{frontend}");
            let standing: Option<String> = redis::cmd("LINDEX").arg(list).arg(index + 1).query(&mut reads)?;
            if standing.as_deref() != Some(url) {
                self.watched.lock().unwrap().get_mut(url).unwrap().mapping.remove(&frontend);
                continue;
            }
            let key = format!("dead:{frontend}");
            let verb = if alive { "SREM" } else { "SADD" };
            redis::cmd(verb).arg(&key).arg(index).exec(&mut writes)?;
            if !alive {
                redis::cmd("EXPIRE").arg(&key).arg(MARK).exec(&mut writes)?;
            }
        }
        redis::cmd("EXEC").exec(&mut writes)?;
        Ok(!self.watched.lock().unwrap()[url].mapping.is_empty())
    }

    /// Whether the backend answers: any transport error is death, and 5xx apart from 503.
    fn check(&self, url: &str) -> bool {
        self.checks.lock().unwrap().push(url.to_owned());
        let status = Url::parse(url).ok().and_then(|url| ask(&url));
        status.is_some_and(|status| !(500..600).contains(&status) || status == 503)
    }
}

impl<'a> Announcement<'a> {
    /// Exactly four fields, numbers as Go's Atoi with 0 for what is none.
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.trim().split(';').collect();
        let [frontend, url, index, count] = fields.as_slice() else { return None };
        let number = |text: &str| text.parse().unwrap_or(0);
        Some(Self { frontend, url, index: number(index), count: number(count) })
    }
}

/// Status of the answer to a check; `None` where there is none in time.
fn ask(url: &Url) -> Option<u16> {
    if url.scheme() != "http" {
        return None;
    }
    let address = (url.host_str()?, url.port_or_known_default()?).to_socket_addrs().ok()?.next()?;
    let mut stream = TcpStream::connect_timeout(&address, CONNECT).ok()?;
    let deadline = wait::now() + EXCHANGE;
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let request = format!(
        "HEAD /CloudHealthCheck{query} HTTP/1.1\r\nHost: ping\r\n\
         User-Agent: dotCloud-HealthCheck/0.2.5 go1.1\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    status_of(&mut stream, deadline)
}

fn status_of(stream: &mut TcpStream, deadline: Instant) -> Option<u16> {
    let (mut head, mut piece) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let left = deadline.checked_duration_since(wait::now())?;
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).ok()?;
        match stream.read(&mut piece).ok()? {
            0 => return None,
            read => head.extend_from_slice(&piece[..read]),
        }
    }
    String::from_utf8_lossy(&head).split(' ').nth(1)?.parse().ok()
}

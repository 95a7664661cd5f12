//! Which route store the keys name: `driver`, `redis.url` and the single keys of `redis` put together.

use std::path::Path;

use redis_router::{Deployment, Endpoint, Login, RedisSettings, Sentinels, Server, Source, Table};

use super::kind::StoreAddress;
use super::report::Report;
use super::store_url::{StoreUrl, UrlServer};
use super::written::Written;

/// The keys that a route table in a file leaves without effect.
const REDIS_KEYS: [&str; 17] = [
    "redis.host",
    "redis.port",
    "redis.username",
    "redis.password",
    "redis.db",
    "redis.prefix",
    "redis.tls",
    "redis.ca",
    "redis.sentinels",
    "redis.masterName",
    "redis.sentinelUsername",
    "redis.sentinelPassword",
    "redis.masterHost",
    "redis.masterPort",
    "redis.masterUsername",
    "redis.masterPassword",
    "redis.masterDb",
];
/// Those that say something of the sentinels.
const OF_SENTINELS: [&str; 3] = ["redis.masterName", "redis.sentinelUsername", "redis.sentinelPassword"];
/// Those that say something of a master beside the server that is read.
const OF_MASTER: [&str; 4] =
    ["redis.masterPort", "redis.masterUsername", "redis.masterPassword", "redis.masterDb"];

/// The route store. A route table is read to see that it is one; the routes are the data plane's to read.
pub(crate) fn source(written: &Written, folder: &Path, report: &mut Report) -> Source {
    let driver = written.store_if_set("driver");
    let url = written.store_if_set("redis.url");
    if let (Some(driver), Some(url)) = (driver, url)
        && driver != url
    {
        report.fault("redis.url", "says otherwise than driver; keep one");
    }
    let nothing = StoreAddress { reads: StoreUrl::default(), writes: None };
    let (key, address) = match (driver, url) {
        (Some(driver), _) => ("driver", driver.clone()),
        (None, Some(url)) => ("redis.url", url.clone()),
        (None, None) => ("redis", nothing),
    };
    let is_file = |url: &StoreUrl| matches!(url.server, UrlServer::File(_));
    if address.writes.as_ref().is_some_and(is_file) || (address.writes.is_some() && is_file(&address.reads)) {
        report.fault(key, "a route table file has no other store beside it; name it alone");
    }
    if let UrlServer::File(path) = &address.reads.server {
        return file(written, key, &folder.join(path), report);
    }
    Source::Redis(Parts { written, url: key, report }.redis(address))
}

fn file(written: &Written, key: &'static str, path: &Path, report: &mut Report) -> Source {
    if let Err(problem) = readable(path) {
        report.fault(key, &format!("{}: {problem}; accepted: a readable route table", path.display()));
    }
    Parts { written, url: key, report }.tell_idle(&REDIS_KEYS, &format!("as {key} names a file"));
    Source::File(path.to_owned())
}

fn readable(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    Table::parse(&text).map(drop).map_err(|error| error.to_string())
}

/// Puts together what the address and the single keys say of one thing.
struct Parts<'a> {
    written: &'a Written,
    url: &'static str,
    report: &'a mut Report,
}

/// The keys that say of a server what its address leaves out.
struct Names {
    host: &'static str,
    port: &'static str,
    username: &'static str,
    password: &'static str,
}

const READS: Names =
    Names { host: "redis.host", port: "redis.port", username: "redis.username", password: "redis.password" };
const WRITES: Names = Names {
    host: "redis.masterHost",
    port: "redis.masterPort",
    username: "redis.masterUsername",
    password: "redis.masterPassword",
};

impl Parts<'_> {
    fn redis(&mut self, address: StoreAddress) -> RedisSettings {
        let StoreAddress { reads, writes } = address;
        let tls = self.tls(&reads);
        let prefix = self.text("redis.prefix", reads.prefix.clone()).unwrap_or_default();
        let sentinels = self.written.servers("redis.sentinels");
        let deployment = if sentinels.is_empty() {
            if !self.written.is_named("redis.sentinels") {
                self.forbid(&OF_SENTINELS, "has no meaning without redis.sentinels");
            }
            let db = self.number("redis.db", reads.db.map(u64::from)) as u32;
            let reads = Endpoint { tls, db, ..self.endpoint(&READS, reads) };
            match self.master(&reads, &prefix, writes) {
                Some(writes) => Deployment::Pair { reads, writes },
                None => Deployment::Single(reads),
            }
        } else {
            Deployment::Sentinel(Sentinels { tls, ..self.sentinels(sentinels, reads, writes) })
        };
        if !deployment.uses_tls() {
            self.tell_idle(&["redis.ca"], "as Redis is not spoken to over TLS");
        }
        RedisSettings { deployment, prefix, sets: Vec::new() }
    }

    /// Whether the server that is read is spoken to over TLS.
    fn tls(&mut self, url: &StoreUrl) -> bool {
        let own = self.written.bool("redis.tls");
        if url.tls && !own && self.written.is_set("redis.tls") {
            self.differ("redis.tls");
        }
        let tls = own || url.tls;
        if tls && matches!(url.server, UrlServer::Unix(_)) {
            self.forbid(&["redis.tls"], "has no meaning for a socket; leave it out");
        }
        tls
    }

    /// The server that an address and the keys of `names` say; without TLS, database 0.
    fn endpoint(&mut self, names: &Names, url: StoreUrl) -> Endpoint {
        let (url_host, url_port, unix) = match url.server {
            UrlServer::Tcp(host, port) => (Some(host), Some(u64::from(port.unwrap_or(6379))), None),
            UrlServer::Unix(path) => (None, None, Some(path)),
            UrlServer::Unsaid | UrlServer::File(_) => (None, None, None),
        };
        if unix.is_some() {
            let problem = format!("has no meaning beside the socket that {} names; keep one", self.url);
            self.forbid(&[names.host, names.port], &problem);
        }
        let (host, port) = (self.text(names.host, url_host), self.number(names.port, url_port));
        let login = self.login((names.username, names.password), (url.username, url.password));
        let server = match unix {
            Some(path) => Server::Unix(path.into()),
            None => Server::Tcp(host.unwrap_or_else(|| "127.0.0.1".into()), port as u16),
        };
        Endpoint { login, ..Endpoint::plain(server) }
    }

    fn login(
        &mut self,
        (user_key, password_key): (&'static str, &'static str),
        (username, password): (Option<String>, Option<String>),
    ) -> Login {
        let (username, password) = (self.text(user_key, username), self.text(password_key, password));
        if username.is_some() && password.is_none() {
            let problem = format!("needs {password_key} beside it");
            self.report.fault(self.written.spelling(user_key), &problem);
        }
        Login { username, password }
    }

    /// The server that takes the writes, where it is another than `reads`.
    fn master(&mut self, reads: &Endpoint, prefix: &str, url: Option<StoreUrl>) -> Option<Endpoint> {
        if url.is_none() && !self.written.is_set("redis.masterHost") {
            let same_db = self.written.integer_if_set("redis.masterDb") == Some(u64::from(reads.db));
            let said = if same_db { &OF_MASTER[..3] } else { &OF_MASTER[..] };
            self.tell_idle(said, "as redis.masterHost is not set");
            return None;
        }
        let url = url.unwrap_or_default();
        if url.prefix.as_deref().is_some_and(|own| own != prefix) {
            let problem =
                format!("its second address has another prefix than the first, {prefix:?}; keep one");
            self.report.fault(self.url, &problem);
        }
        let names_itself = !matches!(url.server, UrlServer::Unsaid);
        let (tls, url_db) = (url.tls || (reads.tls && !names_itself), url.db.map(u64::from));
        let own = self.written.integer_if_set("redis.masterDb").or(url_db);
        let db = own.unwrap_or(u64::from(reads.db)) as u32;
        if db != reads.db {
            let text = format!(
                "dead marks are written to database {db} of the master and read from database {} of its replica: they \
                 are heard of on the channel \"dead\" alone",
                reads.db
            );
            self.report.warn(&text);
        }
        let master = Endpoint { tls, db, ..self.endpoint(&WRITES, url) };
        (master != *reads).then_some(master)
    }

    /// The sentinels and their master; without TLS.
    fn sentinels(
        &mut self,
        addresses: Vec<(String, u16)>,
        url: StoreUrl,
        writes: Option<StoreUrl>,
    ) -> Sentinels {
        if !matches!(url.server, UrlServer::Unsaid) || writes.is_some() {
            let problem = "names a server beside redis.sentinels, which name the master; keep one";
            self.report.fault(self.url, problem);
        }
        let problem = "has no meaning beside redis.sentinels, which name the master; keep one";
        self.forbid(&["redis.host", "redis.port", "redis.masterHost"], problem);
        self.forbid(&OF_MASTER, problem);
        let master_name = self.written.text_if_set("redis.masterName").map(str::to_owned);
        if master_name.is_none() {
            let spelling = self.written.spelling("redis.sentinels");
            self.report.fault(spelling, "needs redis.masterName beside it, the name they know the master by");
        }
        Sentinels {
            addresses: addresses.into_iter().map(|(host, port)| Server::Tcp(host, port)).collect(),
            master_name: master_name.unwrap_or_default(),
            login: self.login(("redis.sentinelUsername", "redis.sentinelPassword"), (None, None)),
            master_login: self.login((READS.username, READS.password), (url.username, url.password)),
            db: self.number("redis.db", url.db.map(u64::from)) as u32,
            tls: false,
        }
    }

    fn text(&mut self, path: &'static str, said: Option<String>) -> Option<String> {
        let own = self.written.text_if_set(path).map(str::to_owned);
        if own.is_some() && said.is_some() && own != said {
            self.differ(path);
        }
        own.or(said)
    }

    fn number(&mut self, path: &'static str, said: Option<u64>) -> u64 {
        let own = self.written.integer_if_set(path);
        if own.is_some() && said.is_some() && own != said {
            self.differ(path);
        }
        own.or(said).unwrap_or_else(|| self.written.integer(path))
    }

    fn differ(&mut self, path: &'static str) {
        let problem = format!("says otherwise than {}; keep one", self.url);
        self.report.fault(self.written.spelling(path), &problem);
    }

    fn forbid(&mut self, paths: &[&'static str], problem: &str) {
        for path in paths.iter().filter(|path| self.written.is_set(path)) {
            self.report.fault(self.written.spelling(path), problem);
        }
    }

    fn tell_idle(&mut self, paths: &[&'static str], because: &str) {
        let says = |path: &&&'static str| self.written.is_set(path) && !self.written.is_default(path);
        let set = paths.iter().filter(says);
        let idle: Vec<&str> = set.map(|path| self.written.spelling(path)).collect();
        if !idle.is_empty() {
            self.report.warn(&format!("without effect, {because}: {}", idle.join(", ")));
        }
    }
}

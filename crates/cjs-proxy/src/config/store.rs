//! Which route store the keys name: `driver`, `redis.url` and the single keys of `redis` put together.

use std::path::Path;

use redis_router::{RedisSettings, Server, Source, Table};

use super::report::Report;
use super::store_url::{StoreUrl, UrlServer};
use super::written::Written;

/// The keys a Redis address may say too, with what to tell of them.
const SINGLE_KEYS: [&str; 6] =
    ["redis.host", "redis.port", "redis.username", "redis.password", "redis.db", "redis.prefix"];

/// The route store. A route table is read to see that it is one; the routes are the data plane's to read.
pub(crate) fn source(written: &Written, folder: &Path, report: &mut Report) -> Source {
    let driver = written.store_if_set("driver");
    let url = written.store_if_set("redis.url");
    if let (Some(driver), Some(url)) = (driver, url)
        && driver != url
    {
        report.fault("redis.url", "says otherwise than driver; keep one");
    }
    let (key, address) = match (driver, url) {
        (Some(driver), _) => ("driver", driver.clone()),
        (None, Some(url)) => ("redis.url", url.clone()),
        (None, None) => ("redis", StoreUrl::default()),
    };
    if let UrlServer::File(path) = &address.server {
        return file(written, key, &folder.join(path), report);
    }
    Source::Redis(redis(written, key, address, report))
}

fn file(written: &Written, key: &'static str, path: &Path, report: &mut Report) -> Source {
    if let Err(problem) = readable(path) {
        report.fault(key, &format!("{}: {problem}; accepted: a readable route table", path.display()));
    }
    let set = SINGLE_KEYS.iter().filter(|path| written.is_set(path));
    let idle: Vec<&str> = set.map(|path| written.spelling(path)).collect();
    if !idle.is_empty() {
        report.warn(&format!("without effect, as {key} names a file: {}", idle.join(", ")));
    }
    Source::File(path.to_owned())
}

fn readable(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    Table::parse(&text).map(drop).map_err(|error| error.to_string())
}

fn redis(written: &Written, url: &'static str, address: StoreUrl, report: &mut Report) -> RedisSettings {
    let mut part = Parts { written, url, report };
    let (url_host, url_port, unix) = match address.server {
        UrlServer::Tcp(host, port) => (Some(host), Some(u64::from(port.unwrap_or(6379))), None),
        UrlServer::Unix(path) => (None, None, Some(path)),
        UrlServer::Unsaid | UrlServer::File(_) => (None, None, None),
    };
    if unix.is_some() {
        part.forbid(&["redis.host", "redis.port"]);
    }
    let host = part.text("redis.host", url_host);
    let port = part.number("redis.port", url_port);
    let username = part.text("redis.username", address.username);
    let password = part.text("redis.password", address.password);
    let db = part.number("redis.db", address.db.map(u64::from));
    let prefix = part.text("redis.prefix", address.prefix);
    if username.is_some() && password.is_none() {
        report.fault(written.spelling("redis.username"), "needs redis.password beside it");
    }
    let server = match unix {
        Some(path) => Server::Unix(path.into()),
        None => Server::Tcp(host.unwrap_or_else(|| "127.0.0.1".into()), port as u16),
    };
    RedisSettings { server, username, password, db: db as u32, prefix: prefix.unwrap_or_default() }
}

/// Puts together what the address and the single keys say of one thing.
struct Parts<'a> {
    written: &'a Written,
    url: &'static str,
    report: &'a mut Report,
}

impl Parts<'_> {
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

    fn forbid(&mut self, paths: &[&'static str]) {
        for path in paths {
            if self.written.is_set(path) {
                let problem = format!("has no meaning beside the socket that {} names; keep one", self.url);
                self.report.fault(self.written.spelling(path), &problem);
            }
        }
    }
}

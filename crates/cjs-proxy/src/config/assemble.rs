//! From the keys a file sets to the settings the data plane runs by: defaults, rules between keys, error pages.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proxy_core::settings::{
    AccessLog, AccessLogFormat, AccessLogTarget, Admission, Deaths, Limits, Listen, ListenAddress,
    MemoryLimit, Pages, Settings, Timeouts, Trust, Upstream,
};
use redis_router::{Balance, CacheSettings};

use crate::error_log::Levels;

use super::admin::admin;
use super::health_check::health_check;
use super::https::https;
use super::kind::LogTarget;
use super::levels::levels;
use super::rate_limit::rate_limit;
use super::report::Report;
use super::schema::{self, Fallback};
use super::written::Written;
use super::{identity, pages, store};

const MEGABYTE: u64 = 1024 * 1024;

/// What the machine offers, apart from the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    /// Usable CPUs; at least 1.
    pub(crate) cpus: usize,
    /// Bytes of memory that this process may use: the machine's, or less where its control group says so.
    pub(crate) memory: u64,
    /// Whether the process may become another user.
    pub(crate) root: bool,
    /// Seconds since 1970, for what is said of certificates.
    pub(crate) now: u64,
}

impl Machine {
    /// The machine this runs on.
    pub(crate) fn here() -> Self {
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            root: nix::unistd::geteuid().is_root(),
            memory: usable_memory(),
            now: proxy_core::unix_seconds(),
        }
    }
}

/// Bytes of memory: the machine's, or the smallest limit of the control groups this process is in (cgroup v2).
fn usable_memory() -> u64 {
    // Where the kernel does not say how much there is, no limit is sensible.
    let machine = nix::sys::sysinfo::sysinfo().map_or(u64::MAX, |system| system.ram_total());
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let limits = Path::new(group).ancestors().filter_map(|group| {
        let file = Path::new("/sys/fs/cgroup").join(group).join("memory.max");
        std::fs::read_to_string(file).ok()?.trim().parse().ok()
    });
    limits.fold(machine, u64::min)
}

/// Settings, and what `check` and the log want to know beside them.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) settings: Settings,
    /// `server.tcpTimeout`; zero: none.
    pub(crate) tcp_timeout: Duration,
    /// Where the error pages came from.
    pub(crate) static_dir: Option<PathBuf>,
    /// Where the authorities of backends came from; `None`: from the system.
    pub(crate) backend_ca: Option<PathBuf>,
    /// The same of Redis.
    pub(crate) store_ca: Option<PathBuf>,
    /// `server.debug`.
    pub(crate) debug: bool,
    /// `log.level`.
    pub(crate) levels: Levels,
}

/// Puts the settings together. Faults go to `report`; with any, the result is not to be used.
pub(crate) fn assemble(written: &Written, folder: &Path, machine: Machine, report: &mut Report) -> Assembled {
    let path = |key| written.text_if_set(key).map(PathBuf::from);
    let static_dir = path("server.staticDir");
    let (backend_ca, store_ca) = (path("server.backendCa"), path("redis.ca"));
    let cores = cores(written, machine, report);
    let mut routes = store::source(written, folder, report);
    let rate_limit = rate_limit(written, &mut routes, cores, report);
    let listen = listen(written, report);
    let settings = Settings {
        https: https(written, (&listen, &routes), machine.now, report),
        listen,
        cores,
        health_check: health_check(written, &routes, report),
        store_trust: read_trust("redis.ca", store_ca.as_deref(), report),
        routes,
        route_cache: route_cache(written, report),
        upstream: Upstream {
            max_sockets: size(written.integer("server.maxSockets")),
            keep_alive: written.bool("server.httpKeepAlive"),
            retries: written.integer("server.retryOnError") as u32,
            trust: read_trust("server.backendCa", backend_ca.as_deref(), report),
        },
        deaths: Deaths {
            ttl: Duration::from_secs(written.integer("server.deadBackendTTL")),
            on_500: written.bool("server.deadBackendOn500"),
        },
        balance: balance(written),
        api_versions: written.bool("server.apiVersions"),
        debug_header: written.bool("server.debugHeader"),
        timeouts: timeouts(written),
        limits: limits(written, report),
        rate_limit,
        trusted_proxies: written.networks("server.trustedProxies"),
        admission: admission(written, report),
        pages: read_pages(static_dir.as_deref(), report),
        access_log: access_log(written),
        memory: memory(written, machine, cores),
        admin: admin(written, report),
        identity: identity::identity(written, machine, report),
        graceful_wait: written.seconds("server.gracefulWait"),
    };
    Assembled {
        settings,
        tcp_timeout: written.seconds("server.tcpTimeout"),
        static_dir,
        backend_ca,
        store_ca,
        debug: written.bool("server.debug"),
        levels: levels(written),
    }
}

/// The limit for one core: as set, or its share of seven tenths of the memory.
fn memory(written: &Written, machine: Machine, cores: usize) -> MemoryLimit {
    let share = || machine.memory / 10 * 7 / cores as u64 / MEGABYTE;
    let megabytes = written.integer_if_set("server.memoryLimit").unwrap_or_else(share).max(1);
    MemoryLimit {
        bytes: megabytes.saturating_mul(MEGABYTE),
        interval: written.seconds("server.checkInterval"),
    }
}

fn listen(written: &Written, report: &mut Report) -> Listen {
    let port = written.integer("server.port") as u16;
    let mut addresses: Vec<ListenAddress> = Vec::new();
    if !written.is_set("server.bind") {
        let (defaults, optional): (Vec<IpAddr>, bool) = written.default_addresses();
        let listened = |address| ListenAddress { address: SocketAddr::new(address, port), optional };
        addresses.extend(defaults.into_iter().map(listened));
    }
    for path in ["server.bind", "server.address6"] {
        for entry in written.bind_if_set(path).unwrap_or_default() {
            let address = SocketAddr::new(entry.address, entry.port.unwrap_or(port));
            if addresses.iter().any(|known| known.address == address) {
                report.fault(written.spelling(path), &format!("names {address} twice; keep one"));
            }
            addresses.push(ListenAddress { address, optional: false });
        }
    }
    Listen { addresses, backlog: written.integer("server.backlog") as u32 }
}

fn cores(written: &Written, machine: Machine, report: &mut Report) -> usize {
    let Some(asked) = written.integer_if_set("server.workers").map(size) else { return machine.cpus };
    if asked > machine.cpus {
        let text = format!("{asked} is lowered to {}, the number of usable CPUs", machine.cpus);
        report.note(written.spelling("server.workers"), &text);
    }
    asked.min(machine.cpus)
}

fn route_cache(written: &Written, report: &mut Report) -> CacheSettings {
    let asked = written.integer("server.lruCache.size");
    if asked < schema::CACHE_ROWS_MIN {
        let text = format!("{asked} is raised to {}", schema::CACHE_ROWS_MIN);
        report.note(written.spelling("server.lruCache.size"), &text);
    }
    CacheSettings {
        rows: size(asked.max(schema::CACHE_ROWS_MIN)),
        max_age: limit(written.seconds("server.lruCache.ttl")),
    }
}

fn timeouts(written: &Written) -> Timeouts {
    let of = |path| limit(timeout(written, path));
    Timeouts {
        client_header: of("server.timeouts.clientHeader"),
        client_body: of("server.timeouts.clientBody"),
        client_idle: of("server.timeouts.clientIdle"),
        connect: of("server.timeouts.connect"),
        backend_header: of("server.timeouts.backendHeader"),
        backend_body: of("server.timeouts.backendBody"),
        tunnel_idle: of("server.timeouts.tunnelIdle"),
    }
}

/// One time-out as set, else by its default; zero: none.
fn timeout(written: &Written, path: &'static str) -> Duration {
    if let Some(set) = written.seconds_if_set(path) {
        return set;
    }
    let tcp = written.seconds("server.tcpTimeout");
    match schema::find(path).map(|key| key.default) {
        Some(Fallback::TcpTimeout) => tcp,
        Some(Fallback::UpToTcpTimeout(most)) => {
            let most = Duration::from_secs(most.into());
            if tcp.is_zero() { most } else { most.min(tcp) }
        }
        _ => written.seconds(path),
    }
}

fn limits(written: &Written, report: &mut Report) -> Limits {
    let header_bytes = written.integer("server.limits.headerBytes");
    let set = written.integer_if_set("server.limits.uriBytes");
    let uri_bytes = set.unwrap_or_else(|| written.integer("server.limits.uriBytes").min(header_bytes));
    if uri_bytes > header_bytes {
        let problem = format!(
            "{uri_bytes} is out of range; accepted: at most server.limits.headerBytes, {header_bytes}, \
             as the target is part of the head"
        );
        report.fault(written.spelling("server.limits.uriBytes"), &problem);
    }
    Limits {
        header_bytes: size(header_bytes),
        headers: size(written.integer("server.limits.headers")),
        uri_bytes: size(uri_bytes),
        body_bytes: count(written.integer("server.limits.bodyBytes")),
        body_rate: count(written.integer("server.limits.bodyRate")),
    }
}

fn admission(written: &Written, report: &mut Report) -> Admission {
    let proxy_protocol = written.bool("server.proxyProtocol");
    if proxy_protocol && written.networks("server.trustedProxies").is_empty() {
        report.warn("server.proxyProtocol: has no effect without server.trustedProxies");
    }
    Admission {
        proxy_protocol,
        connections: count(written.integer("server.limits.connections")),
        connections_per_ip: count(written.integer("server.limits.connectionsPerIp")),
    }
}

fn read_pages(folder: Option<&Path>, report: &mut Report) -> Pages {
    let Some(folder) = folder else { return Pages::default() };
    pages::read(folder, &mut |problem| report.fault("server.staticDir", &problem))
}

/// The authorities in the file that `key` names.
fn read_trust(key: &str, file: Option<&Path>, report: &mut Report) -> Trust {
    let Some(file) = file else { return Trust::system() };
    Trust::file(file).unwrap_or_else(|problem| {
        report.fault(key, &problem.to_string());
        Trust::system()
    })
}

fn balance(written: &Written) -> Balance {
    match written.choice("server.balance").as_str() {
        "roundRobin" => Balance::RoundRobin,
        "leastRequests" => Balance::LeastRequests,
        _ => Balance::Random,
    }
}

fn access_log(written: &Written) -> Option<AccessLog> {
    let target = match written.access_log("server.accessLog") {
        LogTarget::Nowhere => return None,
        LogTarget::Stdout => AccessLogTarget::Stdout,
        LogTarget::File(path) => AccessLogTarget::File(path),
    };
    let format = match written.choice("server.accessLogFormat").as_str() {
        "json" => AccessLogFormat::Json,
        _ => AccessLogFormat::Nginx,
    };
    Some(AccessLog { target, format })
}

/// Zero says "none" in the file.
fn limit(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

/// The same of a number.
fn count(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}

/// A number whose range in the schema fits a machine word.
fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

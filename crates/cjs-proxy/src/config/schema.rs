//! The one table of config keys: every spelling, kind, default, whether this build has it, and what it means.
//! docs/CONFIG.md is compared with it by a test. Making a feature available is a matter of its row's `Now`.

use proxy_core::bounds::{HEAD_BYTES_CEILING, HEADER_FIELDS_CEILING};

use super::kind::Empty::{Off, On};
use super::kind::Kind;
use super::kind::Kind::{
    AccessLog, Account, Bind, Bind6, Bool, Choice, Host, Identify, Integer, Levels, Networks, Paths, Seconds,
    Secret, Section, SecureBind, Servers, Shape, Store, Text, Tiers, Timeout,
};

// No file may ask for more than the data plane can hold.
const _: () = assert!(HEAD_BYTES_CEILING >= 1_048_576 && HEADER_FIELDS_CEILING >= 1000);

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// The canonical spelling, as `check` prints it.
    pub(crate) path: &'static str,
    /// The other spellings: those of ConcussionJS proxy and Hipache 0.2 to 0.4.
    pub(crate) spellings: &'static [&'static str],
    pub(crate) kind: Kind,
    pub(crate) default: Fallback,
    pub(crate) availability: Availability,
    /// One line for docs/CONFIG.md.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the test of docs/CONFIG.md reads it"))]
    pub(crate) meaning: &'static str,
}

/// The value of a key that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// A JSON value.
    Json(&'static str),
    /// `server.tcpTimeout`.
    TcpTimeout,
    /// So many seconds, but at most `server.tcpTimeout`.
    UpToTcpTimeout(u32),
    /// Worked out; in words.
    Words(&'static str),
}

/// Whether a key has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability {
    Now,
    /// Now, for a process that starts as root; for any other it has no effect, as in Hipache.
    AsRoot,
    /// Never: a key of the old programs without a meaning here.
    Ignored,
}

use Availability::{AsRoot, Ignored, Now};
use Fallback::{Json, TcpTimeout, UpToTcpTimeout, Words};

/// Largest database number (Redis itself counts them in an `int`).
pub(crate) const DB_MAX: u32 = i32::MAX as u32;
/// Smallest route cache, in hosts: what is below thrashes on the first scan of unknown hosts.
pub(crate) const CACHE_ROWS_MIN: u64 = 10_000;

/// A row.
const fn key(
    path: &'static str,
    spellings: &'static [&'static str],
    kind: Kind,
    default: Fallback,
    availability: Availability,
    meaning: &'static str,
) -> Key {
    Key { path, spellings, kind, default, availability, meaning }
}

/// Every key there is.
#[rustfmt::skip]
pub(crate) static KEYS: &[Key] = &[
    key("server.accessLog", &[], AccessLog, Json("\"/var/log/cjs-proxy/access.log\""), Now,
        "Where the access log goes; `null`: nowhere. Opened anew on SIGUSR1"),
    key("server.accessLogFormat", &[], Choice(&["nginx", "json"]), Json("\"nginx\""), Now,
        "Format of its lines, see ACCESS_LOG.md"),
    key("server.port", &["http.port"], Integer(0, 65_535), Json("80"), Now,
        "Port of the addresses in `bind` that name none. 0: a free one, the same for every core, printed at start"),
    key("server.bind", &["http.bind", "server.address"], Bind, Words("all IPv4 and IPv6 addresses; 127.0.0.1 in a Hipache 0.4 file"), Now,
        "Addresses to listen on"),
    key("server.address6", &[], Bind6, Words("none; all IPv4 addresses where it stands without `server.bind`"), Now,
        "IPv6 addresses to listen on beside those of `server.bind`, as Hipache 0.2 has them"),
    key("server.backlog", &[], Integer(1, 65_535), Json("4096"), Now,
        "Connections the kernel queues before they are accepted"),
    key("server.workers", &[], Integer(1, 4096), Words("the number of usable CPUs"), Now,
        "Cores to run; more than there are usable CPUs is lowered to them with a note"),
    key("server.maxSockets", &[], Integer(1, 65_535), Json("100"), Now,
        "HTTP connections per backend per core, in use or idle; tunnels are not counted. A request past it waits up to `server.timeouts.connect`, then gets 503"),
    key("server.deadBackendTTL", &[], Integer(1, 86_400), Json("30"), Now,
        "Seconds a backend stays marked dead"),
    key("server.tcpTimeout", &[], Timeout, Json("30"), Now,
        "Default and upper bound of those in `server.timeouts` that are not set"),
    key("server.timeouts.clientHeader", &[], Timeout, UpToTcpTimeout(10), Now,
        "From the first byte of a request to the end of its head, in total; then 408"),
    key("server.timeouts.clientBody", &[], Timeout, TcpTimeout, Now,
        "Without progress on a request body (408 while no answer has begun), or on a client that does not take its answer"),
    key("server.timeouts.clientIdle", &[], Timeout, UpToTcpTimeout(60), Now,
        "Between two requests of a connection, and before the first"),
    key("server.timeouts.connect", &[], Timeout, UpToTcpTimeout(5), Now,
        "For a connection to a backend, in total; also how long a request waits for a free one"),
    key("server.timeouts.backendHeader", &[], Timeout, TcpTimeout, Now,
        "From the end of the request to the end of the backend's response head; then 504"),
    key("server.timeouts.backendBody", &[], Timeout, TcpTimeout, Now,
        "Without progress on the response body, or on a backend that does not take the request body"),
    key("server.timeouts.tunnelIdle", &[], Timeout, Json("3600"), Now,
        "Without a byte in either direction of a WebSocket or another tunnel; `server.tcpTimeout` does not bound it"),
    key("server.retryOnError", &["server.errorMaxRetries"], Integer(0, 100), Json("3"), Now,
        "More backends tried after a failed one"),
    key("server.deadBackendOn500", &[], Bool, Json("true"), Now,
        "Whether a 500 counts as death too while an external checker is active"),
    key("server.httpKeepAlive", &[], Bool, Json("true"), Now,
        "Whether backend connections are reused"),
    key("server.backendCa", &[], Text, Json("null"), Now,
        "PEM file with the authorities that `https://` backends are verified against, and no others; `null`: those of the system"),
    key("server.staticDir", &[], Text, Json("null"), Now,
        "Directory with `error_<code>.html` and `error_default.html`; `null`: the built-in pages"),
    key("server.debug", &[], Bool, Json("false"), Now,
        "Error log at debug level; `log.level` and the environment variable `RUST_LOG` override it"),
    key("server.debugHeader", &[], Bool, Json("true"), Now,
        "Whether a request with `X-Debug` gets `x-debug-*` headers in its answer: backend URL and index, identifier, frontend, times, error"),
    key("server.lruCache", &[], Section(On), Words("on"), Now,
        "The route cache of a core. `true` and `false`, as old files have them, mean the defaults below"),
    key("server.lruCache.size", &["server.lruCache.Size"], Integer(0, 10_000_000), Json("100000"), Now,
        "Routes cached per core; less than 10000 is raised to it with a note"),
    key("server.lruCache.ttl", &[], Seconds(0.0, 86_400.0), Json("0"), Now,
        "Greatest age of a cached route in seconds where Redis pushes no changes; 0: the built-in one"),
    key("server.memoryLimit", &[], Integer(1, 1_048_576), Words("0.7 of the memory over the cores"), Now,
        "Megabytes a core may use before it is replaced"),
    key("server.checkInterval", &[], Seconds(0.1, 3600.0), Json("5"), Now,
        "Seconds between two looks at the memory of the cores"),
    key("server.gracefulWait", &[], Seconds(0.0, 86_400.0), Json("30"), Now,
        "Seconds a stop waits for requests in flight before it cuts them"),
    key("server.apiVersions", &[], Bool, Json("false"), Now,
        "Whether a first path segment such as `/12-01-31` selects a frontend of its own"),
    key("server.trustedProxies", &[], Networks, Json("[]"), Now,
        "Peers whose `X-Forwarded-*` headers are believed"),
    key("server.proxyProtocol", &[], Bool, Json("false"), Now,
        "Whether those in `trustedProxies` begin each connection with a PROXY header, v1 or v2"),
    key("server.limits.headerBytes", &[], Integer(1024, 1_048_576), Json("65536"), Now,
        "Bytes of a message head; beyond: 431"),
    key("server.limits.headers", &[], Integer(8, 1000), Json("100"), Now,
        "Header fields of a message; beyond: 431"),
    key("server.limits.uriBytes", &[], Integer(64, 1_048_576), Json("16384"), Now,
        "Bytes of a request target, at most `headerBytes`; beyond: 414"),
    key("server.limits.bodyBytes", &[], Integer(0, 9_007_199_254_740_991), Json("0"), Now,
        "Bytes of a request body; beyond: 413. 0: no limit"),
    key("server.limits.bodyRate", &[], Integer(0, 1_000_000_000), Json("0"), Now,
        "Bytes a second that a request body must come at while the client is waited for, averaged over 10 s after a grace of 10 s; slower: 408. 0: no limit"),
    key("server.limits.connectionsPerIp", &[], Integer(0, 10_000_000), Json("0"), Now,
        "Connections of one client address (IPv6: of its /64), those in `trustedProxies` apart; beyond: closed at once. 0: no limit"),
    key("server.limits.connections", &[], Integer(0, 10_000_000), Json("0"), Now,
        "Connections of clients in all; beyond: closed at once. 0: no limit"),
    key("server.balance", &[], Choice(&["random", "roundRobin", "leastRequests"]), Json("\"random\""), Now,
        "How a live backend is chosen, unless `options:<host>` in Redis says otherwise"),
    key("server.uniqueIdHeader", &[], Shape("anything"), Json("null"), Ignored,
        "Of a fork of Hipache. Requests carry `X-Request-Id` without it"),
    key("server.stack", &[], Shape("anything"), Json("null"), Ignored,
        "Of a fork of Hipache"),
    key("server.greedyWildcard", &[], Shape("anything"), Json("null"), Ignored,
        "Of a fork of Hipache. A wildcard stands for any number of labels without it"),

    key("https", &["server.https"], Section(Off), Json("null"), Now,
        "HTTPS listeners; off without a certificate and with `bind: []`"),
    key("https.port", &["server.https.port"], Integer(0, 65_535), Json("443"), Now,
        "Port of the addresses in `https.bind` that name none"),
    key("https.bind", &["server.https.bind"], SecureBind, Words("as `server.bind`"), Now,
        "Addresses to listen on, each perhaps with a default certificate of its own; `[]`: HTTPS is off"),
    key("https.key", &["server.https.key"], Text, Json("null"), Now,
        "File with the private key of the default certificate"),
    key("https.cert", &["server.https.cert"], Text, Json("null"), Now,
        "File with the default certificate and its chain"),
    key("https.ca", &["server.https.ca"], Paths, Json("[]"), Now,
        "Files with more certificates of the chain"),
    key("https.certDir", &["server.https.certDir"], Text, Json("null"), Now,
        "Directory with `<host>.crt` and `<host>.key`, `*.example.tld.crt` too; at most 10000 pairs"),
    key("https.minVersion", &["server.https.minVersion"], Choice(&["1.2", "1.3"]), Json("\"1.2\""), Now,
        "Lowest version of TLS"),
    key("https.http2", &["server.https.http2"], Bool, Json("true"), Now,
        "Whether HTTP/2 is offered"),
    key("https.redis", &["server.https.redis"], Bool, Json("true"), Now,
        "Whether certificates are looked for in Redis too (`tls:<host>`); where it is set to true HTTPS is on without one in a file"),
    key("https.redirect", &["server.https.redirect"], Bool, Json("false"), Now,
        "Whether plain HTTP requests are redirected to HTTPS"),
    key("https.hsts", &["server.https.hsts"], Integer(0, 3_153_600_000), Json("null"), Now,
        "`max-age` of Strict-Transport-Security in seconds; `null`: the field is not sent"),
    key("https.clientCa", &["server.https.clientCa"], Text, Json("null"), Now,
        "File with the authorities of client certificates; `null`: clients are not asked for one"),
    key("https.clientAuth", &["server.https.clientAuth"], Choice(&["required", "optional"]), Json("\"required\""), Now,
        "Whether a client without a certificate is turned away, where `https.clientCa` is set"),
    key("https.passphrase", &["server.https.passphrase"], Secret, Json("null"), Ignored,
        "Keys are read without a passphrase"),
    key("https.ciphers", &["server.https.ciphers"], Shape("anything"), Json("null"), Ignored,
        "OpenSSL cipher list"),
    key("https.secureProtocol", &["server.https.secureProtocol"], Shape("anything"), Json("null"), Ignored,
        "OpenSSL protocol; `https.minVersion` stands for it"),
    key("https.secureOptions", &["server.https.secureOptions"], Shape("anything"), Json("null"), Ignored,
        "OpenSSL options"),
    key("https.honorCipherOrder", &["server.https.honorCipherOrder"], Shape("anything"), Json("null"), Ignored,
        "The server's order always counts"),

    key("driver", &[], Store, Words("what `redis` says"), Now,
        "The route store: Redis as one address, or a route table file, relative to the folder of the config file. What a Redis address leaves out, the keys of `redis` say"),
    key("redis.url", &[], Store, Words("what the other keys of `redis` say"), Now,
        "The same as `driver`, beside `redis` keys"),
    key("redis.host", &["redisHost"], Host, Json("\"127.0.0.1\""), Now,
        "Host name or address of Redis"),
    key("redis.port", &["redisPort"], Integer(1, 65_535), Json("6379"), Now,
        "Its port"),
    key("redis.username", &[], Text, Json("null"), Now,
        "ACL user; `null`: the default user"),
    key("redis.password", &["redisPassword"], Secret, Json("null"), Now,
        "Password; `null`: no AUTH"),
    key("redis.db", &["redisDatabase", "redis.database"], Integer(0, DB_MAX as u64), Json("0"), Now,
        "Number of the database"),
    key("redis.prefix", &[], Text, Json("\"\""), Now,
        "Put before every key"),
    key("redis.tls", &[], Bool, Json("false"), Now,
        "Whether Redis, sentinels included, is spoken to over TLS, as with `rediss://`; its certificate is verified"),
    key("redis.ca", &[], Text, Json("null"), Now,
        "File with the authorities of its certificate; `null`: the system's"),
    key("redis.sentinels", &[], Servers(26_379), Json("[]"), Now,
        "Addresses of the sentinels that know the master, port 26379 where none is written; they stand in the place of `redis.host`"),
    key("redis.masterName", &[], Text, Json("null"), Now,
        "Name the sentinels know the master by"),
    key("redis.sentinelUsername", &[], Text, Json("null"), Now,
        "ACL user at the sentinels; `null`: the default user"),
    key("redis.sentinelPassword", &[], Secret, Json("null"), Now,
        "Password of the sentinels; `null`: no AUTH"),
    key("redis.masterHost", &["redisMasterHost"], Host, Json("null"), Now,
        "Server that takes the dead marks, while `redis.host`, its replica, is read and followed"),
    key("redis.masterPort", &["redisMasterPort"], Integer(1, 65_535), Json("6379"), Now,
        "Its port"),
    key("redis.masterUsername", &[], Text, Json("null"), Now,
        "ACL user there; `null`: the default user"),
    key("redis.masterPassword", &["redisMasterPassword"], Secret, Json("null"), Now,
        "Password there; `null`: no AUTH"),
    key("redis.masterDb", &["redisMasterDatabase"], Integer(0, DB_MAX as u64), Words("`redis.db`"), Now,
        "Number of its database"),

    key("rateLimit", &[], Section(On), Json("null"), Now,
        "Requests a client may make, by tier; `{}`: on with the defaults below"),
    key("rateLimit.window", &[], Seconds(1.0, 86_400.0), Json("60"), Now,
        "Seconds a limit is counted over"),
    key("rateLimit.tiers", &[], Tiers, Json("{\"anonymous\": 500, \"registered\": 10000, \"premium\": 100000}"), Now,
        "Tiers and how many requests a client may make in the window; who is in a tier but the lowest stands in the Redis set of its name"),
    key("rateLimit.key", &[], Choice(&["clientIp", "identity"]), Json("\"clientIp\""), Now,
        "Who is counted: the address (of IPv6 its /64), or the name that is in a tier, where there is one"),
    key("rateLimit.identify", &[], Identify, Json("[\"header:x-api-key\", \"referer\", \"origin\"]"), Now,
        "What names a client: header fields, the hosts in Referer and Origin; the highest tier that one of the names is in counts"),
    key("rateLimit.onStoreError", &[], Choice(&["local", "allow", "deny"]), Json("\"local\""), Now,
        "What is done while Redis does not answer: each core admits its share, all are admitted, or those without a token at hand get 503"),
    key("rateLimit.dryRun", &[], Bool, Json("false"), Now,
        "Whether requests over the limit are served all the same, and only logged"),
    key("rateLimit.headers", &[], Bool, Json("true"), Now,
        "Whether answers within the limit carry the `RateLimit` headers too; those over it always do"),

    key("healthCheck", &[], Section(On), Json("null"), Now,
        "The built-in active checker, for routes in Redis; `{}`: on with the defaults below"),
    key("healthCheck.interval", &[], Seconds(0.1, 3600.0), Json("3"), Now,
        "Seconds between two checks of a backend"),
    key("healthCheck.timeout", &[], Seconds(0.1, 3600.0), Json("3"), Now,
        "Seconds a check may take"),
    key("healthCheck.method", &[], Text, Json("\"HEAD\""), Now,
        "Its method"),
    key("healthCheck.path", &[], Text, Json("\"/CloudHealthCheck\""), Now,
        "Its path, put behind that of the backend"),
    key("healthCheck.host", &[], Text, Json("\"ping\""), Now,
        "Its Host header"),
    key("healthCheck.rise", &[], Integer(1, 100), Json("1"), Now,
        "Good checks in a row that make a backend live"),
    key("healthCheck.fall", &[], Integer(1, 100), Json("1"), Now,
        "Bad checks in a row that make it dead"),
    key("healthCheck.scope", &[], Choice(&["dead", "all"]), Json("\"dead\""), Now,
        "Which backends are checked: those marked dead, or all"),

    key("admin", &[], Section(Off), Json("null"), Now,
        "Status page, metrics, health and readiness, see METRICS.md"),
    key("admin.bind", &[], Bind, Json("\"127.0.0.1\""), Now,
        "Addresses of the admin listener"),
    key("admin.port", &[], Integer(0, 65_535), Json("null"), Now,
        "Port of those that name none. 0: a free one, printed at start; `null`: the listener is off"),
    key("admin.token", &[], Secret, Json("null"), Now,
        "Token it asks for, as `Authorization: Bearer <token>`; required unless bound to loopback. SIGHUP changes it"),

    key("log.level", &[], Levels, Words("`\"info\"`; `\"debug\"` with `server.debug`"), Now,
        "How much the error log says, of everything or by area; `RUST_LOG` overrides it"),

    key("user", &[], Account, Json("null"), AsRoot,
        "User the process becomes after binding; `root` stays root"),
    key("group", &[], Account, Json("null"), AsRoot,
        "Group it becomes; `root` stays root"),

    key("api", &[], Shape("anything"), Json("null"), Ignored,
        "Of a fork of Hipache"),
    key("test", &[], Shape("anything"), Json("null"), Ignored,
        "Of a fork of Hipache"),
    key("rollout", &[], Shape("anything"), Json("null"), Ignored,
        "Of a fork of Hipache"),
];

/// The key that is spelled so.
pub(crate) fn find(spelling: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == spelling || key.spellings.contains(&spelling))
}

/// Every spelling of every key.
pub(crate) fn spellings() -> impl Iterator<Item = &'static str> {
    KEYS.iter().flat_map(|key| std::iter::once(key.path).chain(key.spellings.iter().copied()))
}

/// The spellings fit for "did you mean": not those of keys that mean nothing here.
pub(crate) fn suggestions() -> impl Iterator<Item = &'static str> {
    let meant = KEYS.iter().filter(|key| key.availability != Ignored);
    meant.flat_map(|key| std::iter::once(key.path).chain(key.spellings.iter().copied()))
}

/// Whether keys are spelled with `path` and a dot before them.
pub(crate) fn is_group(path: &str) -> bool {
    spellings().any(|spelling| spelling.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

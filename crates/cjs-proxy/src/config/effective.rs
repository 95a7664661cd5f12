//! The settings in force as JSON in the canonical spelling, secrets masked: what `check` prints. Made from the
//! settings themselves, so that it cannot say anything else than what runs.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use proxy_core::settings::{
    AccessLogFormat, AccessLogTarget, Admin, Counted, HealthCheck, Https, Identify, ListenAddress, Place,
    RateLimit, Scope, Settings, Timeouts,
};
use redis_router::{
    Balance, Deployment, Endpoint, Login, OnStoreError, RedisSettings, Sentinels, Server, Source, Tier,
};
use serde_json::{Map, Value, json};

use super::assemble::Assembled;
use super::levels;

/// What a path in an address has encoded.
const SPECIAL_IN_PATH: &AsciiSet =
    &CONTROLS.add(b' ').add(b'#').add(b'?').add(b'%').add(b'"').add(b'<').add(b'>');

/// Stands for a secret.
const MASK: &str = "***";

/// The effective config.
pub(crate) fn effective(assembled: &Assembled) -> Value {
    let mut root = Map::new();
    root.insert("server".into(), server(assembled));
    match &assembled.settings.routes {
        Source::Redis(redis) => drop(root.insert("redis".into(), redis_keys(redis, assembled))),
        Source::File(path) => drop(root.insert("driver".into(), file_address(path))),
        Source::Embedded(_) => {}
    }
    let https = assembled.settings.https.as_ref();
    root.insert("https".into(), https.map_or(Value::Null, https_keys));
    let limit = assembled.settings.rate_limit.as_ref();
    root.insert("rateLimit".into(), limit.map_or(Value::Null, rate_limit));
    let check = assembled.settings.health_check.as_ref();
    root.insert("healthCheck".into(), check.map_or(Value::Null, health_check));
    root.insert("log".into(), json!({ "level": levels::effective(&assembled.levels) }));
    root.insert("admin".into(), settings_of_admin(assembled.settings.admin.as_ref()));
    Value::Object(root)
}

/// Addresses that share a port are listed without it.
fn settings_of_admin(admin: Option<&Admin>) -> Value {
    let Some(admin) = admin else { return Value::Null };
    let port = admin.addresses.first().map(SocketAddr::port);
    let is_shared = admin.addresses.iter().all(|address| Some(address.port()) == port);
    let entry = |address: &SocketAddr| {
        if is_shared {
            json!(address.ip())
        } else {
            json!({ "address": address.ip(), "port": address.port() })
        }
    };
    let bind: Vec<Value> = admin.addresses.iter().map(entry).collect();
    json!({
        "bind": match bind.as_slice() {
            [only] => only.clone(),
            _ => Value::Array(bind),
        },
        "port": port,
        "token": admin.token.as_ref().map(|_| MASK),
    })
}

/// Files by their names: what is in them is nobody's business.
fn https_keys(https: &Https) -> Value {
    let pair =
        |wanted: &Place| https.files.named.iter().find(|(place, _)| place == wanted).map(|(_, pair)| pair);
    let address = |listen: &ListenAddress| {
        let mut entry = json!({ "address": listen.address.ip(), "port": listen.address.port() });
        if let Some(pair) = pair(&Place::At(listen.address)) {
            entry["cert"] = json!(pair.certificate);
            entry["key"] = json!(pair.key);
        }
        entry
    };
    let default = pair(&Place::Default);
    let any = https.files.named.first().map(|(_, pair)| pair);
    json!({
        "bind": https.addresses.iter().map(address).collect::<Value>(),
        "ca": any.map_or(&[][..], |pair| &pair.chain),
        "cert": default.map(|pair| &pair.certificate),
        "certDir": https.files.folder,
        "clientAuth": if https.files.members_required { "required" } else { "optional" },
        "clientCa": https.files.members,
        "hsts": https.hsts,
        "http2": https.files.http2,
        "key": default.map(|pair| &pair.key),
        "minVersion": if https.files.tls12 { "1.2" } else { "1.3" },
        "port": https.addresses.first().map(|first| first.address.port()),
        "redirect": https.redirect,
        "redis": https.from_store,
    })
}

fn health_check(check: &HealthCheck) -> Value {
    json!({
        "fall": check.fall,
        "host": check.host,
        "interval": seconds(check.interval),
        "method": check.method,
        "path": check.path,
        "rise": check.rise,
        "scope": match check.scope {
            Scope::Dead => "dead",
            Scope::All => "all",
        },
        "timeout": seconds(check.timeout),
    })
}

fn rate_limit(limit: &RateLimit) -> Value {
    let source = |source: &Identify| match source {
        Identify::Header(name) => format!("header:{name}"),
        Identify::Referer => "referer".into(),
        Identify::Origin => "origin".into(),
    };
    let tier = |tier: &Tier| (tier.name.clone(), json!(tier.limit));
    json!({
        "dryRun": limit.dry_run,
        "headers": limit.headers,
        "identify": limit.identify.iter().map(source).collect::<Vec<_>>(),
        "key": match limit.counted {
            Counted::ClientIp => "clientIp",
            Counted::Identity => "identity",
        },
        "onStoreError": match limit.rules.on_store_error {
            OnStoreError::Local => "local",
            OnStoreError::Allow => "allow",
            OnStoreError::Deny => "deny",
        },
        "tiers": limit.rules.tiers.iter().map(tier).collect::<Map<_, _>>(),
        "window": seconds(limit.rules.window),
    })
}

fn server(assembled: &Assembled) -> Value {
    let settings = &assembled.settings;
    json!({
        "accessLog": access_log(settings),
        "accessLogFormat": access_log_format(settings),
        "apiVersions": settings.api_versions,
        "backendCa": assembled.backend_ca,
        "backlog": settings.listen.backlog,
        "balance": balance(settings.balance),
        "bind": bind(settings),
        "checkInterval": seconds(settings.memory.interval),
        "deadBackendOn500": settings.deaths.on_500,
        "deadBackendTTL": seconds(settings.deaths.ttl),
        "debug": assembled.debug,
        "debugHeader": settings.debug_header,
        "gracefulWait": seconds(settings.graceful_wait),
        "httpKeepAlive": settings.upstream.keep_alive,
        "limits": limits(settings),
        "lruCache": {
            "size": settings.route_cache.rows,
            "ttl": optional(settings.route_cache.max_age),
        },
        "memoryLimit": settings.memory.bytes / (1024 * 1024),
        "maxSockets": settings.upstream.max_sockets,
        "port": port(settings),
        "proxyProtocol": settings.admission.proxy_protocol,
        "retryOnError": settings.upstream.retries,
        "staticDir": assembled.static_dir,
        "tcpTimeout": seconds(assembled.tcp_timeout),
        "timeouts": timeouts(&settings.timeouts),
        "trustedProxies": trusted_proxies(settings),
        "workers": settings.cores,
    })
}

fn access_log(settings: &Settings) -> Value {
    match settings.access_log.as_ref().map(|log| &log.target) {
        None => Value::Null,
        Some(AccessLogTarget::Stdout) => "stdout".into(),
        Some(AccessLogTarget::File(path)) => json!(path),
    }
}

/// Where no log is written, its format is the usual one.
fn access_log_format(settings: &Settings) -> &'static str {
    match settings.access_log.as_ref().map(|log| log.format) {
        None | Some(AccessLogFormat::Nginx) => "nginx",
        Some(AccessLogFormat::Json) => "json",
    }
}

fn balance(balance: Balance) -> &'static str {
    match balance {
        Balance::Random => "random",
        Balance::RoundRobin => "roundRobin",
        Balance::LeastRequests => "leastRequests",
    }
}

fn trusted_proxies(settings: &Settings) -> Value {
    settings.trusted_proxies.iter().map(|network| Value::from(network.to_string())).collect()
}

/// The port all addresses share, or that of the first.
fn port(settings: &Settings) -> Value {
    settings.listen.addresses.first().map_or(Value::Null, |first| first.address.port().into())
}

fn bind(settings: &Settings) -> Value {
    let listed = settings
        .listen
        .addresses
        .iter()
        .map(|listen| json!({ "address": listen.address.ip(), "port": listen.address.port() }));
    Value::Array(listed.collect())
}

fn limits(settings: &Settings) -> Value {
    let (limits, admission) = (&settings.limits, &settings.admission);
    json!({
        "bodyBytes": limits.body_bytes.unwrap_or(0),
        "bodyRate": limits.body_rate.unwrap_or(0),
        "connections": admission.connections.unwrap_or(0),
        "connectionsPerIp": admission.connections_per_ip.unwrap_or(0),
        "headerBytes": limits.header_bytes,
        "headers": limits.headers,
        "uriBytes": limits.uri_bytes,
    })
}

fn timeouts(timeouts: &Timeouts) -> Value {
    json!({
        "backendBody": optional(timeouts.backend_body),
        "backendHeader": optional(timeouts.backend_header),
        "clientBody": optional(timeouts.client_body),
        "clientHeader": optional(timeouts.client_header),
        "clientIdle": optional(timeouts.client_idle),
        "connect": optional(timeouts.connect),
        "tunnelIdle": optional(timeouts.tunnel_idle),
    })
}

fn redis_keys(redis: &RedisSettings, assembled: &Assembled) -> Value {
    let mut keys = Map::new();
    match &redis.deployment {
        Deployment::Single(endpoint) => {
            put_endpoint(&mut keys, endpoint);
            put_no_others(&mut keys);
        }
        Deployment::Pair { reads, writes } => {
            put_endpoint(&mut keys, reads);
            put_master(&mut keys, reads, writes);
        }
        Deployment::Sentinel(sentinels) => put_sentinels(&mut keys, sentinels),
    }
    keys.insert("ca".into(), json!(assembled.store_ca));
    keys.insert("prefix".into(), redis.prefix.as_str().into());
    Value::Object(keys)
}

fn put_endpoint(keys: &mut Map<String, Value>, endpoint: &Endpoint) {
    match &endpoint.server {
        Server::Tcp(host, port) => {
            keys.insert("host".into(), host.as_str().into());
            keys.insert("port".into(), (*port).into());
        }
        Server::Unix(_) => drop(keys.insert("url".into(), url(endpoint).into())),
    }
    keys.insert("db".into(), endpoint.db.into());
    keys.insert("tls".into(), endpoint.tls.into());
    put_login(keys, ["username", "password"], &endpoint.login);
}

/// Neither sentinels nor a master beside the one server.
fn put_no_others(keys: &mut Map<String, Value>) {
    keys.insert("sentinels".into(), Value::Array(Vec::new()));
    keys.insert("masterName".into(), Value::Null);
    put_login(keys, ["sentinelUsername", "sentinelPassword"], &Login::default());
    keys.insert("masterHost".into(), Value::Null);
    keys.insert("masterPort".into(), 6379.into());
    put_login(keys, ["masterUsername", "masterPassword"], &Login::default());
}

fn put_master(keys: &mut Map<String, Value>, reads: &Endpoint, master: &Endpoint) {
    match (&reads.server, &master.server) {
        (Server::Tcp(..), Server::Tcp(host, port)) if reads.tls == master.tls => {
            keys.insert("masterHost".into(), host.as_str().into());
            keys.insert("masterPort".into(), (*port).into());
        }
        // What only a list of two addresses can say.
        _ => {
            ["host", "port", "tls"].iter().for_each(|key| drop(keys.remove(*key)));
            keys.insert("url".into(), json!([url(reads), url(master)]));
        }
    }
    keys.insert("masterDb".into(), master.db.into());
    put_login(keys, ["masterUsername", "masterPassword"], &master.login);
}

fn url(endpoint: &Endpoint) -> String {
    match &endpoint.server {
        Server::Unix(path) => {
            let path = path.display().to_string();
            format!("redis+unix://{}", utf8_percent_encode(&path, SPECIAL_IN_PATH))
        }
        server if endpoint.tls => format!("rediss://{server}"),
        server => format!("redis://{server}"),
    }
}

fn put_sentinels(keys: &mut Map<String, Value>, sentinels: &Sentinels) {
    let addresses = sentinels.addresses.iter().map(|server| Value::from(server.to_string()));
    keys.insert("sentinels".into(), addresses.collect());
    keys.insert("masterName".into(), sentinels.master_name.as_str().into());
    keys.insert("db".into(), sentinels.db.into());
    keys.insert("tls".into(), sentinels.tls.into());
    put_login(keys, ["sentinelUsername", "sentinelPassword"], &sentinels.login);
    put_login(keys, ["username", "password"], &sentinels.master_login);
}

fn put_login(keys: &mut Map<String, Value>, [username, password]: [&str; 2], login: &Login) {
    keys.insert(username.into(), login.username.as_deref().into());
    keys.insert(password.into(), login.password.as_ref().map(|_| MASK).into());
}

fn file_address(path: &Path) -> Value {
    format!("file:{}", path.display()).into()
}

fn optional(time: Option<Duration>) -> Value {
    seconds(time.unwrap_or_default())
}

/// Whole where it is whole; 0 for none.
fn seconds(time: Duration) -> Value {
    if time.subsec_nanos() == 0 { time.as_secs().into() } else { time.as_secs_f64().into() }
}

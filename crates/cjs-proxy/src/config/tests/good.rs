//! Files that load, and what they come to.

use std::time::Duration;

use proxy_core::settings::{AccessLogFormat, Deaths, HealthCheck, Scope, Settings};
use redis_router::{Balance, Deployment, Endpoint, Login, RedisSettings, Server, Source};
use serde_json::{Value, json};

use super::{at, effective, load, remarks};

fn check(table: &[(&str, &str, Value)]) {
    for (text, path, value) in table {
        assert_eq!(at(&effective(text), path), Some(value), "{text}");
    }
}

#[test]
fn every_spelling_reaches_its_key() {
    let bind = json!([{"address": "10.0.0.1", "port": 81}]);
    check(&[
        (r#"{"server": {"port": 81}}"#, "server.port", json!(81)),
        (r#"{"http": {"port": 81}}"#, "server.port", json!(81)),
        (r#"{"server": {"port": 81, "bind": "10.0.0.1"}}"#, "server.bind", bind.clone()),
        (r#"{"server": {"port": 81, "address": "10.0.0.1"}}"#, "server.bind", bind.clone()),
        (r#"{"http": {"port": 81, "bind": ["10.0.0.1"]}}"#, "server.bind", bind.clone()),
        (r#"{"http": {"bind": [{"address": "10.0.0.1", "port": 81}]}}"#, "server.bind", bind.clone()),
        (r#"{"http": {"bind": {"address": "10.0.0.1", "port": 81}}}"#, "server.bind", bind),
        (r#"{"server": {"errorMaxRetries": 1}}"#, "server.retryOnError", json!(1)),
        (r#"{"server": {"lruCache": {"Size": 20000}}}"#, "server.lruCache.size", json!(20000)),
        (r#"{"redisHost": "r"}"#, "redis.host", json!("r")),
        (r#"{"redisPort": 1}"#, "redis.port", json!(1)),
        (r#"{"redisDatabase": 3}"#, "redis.db", json!(3)),
        (r#"{"redis": {"database": 3}}"#, "redis.db", json!(3)),
        (r#"{"redisPassword": "quiet"}"#, "redis.password", json!("***")),
        (r#"{"redis": {"password": "quiet"}}"#, "redis.password", json!("***")),
        (r#"{"driver": "redis://r:1/3#p:"}"#, "redis.prefix", json!("p:")),
        (r#"{"redis": {"url": "redis://r:1/3#p:"}}"#, "redis.db", json!(3)),
    ]);
}

#[test]
fn values_as_old_files_have_them() {
    check(&[
        (r#"{"server": {"lruCache": true}}"#, "server.lruCache.size", json!(100_000)),
        (r#"{"server": {"lruCache": false}}"#, "server.lruCache.ttl", json!(0)),
        (r#"{"driver": "redis:"}"#, "redis.host", json!("127.0.0.1")),
        (r#"{"driver": ["redis:"], "redis": {"host": "r"}}"#, "redis.host", json!("r")),
        (r#"{"https": {"bind": [], "port": 443, "key": "k"}}"#, "server.port", json!(80)),
        (r#"{"https": {"ca": []}, "server": {"https": false}}"#, "server.port", json!(80)),
        (r#"{"server": {"accessLog": ""}}"#, "server.accessLog", Value::Null),
        (r#"{"server": {"accessLog": false}}"#, "server.accessLog", Value::Null),
        (r#"{"redisPassword": ""}"#, "redis.password", Value::Null),
        (r#"{"redisPassword": null}"#, "redis.password", Value::Null),
        (r#"{"redisPort": "6380"}"#, "redis.port", json!(6380)),
        (r#"{"redisPort": "06380", "redis": {"port": 6380}}"#, "redis.port", json!(6380)),
        (r#"{"server": {"tcpTimeout": "1800"}}"#, "server.tcpTimeout", json!(1800)),
        (r#"{"http": {"bind": [{"address": "::1", "port": "81"}]}}"#, "server.port", json!(81)),
        (r#"{"driver": ["redis://r", "redis://r"]}"#, "redis.host", json!("r")),
        (r#"{"driver": "redis:///1#pre"}"#, "redis.prefix", json!("pre")),
        (r#"{"driver": "redis://:secret:word@r"}"#, "redis.password", json!("***")),
        (r#"{"server": {"workers": 2.0}}"#, "server.workers", json!(2)),
        (r#"{"server": {"staticDir": ""}}"#, "server.staticDir", Value::Null),
        (r#"{"server": {"port": 81}, "http": {"port": 81}}"#, "server.port", json!(81)),
        (r#"{"server": {"port": 81}, "http": {"port": null}}"#, "server.port", json!(81)),
    ]);
}

#[test]
fn the_admin_listener_is_off_without_a_port() {
    let text = r#"{"admin": {"token": "quiet"}}"#;
    assert_eq!(remarks(text), ["warning: c.json: admin: has no effect without admin.port"]);
    assert_eq!(at(&effective(text), "admin"), Some(&Value::Null));
    check(&[
        (r#"{"admin": {"port": 0}}"#, "admin.port", json!(0)),
        (r#"{"admin": {"port": 9}}"#, "admin", json!({ "bind": "127.0.0.1", "port": 9, "token": null })),
        (
            r#"{"admin": {"port": 9, "bind": ["::1", "0.0.0.0"], "token": "quiet"}}"#,
            "admin",
            json!({ "bind": ["::1", "0.0.0.0"], "port": 9, "token": "***" }),
        ),
        (
            r#"{"admin": {"port": 9, "bind": ["::1", {"address": "127.0.0.2", "port": 8}]}}"#,
            "admin.bind",
            json!([{ "address": "::1", "port": 9 }, { "address": "127.0.0.2", "port": 8 }]),
        ),
    ]);
}

#[test]
fn off_is_accepted_in_every_spelling() {
    for text in [
        r#"{"redis": {"tls": false, "ca": "", "sentinels": [], "masterName": null, "masterHost": ""}}"#,
        r#"{"redisMasterHost": null, "redisMasterPassword": "", "redisMasterDatabase": 0}"#,
        r#"{"https": null, "rateLimit": false, "healthCheck": null, "admin": {}, "user": "", "group": null}"#,
        r#"{"https": {}, "server": {"https": {"bind": []}}}"#,
        r#"{"server": null, "http": null, "redis": null, "driver": null}"#,
    ] {
        assert_eq!(remarks(text), [""; 0], "{text}");
    }
}

#[test]
fn default_addresses() {
    let any = json!([{"address": "0.0.0.0", "port": 80}, {"address": "::", "port": 80}]);
    let loopback = json!([{"address": "127.0.0.1", "port": 80}]);
    check(&[
        ("{}", "server.bind", any.clone()),
        (r#"{"server": {"port": 80}}"#, "server.bind", any.clone()),
        (r#"{"server": {"bind": null}}"#, "server.bind", any.clone()),
        (r#"{"server": {"port": 80}, "driver": "redis:"}"#, "server.bind", any.clone()),
        (r#"{"server": {"address6": []}}"#, "server.bind", json!([{"address": "0.0.0.0", "port": 80}])),
        (
            r#"{"server": {"address6": ["::1"]}}"#,
            "server.bind",
            json!([{"address": "0.0.0.0", "port": 80}, {"address": "::1", "port": 80}]),
        ),
        (
            r#"{"server": {"address": ["10.0.0.1"], "address6": "::0", "port": 81}}"#,
            "server.bind",
            json!([{"address": "10.0.0.1", "port": 81}, {"address": "::", "port": 81}]),
        ),
        (r#"{"http": null, "driver": null}"#, "server.port", json!(80)),
        (r#"{"server": {"port": 80}, "redisHost": "r"}"#, "server.bind", any),
        (r#"{"http": {}}"#, "server.bind", loopback.clone()),
        (r#"{"https": {"bind": []}}"#, "server.bind", loopback.clone()),
        (r#"{"driver": "redis:"}"#, "server.bind", loopback),
    ]);
    let optional = |text| {
        let settings = load(text).unwrap().settings;
        settings.listen.addresses.iter().all(|listen| listen.optional)
    };
    assert!(optional("{}"));
    assert!(!optional(r#"{"http": {}}"#));
    assert!(!optional(r#"{"server": {"bind": ["0.0.0.0", "::"]}}"#));
}

#[test]
fn finer_timeouts_keep_to_tcp_timeout() {
    let timeouts = |text| at(&effective(text), "server.timeouts").unwrap().clone();
    let of = |header: f64, body: f64, idle: f64, connect: f64| {
        let number = |seconds: f64| {
            if seconds.fract() == 0.0 { json!(seconds as u64) } else { json!(seconds) }
        };
        json!({
            "clientHeader": number(header), "clientBody": number(body), "clientIdle": number(idle),
            "connect": number(connect), "backendHeader": number(body), "backendBody": number(body),
            "tunnelIdle": 3600,
        })
    };
    assert_eq!(timeouts("{}"), of(10.0, 30.0, 30.0, 5.0));
    assert_eq!(timeouts(r#"{"server": {"tcpTimeout": 0}}"#), of(10.0, 0.0, 60.0, 5.0));
    assert_eq!(timeouts(r#"{"server": {"tcpTimeout": 0.5}}"#), of(0.5, 0.5, 0.5, 0.5));
    assert_eq!(timeouts(r#"{"server": {"tcpTimeout": 600}}"#), of(10.0, 600.0, 60.0, 5.0));
    let set = r#"{"server": {"tcpTimeout": 3, "timeouts": {"clientIdle": 60, "connect": 0}}}"#;
    assert_eq!(timeouts(set), of(3.0, 3.0, 60.0, 0.0));
}

#[test]
fn adjusted_values_are_noted() {
    for (text, remark) in [
        (
            r#"{"server": {"workers": 10}}"#,
            "note: c.json: server.workers: 10 is lowered to 4, the number of usable CPUs",
        ),
        (
            r#"{"server": {"lruCache": false}}"#,
            "note: c.json: server.lruCache: false: the route cache is always on; it has its default size",
        ),
        (
            r#"{"server": {"lruCache": {"size": 5}}}"#,
            "note: c.json: server.lruCache.size: 5 is raised to 10000",
        ),
        (
            r#"{"https": {"bind": [], "ciphers": "x", "secureOptions": 1}, "server": {"uniqueIdHeader": "x"}}"#,
            "warning: c.json: without a meaning here and ignored: https.ciphers, https.secureOptions, \
             server.uniqueIdHeader",
        ),
        (
            r#"{"api": {"resume": {}}, "test": 1, "rollout": [], "server": {"stack": {"a": 1}, "greedyWildcard": true}}"#,
            "warning: c.json: without a meaning here and ignored: api, test, rollout, server.stack, \
             server.greedyWildcard",
        ),
        (
            r#"{"user": 33, "group": "www-data"}"#,
            "warning: c.json: without effect, as this process is not root: user, group",
        ),
        (r#"{"redisHost": ""}"#, "note: c.json: redisHost: the empty text counts as left out"),
        (r#"{"redisPort": ""}"#, "note: c.json: redisPort: the empty text counts as left out"),
        (r#"{"redisPort": "6380"}"#, "note: c.json: redisPort: the text \"6380\" is read as a number"),
    ] {
        assert_eq!(remarks(text), [remark]);
    }
    assert_eq!(at(&effective(r#"{"server": {"workers": 10}}"#), "server.workers"), Some(&json!(4)));
    assert_eq!(at(&effective(r#"{"server": {"workers": 3}}"#), "server.workers"), Some(&json!(3)));
    let small = r#"{"server": {"lruCache": {"size": 5}}}"#;
    assert_eq!(at(&effective(small), "server.lruCache.size"), Some(&json!(10_000)));
}

#[test]
fn redis_addresses() {
    let full = settings(r#"{"driver": "redis://us%40er:p%2Fw@redis.example:6380/7#pre%20fix"}"#);
    assert_eq!(full.prefix, "pre fix");
    let login = Login { username: Some("us@er".into()), password: Some("p/w".into()) };
    let server = Server::Tcp("redis.example".into(), 6380);
    assert_eq!(full.deployment, Deployment::Single(Endpoint { server, tls: false, login, db: 7 }));
    let single = |text: &str| match settings(text).deployment {
        Deployment::Single(endpoint) => endpoint,
        other => panic!("{other:?}"),
    };
    assert_eq!(single(r#"{"driver": "redis://[::1]"}"#).server, Server::Tcp("::1".into(), 6379));
    let only_password = single(r#"{"driver": "redis://:quiet@h"}"#).login;
    assert_eq!(only_password, Login { username: None, password: Some("quiet".into()) });
    let socket = r#"{"driver": "redis+unix:///run/re%20dis.sock#p"}"#;
    assert_eq!(single(socket).server, Server::Unix("/run/re dis.sock".into()));
    assert_eq!(settings(socket).prefix, "p");
}

fn settings(text: &str) -> RedisSettings {
    match load(text).unwrap().settings.routes {
        Source::Redis(redis) => redis,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_replica_and_its_master() {
    for text in [
        r#"{"redisHost": "r", "redisPort": 1, "redisMasterHost": "m", "redisMasterPort": 2, "redisMasterPassword": "quiet"}"#,
        r#"{"redis": {"host": "r", "port": 1, "masterHost": "m", "masterPort": 2, "masterPassword": "quiet"}}"#,
        r#"{"driver": ["redis://r:1", "redis://:quiet@m:2"]}"#,
        r#"{"redis": {"url": ["redis://r:1", "redis://m:2"], "masterPassword": "quiet"}}"#,
    ] {
        let Deployment::Pair { reads, writes } = settings(text).deployment else { panic!("{text}") };
        assert_eq!((reads.server, writes.server), (Server::Tcp("r".into(), 1), Server::Tcp("m".into(), 2)));
        assert_eq!((reads.login.password, writes.login.password.as_deref()), (None, Some("quiet")));
    }
    let same_db = settings(r#"{"driver": ["redis://r/3", "redis://m"]}"#);
    let Deployment::Pair { reads, writes } = same_db.deployment else { panic!("one server") };
    assert_eq!((reads.db, writes.db), (3, 3));
    let one = settings(r#"{"redisHost": "r", "redisMasterHost": "r"}"#);
    assert_eq!(one.deployment, Deployment::Single(Endpoint::plain(Server::Tcp("r".into(), 6379))));
    let other_db = load(r#"{"redisMasterHost": "m", "redisMasterDatabase": 1}"#).unwrap();
    assert!(
        other_db.remarks[0]
            .to_string()
            .contains("written to database 1 of the master and read from database 0")
    );
}

#[test]
fn redis_over_tls() {
    let endpoints = |text: &str| match settings(text).deployment {
        Deployment::Single(endpoint) => vec![endpoint.tls],
        Deployment::Pair { reads, writes } => vec![reads.tls, writes.tls],
        Deployment::Sentinel(sentinels) => vec![sentinels.tls],
    };
    for (text, tls) in [
        (r#"{"driver": "rediss://h"}"#, vec![true]),
        (r#"{"redis": {"tls": true}}"#, vec![true]),
        (r#"{"driver": "redis://h", "redis": {"tls": true}}"#, vec![true]),
        (r#"{"driver": ["rediss://r", "redis://m"]}"#, vec![true, false]),
        (r#"{"redis": {"tls": true, "masterHost": "m"}}"#, vec![true, true]),
        (r#"{"redis": {"tls": true, "sentinels": ["s"], "masterName": "m"}}"#, vec![true]),
        (r#"{"driver": "rediss:///2", "redis": {"sentinels": ["s"], "masterName": "m"}}"#, vec![true]),
    ] {
        assert_eq!(endpoints(text), tls, "{text}");
        assert_eq!(effective(&effective(text).to_string()), effective(text), "{text}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let authority = rcgen::generate_simple_self_signed(["redis.tld".to_owned()]).unwrap();
    std::fs::write(&file, authority.cert.pem()).unwrap();
    let idle = json!({ "redis": { "ca": file } }).to_string();
    assert!(remarks(&idle)[0].ends_with("without effect, as Redis is not spoken to over TLS: redis.ca"));
    let used = json!({ "redis": { "ca": file, "tls": true } }).to_string();
    assert_eq!(remarks(&used), [""; 0]);
    check(&[(&used, "redis.ca", json!(file))]);
}

#[test]
fn health_checks() {
    assert_eq!(load(r#"{"healthCheck": {}}"#).unwrap().settings.health_check, Some(HealthCheck::default()));
    for off in ["{}", r#"{"healthCheck": null}"#, r#"{"healthCheck": false}"#] {
        assert_eq!(load(off).unwrap().settings.health_check, None);
    }
    let text = r#"{"healthCheck": {"interval": 0.5, "timeout": 1, "method": "GET", "path": "/up?deep=1", "host": "up.tld:80",
        "rise": 2, "fall": 3, "scope": "all"}}"#;
    let expected = HealthCheck {
        interval: Duration::from_millis(500),
        timeout: Duration::from_secs(1),
        method: "GET".into(),
        path: "/up?deep=1".into(),
        host: "up.tld:80".into(),
        rise: 2,
        fall: 3,
        scope: Scope::All,
    };
    assert_eq!(load(text).unwrap().settings.health_check, Some(expected));
    assert_eq!(effective(&effective(text).to_string()), effective(text));
}

#[test]
fn sentinels() {
    let text = r#"{"redis": {"sentinels": ["s1:1", "10.0.0.2", "[::1]:3", "::2"], "masterName": "main", "password": "a",
        "username": "u", "sentinelPassword": "b", "db": 4, "prefix": "p:"}}"#;
    let Deployment::Sentinel(sentinels) = settings(text).deployment else { panic!("no sentinels") };
    let servers = [("s1", 1), ("10.0.0.2", 26_379), ("::1", 3), ("::2", 26_379)];
    assert_eq!(sentinels.addresses, servers.map(|(host, port)| Server::Tcp(host.into(), port)));
    assert_eq!((&*sentinels.master_name, sentinels.db, sentinels.tls), ("main", 4, false));
    assert_eq!(sentinels.login, Login { username: None, password: Some("b".into()) });
    assert_eq!(sentinels.master_login, Login { username: Some("u".into()), password: Some("a".into()) });
    let by_url = settings(r#"{"driver": "redis:///4#p", "redis": {"sentinels": ["s"], "masterName": "m"}}"#);
    let Deployment::Sentinel(sentinels) = by_url.deployment else { panic!("no sentinels") };
    assert_eq!((sentinels.db, &*by_url.prefix), (4, "p"));
}

#[test]
fn secrets_are_masked() {
    for text in [
        r#"{"redis": {"username": "u", "password": "quiet"}}"#,
        r#"{"driver": "redis://u:quiet@h"}"#,
        r#"{"redis": {"url": "redis://:quiet@h"}}"#,
        r#"{"redis": {"url": "redis+unix:///s", "password": "quiet"}}"#,
    ] {
        let config = load(text).unwrap();
        assert_eq!(at(&config.effective, "redis.password"), Some(&json!("***")));
        assert!(!config.effective.to_string().contains("quiet"), "{text}");
        assert!(!format!("{:?}", config.settings).contains("quiet"), "{text}");
    }
}

#[test]
fn route_table_file_is_beside_the_config_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("routes.json"), "{}").unwrap();
    let file = folder.path().join("config.json");
    let text = r#"{"driver": "file:routes.json", "redis": {"db": 1}, "redisHost": "h"}"#;
    let config = super::parse(&file, text, super::MACHINE).unwrap();
    let Source::File(path) = config.settings.routes else { panic!("no file") };
    assert_eq!(path, folder.path().join("routes.json"));
    let remark = config.remarks[0].to_string();
    assert!(remark.ends_with("without effect, as driver names a file: redisHost, redis.db"), "{remark}");
}

#[test]
fn error_pages_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["error_404.html", "error_default.html", "error_x.html", "error_999.html", "index.html"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    let text = json!({ "server": { "staticDir": folder.path() } }).to_string();
    let pages = load(&text).unwrap().settings.pages;
    assert_eq!(pages.default.as_deref(), Some(&b"error_default.html"[..]));
    assert_eq!(pages.by_status.into_iter().collect::<Vec<_>>(), [(404, b"error_404.html".to_vec())]);
}

#[test]
fn authorities_of_backends() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let made = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
    std::fs::write(&file, made.cert.pem()).unwrap();
    let text = json!({ "server": { "backendCa": file } }).to_string();
    check(&[(&text, "server.backendCa", json!(file)), ("{}", "server.backendCa", Value::Null)]);
    let trust = |text| load(text).unwrap().settings.upstream.trust;
    assert_eq!(trust(&text), trust(&text));
    assert_ne!(trust(&text), trust("{}"));
}

#[test]
fn trusted_proxies() {
    let text = r#"{"server": {"trustedProxies": ["10.1.2.3/8", "::1", "192.0.2.1"]}}"#;
    check(&[(text, "server.trustedProxies", json!(["10.0.0.0/8", "::1/128", "192.0.2.1/32"]))]);
}

#[test]
fn connections_are_limited_where_a_number_says_so() {
    let admission = |text| load(text).unwrap().settings.admission;
    let none = admission(r#"{"server": {"limits": {"connections": 0, "connectionsPerIp": null}}}"#);
    assert_eq!((none, none.connections, none.connections_per_ip), (admission("{}"), None, None));
    let text = r#"{"server": {"limits": {"connections": 9, "connectionsPerIp": "3"}}}"#;
    assert_eq!((admission(text).connections, admission(text).connections_per_ip), (Some(9), Some(3)));
    check(&[
        (text, "server.limits.connections", json!(9)),
        (text, "server.limits.connectionsPerIp", json!(3)),
        (r#"{"server": {"limits": {"bodyRate": 500}}}"#, "server.limits.bodyRate", json!(500)),
    ]);
}

#[test]
fn the_proxy_protocol_asks_for_trusted_proxies() {
    let text = r#"{"server": {"proxyProtocol": true, "trustedProxies": ["10.0.0.0/8"]}}"#;
    check(&[(text, "server.proxyProtocol", json!(true))]);
    assert_eq!(remarks(text), [""; 0]);
    let alone = r#"{"server": {"proxyProtocol": true}}"#;
    let warning = "warning: c.json: server.proxyProtocol: has no effect without server.trustedProxies";
    assert_eq!(remarks(alone), [warning]);
}

#[test]
fn the_effective_config_loads_again_and_means_the_same() {
    for text in [
        "{}",
        r#"{"http": {"bind": [{"address": "::1", "port": 5}], "port": 6}, "driver": "redis://u:p@h:1/2#x"}"#,
        r#"{"server": {"tcpTimeout": 0.5, "timeouts": {"connect": 0}, "accessLog": null, "debug": true}}"#,
        r#"{"redis": {"url": "redis+unix:///s"}, "server": {"limits": {"bodyBytes": 5}, "accessLog": "stdout"}}"#,
        r#"{"driver": ["redis://r:1/3", "redis://m:2"]}"#,
        r#"{"driver": ["redis+unix:///r", "redis://m:2"]}"#,
        r#"{"driver": "redis+unix:///tmp/a%23b%20c.sock#p"}"#,
        r#"{"redis": {"sentinels": ["s1:1", "::2"], "masterName": "main", "prefix": "p:"}}"#,
    ] {
        let first = effective(text);
        assert_eq!(effective(&first.to_string()), first, "{text}");
    }
}

#[test]
fn deaths_balance_and_log_format_reach_the_settings() {
    let text = r#"{"server": {"deadBackendTTL": 10, "deadBackendOn500": false, "balance": "leastRequests",
        "debugHeader": false, "apiVersions": true, "accessLogFormat": "json"}}"#;
    let settings = load(text).unwrap().settings;
    assert_eq!(settings.deaths, Deaths { ttl: Duration::from_secs(10), on_500: false });
    assert_eq!(settings.balance, Balance::LeastRequests);
    assert!(settings.api_versions && !settings.debug_header);
    assert_eq!(settings.access_log.map(|log| log.format), Some(AccessLogFormat::Json));
    let printed = effective(text);
    for (path, value) in [
        ("server.deadBackendTTL", json!(10)),
        ("server.deadBackendOn500", json!(false)),
        ("server.balance", json!("leastRequests")),
        ("server.debugHeader", json!(false)),
        ("server.apiVersions", json!(true)),
        ("server.accessLogFormat", json!("json")),
    ] {
        assert_eq!(at(&printed, path), Some(&value), "{path}");
    }
    let round_robin = load(r#"{"server": {"balance": "roundRobin"}}"#).unwrap().settings;
    assert_eq!(round_robin.balance, Balance::RoundRobin);
}

#[test]
fn defaults_of_the_old_programs() {
    check(&[
        (r#"{"server": {"port": 80}}"#, "server.retryOnError", json!(3)),
        (r#"{"server": {"port": 80, "retryOnError": 0}}"#, "server.retryOnError", json!(0)),
        (r#"{"server": {"port": 80}}"#, "server.deadBackendOn500", json!(true)),
        (r#"{"server": {"port": 80}}"#, "server.httpKeepAlive", json!(true)),
    ]);
}

#[test]
fn parts_of_a_redis_address_are_decoded() {
    check(&[
        (r#"{"driver": "redis://r#rollout"}"#, "redis.prefix", json!("rollout")),
        (r#"{"driver": "redis://r#a%3Ab%25"}"#, "redis.prefix", json!("a:b%")),
        (r#"{"driver": "redis://u%40x:p@r"}"#, "redis.username", json!("u@x")),
    ]);
}

#[test]
fn whoever_embeds_the_proxy_has_the_same_defaults() {
    let text = r#"{"server": {"bind": "127.0.0.1", "accessLog": null}}"#;
    let mut ours = load(text).unwrap().settings;
    ours.memory.bytes = u64::MAX;
    let theirs = Settings::new(&["127.0.0.1:80".parse().unwrap()], ours.cores, ours.routes.clone());
    assert_eq!(format!("{theirs:#?}"), format!("{ours:#?}"));
}

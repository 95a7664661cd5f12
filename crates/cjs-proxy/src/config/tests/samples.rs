//! Files as the predecessors had them, and the files shipped with the program.

use std::path::Path;

use serde_json::{Value, json};

use super::{MACHINE, at};
use crate::config::load;

fn sample(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)
}

/// The samples that load.
const LOADING: [&str; 15] = [
    "concussionjs-0.0.1.json",
    "concussionjs-0.0.1-dev.json",
    "hipache-0.1.json",
    "hipache-0.2.json",
    "hipache-0.2-address6.json",
    "hipache-0.2-fork.json",
    "hipache-0.2-pair.json",
    "hipache-0.2-strings.json",
    "hipache-0.3.json",
    "hipache-0.3-both.json",
    "hipache-0.3-driver.json",
    "hipache-0.4.json",
    "hipache-0.4-bind.json",
    "hipache-0.4-rollout.json",
    "hipache-0.4-unique-id.json",
];

fn loaded(name: &str) -> super::Config {
    load(&sample(name), MACHINE).unwrap_or_else(|faults| panic!("{name}: {faults:?}"))
}

fn check(name: &str, values: &[(&str, Value)]) {
    let config = loaded(name);
    for (path, value) in values {
        assert_eq!(at(&config.effective, path), Some(value), "{name}: {path}");
    }
}

/// Addresses as `check` prints them.
fn bind(addresses: &[(&str, u16)]) -> Value {
    addresses.iter().map(|(address, port)| json!({ "address": address, "port": port })).collect()
}

/// What is said of a sample that does not load, without its path.
fn refused(name: &str) -> Vec<String> {
    let path = sample(name);
    let before = format!("{}: ", path.display());
    let faults = load(&path, MACHINE).expect_err(name);
    let line = |line: String| line.strip_prefix(&before).expect("names the file").to_owned();
    faults.iter().map(|fault| line(fault.to_string())).collect()
}

#[test]
fn every_sample_is_tried() {
    let refused = REFUSED.iter().map(|(name, _)| *name);
    let mut tried: Vec<&str> = LOADING.into_iter().chain(refused).collect();
    let mut there: Vec<String> = std::fs::read_dir(sample(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    tried.sort_unstable();
    there.sort_unstable();
    assert_eq!(tried, there);
    LOADING.iter().for_each(|name| drop(loaded(name)));
}

#[test]
fn concussionjs() {
    check(
        "concussionjs-0.0.1.json",
        &[
            ("server.bind", bind(&[("0.0.0.0", 80), ("::", 80)])),
            ("server.accessLog", json!("/var/log/proxy_access.log")),
            ("server.debug", json!(true)),
            ("server.workers", json!(1)),
            ("server.maxSockets", json!(100)),
            ("server.deadBackendTTL", json!(30)),
            ("redis.host", json!("127.0.0.1")),
        ],
    );
    check(
        "concussionjs-0.0.1-dev.json",
        &[
            ("server.bind", bind(&[("0.0.0.0", 1080), ("::", 1080)])),
            ("server.deadBackendTTL", json!(10)),
            ("server.tcpTimeout", json!(10)),
            ("server.timeouts.backendHeader", json!(10)),
            ("server.retryOnError", json!(3)),
            ("server.httpKeepAlive", json!(false)),
            ("server.lruCache", json!({"size": 10_000, "ttl": 5})),
            ("redis.host", json!("10.1.0.5")),
        ],
    );
}

#[test]
fn hipache_0_1_and_0_2() {
    check("hipache-0.1.json", &[("server.retryOnError", json!(3)), ("redis.port", json!(6379))]);
    check(
        "hipache-0.2.json",
        &[("redis.host", json!("10.0.1.20")), ("server.deadBackendOn500", json!(true))],
    );
    check(
        "hipache-0.2-address6.json",
        &[
            ("server.bind", bind(&[("127.0.0.1", 80), ("::1", 80)])),
            ("redis.password", json!("***")),
            ("redis.db", json!(0)),
        ],
    );
    check(
        "hipache-0.2-strings.json",
        &[("redis.host", json!("172.17.0.2")), ("redis.port", json!(6379)), ("redis.password", Value::Null)],
    );
    check(
        "hipache-0.2-pair.json",
        &[
            ("redis.host", json!("127.0.0.1")),
            ("redis.masterHost", json!("10.1.0.6")),
            ("redis.masterPassword", json!("***")),
            ("redis.masterDb", json!(1)),
        ],
    );
    check(
        "hipache-0.2-fork.json",
        &[
            ("server.bind", bind(&[("0.0.0.0", 8000), ("::", 8000)])),
            ("server.deadBackendTTL", json!(5)),
            ("redis.password", Value::Null),
        ],
    );
}

#[test]
fn hipache_0_3() {
    check(
        "hipache-0.3.json",
        &[
            ("server.bind", bind(&[("0.0.0.0", 1080), ("::", 1080)])),
            ("server.retryOnError", json!(0)),
            ("server.tcpTimeout", json!(5)),
            ("redis.host", json!("127.0.0.1")),
        ],
    );
    check(
        "hipache-0.3-driver.json",
        &[
            ("server.bind", bind(&[("0.0.0.0", 80), ("::", 80)])),
            ("redis.port", json!(7777)),
            ("server.deadBackendOn500", json!(false)),
        ],
    );
    check(
        "hipache-0.3-both.json",
        &[("server.bind", bind(&[("0.0.0.0", 8080)])), ("redis.host", json!("redis"))],
    );
}

#[test]
fn hipache_0_4() {
    check(
        "hipache-0.4.json",
        &[
            ("server.bind", bind(&[("127.0.0.1", 80)])),
            ("redis.host", json!("127.0.0.1")),
            ("server.staticDir", Value::Null),
        ],
    );
    check(
        "hipache-0.4-bind.json",
        &[
            ("server.bind", bind(&[("127.0.0.1", 1080), ("::1", 1081)])),
            ("server.lruCache.size", json!(100_000)),
        ],
    );
    check(
        "hipache-0.4-rollout.json",
        &[
            ("server.bind", bind(&[("0.0.0.0", 9080)])),
            ("redis.password", json!("***")),
            ("server.accessLog", json!("proxy.log")),
        ],
    );
    check(
        "hipache-0.4-unique-id.json",
        &[
            ("server.tcpTimeout", json!(1800)),
            ("server.deadBackendTTL", json!(60)),
            ("redis.db", json!(2)),
            ("redis.prefix", json!("pre:")),
        ],
    );
}

const NO_FILE: &str = "No such file or directory (os error 2)";
const ETCD: &str = "routes in etcd are not read; move them to Redis (docs/MIGRATION.md); accepted: \
                    \"redis://user:password@host:port/db#prefix\" (\"rediss://\" over TLS), \
                    \"redis+unix:///path\", a list of two such, [read, write], or \"file:routes.json\"";

/// The samples that are refused, and the start of what is said.
const REFUSED: [(&str, &[(&str, &str)]); 6] = [
    ("concussionjs-0.0.1-https.json", &[("server.https.cert: /etc/ssl/proxy.crt: ", NO_FILE)]),
    ("hipache-0.3-https.json", &[("server.https.cert: /etc/ssl/proxy.crt: ", NO_FILE)]),
    ("hipache-0.3-etcd.json", &[("driver: \"etcd://10.1.0.7:4001\": ", ETCD)]),
    (
        "hipache-0.4-https.json",
        &[("https.cert: /etc/ssl/proxy.crt: ", NO_FILE), ("https.bind: /etc/ssl/other.crt: ", NO_FILE)],
    ),
    ("hipache-0.4-etcd.json", &[("driver: \"etcd://10.1.0.7:4001/#/hipache/\": ", ETCD)]),
    (
        "hipache-0.4-undefined.txt",
        &[("not JSON: ", "expected value at line 5 column 23; where it says undefined, say null")],
    ),
];

#[test]
fn what_cannot_be_served_is_refused_by_name() {
    for (name, lines) in REFUSED {
        let expected: Vec<String> = lines.iter().map(|(start, rest)| format!("{start}{rest}")).collect();
        assert_eq!(refused(name), expected, "{name}");
    }
}

#[test]
fn https_is_served_where_the_files_are_there() {
    let folder = super::https::Folder::new();
    let here = |name: &str| {
        let text = std::fs::read_to_string(sample(name)).unwrap();
        let text = text.replace("/etc/ssl/", &format!("{}/", folder.path("").display()).replace("//", "/"));
        let config = crate::config::parse(Path::new("c.json"), &text, MACHINE);
        config.unwrap_or_else(|faults| panic!("{name}: {faults:?}"))
    };
    for name in ["concussionjs-0.0.1-https.json", "hipache-0.3-https.json"] {
        let config = here(name);
        let all = bind(&[("0.0.0.0", 443), ("::", 443)]);
        assert_eq!(at(&config.effective, "https.bind"), Some(&all), "{name}");
        assert_eq!(config.settings.https.unwrap().served.len(), 1);
    }
    let config = here("hipache-0.4-https.json");
    let other = |kind: &str| json!(folder.path(&format!("other.{kind}")));
    let addresses = json!([
        {"address": "127.0.0.1", "port": 1443},
        {"address": "::1", "port": 1444, "key": other("key"), "cert": other("crt")},
    ]);
    assert_eq!(at(&config.effective, "https.bind"), Some(&addresses));
    assert_eq!(config.settings.https.unwrap().served.len(), 2);
}

#[test]
fn shipped_files_load_and_differ() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let mut seen: Vec<Value> = Vec::new();
    for name in ["config.json", "config_dev.json", "config_prod.json", "config_test.json"] {
        let config = load(&folder.join(name), MACHINE).unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
        assert_eq!(config.remarks, [], "{name}");
        assert!(!seen.contains(&config.effective), "{name} is like another");
        seen.push(config.effective);
    }
    // config.json shows the defaults.
    assert_eq!(seen[0], super::effective("{}"));
}

//! Files as the predecessors had them, and the files shipped with the program.

use std::path::Path;

use serde_json::{Value, json};

use super::{MACHINE, at};
use crate::config::load;

fn sample(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)
}

/// The keys of a sample that are refused, in the order they are told.
fn refused(name: &str) -> Vec<String> {
    let path = sample(name);
    let before = format!("{}: ", path.display());
    let faults = load(&path, MACHINE).expect_err(name);
    let key = |line: String| {
        let rest = line.strip_prefix(&before).expect("names the file");
        let (key, problem) = rest.split_once(": ").expect("names the key");
        assert!(problem.contains("not available yet"), "{line}");
        key.to_owned()
    };
    faults.iter().map(|fault| key(fault.to_string())).collect()
}

/// What a sample comes to without the keys that are refused.
fn without_refused(name: &str) -> super::Config {
    let text = std::fs::read_to_string(sample(name)).unwrap();
    let mut file: Value = serde_json::from_str(&text).unwrap();
    for key in refused(name) {
        let (above, last) = key.rsplit_once('.').unwrap_or(("", &key));
        let section = if above.is_empty() { &mut file } else { &mut file[above] };
        section.as_object_mut().unwrap().remove(last);
    }
    super::parse(&sample(name), &file.to_string(), MACHINE).unwrap()
}

fn assert_values(config: &super::Config, values: &[(&str, Value)]) {
    for (path, value) in values {
        assert_eq!(at(&config.effective, path), Some(value), "{path}");
    }
}

#[test]
fn hipache_0_2() {
    assert_eq!(refused("hipache-0.2.json"), ["server.deadBackendTTL"]);
    let values = [
        ("redis.host", json!("10.1.0.5")),
        ("redis.port", json!(6380)),
        ("redis.db", json!(2)),
        ("redis.password", json!("***")),
        ("server.workers", json!(4)),
    ];
    assert_values(&without_refused("hipache-0.2.json"), &values);
}

#[test]
fn hipache_0_3() {
    let keys = [
        "server.deadBackendTTL",
        "server.deadBackendOn500",
        "server.https",
        "redisMasterHost",
        "redisMasterPort",
    ];
    assert_eq!(refused("hipache-0.3.json"), keys);
    let values = [
        ("server.httpKeepAlive", json!(false)),
        ("server.lruCache", json!({"size": 10000, "ttl": 5})),
        ("server.bind", json!([{"address": "0.0.0.0", "port": 80}, {"address": "::", "port": 80}])),
    ];
    assert_values(&without_refused("hipache-0.3.json"), &values);
}

#[test]
fn hipache_0_4() {
    let keys = ["user", "group", "server.deadBackendTTL", "server.deadBackendOn500"];
    assert_eq!(refused("hipache-0.4.json"), keys);
    let config = without_refused("hipache-0.4.json");
    let bind = json!([{"address": "127.0.0.1", "port": 1080}, {"address": "::1", "port": 1081}]);
    let values = [("server.bind", bind), ("server.lruCache.size", json!(100_000))];
    assert_values(&config, &values);
    let remarks: Vec<String> = config.remarks.iter().map(ToString::to_string).collect();
    let ignored = "without a meaning here and ignored: https.ciphers, https.honorCipherOrder, \
                   https.secureOptions, https.secureProtocol";
    assert!(remarks.iter().any(|remark| remark.ends_with(ignored)), "{remarks:?}");
}

#[test]
fn concussionjs() {
    assert_eq!(refused("concussionjs.json"), ["server.deadBackendTTL"]);
    let config = without_refused("concussionjs.json");
    assert!(config.debug);
    let values = [
        ("server.port", json!(8080)),
        ("server.lruCache.size", json!(20000)),
        ("server.tcpTimeout", json!(10)),
    ];
    assert_values(&config, &values);
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

//! `routes import` and `export`: whole tables, byte for byte.

use std::collections::BTreeMap;

use serde_json::json;

use super::routing::wait_for;
use crate::support::backend::Backend;
use crate::support::command::Config;
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene};

/// Every list and hash of a server.
fn all(redis: &Redis) -> BTreeMap<String, Vec<Vec<u8>>> {
    let keys: Vec<String> = redis.query("KEYS *");
    let read = |key: &String| match redis.query::<String>(&format!("TYPE {key}")).as_str() {
        "list" => redis.query(&format!("LRANGE {key} 0 -1")),
        _ => {
            let fields: BTreeMap<Vec<u8>, Vec<u8>> = redis.query(&format!("HGETALL {key}"));
            fields.into_iter().flat_map(|(field, value)| [field, value]).collect()
        }
    };
    keys.iter().map(|key| (key.clone(), read(key))).collect()
}

#[test]
fn what_is_exported_is_imported_byte_for_byte() {
    let (from, to) = (Redis::start(), Redis::start());
    let mut connection = redis::Client::open(from.url()).unwrap().get_connection().unwrap();
    let mut pipe = redis::pipe();
    for number in 0..1_000_u32 {
        let identifier =
            [&b"app\xff\x00\r\n\"\\"[..], &number.to_be_bytes(), "\u{fc}\u{1f600}".as_bytes()].concat();
        let key = format!("frontend:h{number}.example");
        pipe.rpush(&key, identifier).rpush(&key, format!("http://10.0.0.1:{}", number + 1));
        pipe.rpush(&key, vec![0x80 | (number % 128) as u8, b'\n']);
        pipe.hset(format!("options:h{number}.example"), "sticky", "cookie");
    }
    pipe.rpush("frontend:UPPER", "up")
        .rpush("frontend:options:x", "odd")
        .rpush("frontend:frontend:80", "odd");
    pipe.rpush(&b"frontend:\xff"[..], "left out");
    pipe.exec(&mut connection).unwrap();
    let exported = Config::redis(from.port).routes(&["export"]);
    assert!(exported.err.contains("is not UTF-8 and no host is looked up by it"), "{}", exported.err);
    assert!(exported.err.contains("routes import takes it with --as-is"));
    let text = exported.done();
    assert_eq!(text.lines().count(), 2 + 2_003);
    let config = Config::redis(to.port);
    let told = config.routes_reading(&["import", "-"], &text).failed();
    assert!(told.contains("nothing was written") && to.query::<usize>("DBSIZE") == 0, "{told}");
    let counts = config.routes_reading(&["import", "-", "--as-is"], &text).done();
    assert_eq!(counts, "1003 added, 0 changed, 0 unchanged, 0 removed\n");
    redis::cmd("DEL").arg(&b"frontend:\xff"[..]).exec(&mut connection).unwrap();
    assert_eq!(all(&from), all(&to));
    assert_eq!(config.routes(&["export"]).done(), text);
}

#[test]
fn an_import_writes_what_differs_and_nothing_else() {
    let redis = Redis::start();
    let config = Config::redis(redis.port);
    redis.route("same.example", &["app", "http://h1"]);
    redis.route("longer.example", &["app", "http://h1"]);
    redis.route("other.example", &["app", "http://h1"]);
    redis.route("options.example", &["app"]);
    redis.route("left.example", &["left"]);
    redis.command("HSET options:options.example sticky cookie");
    redis.command("HSET options:left.example sticky cookie");
    for host in ["same.example", "longer.example", "other.example"] {
        redis.command(&format!("SADD dead:{host} 0 1"));
        redis.command(&format!("HSET died:{host} 0 a 1 b"));
    }
    let table = json!({
        "same.example": ["app", "http://h1"],
        "longer.example": ["app", "http://h1", "http://h2"],
        "other.example": ["app", "http://h2"],
        "options.example": ["app"], "options:options.example": { "httpsRedirect": true },
        "new.example": ["new"],
    });
    let file = config.path().join("table.json");
    std::fs::write(&file, table.to_string()).unwrap();
    let import =
        |more: &[&str]| config.routes(&[&["import", file.to_str().unwrap(), "--json"], more].concat()).json();
    redis.command("CONFIG RESETSTAT");
    assert_eq!(import(&[]), json!({ "added": 1, "changed": 3, "unchanged": 1, "removed": 0 }));
    assert_eq!((redis.marks("same.example"), redis.marks("longer.example")), (vec![0, 1], vec![0]));
    assert!(redis.marks("other.example").is_empty());
    assert_eq!(redis.query::<Vec<String>>("HGETALL options:options.example"), ["httpsRedirect", "true"]);
    assert_eq!(redis.query::<usize>("LLEN frontend:left.example"), 1);
    assert_eq!(redis.calls()["rpush"], 3);
    assert_eq!(import(&["--prune"]), json!({ "added": 0, "changed": 0, "unchanged": 5, "removed": 1 }));
    assert_eq!(redis.calls()["rpush"], 3, "what is the same is not touched");
    assert!(redis.query::<Vec<String>>("KEYS *left*").is_empty());
    redis.command("DEL frontend:new.example");
    redis.command("SET frontend:new.example text");
    let told = config.routes(&["import", file.to_str().unwrap()]).failed();
    assert!(told.contains("\"frontend:new.example\" holds no list"), "{told}");
}

#[test]
fn a_bad_file_changes_nothing_and_all_its_mistakes_are_told() {
    let redis = Redis::start();
    let config = Config::redis(redis.port);
    let bad = r#"{"A.example": ["a"], "b.example": ["b", "ftp://h", "h"], "c.example": ["c", "http://h"]}"#;
    let told = config.routes_reading(&["import", "-"], bad).failed();
    assert!(told.contains("lower case") && told.contains("unknown scheme"), "{told}");
    for (text, said) in [
        ("{ broken", "/dev/stdin: not a route table; accepted: "),
        (r#"{"a.example": []}"#, "the list is empty"),
        (r#"{"a.example": ["a"], "frontend:a.example": ["b"]}"#, "stands twice"),
        ("", "EOF"),
    ] {
        for as_is in [&["import", "-"][..], &["import", "-", "--as-is"]] {
            let told = config.routes_reading(as_is, text).failed();
            assert!(told.contains(said), "{told}");
        }
    }
    assert_eq!(redis.query::<usize>("DBSIZE"), 0);
}

#[test]
fn a_running_proxy_serves_what_is_imported() {
    let (first, second) = (Backend::saying("first"), Backend::saying("second"));
    let scene = Scene::of(&first);
    wait_for(&scene.proxy, SITE, "first");
    let config = Config::redis(scene.redis.port);
    let table = json!({ SITE: ["site", second.url()], "*.new.example": ["new", first.url()] }).to_string();
    config.routes_reading(&["import", "-"], &table).done();
    wait_for(&scene.proxy, SITE, "second");
    wait_for(&scene.proxy, "a.new.example", "first");
    config.routes_reading(&["import", "-", "--prune"], "{}").done();
    wait_for(&scene.proxy, SITE, "400");
    assert_eq!(config.routes(&["export"]).done(), "{}\n");
    let listed = config.routes(&["list"]);
    assert!(listed.err.contains("there is no frontend") && listed.out.is_empty(), "{listed:?}");
}

#[test]
fn twenty_thousand_hosts_are_no_burden() {
    let redis = Redis::start();
    let config = Config::redis(redis.port);
    let lines: Vec<String> = (0..20_000)
        .map(|number| {
            format!("\"h{number}.example\": [\"h{number}\", \"http://10.0.0.1:80\", \"http://10.0.0.2\"]")
        })
        .collect();
    let counts = config.routes_reading(&["import", "-"], &format!("{{{}}}", lines.join(",\n"))).done();
    assert_eq!(counts, "20000 added, 0 changed, 0 unchanged, 0 removed\n");
    let listed = config.routes(&["list", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 20_000);
    let exported = config.routes(&["export"]).done();
    let counts = config.routes_reading(&["import", "-", "--prune"], &exported).done();
    assert_eq!(counts, "0 added, 0 changed, 20000 unchanged, 0 removed\n");
    let text = config.routes(&["list"]).done();
    let mut hosts: Vec<&str> = text.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(hosts.len(), 20_000);
    assert!(hosts.is_sorted());
    hosts.dedup();
    assert_eq!(hosts.len(), 20_000);
}

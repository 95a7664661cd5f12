//! Files with faults, and what is said of them, to the letter.

use std::path::Path;

use super::{MACHINE, Machine, load, parse};

/// The faults of a text that must not load, without the file's name before each.
fn faults(text: &str) -> Vec<String> {
    let lines = load(text).expect_err(text);
    lines.iter().map(|line| line.strip_prefix("c.json: ").expect("names the file").to_owned()).collect()
}

pub(super) fn check(table: &[(&str, &str)]) {
    for (text, message) in table {
        assert_eq!(faults(text), [*message], "{text}");
    }
}

#[test]
fn not_a_json_object() {
    check(&[
        ("", "not JSON: EOF while parsing a value at line 1 column 0"),
        ("{\n  \"server\": {,}\n}", "not JSON: key must be a string at line 2 column 14"),
        ("{}\n{}", "not JSON: trailing characters at line 2 column 1"),
        ("{} x", "not JSON: trailing characters at line 1 column 4"),
        (
            "{\"https\": {\"passphrase\": undefined}}",
            "not JSON: expected value at line 1 column 26; where it says undefined, say null",
        ),
        ("[]", "the file must hold one JSON object, such as {}"),
        ("null", "the file must hold one JSON object, such as {}"),
    ]);
}

#[test]
fn unknown_keys() {
    check(&[
        (r#"{"server": {"prot": 80}}"#, "server.prot: unknown key; did you mean \"server.port\"?"),
        (
            r#"{"server": {"MAXSOCKETS": 80}}"#,
            "server.MAXSOCKETS: unknown key; did you mean \"server.maxSockets\"?",
        ),
        (r#"{"maxSockets": 80}"#, "maxSockets: unknown key; did you mean \"server.maxSockets\"?"),
        (r#"{"sever": {"port": 80}}"#, "sever: unknown key; did you mean \"server\"?"),
        (r#"{"server": {"limit": {}}}"#, "server.limit: unknown key; did you mean \"server.limits\"?"),
        (
            r#"{"redis": {"pasword": "quiet"}}"#,
            "redis.pasword: unknown key; did you mean \"redis.password\"?",
        ),
        (r#"{"rateLimit": null, "zebra": 1}"#, "zebra: unknown key; docs/CONFIG.md lists the keys"),
        (
            r#"{"server.port": 80}"#,
            "server.port: unknown key; keys are nested objects, such as {\"server\": {\"port\": 80}}",
        ),
        (r#"{"ze\nbra": 1}"#, "ze\\nbra: unknown key; docs/CONFIG.md lists the keys"),
    ]);
}

#[test]
fn keys_said_twice() {
    check(&[
        (r#"{"server": {}, "server": {}}"#, "server: stands twice in the file; keep one"),
        (r#"{"redis": {"db": 1, "db": 1}}"#, "redis.db: stands twice in the file; keep one"),
        (
            r#"{"server": {"port": 80}, "http": {"port": 81}}"#,
            "http.port: says otherwise than server.port, which is the same key; keep one",
        ),
        (
            r#"{"redisPassword": "a", "redis": {"password": "b"}}"#,
            "redis.password: says otherwise than redisPassword, which is the same key; keep one",
        ),
    ]);
}

#[test]
fn wrong_types() {
    check(&[
        (r#"{"server": 80}"#, "server: 80 is not accepted; accepted: an object"),
        (
            r#"{"server": {"port": "8o"}}"#,
            "server.port: \"8o\" is not accepted; accepted: a whole number from 0 to 65535",
        ),
        (
            r#"{"http": {"port": true}}"#,
            "http.port: true is not accepted; accepted: a whole number from 0 to 65535",
        ),
        (r#"{"server": {"debug": "yes"}}"#, "server.debug: \"yes\" is not accepted; accepted: true or false"),
        (
            r#"{"server": {"httpKeepAlive": 1}}"#,
            "server.httpKeepAlive: 1 is not accepted; accepted: true or false",
        ),
        (
            r#"{"server": {"accessLog": {}}}"#,
            "server.accessLog: {} is not accepted; accepted: a path, \"stdout\", or null for none",
        ),
        (r#"{"server": {"lruCache": 5}}"#, "server.lruCache: 5 is not accepted; accepted: an object"),
        (
            r#"{"redis": {"host": "127.0.0.1:6379"}}"#,
            "redis.host: \"127.0.0.1:6379\" is not accepted; accepted: a host name or an IP address, without a port",
        ),
        (r#"{"redis": "redis://:quiet@h"}"#, "redis: \"redis://***@h\" is not accepted; accepted: an object"),
        (
            r#"{"redis": {"password": 5}}"#,
            "redis.password: the value is not accepted; accepted: a text that is not empty",
        ),
    ]);
}

#[test]
fn out_of_range() {
    check(&[
        (
            r#"{"server": {"port": 65536}}"#,
            "server.port: 65536 is out of range; accepted: a whole number from 0 to 65535",
        ),
        (
            r#"{"server": {"port": -1}}"#,
            "server.port: -1 is out of range; accepted: a whole number from 0 to 65535",
        ),
        (
            r#"{"server": {"maxSockets": 0}}"#,
            "server.maxSockets: 0 is out of range; accepted: a whole number from 1 to 65535",
        ),
        (
            r#"{"server": {"maxSockets": 1.5}}"#,
            "server.maxSockets: 1.5 is out of range; accepted: a whole number from 1 to 65535",
        ),
        (
            r#"{"server": {"workers": 0}}"#,
            "server.workers: 0 is out of range; accepted: a whole number from 1 to 4096",
        ),
        (
            r#"{"server": {"tcpTimeout": -1}}"#,
            "server.tcpTimeout: -1 is out of range; accepted: seconds from 0.1 to 604800, or 0 for none",
        ),
        (
            r#"{"server": {"timeouts": {"connect": 0.01}}}"#,
            "server.timeouts.connect: 0.01 is out of range; accepted: seconds from 0.1 to 604800, or 0 for none",
        ),
        (
            r#"{"server": {"gracefulWait": 1e300}}"#,
            "server.gracefulWait: 1e+300 is out of range; accepted: seconds from 0 to 86400",
        ),
        (
            r#"{"server": {"limits": {"headerBytes": 100}}}"#,
            "server.limits.headerBytes: 100 is out of range; accepted: a whole number from 1024 to 1048576",
        ),
        (
            r#"{"server": {"limits": {"headerBytes": 2048, "uriBytes": 4096}}}"#,
            "server.limits.uriBytes: 4096 is out of range; accepted: at most server.limits.headerBytes, 2048, \
          as the target is part of the head",
        ),
        (
            r#"{"redisPort": "65536"}"#,
            "redisPort: 65536 is out of range; accepted: a whole number from 1 to 65535",
        ),
        (
            r#"{"server": {"deadBackendTTL": 0}}"#,
            "server.deadBackendTTL: 0 is out of range; accepted: a whole number from 1 to 86400",
        ),
        (r#"{"redisPort": 0}"#, "redisPort: 0 is out of range; accepted: a whole number from 1 to 65535"),
    ]);
}

const BIND: &str = "accepted: an IP address, a list of them, or a list of {\"address\", \"port\"}";

#[test]
fn addresses() {
    for (text, start) in [
        (r#"{"http": {"bind": "0.0.0.0:80"}}"#, "http.bind: \"0.0.0.0:80\" is not accepted"),
        (r#"{"server": {"bind": ["::", "*"]}}"#, "server.bind[1]: \"*\" is not accepted"),
        (r#"{"server": {"address": "[::1]"}}"#, "server.address: \"[::1]\" is not accepted"),
        (r#"{"http": {"bind": []}}"#, "http.bind: []: at least one address is needed"),
        (r#"{"http": {"bind": [{"port": 80}]}}"#, "http.bind[0]: {\"port\":80} is not accepted"),
        (r#"{"http": {"bind": [{"address": "x"}]}}"#, "http.bind[0].address: \"x\" is not accepted"),
    ] {
        assert_eq!(faults(text), [format!("{start}; {BIND}")], "{text}");
    }
    check(&[
        (
            r#"{"server": {"address6": ["::1", "127.0.0.1"]}}"#,
            "server.address6[1]: \"127.0.0.1\" is not accepted; accepted: an IPv6 address or a list of them",
        ),
        (
            r#"{"server": {"address": ["::1"], "address6": ["::1"]}}"#,
            "server.address6: names [::1]:80 twice; keep one",
        ),
        (
            r#"{"http": {"bind": {"address": "::1", "port": 70000}}}"#,
            "http.bind.port: 70000 is out of range; accepted: a whole number from 0 to 65535",
        ),
        (
            r#"{"http": {"bind": ["::1", {"address": "::1", "port": 80}]}}"#,
            "http.bind: names [::1]:80 twice; keep one",
        ),
        (
            r#"{"server": {"trustedProxies": ["10.0.0.0/8", "10.0.0.0/33"]}}"#,
            "server.trustedProxies[1]: \"10.0.0.0/33\" is not accepted; accepted: an IP address or a CIDR such as \
          \"10.0.0.0/8\"",
        ),
        (
            r#"{"server": {"trustedProxies": "10.0.0.0/8"}}"#,
            "server.trustedProxies: \"10.0.0.0/8\" is not accepted; accepted: a list of IP addresses and CIDRs",
        ),
    ]);
}

const STORE: &str = "accepted: \"redis://user:password@host:port/db#prefix\" (\"rediss://\" over TLS), \
                     \"redis+unix:///path\", a list of two such, [read, write], or \"file:routes.json\"";

#[test]
fn stores() {
    for (text, start) in [
        (r#"{"driver": 5}"#, "driver: 5 is not accepted"),
        (r#"{"driver": "127.0.0.1"}"#, "driver: \"127.0.0.1\": has no scheme"),
        (
            r#"{"driver": ["etcd://h", "etcd://i"]}"#,
            "driver: \"etcd://h\": routes in etcd are not read; move them to Redis (docs/MIGRATION.md)",
        ),
        (
            r#"{"driver": "memcached://h"}"#,
            "driver: \"memcached://h\": routes in memcached are not read; move them to Redis (docs/MIGRATION.md)",
        ),
        (r#"{"driver": "consul://h"}"#, "driver: \"consul://h\": scheme \"consul\" is not known"),
        (
            r#"{"driver": "redis://u:quiet@h/x"}"#,
            "driver: \"redis://***@h/x\": \"x\" is not the number of a database",
        ),
        (r#"{"driver": "redis://u:quiet@h:99999"}"#, "driver: \"redis://***@h:99999\": invalid port number"),
        (
            r#"{"driver": "redis://h?db=1"}"#,
            "driver: \"redis://h?db=1\": options after \"?\" are not accepted",
        ),
        (
            r#"{"driver": "redis+unix://run/redis"}"#,
            "driver: \"redis+unix://run/redis\": the path of a socket starts with a third \"/\"",
        ),
        (r#"{"driver": "redis+unix:///"}"#, "driver: \"redis+unix:///\": names no socket"),
        (r#"{"driver": "redis://user:quiet"}"#, "driver: \"redis://***\": invalid port number"),
        (r#"{"driver": "redis://[::1]:quiet/0"}"#, "driver: \"redis://***\": invalid port number"),
        (r#"{"driver": "redis://:quiet"}"#, "driver: \"redis://***\": empty host"),
        (r#"{"driver": "file:"}"#, "driver: \"file:\": names no file"),
        (
            r#"{"driver": "file://host/x"}"#,
            "driver: \"file://host/x\": a host in a file address is not accepted",
        ),
        (r#"{"driver": []}"#, "driver: this list is not accepted"),
        (r#"{"driver": ["redis://a", "redis://b", "redis://c"]}"#, "driver: this list is not accepted"),
    ] {
        assert_eq!(faults(text), [format!("{start}; {STORE}")], "{text}");
    }
}

#[test]
fn stores_said_in_two_places() {
    check(&[
        (
            r#"{"driver": ["redis://a#p", "redis://b#q"]}"#,
            "driver: its second address has another prefix than the first, \"p\"; keep one",
        ),
        (
            r#"{"driver": ["redis://a", "file:b.json"]}"#,
            "driver: a route table file has no other store beside it; name it alone",
        ),
        (
            r#"{"driver": ["redis://a", "redis://b"], "redisMasterHost": "c"}"#,
            "redisMasterHost: says otherwise than driver; keep one",
        ),
        (
            r#"{"driver": "file:none.json"}"#,
            "driver: none.json: No such file or directory (os error 2); accepted: a readable route table",
        ),
        (
            r#"{"driver": "redis://a", "redis": {"host": "b"}}"#,
            "redis.host: says otherwise than driver; keep one",
        ),
        (
            r#"{"driver": "redis://a/1", "redisDatabase": 2}"#,
            "redisDatabase: says otherwise than driver; keep one",
        ),
        (
            r#"{"driver": "redis://:quiet@a", "redisPassword": "loud"}"#,
            "redisPassword: says otherwise than driver; keep one",
        ),
        (
            r#"{"driver": "redis://a", "redis": {"url": "redis://b"}}"#,
            "redis.url: says otherwise than driver; keep one",
        ),
        (
            r#"{"driver": "redis+unix:///s", "redisHost": "a"}"#,
            "redisHost: has no meaning beside the socket that driver names; keep one",
        ),
        (
            r#"{"driver": "rediss://h", "redis": {"tls": false}}"#,
            "redis.tls: says otherwise than driver; keep one",
        ),
        (
            r#"{"redis": {"url": "redis+unix:///s", "tls": true}}"#,
            "redis.tls: has no meaning for a socket; leave it out",
        ),
        (
            r#"{"redis": {"tls": true, "ca": "none.pem"}}"#,
            "redis.ca: none.pem: No such file or directory (os error 2); accepted: a PEM file with the certificates of \
             one or more authorities",
        ),
        (r#"{"redis": {"username": "u"}}"#, "redis.username: needs redis.password beside it"),
        (r#"{"driver": "redis://u@h"}"#, "redis.username: needs redis.password beside it"),
    ]);
}

#[test]
fn sentinels() {
    let beside = "has no meaning beside redis.sentinels, which name the master; keep one";
    let list = "accepted: a list of \"host:port\"";
    let with = |more: &str| format!(r#"{{"redis": {{"sentinels": ["s"], "masterName": "m"{more}}}}}"#);
    for (text, fault) in [
        (
            r#"{"redis": {"sentinels": ["a:1"]}}"#.into(),
            "redis.sentinels: needs redis.masterName beside it, the name they know the master by".into(),
        ),
        (
            r#"{"redis": {"masterName": "m"}}"#.into(),
            "redis.masterName: has no meaning without redis.sentinels".into(),
        ),
        (with(r#", "host": "h""#), format!("redis.host: {beside}")),
        (with(r#", "masterHost": "h""#), format!("redis.masterHost: {beside}")),
        (
            with(r#", "url": "redis://h""#),
            "redis.url: names a server beside redis.sentinels, which name the master; keep one".into(),
        ),
        (
            with(r#", "sentinelUsername": "u""#),
            "redis.sentinelUsername: needs redis.sentinelPassword beside it".into(),
        ),
        (
            r#"{"redis": {"sentinels": "a:1", "masterName": ""}}"#.into(),
            format!("redis.sentinels: \"a:1\" is not accepted; {list}"),
        ),
        (
            r#"{"redis": {"sentinels": ["a", "b:0"], "masterName": "m"}}"#.into(),
            format!("redis.sentinels[1]: \"b:0\" is not accepted; {list}"),
        ),
        (
            r#"{"redis": {"sentinels": ["redis://a"], "masterName": ""}}"#.into(),
            format!("redis.sentinels[0]: \"redis://a\" is not accepted; {list}"),
        ),
    ] {
        assert_eq!(faults(&text), [fault], "{text}");
    }
}

#[test]
fn health_checks() {
    check(&[
        (
            r#"{"healthCheck": {"method": "get"}}"#,
            "healthCheck.method: \"get\" is not accepted; accepted: a method such as \"GET\"",
        ),
        (
            r#"{"healthCheck": {"path": "health"}}"#,
            "healthCheck.path: \"health\" is not accepted; accepted: a path that begins with \"/\", without spaces",
        ),
        (
            r#"{"healthCheck": {"path": "/a\r\nX: y"}}"#,
            "healthCheck.path: \"/a\\r\\nX: y\" is not accepted; accepted: a path that begins with \"/\", without spaces",
        ),
        (
            r#"{"healthCheck": {"host": "a b"}}"#,
            "healthCheck.host: \"a b\" is not accepted; accepted: a host name, with or without a port",
        ),
        (
            r#"{"healthCheck": {"rise": 0}}"#,
            "healthCheck.rise: 0 is out of range; accepted: a whole number from 1 to 100",
        ),
        (
            r#"{"healthCheck": {"scope": "some"}}"#,
            "healthCheck.scope: \"some\" is not accepted; accepted: \"dead\" or \"all\"",
        ),
        (
            r#"{"healthCheck": {"intervall": 1}}"#,
            "healthCheck.intervall: unknown key; did you mean \"healthCheck.interval\"?",
        ),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("t.json");
    std::fs::write(&table, "{}").unwrap();
    let text = format!(r#"{{"driver": "file:{}", "healthCheck": {{}}, "rateLimit": {{}}}}"#, table.display());
    let faults = faults(&text);
    for key in ["healthCheck", "rateLimit"] {
        let start = format!("{key}: needs routes in Redis");
        assert!(faults.iter().any(|fault| fault.starts_with(&start)), "{faults:?}");
    }
}

#[test]
fn an_admin_listener_for_others_needs_a_token() {
    let needed = |address| {
        format!(
            "admin.token: is needed, as {address} can be reached from other machines; set it, or take 127.0.0.1 for \
             admin.bind"
        )
    };
    for (text, address) in [
        (r#"{"admin": {"port": 1, "bind": "0.0.0.0"}}"#, "0.0.0.0:1"),
        (r#"{"admin": {"port": 1, "bind": "::"}}"#, "[::]:1"),
        (r#"{"admin": {"port": 1, "bind": ["127.0.0.1", "192.0.2.1"]}}"#, "192.0.2.1:1"),
        (r#"{"admin": {"bind": [{"address": "192.0.2.1", "port": 2}]}}"#, "192.0.2.1:2"),
    ] {
        assert_eq!(faults(text), [needed(address)], "{text}");
    }
    let fault = "admin.token: the value is not accepted; accepted: visible ASCII characters, without spaces";
    assert_eq!(faults(r#"{"admin": {"port": 1, "token": "not quiet"}}"#), [fault]);
}

#[test]
fn what_is_without_effect_is_checked_all_the_same() {
    check(&[
        (
            r#"{"server": {"memoryLimit": "lots"}}"#,
            "server.memoryLimit: \"lots\" is not accepted; accepted: a whole number from 1 to 1048576",
        ),
        (
            r#"{"server": {"checkInterval": 4000}}"#,
            "server.checkInterval: 4000 is out of range; accepted: seconds from 0.1 to 3600",
        ),
        (r#"{"user": ["root"]}"#, "user: [\"root\"] is not accepted; accepted: a name or a number"),
    ]);
}

#[test]
fn root_becomes_only_users_that_exist() {
    let root = Machine { root: true, ..MACHINE };
    let lines = |text: &str| -> Vec<String> {
        let loaded = parse(Path::new("c.json"), text, root);
        loaded.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    };
    let end = "create it, or name another";
    assert_eq!(
        lines(r#"{"user": "no-such-user"}"#),
        [format!("c.json: user: \"no-such-user\": this machine has no such user; {end}")]
    );
    assert_eq!(
        lines(r#"{"user": "root", "group": "no-such-group"}"#),
        [format!("c.json: group: \"no-such-group\": this machine has no such group; {end}")]
    );
    assert_eq!(lines(r#"{"group": 0}"#), ["c.json: group: stands without user; name the user too"]);
    for text in [r#"{"user": "root", "group": "root"}"#, r#"{"user": 0, "group": "0"}"#, r#"{"user": ""}"#] {
        assert_eq!(lines(text), [""; 0], "{text}");
    }
}

#[test]
fn unknown_keys_of_features_to_come() {
    check(&[(
        r#"{"https": {"bind": [], "certs": "c"}}"#,
        "https.certs: unknown key; did you mean \"https.cert\"?",
    )]);
}

#[test]
fn all_faults_are_reported() {
    let text =
        r#"{"server": {"port": "x", "debug": 1, "wrokers": 2, "proxyProtocol": "yes"}, "redis": {"db": -1}}"#;
    assert_eq!(faults(text).len(), 5);
}

#[test]
fn error_pages() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("error_404.html")).unwrap();
    let large = std::fs::File::create(folder.path().join("error_502.html")).unwrap();
    large.set_len(1024 * 1024 + 1).unwrap();
    let path = folder.path().display();
    let mut lines = faults(&format!(r#"{{"server": {{"staticDir": "{path}"}}}}"#));
    lines.sort();
    assert_eq!(
        lines,
        [
            format!("server.staticDir: {path}/error_404.html: Is a directory (os error 21)"),
            format!(
                "server.staticDir: {path}/error_502.html: 1048577 bytes are too many; accepted: at most 1048576"
            ),
        ]
    );
    check(&[(
        r#"{"server": {"staticDir": "/nowhere/at/all"}}"#,
        "server.staticDir: /nowhere/at/all: No such file or directory (os error 2); accepted: a readable directory",
    )]);
}

#[test]
fn authorities_of_backends() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let empty = empty.display();
    let accepted = "accepted: a PEM file with the certificates of one or more authorities";
    check(&[
        (
            &format!(r#"{{"server": {{"backendCa": "{empty}"}}}}"#),
            &format!("server.backendCa: {empty}: no certificate in it; {accepted}"),
        ),
        (
            r#"{"server": {"backendCa": "/nowhere/ca.pem"}}"#,
            &format!("server.backendCa: /nowhere/ca.pem: No such file or directory (os error 2); {accepted}"),
        ),
        (
            r#"{"server": {"backendCa": ["a.pem"]}}"#,
            r#"server.backendCa: ["a.pem"] is not accepted; accepted: a text that is not empty"#,
        ),
    ]);
}

#[test]
fn a_cut_file_is_never_taken() {
    let text = include_str!("../../../tests/samples/hipache-0.4.json").trim_end();
    for end in 0..text.len() {
        let lines = faults(&text[..end]);
        assert!(lines.len() == 1 && lines[0].starts_with("not JSON: "), "{end}: {lines:?}");
    }
}

#[test]
fn odd_values_are_taken_or_named() {
    let values = [
        "null",
        "true",
        "false",
        "0",
        "1",
        "-1",
        "1.5",
        "1e300",
        "\"\"",
        "\"x\"",
        "[]",
        "[[]]",
        "[\"\"]",
        "{}",
        "{\"x\": 1}",
    ];
    for spelling in crate::config::schema::spellings() {
        for value in values {
            let names: Vec<String> = spelling.split('.').map(|name| format!("{{\"{name}\": ")).collect();
            let text = format!("{}{value}{}", names.concat(), "}".repeat(names.len()));
            let section = spelling.split('.').next().unwrap();
            for line in load(&text).err().unwrap_or_default() {
                assert!(line.starts_with(&format!("c.json: {section}")), "{text}: {line}");
            }
        }
    }
}

//! `routes` on every deployment of Redis that a config can name.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::Config;
use crate::support::redis::Redis;
use crate::support::wait;

/// What an ACL user needs for every command, as docs/CONFIG.md says.
fn documented_acl() -> String {
    let text = include_str!("../../../../docs/CONFIG.md");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("ACL SETUSER routes ")).unwrap();
    line.replace(">password", ">s3cret").replace("PREFIX", "blue:")
}

#[test]
fn database_prefix_password_user_and_socket_are_those_of_the_config() {
    let redis = Redis::start_with(&["--requirepass", "s3cret"]);
    redis.command(&format!("ACL SETUSER routes {}", documented_acl()));
    let (port, socket) = (redis.port, redis.url());
    let socket = socket.split('?').next().unwrap();
    let path = socket.strip_prefix("redis+unix://").unwrap();
    let configs = [
        json!({ "redis": { "port": port, "password": "s3cret", "db": 3, "prefix": "blue:" } }),
        json!({ "redis": { "port": port, "username": "routes", "password": "s3cret", "db": 3, "prefix": "blue:" } }),
        json!({ "driver": format!("redis://:s3cret@127.0.0.1:{port}/3#blue:") }),
        json!({ "driver": format!("redis+unix://{path}#blue:"), "redis": { "password": "s3cret", "db": 3 } }),
    ];
    for config in configs {
        let routes = Config::of(config);
        redis.command("-n 3 FLUSHDB");
        routes.routes(&["add", "a.example", "http://h1", "http://h2"]).done();
        let list: Vec<String> = redis.query("-n 3 LRANGE blue:frontend:a.example 0 -1");
        assert_eq!(list, ["a.example", "http://h1", "http://h2"]);
        redis.command("-n 3 SADD blue:dead:a.example 1");
        redis.command("-n 3 HSET blue:died:a.example 1 {}");
        redis.command("-n 3 PEXPIRE blue:died:a.example 60000");
        redis.command("-n 3 PEXPIRE blue:dead:a.example 60000");
        let shown = routes.routes(&["show", "a.example", "--json"]).json();
        assert_eq!(
            (&shown["key"], &shown["backends"][1]["state"]),
            (&json!("blue:frontend:a.example"), &json!("dead"))
        );
        assert_eq!(shown["store"]["freshness"], "tracking");
        routes.routes(&["remove", "a.example", "http://h1"]).done();
        assert_eq!(redis.query::<Vec<usize>>("-n 3 SMEMBERS blue:dead:a.example"), [0]);
        let exported = routes.routes(&["export"]).done();
        routes.routes(&["remove", "a.example"]).done();
        let counts = routes.routes_reading(&["import", "-", "--prune", "--json"], &exported).json();
        assert_eq!(counts["added"], 1);
        assert_eq!(routes.routes(&["list", "--json"]).json()[0]["host"], "a.example");
        assert_eq!(redis.query::<usize>("DBSIZE"), 0, "nothing stands in another database");
    }
}

#[test]
fn a_user_that_may_not_is_told_what_to_allow() {
    let redis = Redis::start();
    redis.command("ACL SETUSER looker on >s3cret ~* +@read +@connection +info");
    let config =
        Config::of(json!({ "redis": { "port": redis.port, "username": "looker", "password": "s3cret" } }));
    let told = config.routes(&["add", "a.example", "h"]).failed();
    assert!(told.contains("NOPERM") && told.contains("allow it: ACL SETUSER looker ~* +@read"), "{told}");
    redis.route("a.example", &["app"]);
    assert_eq!(config.routes(&["list"]).done().lines().count(), 2);
}

#[test]
fn how_the_proxy_would_follow_is_found_as_the_proxy_does() {
    let redis = Redis::start();
    redis.route("a.example", &["app"]);
    redis.command("ACL SETUSER follower on >s3cret ~* &* +@all -client|tracking");
    let user = json!({ "port": redis.port, "username": "follower", "password": "s3cret" });
    let config = Config::of(json!({ "redis": user, "server": { "lruCache": { "ttl": 3 } } }));
    let store = || config.routes(&["show", "a.example", "--json"]).json()["store"].clone();
    let polling = store();
    assert_eq!((&polling["freshness"], &polling["maxAge"]), (&json!("polling"), &json!(3.0)));
    assert!(polling["why"].as_str().unwrap().contains("notify-keyspace-events"), "{polling}");
    redis.command("CONFIG SET notify-keyspace-events KA");
    assert_eq!(store()["freshness"], "keyspace");
    redis.command("ACL SETUSER follower resetchannels");
    assert_eq!(store()["freshness"], "polling");
    let text = config.routes(&["show", "a.example"]).done();
    assert!(text.contains("nothing is pushed, each route is read again after 3 s: NOPERM"), "{text}");
}

/// A replica of `master` that is in step with it.
fn replica_of(master: &Redis) -> Redis {
    let replica = Redis::start_with(&["--replicaof", &format!("127.0.0.1 {}", master.port)]);
    wait::until("the replica is in step", || {
        replica.query::<String>("INFO replication").contains("master_link_status:up")
    });
    replica
}

#[test]
fn of_a_pair_the_master_is_edited_and_what_the_proxy_reads_is_shown() {
    let mut master = Redis::start();
    let replica = replica_of(&master);
    let pair =
        json!([format!("redis://127.0.0.1:{}", replica.port), format!("redis://127.0.0.1:{}", master.port)]);
    let config = Config::of(json!({ "driver": pair }));
    config.routes(&["add", "a.example", "http://h1"]).done();
    assert_eq!(master.query::<usize>("LLEN frontend:a.example"), 2);
    assert_eq!(config.routes(&["list", "--json"]).json()[0]["host"], "a.example");
    let shown = wait::until_some("the replica has it", || {
        let shown = config.routes(&["show", "a.example", "--json"]);
        (shown.code == Some(0)).then(|| shown.json())
    });
    assert_eq!(shown["store"]["server"], format!("127.0.0.1:{}", replica.port));
    assert_eq!(shown["store"]["cutOff"], false);
    let alone = Config::redis(replica.port);
    let told = alone.routes(&["add", "a.example", "http://h2"]).failed();
    assert!(told.contains("it is a replica") && told.contains("redis.masterHost"), "{told}");
    assert_eq!(alone.routes(&["list"]).done().lines().count(), 2);
    let port = master.port;
    master.kill();
    wait::until("the replica is cut off", || {
        config.routes(&["show", "a.example", "--json"]).json()["store"]["cutOff"] == true
    });
    let text = config.routes(&["show", "a.example"]).done();
    assert!(text.contains("it does not hear its master"), "{text}");
    let told = config.routes(&["add", "a.example", "http://h2"]).failed();
    assert!(told.starts_with(&format!("redis 127.0.0.1:{port}: Connection refused")), "{told}");
}

/// A sentinel that watches over a master by the name `main`.
pub(super) struct Sentinel {
    child: Child,
    pub(super) port: u16,
    _dir: TempDir,
}

impl Sentinel {
    pub(super) fn over(master: &Redis) -> Self {
        wait::until_some("a port for a sentinel", || Self::try_over(master))
    }

    /// `None`: somebody else took the port in the meantime.
    fn try_over(master: &Redis) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = dir.path().join("sentinel.conf");
        let text =
            format!("bind 127.0.0.1\nport {port}\nsentinel monitor main 127.0.0.1 {} 1\n", master.port);
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel").stdout(Stdio::null()).stderr(Stdio::null());
        let mut sentinel = Self { child: command.spawn().unwrap(), port, _dir: dir };
        let runs = wait::until_some("the sentinel answers or ends", || {
            let ended = sentinel.child.try_wait().unwrap().is_some();
            let answers = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            if ended { Some(false) } else { answers().then_some(true) }
        });
        runs.then_some(sentinel)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn sentinels_are_asked_in_turn_for_the_master() {
    let (redis, gone) = (Redis::start(), Redis::absent());
    let sentinel = Sentinel::over(&redis);
    let with = |addresses: Value, name: &str| {
        Config::of(json!({ "redis": { "sentinels": addresses, "masterName": name } }))
    };
    let (away, there) = (format!("127.0.0.1:{}", gone.port), format!("127.0.0.1:{}", sentinel.port));
    let config = with(json!([away, there]), "main");
    config.routes(&["add", "a.example", "http://h1"]).done();
    assert_eq!(redis.query::<usize>("LLEN frontend:a.example"), 2);
    let shown = config.routes(&["show", "a.example", "--json"]).json();
    assert_eq!(shown["store"]["server"], format!("127.0.0.1:{}", redis.port));
    let told = with(json!([away, there]), "other").routes(&["list"]).failed();
    for part in [format!("sentinel {away}: "), "knows no master \"other\"".into(), "redis.masterName".into()]
    {
        assert!(told.contains(&part), "{told}");
    }
    let told = with(json!([format!("127.0.0.1:{}", redis.port)]), "main").routes(&["list"]).failed();
    assert!(told.contains("it is no sentinel"), "{told}");
    let told = Config::redis(sentinel.port).routes(&["list"]).failed();
    assert!(told.contains("it is a sentinel, which holds no routes"), "{told}");
}

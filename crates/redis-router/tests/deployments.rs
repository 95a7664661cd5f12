//! Replicas, masters and sentinels: who is read, who is written to, and what a fail-over does.

#![allow(clippy::unwrap_used, reason = "test support: a failure is to stop the test")]

mod scene;

use std::process::{Child, Command, Stdio};

use redis_router::{
    CacheSettings, Deployment, Endpoint, Health, RedisSettings, Router, Sentinels, Server, StoreState,
};
use scene::{
    Admin, RedisServer, TcpDialer, as_user, eventually, known, scene, scene_with, served, serves, single,
    tracking,
};

/// A replica of `master`, in step with it.
fn replica_of(master: &RedisServer) -> RedisServer {
    let replica = RedisServer::start_with(&["--replicaof", &format!("127.0.0.1 {}", master.port)]);
    let mut admin = replica.admin();
    wait_for("the replica is in step", || info(&mut admin, "master_link_status") == "up");
    replica
}

fn info(admin: &mut Admin, field: &str) -> String {
    let info: String = redis::cmd("INFO").query(&mut admin.0).unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().to_owned()
}

/// For what is to come before the scene begins.
fn wait_for(what: &str, mut check: impl FnMut() -> bool) {
    for _ in 0..4_000 {
        if check() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("did not come: {what}");
}

fn pair(reads: &RedisServer, writes: &RedisServer) -> RedisSettings {
    let deployment = Deployment::Pair { reads: reads.endpoint(), writes: writes.endpoint() };
    RedisSettings { deployment, ..reads.settings() }
}

async fn dies(router: &Router, host: &str) {
    let route = router.find(host).await.unwrap().unwrap();
    router.backend_died(&route, &route.frontend.backends[0], "refused");
}

async fn is_dead(router: &Router, host: &str) -> bool {
    let route = router.find(host).await.unwrap().unwrap();
    route.health(&route.frontend.backends[0]) == Health::Dead
}

const ROUTE: &str = "RPUSH frontend:a.tld app http://10.0.0.1 http://10.0.0.2";

#[test]
fn a_replica_is_followed_and_its_master_takes_the_marks() {
    let master = RedisServer::start();
    let replica = replica_of(&master);
    scene(pair(&replica, &master), TcpDialer, async |router| {
        tracking(&router).await;
        let mut admin = master.admin();
        admin.run(ROUTE);
        serves(&router, "a.tld", "app").await;
        let set = async || {
            // The writing connection may not be there yet: then the death stays local, and is told a second later.
            dies(&router, "a.tld").await;
            let members: Vec<usize> =
                redis::cmd("SMEMBERS").arg("dead:a.tld").query(&mut master.admin().0).unwrap();
            members == [0]
        };
        eventually("the master has the mark", set).await;
        assert!(is_dead(&router, "a.tld").await);
        admin.run("DEL dead:a.tld");
        eventually("it lives again", async || !is_dead(&router, "a.tld").await).await;
        admin.run("DEL frontend:a.tld");
        serves(&router, "a.tld", "-").await;
    });
    let clients = |server: &RedisServer| -> String {
        redis::cmd("CLIENT").arg("LIST").arg("TYPE").arg("normal").query(&mut server.admin().0).unwrap()
    };
    wait_for("nobody is left", || clients(&master).lines().count() == 1);
}

#[test]
fn a_replica_that_has_lost_its_master_is_known_as_such_and_catches_up() {
    let mut master = RedisServer::start();
    let replica = replica_of(&master);
    scene(pair(&replica, &master), TcpDialer, async |router| {
        tracking(&router).await;
        master.admin().run(ROUTE);
        serves(&router, "a.tld", "app").await;
        master.kill();
        eventually("it is cut off", async || router.is_cut_off()).await;
        assert_eq!(served(&router, "a.tld").await, "app");
        // The master comes back without the route: a full resync replaces the replica's dataset.
        master.run();
        master.admin().run("RPUSH frontend:b.tld other http://10.0.0.1");
        serves(&router, "a.tld", "-").await;
        serves(&router, "b.tld", "other").await;
        eventually("it hears its master", async || !router.is_cut_off()).await;
    });
}

async fn all_served(router: &Router) {
    for number in 0..50 {
        let host = format!("{number}.tld");
        assert_eq!(served(router, &host).await, "app", "{host}");
    }
}

#[test]
fn full_resyncs_while_hosts_are_asked_lose_no_known_route() {
    let master = RedisServer::start();
    let replica = replica_of(&master);
    scene(pair(&replica, &master), TcpDialer, async |router| {
        let mut admin = master.admin();
        for number in 0..50 {
            admin.run(&format!("RPUSH frontend:{number}.tld app http://10.0.0.1"));
            serves(&router, &format!("{number}.tld"), "app").await;
        }
        admin.run("DEBUG POPULATE 200000 filler");
        let mut resyncs = 0;
        for round in 0..3 {
            admin.run(&format!("RPUSH frontend:new{round}.tld new http://10.0.0.1"));
            // Forgets what the replica had, so that it loads the whole dataset again.
            admin.run("DEBUG CHANGE-REPL-ID");
            replica.admin().run("CLIENT KILL TYPE MASTER");
            let new = format!("new{round}.tld");
            eventually("the new route is there", async || {
                all_served(&router).await;
                served(&router, &new).await == "new"
            })
            .await;
            resyncs = info(&mut admin, "sync_full").parse().unwrap();
        }
        assert!(resyncs > 1, "{resyncs} full resyncs");
    });
}

#[test]
fn a_replica_alone_refuses_marks_but_passes_the_message_on() {
    let master = RedisServer::start();
    let replica = replica_of(&master);
    master.admin().run(ROUTE);
    scene(replica.settings(), TcpDialer, async |router| {
        tracking(&router).await;
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", replica.port)).unwrap();
        let mut listening = client.get_connection().unwrap();
        let mut heard = listening.as_pubsub();
        heard.subscribe("dead").unwrap();
        serves(&router, "a.tld", "app").await;
        dies(&router, "a.tld").await;
        assert!(is_dead(&router, "a.tld").await);
        heard.set_read_timeout(Some(std::time::Duration::from_millis(5))).unwrap();
        let told = async || {
            heard
                .get_message()
                .is_ok_and(|message| message.get_payload_bytes() == b"a.tld;http://10.0.0.1;0;2")
        };
        eventually("others hear of it", told).await;
    });
}

/// A router that has ended has no connection left.
fn leaves_nobody_behind(server: &RedisServer) {
    let mut admin = server.admin();
    wait_for("no client but this one", || {
        let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut admin.0).unwrap();
        list.lines().count() == 1
    });
}

/// Three sentinels that watch one master.
struct Watch {
    dir: tempfile::TempDir,
    children: Vec<Child>,
    ports: Vec<u16>,
}

impl Watch {
    fn over(master: &RedisServer) -> Watch {
        let mut watch = Watch { dir: tempfile::tempdir().unwrap(), children: Vec::new(), ports: Vec::new() };
        for number in 0..3 {
            let port = scene::free_port();
            let file = watch.dir.path().join(format!("sentinel{number}.conf"));
            let text = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds main 400\nsentinel failover-timeout main 2000\n",
                watch.dir.path().display(),
                master.port
            );
            std::fs::write(&file, text).unwrap();
            let child =
                Command::new("redis-server").arg(&file).arg("--sentinel").stdout(Stdio::null()).spawn();
            watch.children.push(child.unwrap());
            watch.ports.push(port);
        }
        watch.ports.iter().for_each(|port| wait_for("a sentinel knows all others", || sees_all(*port)));
        watch
    }

    fn settings(&self) -> RedisSettings {
        scene::watched_by(self.ports.iter().copied())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

fn sentinel(port: u16, command: &str) -> redis::RedisResult<redis::Value> {
    let mut connection = redis::Client::open(format!("redis://127.0.0.1:{port}"))?.get_connection()?;
    redis::cmd("SENTINEL").arg(command.split(' ').collect::<Vec<_>>()).query(&mut connection)
}

/// Whether a sentinel has found the two others and the replica.
fn sees_all(port: u16) -> bool {
    let count = |what| match sentinel(port, what) {
        Ok(redis::Value::Array(list)) => list.len(),
        _ => 0,
    };
    count("SENTINELS main") == 2 && count("REPLICAS main") >= 1
}

#[test]
fn a_fail_over_is_followed_and_known_routes_are_served_throughout() {
    let mut master = RedisServer::start();
    let replica = replica_of(&master);
    let watch = Watch::over(&master);
    master.admin().run(ROUTE);
    scene(watch.settings(), TcpDialer, async |router| {
        serves(&router, "a.tld", "app").await;
        assert_eq!(served(&router, "none.tld").await, "-");
        master.kill();
        // A server that changes its role drops its connections.
        let known_meanwhile = async |what: &str, check: &dyn Fn() -> bool| {
            let served_and_done = async || {
                assert_eq!(served(&router, "a.tld").await, "app", "{what}");
                check()
            };
            eventually(what, served_and_done).await;
        };
        let runs = |server: &RedisServer, line: &str| {
            server.try_admin().and_then(|mut admin| admin.try_run(line)).is_ok()
        };
        let add = || runs(&replica, "RPUSH frontend:none.tld new http://10.0.0.1");
        known_meanwhile("the replica is promoted", &add).await;
        serves(&router, "none.tld", "new").await;
        // The old master comes back, becomes a replica, and the master again.
        master.run();
        let follows =
            || master.try_admin().is_ok_and(|mut admin| info(&mut admin, "master_link_status") == "up");
        known_meanwhile("the old master follows", &follows).await;
        let by_hand = || sentinel(watch.ports[0], "FAILOVER main").is_ok();
        known_meanwhile("a fail-over by hand begins", &by_hand).await;
        let remove = || runs(&master, "DEL frontend:none.tld");
        known_meanwhile("the old master is promoted again", &remove).await;
        serves(&router, "none.tld", "-").await;
    });
}

#[test]
fn sentinels_that_do_not_help_are_named_with_what_they_say() {
    let master = RedisServer::start();
    let replica = replica_of(&master);
    let watch = Watch::over(&master);
    let away = |settings: RedisSettings, said: &'static [&'static str]| {
        scene(settings, TcpDialer, async move |router| {
            let check = async || match router.state() {
                StoreState::Away { reason } => said.iter().all(|part| reason.contains(part)),
                _ => false,
            };
            eventually(said[0], check).await;
        });
    };
    let with = |change: &dyn Fn(&mut Sentinels)| {
        let Deployment::Sentinel(mut sentinels) = watch.settings().deployment else { panic!("no sentinels") };
        change(&mut sentinels);
        RedisSettings { deployment: Deployment::Sentinel(sentinels), ..watch.settings() }
    };
    away(
        with(&|all| all.master_name = "other".into()),
        &["it knows no master \"other\"", "redis.masterName"],
    );
    let no_sentinel = replica.endpoint().server;
    away(with(&|all| all.addresses = vec![no_sentinel.clone()]), &["it is no sentinel"]);
    let one_that_helps = with(&|all| {
        all.addresses =
            vec![Server::Tcp("127.0.0.1".into(), 1), no_sentinel.clone(), all.addresses[0].clone()];
    });
    scene(one_that_helps, TcpDialer, async |router| tracking(&router).await);
    // The master knows its replica and its three sentinels, two connections each, and nobody else.
    let clients: String = redis::cmd("CLIENT").arg("LIST").query(&mut master.admin().0).unwrap();
    assert!(!clients.contains("resp=3"), "{clients}");
    away(single(Endpoint::plain(Server::Tcp("127.0.0.1".into(), watch.ports[0]))), &["redis.sentinels"]);
}

#[test]
fn a_cluster_is_refused_with_what_to_use() {
    let server = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    scene(server.settings(), TcpDialer, async |router| {
        let check = async || matches!(router.state(), StoreState::Away { reason } if reason.contains("Redis Cluster") && reason.contains("redis.sentinels"));
        eventually("it is refused", check).await;
    });
}

#[test]
fn where_tracking_is_not_to_be_had_notifications_are_followed() {
    // The first: RESP3 without tracking; the second: no HELLO at all, so RESP2 and a connection of its own to listen.
    for option in ["--user poller on >secret ~* &* +@all -client|tracking", "--rename-command HELLO nothing"]
    {
        let options: Vec<&str> = option.split(' ').chain(["--notify-keyspace-events", "KA"]).collect();
        let server = RedisServer::start_with(&options);
        let is_user = option.starts_with("--user");
        let settings = if is_user { as_user(&server, Some("poller"), "secret") } else { server.settings() };
        scene(settings, TcpDialer, async |router| {
            let notified = StoreState::Keyspace { max_age_ms: 10_000 };
            eventually("routes are followed", async || router.state() == notified).await;
            let mut admin = server.admin();
            admin.run(ROUTE);
            serves(&router, "a.tld", "app").await;
            assert_eq!(known(&router, "a.tld"), "app");
            for change in [
                "DEL frontend:a.tld",
                "RENAME frontend:a.tld frontend:c.tld",
                "PEXPIRE frontend:a.tld 1",
                "FLUSHALL",
                "FLUSHDB",
                "SWAPDB 0 5",
            ] {
                admin.run(change);
                serves(&router, "a.tld", "-").await;
                admin.run("DEL frontend:a.tld");
                admin.run(ROUTE);
                serves(&router, "a.tld", "app").await;
            }
            admin.run("PUBLISH dead a.tld;http://10.0.0.1;0;2");
            eventually("deaths are heard", async || is_dead(&router, "a.tld").await).await;
            admin.run("CLIENT KILL TYPE pubsub");
            admin.run("DEL frontend:a.tld");
            serves(&router, "a.tld", "-").await;
        });
        leaves_nobody_behind(&server);
    }
}

#[test]
fn notifications_that_lack_a_kind_are_not_enough() {
    let options = "--user poller on >secret ~* &* +@all -client|tracking --notify-keyspace-events Kgls";
    let server = RedisServer::start_with(&options.split(' ').collect::<Vec<_>>());
    let cache = CacheSettings { rows: 100, max_age: None };
    scene_with(as_user(&server, Some("poller"), "secret"), cache, TcpDialer, async |router| {
        let polled = StoreState::Polling { max_age_ms: 1_000 };
        eventually("routes are polled", async || router.state() == polled).await;
        server.admin().run(ROUTE);
        serves(&router, "a.tld", "app").await;
    });
}

#[test]
fn names_of_sets_that_overlap_are_followed_all_the_same() {
    let server = RedisServer::start();
    for sets in [vec!["registered", "registered2", "registered"], vec!["dead", "frontend:a"], vec!["f"]] {
        let sets = sets.into_iter().map(str::to_owned).collect();
        let settings = RedisSettings { sets, ..server.settings() };
        scene(settings, TcpDialer, async |router| {
            tracking(&router).await;
            let mut admin = server.admin();
            admin.run(ROUTE);
            serves(&router, "a.tld", "app").await;
            // What is none of ours changes nothing.
            admin.run("SADD registered2 one");
            assert_eq!(known(&router, "a.tld"), "app");
            admin.run("DEL frontend:a.tld");
            serves(&router, "a.tld", "-").await;
        });
    }
}

//! Dead marks: made, announced, heard, read, and over.

#![allow(clippy::unwrap_used, reason = "test support: a failure is to stop the test")]

mod scene;

use std::rc::Rc;
use std::time::Duration;

use redis_router::bounds::ANNOUNCEMENTS_MAX;
use redis_router::{CacheSettings, Cached, Health, Report, Route, Router, StoreState};
use scene::{Admin, RedisServer, TcpDialer, as_user, eventually, scene, scene_with, tracking};

const ONE: &str = "http://10.0.0.1:80";
const TWO: &str = "http://10.0.0.2:80";

/// Lists `a.tld` with two backends and waits until it is followed.
async fn set_up(router: &Router, server: &RedisServer) -> Admin {
    let mut admin = server.admin();
    admin.run(&format!("RPUSH frontend:a.tld app {ONE} {TWO}"));
    tracking(router).await;
    assert_eq!(health(router, "a.tld").await, [Health::Live; 2]);
    admin
}

async fn route(router: &Router, host: &str) -> Rc<Route> {
    router.find(host).await.unwrap().unwrap()
}

/// Health of each backend of `host`, by place.
async fn health(router: &Router, host: &str) -> Vec<Health> {
    health_of(&*route(router, host).await)
}

fn health_of(route: &Route) -> Vec<Health> {
    route.frontend.backends.iter().map(|backend| route.health(backend)).collect()
}

async fn becomes(router: &Router, host: &str, expected: &[Health]) {
    let mut last = Vec::new();
    let check = async || {
        last = health(router, host).await;
        last == expected
    };
    eventually(&format!("{host} is {expected:?}"), check).await;
}

/// Runs a command that writes a key of `a.tld`, and reads the host anew once that is pushed.
async fn write(router: &Router, admin: &mut Admin, line: &str) {
    assert!(router.find("a.tld").await.is_ok());
    admin.run(line);
    eventually("the push has come", async || matches!(router.cached("a.tld"), Cached::Unknown)).await;
    assert!(router.find("a.tld").await.is_ok());
}

async fn dies(router: &Router, host: &str, place: usize) {
    let route = route(router, host).await;
    router.backend_died(&route, &route.frontend.backends[place], "refused");
}

/// Waits until the set of `name` has those members.
async fn has_members(admin: &mut Admin, name: &str, expected: &[&str]) {
    let mut members = async || {
        let mut members: Vec<String> =
            redis::cmd("SMEMBERS").arg(format!("dead:{name}")).query(&mut admin.0).unwrap();
        members.sort();
        members
    };
    eventually(&format!("dead:{name} holds {expected:?}"), async || members().await == expected).await;
}

fn ttl(admin: &mut Admin, name: &str) -> i64 {
    redis::cmd("TTL").arg(format!("dead:{name}")).query(&mut admin.0).unwrap()
}

const LIVE: [Health; 2] = [Health::Live; 2];
const FIRST_DEAD: [Health; 2] = [Health::Dead, Health::Live];
const SECOND_DEAD: [Health; 2] = [Health::Live, Health::Dead];

#[test]
fn a_death_is_marked_as_hipache_does() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = set_up(&router, &server).await;
        let mut ears = server.admin();
        ears.0.set_read_timeout(Some(scene::DEADLINE)).unwrap();
        let mut heard = ears.0.as_pubsub();
        heard.subscribe("dead").unwrap();
        admin.run("RPUSH frontend:a.tld ftp://wrong");
        eventually("the third is listed", async || route(&router, "a.tld").await.frontend.listed == 3).await;
        dies(&router, "a.tld", 1).await;
        assert_eq!(health(&router, "a.tld").await, SECOND_DEAD);
        has_members(&mut admin, "a.tld", &["1"]).await;
        assert!((29..=30).contains(&ttl(&mut admin, "a.tld")));
        let message: String = heard.get_message().unwrap().get_payload().unwrap();
        assert_eq!(message, format!("a.tld;{TWO};1;3"));
        assert_eq!(health(&router, "a.tld").await, SECOND_DEAD);
        assert!(!route(&router, "a.tld").await.is_unmarked());
    });
}

#[test]
fn why_it_died_is_written_beside_the_mark() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = set_up(&router, &server).await;
        dies(&router, "a.tld", 1).await;
        let mut field =
            || -> Option<String> { redis::cmd("HGET").arg("died:a.tld").arg(1).query(&mut admin.0).unwrap() };
        let mut report = None;
        eventually("it is written", async || {
            report = field().and_then(|field| Report::from_field(&field));
            report.is_some()
        })
        .await;
        let report = report.unwrap();
        assert_eq!((&*report.url, &*report.why), (TWO, "refused"));
        assert!(report.by.ends_with(&format!("#{}", std::process::id())), "{}", report.by);
        let now: Vec<u64> = redis::cmd("TIME").query(&mut admin.0).unwrap();
        assert!(report.since.abs_diff(now[0]) < 60, "{}", report.since);
        eventually("it ends with the mark", async || {
            let left: i64 = redis::cmd("TTL").arg("died:a.tld").query(&mut admin.0).unwrap();
            (1..=30).contains(&left)
        })
        .await;
    });
}

#[test]
fn the_same_death_is_told_once_a_second() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = set_up(&router, &server).await;
        admin.run("CONFIG RESETSTAT");
        for _ in 0..100 {
            dies(&router, "a.tld", 0).await;
        }
        dies(&router, "a.tld", 1).await;
        has_members(&mut admin, "a.tld", &["0", "1"]).await;
        assert_eq!((admin.calls("publish"), admin.calls("sadd")), (2, 2));
        // What is told comes back over the same connection, which goes on.
        write(&router, &mut admin, "SREM dead:a.tld 1").await;
        assert_eq!((health(&router, "a.tld").await, admin.calls("hello")), (FIRST_DEAD.into(), 0));
    });
}

#[test]
fn other_cores_avoid_it_too() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |first| {
        set_up(&first, &server).await;
        let second = Router::redis(server.settings(), CacheSettings { rows: 10, max_age: None });
        let running = second.clone();
        let ended = monoio::spawn(async move { running.run(TcpDialer).await });
        tracking(&second).await;
        let kept = route(&second, "a.tld").await;
        dies(&first, "a.tld", 0).await;
        eventually("the other hears of it", async || health_of(&kept) == FIRST_DEAD).await;
        second.stop();
        ended.await;
    });
}

#[test]
fn the_set_is_read_with_the_list() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = set_up(&router, &server).await;
        for (add, take_out) in
            [("SADD dead:a.tld 1 7 x", "SREM dead:a.tld 1"), ("SADD dead:a.tld 1", "DEL dead:a.tld")]
        {
            admin.run(add);
            becomes(&router, "a.tld", &SECOND_DEAD).await;
            admin.run("EXPIRE dead:a.tld 60");
            admin.run(take_out);
            becomes(&router, "a.tld", &LIVE).await;
        }
        admin.run("SET dead:a.tld text");
        becomes(&router, "a.tld", &LIVE).await;
    });
}

#[test]
fn a_mark_of_our_own_that_is_taken_out_ends_at_once() {
    let server = RedisServer::start();
    for take_out in ["SREM dead:a.tld 0", "DEL dead:a.tld", "FLUSHALL"] {
        scene(server.settings(), TcpDialer, async |router| {
            server.admin().run("FLUSHALL");
            let mut admin = set_up(&router, &server).await;
            dies(&router, "a.tld", 0).await;
            has_members(&mut admin, "a.tld", &["0"]).await;
            assert_eq!(health(&router, "a.tld").await, FIRST_DEAD);
            admin.run(take_out);
            if take_out == "FLUSHALL" {
                admin.run(&format!("RPUSH frontend:a.tld app {ONE} {TWO}"));
                let listed = async || router.find("a.tld").await.unwrap().is_some();
                eventually("it is listed again", listed).await;
            }
            becomes(&router, "a.tld", &LIVE).await;
        });
    }
}

#[test]
fn hipache_marks_the_host_that_was_asked_for() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = server.admin();
        admin.run(&format!("RPUSH frontend:*.tld app {ONE} {TWO}"));
        tracking(&router).await;
        for host in ["a.tld", "a.tld:8080", "b.tld"] {
            assert_eq!(health(&router, host).await, LIVE);
        }
        admin.run("SADD dead:*.tld 0");
        admin.run("SADD dead:a.tld 1");
        for (host, expected) in
            [("a.tld", [Health::Dead; 2]), ("a.tld:8080", [Health::Dead; 2]), ("b.tld", FIRST_DEAD)]
        {
            becomes(&router, host, &expected).await;
        }
        admin.run("DEL dead:*.tld");
        admin.run("DEL dead:a.tld");
        for host in ["a.tld", "a.tld:8080", "b.tld"] {
            becomes(&router, host, &LIVE).await;
        }
        admin.run(&format!("PUBLISH dead a.tld;{TWO}/;1;2"));
        becomes(&router, "a.tld", &SECOND_DEAD).await;
        assert_eq!(health(&router, "b.tld").await, LIVE);
    });
}

#[test]
fn messages_of_all_kinds() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = set_up(&router, &server).await;
        let route = route(&router, "a.tld").await;
        for line in [
            "undefined;undefined;undefined;undefined",
            "x",
            "a.tld;http://other;0;2",
            "b.tld;http://10.0.0.1:80;0;2",
        ] {
            admin.run(&format!("PUBLISH dead {line}"));
            admin.run(&format!("PUBLISH other a.tld;{ONE};0;2"));
        }
        admin.run(&format!("PUBLISH dead a.tld;{TWO};1;2"));
        eventually("the last is heard", async || health_of(&route) == SECOND_DEAD).await;
    });
}

#[test]
fn another_backend_at_the_place_is_not_dead() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = set_up(&router, &server).await;
        write(&router, &mut admin, "SADD dead:a.tld 0").await;
        assert_eq!(health(&router, "a.tld").await, FIRST_DEAD);
        dies(&router, "a.tld", 1).await;
        has_members(&mut admin, "a.tld", &["0", "1"]).await;
        becomes(&router, "a.tld", &[Health::Dead; 2]).await;
        admin.run("LSET frontend:a.tld 1 http://10.0.0.3:80");
        admin.run("LSET frontend:a.tld 2 http://10.0.0.4:80");
        becomes(&router, "a.tld", &LIVE).await;
        // The indexes are in the set still; only a new announcement or a new entry speaks of the new backends.
        for (line, expected) in [
            ("EXPIRE dead:a.tld 50", LIVE),
            ("SREM dead:a.tld 0", LIVE),
            ("SADD dead:a.tld 0", FIRST_DEAD),
            ("LSET frontend:a.tld 1 http://10.0.0.5:80", LIVE),
            ("LSET frontend:a.tld 1 http://10.0.0.4:80", LIVE),
        ] {
            write(&router, &mut admin, line).await;
            assert_eq!(health(&router, "a.tld").await, expected, "{line}");
        }
        admin.run("PUBLISH dead a.tld;http://10.0.0.4:80;1;2");
        becomes(&router, "a.tld", &SECOND_DEAD).await;
    });
}

#[test]
fn a_mark_ends_by_its_own_time_and_one_request_asks() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = set_up(&router, &server).await;
        router.set_dead_ttl(Duration::from_millis(200));
        dies(&router, "a.tld", 0).await;
        // Renewed by others, the set holds it on and on.
        has_members(&mut admin, "a.tld", &["0"]).await;
        admin.run("EXPIRE dead:a.tld 100");
        becomes(&router, "a.tld", &[Health::Unproven, Health::Live]).await;
        let route = route(&router, "a.tld").await;
        let backend = &route.frontend.backends[0];
        let probe = route.begin_probe(backend).unwrap();
        assert_eq!(health_of(&route), [Health::Probed, Health::Live]);
        assert!(
            route.begin_probe(backend).is_none() && route.begin_probe(&route.frontend.backends[1]).is_none()
        );
        drop(probe);
        let probe = route.begin_probe(backend).unwrap();
        router.backend_died(&route, backend, "refused");
        drop(probe);
        assert_eq!(health_of(&route), FIRST_DEAD);
        becomes(&router, "a.tld", &[Health::Unproven, Health::Live]).await;
        let probe = route.begin_probe(backend).unwrap();
        route.backend_answered(backend);
        drop(probe);
        assert_eq!(health_of(&route), LIVE);
        admin.run("EXPIRE dead:a.tld 50");
        becomes(&router, "a.tld", &LIVE).await;
        admin.run(&format!("PUBLISH dead a.tld;{ONE};0;2"));
        becomes(&router, "a.tld", &FIRST_DEAD).await;
    });
}

#[test]
fn a_set_that_expires_leaves_its_members_unproven() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = set_up(&router, &server).await;
        let mut set = redis::pipe();
        set.atomic().sadd("dead:a.tld", 0).ignore().pexpire("dead:a.tld", 400).ignore();
        set.query::<()>(&mut admin.0).unwrap();
        becomes(&router, "a.tld", &FIRST_DEAD).await;
        becomes(&router, "a.tld", &[Health::Unproven, Health::Live]).await;
        has_members(&mut admin, "a.tld", &[]).await;
        assert_eq!(health(&router, "a.tld").await, [Health::Unproven, Health::Live]);
        let route = route(&router, "a.tld").await;
        route.backend_answered(&route.frontend.backends[0]);
        assert!(route.is_unmarked());
    });
}

fn seconds(admin: &mut Admin) -> i64 {
    let time: Vec<i64> = redis::cmd("TIME").query(&mut admin.0).unwrap();
    time[0]
}

#[test]
fn an_active_checker_owns_the_sets() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = set_up(&router, &server).await;
        router.set_dead_ttl(Duration::from_millis(100));
        for (age, active) in [(0, true), (40, false), (20, true)] {
            let now = seconds(&mut admin);
            admin.run(&format!("SET hchecker_ping {}", now - age));
            eventually("the checker is noticed", async || router.checker_is_active() == active).await;
        }
        admin.run("CONFIG RESETSTAT");
        dies(&router, "a.tld", 0).await;
        assert_eq!(health(&router, "a.tld").await, FIRST_DEAD);
        eventually("it is told", async || admin.calls("publish") == 1).await;
        assert_eq!((admin.calls("sadd"), admin.calls("multi")), (0, 0));
        becomes(&router, "a.tld", &[Health::Unproven, Health::Live]).await;
        // Past its own time what the checker says counts.
        write(&router, &mut admin, "SADD dead:a.tld 0").await;
        assert_eq!(health(&router, "a.tld").await, FIRST_DEAD);
        write(&router, &mut admin, "EXPIRE dead:a.tld 60").await;
        assert_eq!(health(&router, "a.tld").await, FIRST_DEAD);
        admin.run("SREM dead:a.tld 0");
        becomes(&router, "a.tld", &LIVE).await;
        admin.run("DEL hchecker_ping");
        eventually("the checker is missed", async || !router.checker_is_active()).await;
    });
}

#[test]
fn without_redis_deaths_are_avoided_here() {
    let mut server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = set_up(&router, &server).await;
        admin.run("SADD dead:a.tld 1");
        becomes(&router, "a.tld", &SECOND_DEAD).await;
        server.kill();
        eventually("it is missed", async || matches!(router.state(), StoreState::Away { .. })).await;
        assert_eq!(health(&router, "a.tld").await, SECOND_DEAD);
        dies(&router, "a.tld", 0).await;
        assert_eq!(health(&router, "a.tld").await, [Health::Dead; 2]);
        server.run();
        let mut admin = server.admin();
        admin.run(&format!("RPUSH frontend:a.tld app {ONE} {TWO}"));
        // The set is gone, and what was known from it; what was seen here stays.
        becomes(&router, "a.tld", &FIRST_DEAD).await;
        dies(&router, "a.tld", 1).await;
        has_members(&mut admin, "a.tld", &["1"]).await;
    });
}

#[test]
fn announcements_are_bounded_and_end_with_the_router() {
    let server = RedisServer::start();
    let backends = ANNOUNCEMENTS_MAX + 50;
    let list: Vec<String> = (0..backends).map(|number| format!("http://h{number}")).collect();
    server.admin().run(&format!("RPUSH frontend:a.tld app {}", list.join(" ")));
    for goes_on in [true, false] {
        scene(server.settings(), TcpDialer, async |router| {
            let mut admin = server.admin();
            admin.run("DEL dead:a.tld");
            tracking(&router).await;
            let route = route(&router, "a.tld").await;
            server.signal("STOP");
            for backend in &*route.frontend.backends {
                router.backend_died(&route, backend, "refused");
            }
            assert!(health_of(&route).iter().all(|health| *health == Health::Dead));
            if goes_on {
                server.signal("CONT");
                let most = redis::Value::Int(ANNOUNCEMENTS_MAX as i64);
                let marked = async || admin.run("SCARD dead:a.tld") == most;
                eventually("those within the bound are marked", marked).await;
            }
        });
    }
}

#[test]
fn without_leave_to_subscribe_or_to_write() {
    let acl = "reader on >secret ~* resetchannels +@all -sadd";
    let words: Vec<&str> = ["--user"].into_iter().chain(acl.split(' ')).collect();
    let server = RedisServer::start_with(&words);
    scene(as_user(&server, Some("reader"), "secret"), TcpDialer, async |router| {
        let mut admin = set_up(&router, &server).await;
        admin.run("SADD dead:a.tld 1");
        becomes(&router, "a.tld", &SECOND_DEAD).await;
        dies(&router, "a.tld", 0).await;
        assert_eq!(health(&router, "a.tld").await, [Health::Dead; 2]);
        admin.run("DEL dead:a.tld");
        becomes(&router, "a.tld", &FIRST_DEAD).await;
    });
}

#[test]
fn where_no_changes_are_pushed() {
    // The first: RESP3 without tracking; the second: no HELLO at all, so RESP2.
    for option in ["--user poller on >secret ~* &* +@all -client|tracking", "--rename-command HELLO nothing"]
    {
        let server = RedisServer::start_with(&option.split(' ').collect::<Vec<_>>());
        let is_user = option.starts_with("--user");
        let settings = if is_user { as_user(&server, Some("poller"), "secret") } else { server.settings() };
        let cache = CacheSettings { rows: 10, max_age: Some(Duration::from_millis(200)) };
        scene_with(settings, cache, TcpDialer, async |router| {
            let mut admin = server.admin();
            admin.run(&format!("RPUSH frontend:a.tld app {ONE} {TWO}"));
            admin.run("HSET options:a.tld sticky cookie");
            eventually("it is polled", async || matches!(router.state(), StoreState::Polling { .. })).await;
            assert!(route(&router, "a.tld").await.options.sticky);
            if option.starts_with("--user") {
                admin.run(&format!("PUBLISH dead a.tld;{ONE};0;2"));
                becomes(&router, "a.tld", &FIRST_DEAD).await;
            }
            admin.run("SADD dead:a.tld 1");
            let second_dead = async || health(&router, "a.tld").await[1] == Health::Dead;
            eventually("the set is polled", second_dead).await;
            dies(&router, "a.tld", 0).await;
            has_members(&mut admin, "a.tld", &["0", "1"]).await;
        });
    }
}

#[test]
fn prefixes_stand_before_keys_alone() {
    let server = RedisServer::start();
    let mut settings = server.settings();
    settings.prefix = "staging:".into();
    scene(settings, TcpDialer, async |router| {
        let mut admin = server.admin();
        admin.run(&format!("RPUSH staging:frontend:a.tld app {ONE} {TWO}"));
        admin.run("HSET staging:options:a.tld httpsRedirect yes");
        admin.run("SADD dead:a.tld 1");
        tracking(&router).await;
        assert!(route(&router, "a.tld").await.options.https_redirect);
        let mut ears = server.admin();
        ears.0.set_read_timeout(Some(scene::DEADLINE)).unwrap();
        let mut heard = ears.0.as_pubsub();
        heard.subscribe("dead").unwrap();
        dies(&router, "a.tld", 0).await;
        let marked = async || admin.run("SISMEMBER staging:dead:a.tld 0") == redis::Value::Int(1);
        eventually("it is marked", marked).await;
        let message: String = heard.get_message().unwrap().get_payload().unwrap();
        assert_eq!(message, format!("a.tld;{ONE};0;2"));
        assert_eq!(health(&router, "a.tld").await, FIRST_DEAD);
    });
}

#[test]
fn a_route_stays_the_same_while_nothing_changes() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = set_up(&router, &server).await;
        let before = route(&router, "a.tld").await;
        admin.run("SADD dead:a.tld 1");
        becomes(&router, "a.tld", &SECOND_DEAD).await;
        assert!(Rc::ptr_eq(&before, &route(&router, "a.tld").await));
        admin.run("HSET options:a.tld sticky cookie");
        eventually("it is sticky", async || route(&router, "a.tld").await.options.sticky).await;
        assert!(Rc::ptr_eq(&before.frontend, &route(&router, "a.tld").await.frontend));
        assert!(!before.options.sticky);
    });
}

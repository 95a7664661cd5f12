//! The sets `deny:ip` and `allow:ip`: known before the first look-up, followed in every way there is, kept while the
//! server is away.

#![allow(clippy::unwrap_used, reason = "test support: a failure is to stop the test")]

mod scene;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use redis_router::{RedisSettings, Router, StoreState, Table};
use scene::{Admin, RedisServer, TcpDialer, as_user, eventually, scene, served, tracking};

/// `d` for an address that is denied, `a` for one that is let pass, `-` for one that is neither.
fn standing(router: &Router, address: &str) -> char {
    let (sets, address) = (router.addresses(), address.parse::<IpAddr>().unwrap());
    match (sets.denies(address), sets.allows(address)) {
        (true, false) => 'd',
        (false, true) => 'a',
        (false, false) => '-',
        (true, true) => panic!("both at once"),
    }
}

async fn becomes(router: &Router, address: &str, expected: char) {
    let check = async || standing(router, address) == expected;
    eventually(&format!("{address} is {expected}"), check).await;
}

/// Has `key` hold so many addresses of 10.0.0.0/8, one after the other.
fn fill(admin: &mut Admin, key: &str, count: u32) {
    for first in (0..count).step_by(1_000) {
        let address = |number| Ipv4Addr::from(0x0a00_0000 + number).to_string();
        let batch: Vec<String> = (first..count.min(first + 1_000)).map(address).collect();
        redis::cmd("SADD").arg(key).arg(batch).exec(&mut admin.0).unwrap();
    }
}

#[test]
fn both_sets_are_known_before_the_first_look_up_and_followed() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    admin.run("SADD p:deny:ip 192.0.2.7 10.0.0.0/8 2001:db8::/32");
    admin.run("SADD p:allow:ip 192.0.2.0/24 10.1.2.3");
    admin.run("SADD deny:ip 203.0.113.1");
    let settings = RedisSettings { prefix: "p:".into(), ..server.settings() };
    scene(settings, TcpDialer, async |router| {
        assert!(router.addresses().deny_nobody());
        assert_eq!(served(&router, "a.tld").await, "-");
        for (address, expected) in [
            ("192.0.2.7", 'd'),
            ("::ffff:192.0.2.7", 'd'),
            ("192.0.2.8", 'a'),
            ("10.1.2.3", 'd'),
            ("2001:db8::1", 'd'),
            ("203.0.113.1", '-'),
        ] {
            assert_eq!(standing(&router, address), expected, "{address}");
        }
        admin.run("SREM p:deny:ip 10.0.0.0/8");
        becomes(&router, "10.1.2.3", 'a').await;
        admin.run("SADD p:allow:ip 10.1.2.4");
        becomes(&router, "10.1.2.4", 'a').await;
        admin.run("DEL p:allow:ip");
        becomes(&router, "10.1.2.4", '-').await;
        admin.run("PEXPIRE p:deny:ip 50");
        becomes(&router, "192.0.2.7", '-').await;
        assert!(router.addresses().deny_nobody());
    });
}

#[test]
fn followed_where_the_server_pushes_nothing() {
    let user = "--user poller on >secret ~* &* +@all -client|tracking";
    for options in [
        format!("{user} --notify-keyspace-events KA"),
        user.to_owned(),
        "--rename-command HELLO nothing".to_owned(),
        "--rename-command HELLO nothing --notify-keyspace-events KA".to_owned(),
    ] {
        let server = RedisServer::start_with(&options.split(' ').collect::<Vec<_>>());
        let is_user = options.starts_with("--user");
        let settings = if is_user { as_user(&server, Some("poller"), "secret") } else { server.settings() };
        scene(settings, TcpDialer, async |router| {
            let mut admin = server.admin();
            assert_eq!(served(&router, "a.tld").await, "-");
            admin.run("SADD deny:ip 192.0.2.7");
            admin.run("SADD allow:ip 192.0.2.8");
            becomes(&router, "192.0.2.7", 'd').await;
            becomes(&router, "192.0.2.8", 'a').await;
            admin.run("PEXPIRE deny:ip 1");
            becomes(&router, "192.0.2.7", '-').await;
            admin.run("FLUSHALL");
            becomes(&router, "192.0.2.8", '-').await;
        });
    }
}

#[test]
fn kept_while_the_server_is_away() {
    let mut server = RedisServer::start();
    server.admin().run("SADD deny:ip 192.0.2.7");
    scene(server.settings(), TcpDialer, async |router| {
        tracking(&router).await;
        server.kill();
        let is_away = async || matches!(router.state(), StoreState::Away { .. });
        eventually("the server is away", is_away).await;
        assert_eq!(standing(&router, "192.0.2.7"), 'd');
        server.run();
        server.admin().run("SADD deny:ip 192.0.2.8");
        becomes(&router, "192.0.2.8", 'd').await;
        assert_eq!(standing(&router, "192.0.2.7"), '-', "it had nothing saved");
    });
}

#[test]
fn what_is_of_no_use_is_passed_over() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        tracking(&router).await;
        let mut admin = server.admin();
        admin.run("SADD deny:ip www.example.tld 192.0.2.0/40 192.0.2.7 192.0.2.256");
        becomes(&router, "192.0.2.7", 'd').await;
        assert_eq!(standing(&router, "192.0.2.6"), '-');
        admin.run("SET deny:ip 192.0.2.7");
        becomes(&router, "192.0.2.7", '-').await;
        admin.run("DEL deny:ip");
        admin.run("SADD deny:ip 192.0.2.9");
        becomes(&router, "192.0.2.9", 'd').await;
    });
}

#[test]
fn a_user_that_may_not_read_them_serves_routes_and_learns_of_them_later() {
    let user = "user limited on >secret &* +@all ~frontend:* ~dead:* ~options:* ~hchecker_ping ~checker:*";
    let options: Vec<String> = format!("--{user}").split(' ').map(str::to_owned).collect();
    let server = RedisServer::start_with(&options.iter().map(String::as_str).collect::<Vec<_>>());
    scene(as_user(&server, Some("limited"), "secret"), TcpDialer, async |router| {
        let mut admin = server.admin();
        admin.run("SADD deny:ip 192.0.2.7");
        tracking(&router).await;
        assert_eq!((served(&router, "a.tld").await.as_str(), standing(&router, "192.0.2.7")), ("-", '-'));
        admin.run("ACL SETUSER limited ~deny:ip");
        becomes(&router, "192.0.2.7", 'd').await;
        admin.run("ACL SETUSER limited resetkeys ~frontend:* ~dead:* ~options:* ~hchecker_ping ~checker:*");
        admin.run("CONFIG RESETSTAT");
        admin.run("SREM deny:ip 192.0.2.7");
        eventually("the read is refused", async || refused(&mut admin, "sscan") > 0).await;
        assert_eq!(standing(&router, "192.0.2.7"), 'd', "what was known stays");
    });
}

/// Calls of `command` that the server has rejected since the last `CONFIG RESETSTAT`.
fn refused(admin: &mut Admin, command: &str) -> u64 {
    let info: String = redis::cmd("INFO").arg("commandstats").query(&mut admin.0).unwrap();
    let line = info.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:")));
    let rejected = line.and_then(|line| line.split("rejected_calls=").nth(1)?.split(',').next());
    rejected.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn many_members_are_read_in_steps_and_seldom() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    fill(&mut admin, "deny:ip", 20_000);
    scene(server.settings(), TcpDialer, async |router| {
        tracking(&router).await;
        assert_eq!((standing(&router, "10.0.78.31"), standing(&router, "10.0.78.32")), ('d', '-'));
        let begun = monoio::time::Instant::now();
        admin.run("CONFIG RESETSTAT");
        fill(&mut admin, "allow:ip", 1);
        for number in 0..500 {
            admin.run(&format!("SADD allow:ip 192.0.2.{}", number % 250));
        }
        admin.run("SADD allow:ip 198.51.100.1");
        becomes(&router, "198.51.100.1", 'a').await;
        let reads = admin.calls("pttl");
        assert!(reads <= 1 + begun.elapsed().as_secs(), "one read a second at most");
        assert_eq!(standing(&router, "10.0.0.1"), 'd');
    });
}

#[test]
fn a_table_denies_nobody() {
    let router = Router::table(Arc::new(Table::parse("{}").unwrap()));
    assert!(router.addresses().deny_nobody());
    assert_eq!(standing(&router, "127.0.0.1"), '-');
}

//! Routes and dead sets change as fast as they can while they are looked up; nothing stale may remain.

#![allow(clippy::unwrap_used, reason = "test support: a failure is to stop the test")]

mod scene;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis_router::Health;
use scene::{Admin, RedisServer, TcpDialer, known, scene, served, serves, tracking};

const HOSTS: u64 = 40;

fn host(number: u64) -> String {
    format!("{}.group{}.tld", number % HOSTS, number % 4)
}

fn key(number: u64) -> String {
    match number % 8 {
        0 => format!("frontend:*.group{}.tld", number % 4),
        1 => "frontend:*".into(),
        _ => format!("frontend:{}", host(number)),
    }
}

/// One random change: mostly routes set and deleted, now and then all of them, or under another name.
fn change(admin: &mut Admin, random: &mut fastrand::Rng, step: u64) {
    let (one, other) = (key(random.u64(..)), key(random.u64(..)));
    match random.u32(..100) {
        0 => drop(admin.run("FLUSHALL")),
        1..10 => drop(admin.try_run(&format!("RENAME {one} {other}"))),
        10..50 => drop(admin.run(&format!("DEL {one}"))),
        50..60 => drop(admin.run(&format!("RPUSH {one} list{step} http://10.0.0.1"))),
        60..65 => drop(admin.try_run(&format!("PEXPIRE {one} {}", random.u32(1..50)))),
        _ => {
            let mut set = redis::pipe();
            set.atomic().del(&one).ignore().rpush(&one, format!("list{step}")).ignore();
            set.query::<()>(&mut admin.0).unwrap();
        }
    }
}

/// What a look-up has to give, asked of Redis itself.
fn truth(admin: &mut Admin, host: &str) -> String {
    let parent = host.split_once('.').unwrap().1;
    for key in [host.to_owned(), format!("*.{parent}"), "*.tld".into(), "*".into()] {
        let list: Vec<String> =
            redis::cmd("LRANGE").arg(format!("frontend:{key}")).arg(0).arg(0).query(&mut admin.0).unwrap();
        if let Some(identifier) = list.into_iter().next() {
            return identifier;
        }
    }
    "-".into()
}

#[test]
fn no_row_differs_from_redis_in_the_end() {
    let seed = fastrand::u64(..);
    let server = RedisServer::start();
    let stop = Arc::new(AtomicBool::new(false));
    let (mut writer, told) = (server.admin(), stop.clone());
    let writing = std::thread::spawn(move || {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut step = 0;
        while !told.load(Ordering::Relaxed) {
            step += 1;
            change(&mut writer, &mut random, step);
        }
        step
    });
    scene(server.settings(), TcpDialer, async |router| {
        tracking(&router).await;
        let readers: Vec<_> = (0..8).map(|_| monoio::spawn(look_up(router.clone()))).collect();
        for reader in readers {
            reader.await;
        }
        stop.store(true, Ordering::Relaxed);
        let steps = writing.join().unwrap();
        let mut admin = server.admin();
        for number in 0..HOSTS {
            // What is left over from PEXPIRE may not end between the two looks.
            admin.run(&format!("PERSIST {}", key(number)));
        }
        // Pushes come in order: once the last change is seen, so are all before it.
        admin.run("RPUSH frontend:marker marker");
        serves(&router, "marker", "marker").await;
        let mut seen = BTreeSet::new();
        for number in 0..HOSTS {
            let (host, expected) = (host(number), truth(&mut admin, &host(number)));
            let kept = known(&router, &host);
            assert!(kept == expected || kept == "?", "seed {seed}, {host}: kept {kept}, in Redis {expected}");
            assert_eq!(served(&router, &host).await, expected, "seed {seed}, {host}");
            seen.insert(expected);
        }
        println!("{steps} changes, {} lists in the end", seen.len());
    });
}

/// One random change of a dead set: of a host or of the wildcard that serves it.
fn mark(admin: &mut Admin, random: &mut fastrand::Rng) {
    let host = host(random.u64(..));
    let name = if random.bool() { format!("*.{}", host.split_once('.').unwrap().1) } else { host };
    let index = random.u32(..4);
    match random.u32(..10) {
        0 => admin.run(&format!("DEL dead:{name}")),
        1..6 => admin.run(&format!("SREM dead:{name} {index}")),
        _ => {
            admin.run(&format!("SADD dead:{name} {index}"));
            admin.run(&format!("EXPIRE dead:{name} 60"))
        }
    };
}

fn dead_in_redis(admin: &mut Admin, host: &str) -> BTreeSet<usize> {
    let wildcard = format!("*.{}", host.split_once('.').unwrap().1);
    let mut members = |name: &str| -> BTreeSet<usize> {
        redis::cmd("SMEMBERS").arg(format!("dead:{name}")).query(&mut admin.0).unwrap()
    };
    &members(host) | &members(&wildcard)
}

async fn dead_here(router: &redis_router::Router, host: &str) -> BTreeSet<usize> {
    let route = router.find(host).await.unwrap().unwrap();
    let backends = route.frontend.backends.iter();
    backends.filter(|backend| route.health(backend) != Health::Live).map(|backend| backend.index).collect()
}

#[test]
fn no_mark_differs_from_redis_in_the_end() {
    let seed = fastrand::u64(..);
    let server = RedisServer::start();
    let mut admin = server.admin();
    for group in 0..4 {
        admin.run(&format!("RPUSH frontend:*.group{group}.tld app http://h0 http://h1 http://h2 http://h3"));
    }
    scene(server.settings(), TcpDialer, async |router| {
        tracking(&router).await;
        let mut writer = server.admin();
        let writing = std::thread::spawn(move || {
            let mut random = fastrand::Rng::with_seed(seed);
            (0..20_000).for_each(|_| mark(&mut writer, &mut random));
        });
        while !writing.is_finished() {
            for number in 0..HOSTS {
                dead_here(&router, &host(number)).await;
            }
        }
        writing.join().unwrap();
        // Pushes come in order: once this is seen, so are all before it.
        admin.run("RPUSH frontend:marker marker");
        serves(&router, "marker", "marker").await;
        for number in 0..HOSTS {
            let (host, expected) = (host(number), dead_in_redis(&mut admin, &host(number)));
            assert_eq!(dead_here(&router, &host).await, expected, "seed {seed}, {host}");
        }
    });
}

async fn look_up(router: redis_router::Router) {
    let end = monoio::time::Instant::now() + Duration::from_millis(1_500);
    while monoio::time::Instant::now() < end {
        for number in 0..HOSTS {
            let host = host(number);
            if known(&router, &host) == "?" {
                assert!(!served(&router, &host).await.contains("unavailable"));
            }
        }
        monoio::time::sleep(Duration::from_micros(100)).await;
    }
}

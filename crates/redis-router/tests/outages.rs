//! Known routes outlast the server; what changed meanwhile is seen soon after it is back.

mod scene;

use std::time::Duration;

use redis_router::bounds::{READS_MAX, WAITERS_MAX};
use redis_router::{Router, StoreState};
use scene::{RedisServer, TcpDialer, eventually, impostor, known, scene, served, serves, tracking};

async fn away(router: &Router) {
    eventually("the server is missed", async || matches!(router.state(), StoreState::Away { .. })).await;
}

#[test]
fn absent_at_start() {
    let mut server = RedisServer::absent();
    scene(server.settings(), TcpDialer, async |router| {
        // Asked before the first attempt has ended: waits for it.
        let error = router.find("a.tld").await.unwrap_err().to_string();
        assert!(error.contains("not connected") && error.contains(&server.port.to_string()), "{error}");
        away(&router).await;
        server.run();
        server.admin().run("RPUSH frontend:a.tld app http://10.0.0.1");
        serves(&router, "a.tld", "app").await;
        tracking(&router).await;
    });
}

#[test]
fn the_first_look_up_waits_for_the_connection() {
    let server = RedisServer::start();
    server.admin().run("RPUSH frontend:a.tld app http://10.0.0.1");
    scene(server.settings(), TcpDialer, async |router| {
        assert_eq!(router.state(), StoreState::Connecting);
        assert_eq!(served(&router, "a.tld").await, "app");
    });
}

#[test]
fn killed_and_restarted_with_other_routes() {
    let mut server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = server.admin();
        for host in ["kept", "changed", "gone"] {
            admin.run(&format!("RPUSH frontend:{host}.tld {host} http://10.0.0.1"));
            serves(&router, &format!("{host}.tld"), host).await;
        }
        serves(&router, "none.tld", "-").await;
        server.kill();
        away(&router).await;
        for (host, identifier) in [("kept.tld", "kept"), ("changed.tld", "changed"), ("none.tld", "-")] {
            assert_eq!(known(&router, host), identifier);
            assert_eq!(served(&router, host).await, identifier);
        }
        assert!(served(&router, "unknown.tld").await.contains("unavailable"));
        server.run();
        let mut admin = server.admin();
        admin.run("RPUSH frontend:kept.tld kept http://10.0.0.1");
        admin.run("RPUSH frontend:changed.tld anew http://10.0.0.1");
        admin.run("RPUSH frontend:none.tld some http://10.0.0.1");
        tracking(&router).await;
        for (host, identifier) in
            [("kept.tld", "kept"), ("changed.tld", "anew"), ("none.tld", "some"), ("gone.tld", "-")]
        {
            serves(&router, host, identifier).await;
        }
    });
}

#[test]
fn a_route_removed_meanwhile_is_soon_not_served() {
    let mut server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        server.admin().run("RPUSH frontend:a.tld app http://10.0.0.1");
        serves(&router, "a.tld", "app").await;
        server.kill();
        away(&router).await;
        server.run();
        tracking(&router).await;
        serves(&router, "a.tld", "-").await;
        assert_eq!(known(&router, "a.tld"), "-");
    });
}

#[test]
fn a_row_not_asked_for_after_a_reconnect_is_read_before_it_is_served() {
    let mut server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        server.admin().run("RPUSH frontend:a.tld app http://10.0.0.1");
        serves(&router, "a.tld", "app").await;
        server.kill();
        away(&router).await;
        server.run();
        tracking(&router).await;
        // Nothing but time ends the window in which it might be served.
        monoio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(known(&router, "a.tld"), "?");
        assert_eq!(served(&router, "a.tld").await, "-");
    });
}

#[test]
fn a_server_that_halts_without_a_word() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        server.admin().run("RPUSH frontend:a.tld app http://10.0.0.1");
        serves(&router, "a.tld", "app").await;
        server.signal("STOP");
        assert!(served(&router, "unknown.tld").await.contains("unavailable"));
        away(&router).await;
        assert_eq!(known(&router, "a.tld"), "app");
        server.signal("CONT");
        tracking(&router).await;
        server.admin().run("DEL frontend:a.tld");
        serves(&router, "a.tld", "-").await;
        serves(&router, "unknown.tld", "-").await;
    });
}

#[test]
fn a_changed_row_whose_read_fails_keeps_its_answer() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = server.admin();
        admin.run("RPUSH frontend:a.tld app http://10.0.0.1");
        serves(&router, "a.tld", "app").await;
        admin.run("LSET frontend:a.tld 0 other");
        eventually("the push has come", async || known(&router, "a.tld") == "?").await;
        server.signal("STOP");
        assert_eq!(served(&router, "a.tld").await, "app");
        server.signal("CONT");
        serves(&router, "a.tld", "other").await;
    });
}

#[test]
fn it_ends_while_reads_are_pending() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        tracking(&router).await;
        server.signal("STOP");
        for number in 0..100 {
            let router = router.clone();
            // Abandoned look-ups leave their reads behind.
            let looked = monoio::time::timeout(Duration::from_millis(1), async {
                served(&router, &number.to_string()).await
            });
            assert!(looked.await.is_err());
        }
        let waiting = router.clone();
        let waiting = monoio::spawn(async move { served(&waiting, "last").await });
        router.stop();
        assert!(waiting.await.contains("unavailable"));
    });
}

fn asked(router: &Router, host: String) -> monoio::task::JoinHandle<String> {
    let router = router.clone();
    monoio::spawn(async move { served(&router, &host).await })
}

#[test]
fn no_more_wait_than_are_allowed() {
    let server = RedisServer::start();
    let same: fn(usize) -> String = |_| "same.tld".into();
    let each: fn(usize) -> String = |number| format!("{number}.tld");
    for (host, bound) in [(same, WAITERS_MAX), (each, READS_MAX)] {
        scene(server.settings(), TcpDialer, async |router| {
            tracking(&router).await;
            server.signal("STOP");
            let look_ups: Vec<_> = (0..bound + 100).map(|number| asked(&router, host(number))).collect();
            let mut busy = 0;
            for look_up in look_ups {
                let answer = look_up.await;
                assert!(answer.contains("unavailable"), "{answer}");
                busy += usize::from(answer.contains("too many"));
            }
            assert_eq!(busy, 100);
            server.signal("CONT");
            serves(&router, &host(bound), "-").await;
        });
    }
}

#[test]
fn a_server_that_is_loading_is_waited_for() {
    let mut server = RedisServer::start_with(&[
        "--key-load-delay",
        "2000",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    let mut admin = server.admin();
    admin.run("DEBUG POPULATE 1000");
    admin.run("RPUSH frontend:a.tld app http://10.0.0.1");
    admin.run("SAVE");
    scene(server.settings(), TcpDialer, async |router| {
        serves(&router, "a.tld", "app").await;
        server.kill();
        away(&router).await;
        server.run();
        let loading = async || {
            // Never gone, whatever the server says meanwhile.
            assert_eq!(served(&router, "a.tld").await, "app");
            matches!(router.state(), StoreState::Away { reason } if reason.contains("LOADING"))
        };
        eventually("it is said that the server loads", loading).await;
        tracking(&router).await;
        assert_eq!(served(&router, "a.tld").await, "app");
    });
}

#[test]
fn servers_that_are_no_redis() {
    let table: [(&[u8], bool, &str); 4] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", true, "is it a Redis server"),
        (b"+OK\r\n+OK\r\n+OK\r\n", true, "an answer to no question"),
        (b"", true, "no answer within"),
        (b"", false, "closed the connection"),
    ];
    for (words, keep_open, expected) in table {
        scene(impostor(words, keep_open), TcpDialer, async |router| {
            let said =
                async || matches!(router.state(), StoreState::Away { reason } if reason.contains(expected));
            eventually(expected, said).await;
        });
    }
}

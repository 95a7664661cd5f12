//! Certificates of hosts from Redis: read when first asked for, followed, bounded.

#![allow(clippy::unwrap_used, reason = "test support: a failure is to stop the test")]

mod scene;

use std::rc::Rc;

use redis_router::{RedisSettings, Router};
use scene::{RedisServer, TcpDialer, eventually, scene, tracking};

async fn text(router: &Router, host: &str) -> String {
    let found = router.certificate(host).await.unwrap();
    found.map_or("-".into(), |pem| format!("{}/{}", String::from_utf8_lossy(&pem.certificate), pem.source))
}

async fn becomes(router: &Router, host: &str, expected: &str) {
    eventually(&format!("{host} has {expected}"), async || text(router, host).await == expected).await;
}

#[test]
fn the_hosts_own_then_its_parents() {
    let server = RedisServer::start();
    let settings = RedisSettings { prefix: "p:".into(), ..server.settings() };
    scene(settings, TcpDialer, async |router| {
        tracking(&router).await;
        let mut admin = server.admin();
        assert_eq!(text(&router, "www.a.tld").await, "-");
        admin.run("HSET p:tls:*.a.tld certificate any key k");
        becomes(&router, "www.a.tld", "any/p:tls:*.a.tld").await;
        admin.run("HSET p:tls:www.a.tld certificate own key k");
        becomes(&router, "www.a.tld", "own/p:tls:www.a.tld").await;
        assert_eq!(text(&router, "b.www.a.tld").await, "-", "a wildcard has one label");
        assert_eq!(text(&router, "a.tld").await, "-");
        admin.run("HSET p:tls:www.a.tld certificate other");
        becomes(&router, "www.a.tld", "other/p:tls:www.a.tld").await;
        // Half a pair is none, and so is another type.
        admin.run("HDEL p:tls:www.a.tld key");
        becomes(&router, "www.a.tld", "any/p:tls:*.a.tld").await;
        admin.run("DEL p:tls:*.a.tld p:tls:www.a.tld");
        admin.run("SET p:tls:www.a.tld text");
        becomes(&router, "www.a.tld", "-").await;
        admin.run("DEL p:tls:www.a.tld");
        admin.run("HSET p:tls:www.a.tld certificate short key k");
        becomes(&router, "www.a.tld", "short/p:tls:www.a.tld").await;
        admin.run("PEXPIRE p:tls:www.a.tld 100");
        becomes(&router, "www.a.tld", "-").await;
    });
}

#[test]
fn a_known_one_costs_nothing_and_stays_the_same() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    for number in 0..1_000 {
        admin.run(&format!("HSET tls:h{number}.tld certificate c key k"));
    }
    admin.run("CONFIG RESETSTAT");
    scene(server.settings(), TcpDialer, async |router| {
        tracking(&router).await;
        assert_eq!(admin.calls("hmget"), 0, "none is read at the start");
        let asked: Vec<_> = (0..50)
            .map(|_| {
                let router = router.clone();
                monoio::spawn(async move { router.certificate("h7.tld").await.unwrap().unwrap() })
            })
            .collect();
        let mut pems = Vec::new();
        for asked in asked {
            pems.push(asked.await);
        }
        assert!(pems.iter().all(|pem| Rc::ptr_eq(pem, &pems[0])));
        // One pipeline: the host's own key and its parent's.
        assert_eq!(admin.calls("hmget"), 2);
        admin.run("HSET tls:h7.tld certificate c");
        eventually("it was read anew", async || {
            router.certificate("h7.tld").await.unwrap();
            admin.calls("hmget") == 4
        })
        .await;
        assert!(Rc::ptr_eq(&router.certificate("h7.tld").await.unwrap().unwrap(), &pems[0]));
        for _ in 0..20 {
            assert_eq!(text(&router, "none.tld").await, "-");
        }
        assert_eq!(admin.calls("hmget"), 6);
    });
}

#[test]
fn known_ones_outlast_the_server_and_are_seen_anew() {
    let mut server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        server.admin().run("HSET tls:a.tld certificate one key k");
        becomes(&router, "a.tld", "one/tls:a.tld").await;
        server.kill();
        assert_eq!(text(&router, "a.tld").await, "one/tls:a.tld");
        eventually("others are not to be had", async || router.certificate("b.tld").await.is_err()).await;
        assert_eq!(text(&router, "a.tld").await, "one/tls:a.tld");
        server.run();
        server.admin().run("HSET tls:a.tld certificate two key k");
        becomes(&router, "a.tld", "two/tls:a.tld").await;
        becomes(&router, "b.tld", "-").await;
    });
}

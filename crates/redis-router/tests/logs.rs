//! What the log says: each change once, the server by name, never a password.

#![allow(clippy::unwrap_used, reason = "test support: a failure is to stop the test")]

mod scene;

use std::sync::Mutex;
use std::time::Duration;

use redis_router::StoreState;
use scene::{RedisServer, TcpDialer, as_user, eventually, scene, served, serves, tracking};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Lines;

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target().starts_with("redis_router") {
            LINES.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
        }
    }

    fn flush(&self) {}
}

fn said(part: &str) -> usize {
    LINES.lock().unwrap().iter().filter(|line| line.contains(part)).count()
}

#[test]
fn each_change_is_said_once() {
    log::set_logger(&Lines).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let mut server = RedisServer::absent();
    scene(server.settings(), TcpDialer, async |router| {
        eventually("the absence is said", async || said("not usable") > 0).await;
        // Several attempts' time; the pauses between them are 1 s at most.
        monoio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(said("not usable"), 1, "{LINES:?}");
        server.run();
        tracking(&router).await;
        assert_eq!(said("followed live"), 1);
        let mut admin = server.admin();
        admin.run("SET frontend:b.tld text");
        for step in 0..5 {
            admin.run("DEL frontend:a.tld");
            admin.run(&format!("RPUSH frontend:a.tld app{step} ftp://wrong"));
            serves(&router, "a.tld", &format!("app{step}")).await;
            assert_eq!(served(&router, &format!("{step}.b.tld")).await, "-");
            assert_eq!(served(&router, "b.tld").await, "-");
        }
        assert_eq!((said("ftp://wrong"), said("holds no list")), (1, 1), "{LINES:?}");
        admin.run("CONFIG SET requirepass geheim");
        admin.run("CLIENT KILL TYPE pubsub");
        let refused = async || matches!(router.state(), StoreState::Away { .. });
        eventually("the password is asked for", refused).await;
        assert_eq!(
            (said("connection lost"), said("set redis.password"), said("geheim")),
            (1, 1, 0),
            "{LINES:?}"
        );
        assert!(
            LINES.lock().unwrap().iter().all(|line| !line.contains("redis ") || line.contains("127.0.0.1:"))
        );
    });
    refusals_are_rationed();
    // A server without HELLO quotes what it was sent.
    let old = RedisServer::start_with(&["--requirepass", "geheim", "--rename-command", "HELLO", "nothing"]);
    scene(as_user(&old, None, "geheim"), TcpDialer, async |router| {
        eventually("it is polled", async || matches!(router.state(), StoreState::Polling { .. })).await;
        assert_eq!((said("pushes no changes"), said("geheim")), (1, 0), "{LINES:?}");
    });
}

fn refusals_are_rationed() {
    let acl = "--user reader on >secret ~* resetchannels +@all -sadd";
    let server = RedisServer::start_with(&acl.split(' ').collect::<Vec<_>>());
    scene(as_user(&server, Some("reader"), "secret"), TcpDialer, async |router| {
        let mut admin = server.admin();
        admin.run("RPUSH frontend:c.tld app http://10.0.0.1 http://10.0.0.2");
        admin.run("HSET options:c.tld color red sticky ip");
        admin.run("SET dead:c.tld text");
        tracking(&router).await;
        let route = router.find("c.tld").await.unwrap().unwrap();
        for backend in &route.frontend.backends {
            router.backend_died(&route, backend, "refused");
        }
        eventually("the refusal is said", async || said("was not marked: NOPERM") == 1).await;
        admin.run("CLIENT KILL TYPE normal SKIPME yes");
        let again = async || said("connection lost") == 2 && router.state() == StoreState::Tracking;
        eventually("it is connected again", again).await;
        admin.run("RPUSH frontend:c.tld http://10.0.0.3");
        eventually("it is read again", async || {
            router.find("c.tld").await.unwrap().unwrap().frontend.listed == 3
        })
        .await;
        assert_eq!((said("are not heard (NOPERM"), said("was not marked")), (1, 1), "{LINES:?}");
        assert_eq!((said("\"color\""), said("\"sticky\""), said("holds no set")), (1, 1, 1), "{LINES:?}");
    });
}

//! Routes are read from Redis and every change of them is followed.

mod scene;

use std::rc::Rc;
use std::time::Duration;

use redis_router::{
    Balance, CacheSettings, Cached, Endpoint, Health, Options, RedisSettings, Server, StoreState,
};
use scene::{
    RedisServer, TcpDialer, UnixDialer, as_user, eventually, known, scene, scene_with, served, serves,
    single, tracking,
};

#[test]
fn added_changed_deleted() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = server.admin();
        tracking(&router).await;
        assert_eq!(served(&router, "a.tld").await, "-");
        admin.run("RPUSH frontend:a.tld one http://10.0.0.1:80");
        serves(&router, "a.tld", "one").await;
        let first = router.find("a.tld").await.unwrap().unwrap().frontend.clone();
        assert_eq!((&*first.key, &*first.backends[0].authority), ("a.tld", "10.0.0.1:80"));
        admin.run("RPUSH frontend:a.tld http://10.0.0.2:80");
        let backends = async || router.find("a.tld").await.unwrap().unwrap().frontend.backends.len();
        eventually("the second backend is used", async || backends().await == 2).await;
        admin.run("LSET frontend:a.tld 0 two");
        serves(&router, "a.tld", "two").await;
        admin.run("DEL frontend:a.tld");
        serves(&router, "a.tld", "-").await;
    });
}

#[test]
fn flush_rename_expire_swap() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = server.admin();
        tracking(&router).await;
        admin.run("RPUSH frontend:a.tld a http://10.0.0.1");
        serves(&router, "a.tld", "a").await;
        serves(&router, "b.tld", "-").await;
        admin.run("RENAME frontend:a.tld frontend:b.tld");
        serves(&router, "a.tld", "-").await;
        serves(&router, "b.tld", "a").await;
        admin.run("PEXPIRE frontend:b.tld 300");
        serves(&router, "b.tld", "-").await;
        admin.run("RPUSH frontend:a.tld a http://10.0.0.1");
        serves(&router, "a.tld", "a").await;
        admin.run("FLUSHALL");
        serves(&router, "a.tld", "-").await;
        admin.run("RPUSH frontend:a.tld a http://10.0.0.1");
        serves(&router, "a.tld", "a").await;
        admin.run("SWAPDB 0 1");
        serves(&router, "a.tld", "-").await;
    });
}

#[test]
fn an_expiry_is_kept_without_a_push() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = server.admin();
        tracking(&router).await;
        // Redis deletes nothing by itself then, so no push comes.
        admin.run("DEBUG SET-ACTIVE-EXPIRE 0");
        admin.run("RPUSH frontend:a.tld a http://10.0.0.1");
        admin.run("PEXPIRE frontend:a.tld 600");
        assert_eq!(served(&router, "a.tld").await, "a");
        assert_eq!(known(&router, "a.tld"), "a");
        serves(&router, "a.tld", "-").await;
    });
}

#[test]
fn more_exact_keys_shadow_wildcards() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = server.admin();
        tracking(&router).await;
        let host = "www.example.tld:8080";
        assert_eq!(served(&router, host).await, "-");
        let keys = ["*", "*.tld", "*.example.tld", "www.example.tld", "www.example.tld:8080"];
        for key in keys {
            admin.run(&format!("RPUSH frontend:{key} at-{key} http://10.0.0.1"));
            serves(&router, host, &format!("at-{key}")).await;
        }
        for pair in keys.windows(2).rev() {
            admin.run(&format!("DEL frontend:{}", pair[1]));
            serves(&router, host, &format!("at-{}", pair[0])).await;
        }
        serves(&router, "", "at-*").await;
        admin.run("DEL frontend:*");
        serves(&router, host, "-").await;
    });
}

#[test]
fn look_ups_of_one_host_share_one_read() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = server.admin();
        admin.run("RPUSH frontend:*.tld app http://10.0.0.1");
        tracking(&router).await;
        admin.run("CONFIG RESETSTAT");
        let finding = |_| {
            let router = router.clone();
            monoio::spawn(async move { served(&router, "a.tld").await })
        };
        let all: Vec<_> = (0..500).map(finding).collect();
        for one in all {
            assert_eq!(one.await, "app");
        }
        // Lists and options of a.tld, *.tld and *, the dead sets of a.tld and *.tld; each with its expiry.
        let calls = ["lrange", "hgetall", "smembers", "pttl"].map(|command| admin.calls(command));
        assert_eq!(calls, [3, 3, 2, 8]);
    });
}

#[test]
fn a_known_host_costs_no_command() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = server.admin();
        admin.run("RPUSH frontend:a.tld app http://10.0.0.1");
        tracking(&router).await;
        assert_eq!(served(&router, "a.tld").await, "app");
        assert_eq!(served(&router, "b.tld").await, "-");
        admin.run("CONFIG RESETSTAT");
        for _ in 0..10_000 {
            assert!(matches!(router.cached("a.tld"), Cached::Route(_)));
            assert!(matches!(router.cached("b.tld"), Cached::NoFrontend));
        }
        assert_eq!(served(&router, "a.tld").await, "app");
        assert_eq!((admin.calls("lrange"), admin.calls("pttl")), (0, 0));
    });
}

#[test]
fn prefix_and_database_count() {
    let server = RedisServer::start();
    let settings =
        RedisSettings { prefix: "staging:".into(), ..single(Endpoint { db: 3, ..server.endpoint() }) };
    scene(settings, TcpDialer, async |router| {
        let mut admin = server.admin();
        tracking(&router).await;
        assert_eq!(served(&router, "a.tld").await, "-");
        admin.run("SELECT 3");
        admin.run("RPUSH frontend:a.tld wrong http://10.0.0.1");
        admin.run("RPUSH staging:frontend:*.tld right http://10.0.0.1");
        serves(&router, "a.tld", "right").await;
        let frontend = router.find("a.tld").await.unwrap().unwrap().frontend.clone();
        assert_eq!(&*frontend.key, "*.tld");
        let same = router.find("b.tld").await.unwrap().unwrap().frontend.clone();
        assert!(Rc::ptr_eq(&frontend, &same), "hosts under one wildcard share its frontend");
    });
}

#[test]
fn keys_of_another_type_count_as_absent() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = server.admin();
        admin.run("SET frontend:a.tld text");
        admin.run("RPUSH frontend:*.tld app ftp://wrong http://10.0.0.1");
        tracking(&router).await;
        assert_eq!(served(&router, "a.tld").await, "app");
        let frontend = router.find("a.tld").await.unwrap().unwrap().frontend.clone();
        assert_eq!((frontend.backends.len(), frontend.invalid.len(), frontend.backends[0].index), (1, 1, 1));
        admin.run("DEL frontend:a.tld");
        admin.run("RPUSH frontend:a.tld own");
        serves(&router, "a.tld", "own").await;
        assert!(router.find("a.tld").await.unwrap().unwrap().frontend.backends.is_empty());
    });
}

#[test]
fn options_have_a_look_up_of_their_own() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = server.admin();
        admin.run("RPUSH frontend:www.a.tld app http://10.0.0.1");
        tracking(&router).await;
        let options = async || router.find("www.a.tld:80").await.unwrap().unwrap().options.clone();
        assert_eq!(options().await, Options::default());
        let https = Options { https_redirect: true, ..Options::default() };
        let in_turn = Options { balance: Some(Balance::RoundRobin), sticky: true, ..Options::default() };
        let on_port = Options { balance: Some(Balance::LeastRequests), ..Options::default() };
        for (line, expected) in [
            ("HSET options:* httpsRedirect true", &https),
            ("HSET options:*.a.tld balance roundRobin sticky cookie color red", &in_turn),
            ("HSET options:www.a.tld sticky maybe", &Options::default()),
            ("HSET options:www.a.tld:80 balance leastRequests", &on_port),
            ("DEL options:www.a.tld:80 options:www.a.tld", &in_turn),
            ("HDEL options:*.a.tld balance", &Options { sticky: true, ..Options::default() }),
            ("RENAME options:*.a.tld options:other", &https),
            ("SET options:*.tld text", &https),
            ("PEXPIRE options:* 200", &Options::default()),
        ] {
            admin.run(line);
            eventually(line, async || options().await == *expected).await;
        }
    });
}

#[test]
fn options_expire_without_a_push() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = server.admin();
        admin.run("RPUSH frontend:a.tld app http://10.0.0.1");
        admin.run("DEBUG SET-ACTIVE-EXPIRE 0");
        admin.run("HSET options:a.tld sticky cookie");
        admin.run("PEXPIRE options:a.tld 600");
        tracking(&router).await;
        let sticky = async || router.find("a.tld").await.unwrap().unwrap().options.sticky;
        assert!(sticky().await);
        eventually("they have expired", async || !sticky().await).await;
    });
}

#[test]
fn a_key_as_it_stands() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        let mut admin = server.admin();
        admin.run("RPUSH frontend:* any http://10.0.0.1");
        admin.run("HSET options:a.tld sticky cookie");
        tracking(&router).await;
        for host in ["/a.tld:12-01-31", "/a.tld", "/", "//a.tld"] {
            assert_eq!(served(&router, host).await, "-", "{host}");
        }
        admin.run("RPUSH frontend:a.tld:12-01-31 version http://10.0.0.1 http://10.0.0.2");
        serves(&router, "/a.tld:12-01-31", "version").await;
        admin.run("HSET options:a.tld:12-01-31 httpsRedirect 1");
        admin.run("SADD dead:a.tld:12-01-31 1");
        admin.run("SADD dead:a.tld 0");
        let as_told = async || {
            let route = router.find("/a.tld:12-01-31").await.unwrap().unwrap();
            let health: Vec<_> =
                route.frontend.backends.iter().map(|backend| route.health(backend)).collect();
            let options = &route.options;
            health == [Health::Live, Health::Dead] && options.https_redirect && !options.sticky
        };
        eventually("its own options and marks count", as_told).await;
        assert_eq!(served(&router, "/*").await, "any");
        assert_eq!(served(&router, "a.tld").await, "any");
    });
}

#[test]
fn over_a_unix_socket() {
    let server = RedisServer::start();
    scene(single(Endpoint::plain(Server::Unix(server.socket()))), UnixDialer, async |router| {
        let mut admin = server.admin();
        tracking(&router).await;
        admin.run("RPUSH frontend:a.tld app http://10.0.0.1");
        serves(&router, "a.tld", "app").await;
        admin.run("DEL frontend:a.tld");
        serves(&router, "a.tld", "-").await;
    });
}

#[test]
fn more_hosts_than_rows() {
    let server = RedisServer::start();
    let cache = CacheSettings { rows: 50, max_age: None };
    scene_with(server.settings(), cache, TcpDialer, async |router| {
        let mut admin = server.admin();
        admin.run("RPUSH frontend:hot.tld hot http://10.0.0.1");
        tracking(&router).await;
        for round in 0..500 {
            assert_eq!(served(&router, "hot.tld").await, "hot");
            assert_eq!(served(&router, &format!("{round}.flood")).await, "-");
        }
        assert_eq!(known(&router, "hot.tld"), "hot");
        assert_eq!(known(&router, "499.flood"), "-");
        assert_eq!(known(&router, "0.flood"), "?");
    });
}

#[test]
fn without_tracking_routes_are_polled() {
    // The second: no HELLO at all, so RESP2.
    for option in ["user poller on >secret ~* &* +@all -client|tracking", "rename-command HELLO nothing"] {
        let words: Vec<String> = option.split(' ').map(str::to_owned).collect();
        let options: Vec<String> = [vec![format!("--{}", words[0])], words[1..].to_vec()].concat();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let server = RedisServer::start_with(&options);
        let is_user = option.starts_with("user");
        let settings = if is_user { as_user(&server, Some("poller"), "secret") } else { server.settings() };
        let (max_age, max_age_ms) =
            if option.starts_with("user") { (None, 1_000) } else { (Some(Duration::from_millis(300)), 300) };
        scene_with(settings, CacheSettings { rows: 100, max_age }, TcpDialer, async |router| {
            let mut admin = server.admin();
            let polled = StoreState::Polling { max_age_ms };
            eventually("routes are polled", async || router.state() == polled).await;
            assert_eq!(served(&router, "a.tld").await, "-");
            assert_eq!(known(&router, "a.tld"), "-");
            admin.run("RPUSH frontend:a.tld app http://10.0.0.1");
            serves(&router, "a.tld", "app").await;
        });
    }
}

#[test]
fn passwords() {
    let server = RedisServer::start_with(&["--requirepass", "secret"]);
    let away = |settings, said: &'static str| {
        scene(settings, TcpDialer, async move |router| {
            let check =
                async || matches!(router.state(), StoreState::Away { reason } if reason.contains(said));
            eventually(said, check).await;
            let error = served(&router, "a.tld").await;
            assert!(error.contains("unavailable") && error.contains(said), "{error}");
        });
    };
    away(server.settings(), "NOAUTH");
    away(as_user(&server, None, "wrong"), "redis.username or redis.password is wrong");
    let limited = "ACL SETUSER limited on >secret ~other* &* +@all";
    let mut admin = redis::Client::open(format!("redis://:secret@127.0.0.1:{}", server.port)).unwrap();
    redis::cmd("ACL").arg(limited.split(' ').skip(1).collect::<Vec<_>>()).query::<()>(&mut admin).unwrap();
    away(as_user(&server, Some("limited"), "secret"), "allow it: ACL SETUSER limited");
    scene(as_user(&server, None, "secret"), TcpDialer, async |router| {
        tracking(&router).await;
        assert_eq!(served(&router, "a.tld").await, "-");
    });
}

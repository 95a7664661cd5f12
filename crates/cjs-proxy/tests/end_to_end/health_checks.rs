//! The built-in active checker: what it asks, what it marks, and that it is alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sys::signal::Signal;
use redis_router::Report;
use serde_json::{Value, json};

use crate::support::backend::{Backend, Refusing, Request, ok};
use crate::support::hchecker::Checker;
use crate::support::mortal::{ask_until_reached, dead, wait_until_avoided};
use crate::support::proxy::{Proxy, merge};
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene, get};
use crate::support::wait;

/// Marks would last an hour: whoever lives again before that was checked.
fn config(check: Value) -> Value {
    let mut config = json!({
        "server": { "deadBackendTTL": 3600 },
        "healthCheck": { "interval": 0.1, "timeout": 1 },
    });
    merge(&mut config, json!({ "healthCheck": check }));
    config
}

/// Answers checks (HEAD) with the status it is told, and everything else with `name`.
struct Patient {
    backend: Backend,
    status: Arc<AtomicU16>,
}

impl Patient {
    fn new(name: &'static str, status: u16) -> Self {
        let status = Arc::new(AtomicU16::new(status));
        let told = Arc::clone(&status);
        let answer = move |request: &Request| match request.head.start_line().starts_with("HEAD ") {
            true => {
                let status = told.load(Ordering::Relaxed);
                format!("HTTP/1.1 {status} Told\r\nContent-Length: 9\r\n\r\n").into_bytes()
            }
            false => ok(name),
        };
        let backend = Backend::run(move |peer| {
            while let Some(request) = peer.request() {
                peer.send(answer(&request));
            }
        });
        Self { backend, status }
    }

    fn says(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    fn url(&self) -> String {
        self.backend.url()
    }

    fn checks(&self) -> usize {
        let requests = self.backend.requests();
        requests.iter().filter(|request| request.head.start_line().starts_with("HEAD ")).count()
    }
}

fn has_marks(redis: &Redis, frontend: &str, expected: &[usize]) {
    wait::until(&format!("dead:{frontend} is {expected:?}"), || redis.marks(frontend) == expected);
}

fn report(redis: &Redis, frontend: &str, index: usize) -> Option<Report> {
    let field: Option<String> = redis.query(&format!("HGET died:{frontend} {index}"));
    field.and_then(|field| Report::from_field(&field))
}

#[test]
fn a_marked_backend_that_answers_lives_again_at_once() {
    let (first, second) = (Patient::new("first", 500), Patient::new("second", 200));
    let scene = Scene::with(config(json!({})), &[&first.url(), &second.url()]);
    scene.redis.command(&format!("SADD dead:{SITE} 0"));
    wait_until_avoided(&scene.proxy, &first.backend, &get("/"));
    wait::until("it is checked", || first.checks() > 2);
    has_marks(&scene.redis, SITE, &[0]);
    let ttl: i64 = scene.redis.query(&format!("TTL dead:{SITE}"));
    assert!(ttl > 3000, "the mark without an end has one now: {ttl}");
    let told = report(&scene.redis, SITE, 0).unwrap();
    assert_eq!((told.url, &*told.why), (first.url(), "health check: it answered with status 500"));
    assert!(told.by.ends_with(" checker"), "{}", told.by);
    first.says(404);
    has_marks(&scene.redis, SITE, &[]);
    ask_until_reached(&scene.proxy, &first.backend, &get("/"));
    assert_eq!(report(&scene.redis, SITE, 0), None);
    assert_eq!(second.checks(), 0);
    scene.proxy.wait_for_log("lives again");
}

#[test]
fn a_backend_that_fails_a_request_is_checked_until_it_lives() {
    let (dead, live) = (dead(), Backend::saying("live"));
    let scene = Scene::with(config(json!({})), &[&dead.url(), &live.url()]);
    ask_until_reached(&scene.proxy, &dead, &get("/"));
    has_marks(&scene.redis, SITE, &[0]);
    wait::until("it is checked", || dead.connections() > 3);
    let address = dead.address();
    drop(dead);
    let again = Backend::run_on(std::net::TcpListener::bind(address).unwrap(), |peer| {
        while peer.request().is_some() {
            peer.send(ok("again"));
        }
    });
    has_marks(&scene.redis, SITE, &[]);
    ask_until_reached(&scene.proxy, &again, &get("/"));
}

#[test]
fn the_check_is_as_the_config_says() {
    let (patient, other) = (Patient::new("first", 503), Backend::saying("other"));
    let check = json!({ "method": "GET", "path": "/up?deep=1", "host": "check.example:81" });
    let url = format!("{}/base/#weight=2", patient.url());
    let scene = Scene::with(config(check), &[&url, &other.url()]);
    scene.redis.command(&format!("SADD dead:{SITE} 0"));
    let request = &patient.backend.wait_for_requests(1)[0];
    assert_eq!(request.head.start_line(), "GET /base/up?deep=1 HTTP/1.1");
    assert_eq!(request.head.get("host"), Some("check.example:81"));
    // 503 is maintenance.
    has_marks(&scene.redis, SITE, &[]);
}

#[test]
fn so_many_in_a_row_decide() {
    let (patient, other) = (Patient::new("first", 200), Backend::saying("other"));
    let check = json!({ "scope": "all", "rise": 3, "fall": 4 });
    let scene = Scene::with(config(check), &[&patient.url(), &other.url()]);
    wait::until("it is checked", || patient.checks() > 2);
    let before = patient.checks();
    patient.says(500);
    has_marks(&scene.redis, SITE, &[0]);
    assert!(patient.checks() >= before + 4, "{} checks", patient.checks() - before);
    let before = patient.checks();
    patient.says(200);
    has_marks(&scene.redis, SITE, &[]);
    assert!(patient.checks() >= before + 3, "{} checks", patient.checks() - before);
}

#[test]
fn with_scope_all_a_dead_backend_is_found_without_a_request() {
    let (refusing, live) = (Refusing::new(), Backend::saying("live"));
    let scene = Scene::with(config(json!({ "scope": "all" })), &[&refusing.url(), &live.url()]);
    let heard = scene.redis.subscribe("dead");
    has_marks(&scene.redis, SITE, &[0]);
    assert!(report(&scene.redis, SITE, 0).is_some_and(|told| told.why.contains("refused")));
    // Changes of the lists are followed: another frontend, the same backend twice, a backend taken out.
    scene.redis.route("other.example", &["other", &live.url(), &refusing.url()]);
    has_marks(&scene.redis, "other.example", &[1]);
    assert!(
        heard.wait_for(1).iter().any(|line| line.starts_with("other.example;") || line.starts_with(SITE))
    );
    scene.redis.route("only.example", &["only", &refusing.url()]);
    scene.redis.route("last.example", &["last", &refusing.url(), &live.url()]);
    has_marks(&scene.redis, "last.example", &[0]);
    assert_eq!(scene.redis.marks("only.example").len(), 0, "an only backend is never marked");
}

#[test]
fn a_backend_that_stands_twice_is_marked_and_freed_at_both_places() {
    let (patient, other) = (Patient::new("first", 500), Backend::saying("other"));
    let twice = [&*patient.url(), &other.url(), &patient.url()];
    let scene = Scene::with(config(json!({ "scope": "all" })), &twice);
    has_marks(&scene.redis, SITE, &[0, 2]);
    patient.says(200);
    has_marks(&scene.redis, SITE, &[]);
}

#[test]
fn a_bad_status_never_marks_the_last_live_backend() {
    let (first, second) = (Patient::new("first", 500), Patient::new("second", 500));
    let scene = Scene::with(config(json!({ "scope": "all" })), &[&first.url(), &second.url()]);
    wait::until("one is marked", || scene.redis.marks(SITE).len() == 1);
    let before = (first.checks(), second.checks());
    wait::until("both are checked again and again", || {
        first.checks() > before.0 + 3 && second.checks() > before.1 + 3
    });
    assert_eq!(scene.redis.marks(SITE).len(), 1);
    assert_eq!(scene.ask(get("/")).status, 200);
}

#[test]
fn what_the_store_refuses_is_said_once_with_the_mend() {
    let (patient, other) = (Patient::new("first", 500), Backend::saying("other"));
    let acl = "--user proxy on >secret ~* &* +@all -set";
    let redis = Redis::start_with(&acl.split(' ').collect::<Vec<_>>());
    redis.command(&format!("SADD dead:{SITE} 0"));
    let mut config = config(json!({}));
    merge(&mut config, json!({ "redis": { "username": "proxy", "password": "secret" } }));
    let scene = Scene::on(redis, config, &[&patient.url(), &other.url()]);
    let line = scene.proxy.wait_for_log("health check: redis");
    assert!(line.contains("NOPERM") && line.contains("+set +pexpire"), "{line}");
    assert_eq!(scene.ask(get("/")).status, 200);
    assert!(scene.proxy.count_in_log("NOPERM") <= 2, "{:?}", scene.proxy.log());
}

#[test]
fn two_proxies_check_a_backend_once() {
    let (patient, other) = (Patient::new("first", 500), Backend::saying("other"));
    let check = config(json!({ "interval": 0.3 }));
    let scene = Scene::with(check.clone(), &[&patient.url(), &other.url()]);
    let second = scene.another_proxy(check);
    scene.redis.command(&format!("SADD dead:{SITE} 0"));
    patient.backend.wait_for_requests(8);
    let lock: String = scene.redis.query(&format!("GET checker:lock:{}", patient.url()));
    let holders = [scene.proxy.id(), second.id()].map(|id| lock.contains(&format!("#{id} ")));
    assert_eq!(holders.iter().filter(|holds| **holds).count(), 1, "{lock}");
    // The other takes over from one that has gone without a word.
    let (gone, stays) = if holders[0] { (&scene.proxy, &second) } else { (&second, &scene.proxy) };
    gone.signal(Signal::SIGKILL);
    let key = format!("GET checker:lock:{}", patient.url());
    let taken_over = || {
        let lock: Option<String> = scene.redis.query(&key);
        lock.is_some_and(|lock| lock.contains(&format!("#{} ", stays.id())))
    };
    wait::until("the other holds the lock", taken_over);
    patient.says(200);
    has_marks(&scene.redis, SITE, &[]);
}

#[test]
fn while_a_foreign_checker_is_active_it_rests() {
    let (patient, other) = (Patient::new("first", 500), Backend::saying("other"));
    let redis = Redis::start();
    redis.command(&format!("SET hchecker_ping {}", wait::unix_time().as_secs()));
    let scene = Scene::on(redis, config(json!({ "scope": "all" })), &[&patient.url(), &other.url()]);
    scene.proxy.wait_for_log("the built-in one rests");
    scene.redis.command(&format!("SADD dead:{SITE} 0"));
    wait_until_avoided(&scene.proxy, &patient.backend, &get("/"));
    assert_eq!((patient.checks(), scene.redis.query::<usize>("EXISTS checker:sign")), (0, 0));
    // Its sign is too old: the built-in one goes on.
    scene.redis.command(&format!("SET hchecker_ping {}", wait::unix_time().as_secs() - 40));
    wait::until("it is checked", || patient.checks() > 1);
    scene.proxy.wait_for_log("the built-in one goes on");
    patient.says(200);
    has_marks(&scene.redis, SITE, &[]);
    // And a real double of it, which owns the sets again.
    let checker = Checker::start(&scene.redis, std::time::Duration::from_millis(50));
    wait::until("it rests again", || scene.proxy.count_in_log("the built-in one rests") == 2);
    let before = patient.checks();
    scene.redis.command(&format!("PUBLISH dead {SITE};{};0;2", patient.url()));
    wait::until("the foreign one checks", || !checker.checks().is_empty());
    wait::until("what the backend saw came from there", || {
        patient.checks() - before <= checker.checks().len()
    });
}

#[test]
fn a_reload_begins_and_ends_it() {
    let (patient, other) = (Patient::new("first", 500), Backend::saying("other"));
    let scene = Scene::with(json!({}), &[&patient.url(), &other.url()]);
    scene.redis.command(&format!("SADD dead:{SITE} 0"));
    wait_until_avoided(&scene.proxy, &patient.backend, &get("/"));
    assert_eq!(patient.checks(), 0);
    scene.proxy.reload(json!({ "healthCheck": { "interval": 0.1, "timeout": 1 } }));
    wait::until("it is checked", || patient.checks() > 1);
    scene.proxy.reload(json!({ "healthCheck": { "path": "/other" } }));
    let other_path = || patient.backend.requests().iter().any(|request| request.target() == "/other");
    wait::until("it is checked otherwise", other_path);
    scene.proxy.reload(json!({ "healthCheck": null }));
    wait::until("its sign ends", || scene.redis.query::<usize>("EXISTS checker:sign") == 0);
}

#[test]
fn it_survives_an_outage_of_redis_and_ends_with_the_proxy() {
    let (patient, other) = (Patient::new("first", 500), Backend::saying("other"));
    let mut scene = Scene::with(config(json!({})), &[&patient.url(), &other.url()]);
    scene.redis.command(&format!("SADD dead:{SITE} 0"));
    wait::until("it is checked", || patient.checks() > 0);
    scene.redis.kill();
    scene.redis.run();
    scene.redis.route(SITE, &["site", &patient.url(), &other.url()]);
    scene.redis.command(&format!("SADD dead:{SITE} 0"));
    let before = patient.checks();
    wait::until("it is checked again", || patient.checks() > before + 1);
    scene.proxy.signal(Signal::SIGTERM);
    assert!(scene.proxy.wait_for_exit().success());
}

#[test]
fn the_marks_of_a_wildcard_and_of_its_host_end_both() {
    let (patient, other) = (Patient::new("first", 200), Backend::saying("other"));
    let redis = Redis::start();
    redis.route("*.example", &["any", &patient.url(), &other.url()]);
    redis.command("SADD dead:*.example 0");
    // As Hipache marks it: for the host that was asked for.
    redis.command("SADD dead:www.example 0");
    let mut config = config(json!({}));
    config["redis"]["port"] = redis.port.into();
    let _proxy = Proxy::start(config);
    has_marks(&redis, "*.example", &[]);
    has_marks(&redis, "www.example", &[]);
}

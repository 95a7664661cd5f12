//! `routes` on a Redis that proxies follow: what it changes is served at once, what it shows is what they do.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::routing::{answer, wait_for};
use crate::support::backend::Backend;
use crate::support::command::{Config, edit_at_once};
use crate::support::mortal::{ask_until_reached, mortal, wait_until_avoided};
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene, get};
use crate::support::wait;

#[test]
fn what_is_added_is_served_and_what_is_removed_is_not() {
    let (first, second) = (Backend::saying("first"), Backend::saying("second"));
    let scene = Scene::of(&first);
    let config = Config::redis(scene.redis.port);
    let printed = config.routes(&["add", "new.example", &first.url(), "--id", "app"]).done();
    assert!(printed.contains("new frontend new.example, identifier app"), "{printed}");
    wait_for(&scene.proxy, "new.example", "first");
    config.routes(&["add", "new.example", &second.url()]).done();
    wait::until("the second is served", || answer(&mut scene.connect(), "new.example").1 == "second");
    config.routes(&["remove", "new.example", &first.url()]).done();
    wait_for(&scene.proxy, "new.example", "second");
    let last = config.routes(&["remove", "new.example", &second.url()]);
    assert!(last.err.contains("no backend is left: requests for new.example get 502"), "{last:?}");
    wait_for(&scene.proxy, "new.example", "502");
    let gone = config.routes(&["remove", "new.example", "--json"]).json();
    assert_eq!(gone, json!({ "host": "new.example", "backends": [], "left": null, "optionsLeft": false }));
    wait_for(&scene.proxy, "new.example", "400");
}

#[test]
fn only_what_is_new_is_added() {
    let redis = Redis::start();
    let config = Config::redis(redis.port);
    redis.route("a.example", &["app", "http://h1"]);
    redis.command("SADD dead:a.example 0 1 7");
    let added = config.routes(&["add", "a.example", "http://h1/", "http://h2", "h1", "--json"]);
    assert!(added.err.contains("\"h1\" is the same place as \"http://h1\""), "{added:?}");
    let expected = json!({ "host": "a.example", "created": false, "identifier": "app",
        "added": ["http://h2", "h1"], "listed": ["http://h1/"] });
    assert_eq!(added.json(), expected);
    let list: Vec<String> = redis.query("LRANGE frontend:a.example 0 -1");
    assert_eq!(list, ["app", "http://h1", "http://h2", "h1"]);
    assert_eq!(redis.marks("a.example"), [0, 7], "a mark from before does not come to rest on a new backend");
    let again = config.routes(&["add", "a.example", "http://h2"]);
    assert!(again.err.contains("nothing was to be done"), "{again:?}");
    assert_eq!(again.done(), "listed already: http://h2\n");
    redis.command("SET dead:b.example text");
    config.routes(&["add", "b.example", "h1", "h2"]).done();
    config.routes(&["remove", "b.example", "h1"]).done();
    assert_eq!(redis.query::<Vec<String>>("LRANGE frontend:b.example 0 -1"), ["b.example", "h2"]);
    for host in ["*.example", "*", "a.example:81", "[::1]:80", "a.example:12-01-31"] {
        config.routes(&["add", host, "h"]).done();
    }
    assert_eq!(config.routes(&["list", "--json"]).json().as_array().unwrap().len(), 7);
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_written() {
    let redis = Redis::start();
    let config = Config::redis(redis.port);
    redis.route("www.example", &["app", "http://h1#weight=2"]);
    redis.command("SET frontend:text.example text");
    let table: &[(&[&str], &str)] = &[
        (&["add", "WWW.example", "h"], "hosts are looked up in lower case; accepted: "),
        (&["add", "*.a.b.c.d.e.f", "h"], "a wildcard has one to five labels"),
        (&["add", "frontend:x.example", "h"], "without \"frontend:\""),
        (&["add", "new.example", "h", "ftp://h"], "backend \"ftp://h\": unknown scheme \"ftp\"; accepted: "),
        (&["add", "www.example", "h", "--id", "other"], "has the identifier \"app\" already"),
        (&["add", "text.example", "h"], "key \"frontend:text.example\" holds no list"),
        (&["remove", "text.example"], "holds no list"),
        (&["remove", "ww.example"], "host \"ww.example\" has no frontend; did you mean \"www.example\"?"),
        (&["remove", "www.example", "http://h1"], "did you mean \"http://h1#weight=2\"?"),
        (&["remove", "far.away"], "host \"far.away\" has no frontend\n"),
        (
            &["show", "ww.example:80"],
            "looked for frontend:ww.example:80, frontend:ww.example, frontend:*.example, ",
        ),
        (&["import", "none.json"], "none.json: No such file"),
    ];
    for (arguments, said) in table {
        let told = config.routes(arguments).failed();
        assert!(told.contains(said), "{arguments:?}: {told}");
    }
    let keys: Vec<String> = redis.query("KEYS *");
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert_eq!(redis.query::<usize>("LLEN frontend:www.example"), 2);
    let listed = config.routes(&["list"]);
    assert!(listed.err.contains("\"frontend:text.example\" holds no list"), "{listed:?}");
    assert_eq!(listed.out.lines().count(), 2);
}

#[test]
fn a_host_is_shown_as_a_client_would_send_it() {
    let redis = Redis::start();
    let config = Config::redis(redis.port);
    redis.route("*.example.tld", &["app", "http://10.0.0.1", "ftp://x", "https://h#weight=3&drain&insecure"]);
    redis.command("HSET options:www.example.tld balance roundRobin sticky ip");
    redis.command("PEXPIRE frontend:*.example.tld 90000");
    let shown = config.routes(&["show", "WWW.Example.TLD.:8080", "--json"]);
    assert!(shown.err.contains("option \"sticky\" is not used"), "{shown:?}");
    let shown = shown.json();
    assert_eq!(shown["host"], "www.example.tld:8080");
    assert_eq!((&shown["key"], &shown["identifier"]), (&json!("frontend:*.example.tld"), &json!("app")));
    assert!(shown["secondsLeft"].as_f64().is_some_and(|left| left <= 90.0));
    let options = json!({ "key": "options:www.example.tld", "fields": { "balance": "roundRobin" } });
    assert_eq!(shown["options"], options);
    let states: Vec<&Value> = (0..3).map(|index| &shown["backends"][index]["state"]).collect();
    assert_eq!(states, ["live", "invalid", "live"]);
    let third = &shown["backends"][2];
    assert_eq!(
        (&third["weight"], &third["drain"], &third["insecure"]),
        (&json!(3), &json!(true), &json!(true))
    );
    assert!(shown["backends"][1]["invalid"].as_str().unwrap().contains("unknown scheme"));
    assert_eq!(shown["store"]["freshness"], "tracking");
    let text = config.routes(&["show", "*.example.tld"]).done();
    assert!(text.starts_with("*.example.tld is served by frontend:*.example.tld\n"), "{text}");
    let nothing = config.routes(&["show", "elsewhere", "--json"]);
    assert_eq!(nothing.code, Some(1));
    let printed: Value = serde_json::from_str(&nothing.out).unwrap();
    assert_eq!(
        (&printed["key"], &printed["lookedFor"]),
        (&Value::Null, &json!(["frontend:elsewhere", "frontend:*"]))
    );
}

#[test]
fn a_death_is_shown_with_who_why_and_for_how_long() {
    let (first, second) = (mortal("first"), mortal("second"));
    let scene = Scene::with(json!({ "server": { "deadBackendTTL": 600 } }), &[&first.url(), &second.url()]);
    let config = Config::redis(scene.redis.port);
    ask_until_reached(&scene.proxy, &first, &get("/die/first"));
    let mark = wait::until_some("a mark with its reason", || {
        let shown = config.routes(&["show", SITE, "--json"]).json();
        let mark = shown["backends"][0]["mark"].clone();
        (!mark["why"].is_null()).then_some(mark)
    });
    assert!(mark["by"].as_str().unwrap().contains(&format!("#{}", scene.proxy.id())), "{mark}");
    assert!(mark["secondsLeft"].as_f64().is_some_and(|left| left > 0.0 && left <= 600.0), "{mark}");
    assert!(mark["age"].as_u64().is_some_and(|age| age <= 600), "{mark}");
    let text = config.routes(&["show", SITE]).done();
    assert!(text.contains("dead") && text.contains("; marked by ") && text.contains("Z, "), "{text}");
    // What is told of another backend at that place is not told of this one.
    scene.redis.command(&format!("LSET frontend:{SITE} 1 http://127.0.0.1:1"));
    let text = config.routes(&["show", SITE]).done();
    assert!(text.contains("no report tells why"), "{text}");
    let listed = config.routes(&["list", "--json"]).json();
    assert_eq!(
        listed,
        json!([{ "host": SITE, "identifier": "site", "backends": 2, "invalid": 0, "dead": [0] }])
    );
}

#[test]
fn marks_of_a_wildcard_are_found_under_both_names() {
    let redis = Redis::start();
    let config = Config::redis(redis.port);
    redis.route("*.example", &["app", "http://h1", "http://h2", "http://h3"]);
    redis.command("SADD dead:www.example 1");
    redis.command("SADD dead:*.example 2");
    redis.command("PEXPIRE dead:*.example 9000");
    redis.command(&format!("SET hchecker_ping {}", wait::unix_time().as_secs()));
    let shown = config.routes(&["show", "www.example:80", "--json"]).json();
    let of = |index: usize| &shown["backends"][index];
    assert_eq!(
        (&of(0)["state"], &of(1)["state"], &of(2)["state"]),
        (&json!("live"), &json!("dead"), &json!("dead"))
    );
    assert_eq!(of(1)["mark"]["sets"], json!(["dead:www.example"]));
    assert_eq!((&of(1)["mark"]["secondsLeft"], &of(1)["mark"]["why"]), (&Value::Null, &Value::Null));
    assert_eq!(of(2)["mark"]["sets"], json!(["dead:*.example"]));
    assert_eq!(shown["store"]["checker"], true);
    let text = config.routes(&["show", "www.example"]).done();
    assert!(text.contains("an external health checker is active"), "{text}");
    assert!(
        text.contains("hipache-hchecker or Hipache marked it (dead:www.example), until it is taken out"),
        "{text}"
    );
}

#[test]
fn marks_move_with_their_backends() {
    let backends = [mortal("a"), mortal("b"), mortal("c"), mortal("d")];
    let urls = backends.each_ref().map(Backend::url);
    let scene =
        Scene::with(json!({ "server": { "deadBackendTTL": 600 } }), &urls.each_ref().map(String::as_str));
    let config = Config::redis(scene.redis.port);
    ask_until_reached(&scene.proxy, &backends[2], &get("/die/c"));
    wait::until("a mark with its reason", || scene.redis.query::<usize>(&format!("HLEN died:{SITE}")) == 1);
    scene.redis.command(&format!("PEXPIRE dead:{SITE} 500000"));
    let printed = config.routes(&["remove", SITE, &urls[0]]).done();
    assert_eq!(printed, format!("removed from {SITE}: {}\n3 left\n", urls[0]));
    assert_eq!(scene.redis.marks(SITE), [1]);
    let left_ms: i64 = scene.redis.query(&format!("PTTL dead:{SITE}"));
    assert!((1..=500_000).contains(&left_ms), "{left_ms}");
    let fields: Vec<String> = scene.redis.query(&format!("HKEYS died:{SITE}"));
    assert_eq!(fields, ["1"]);
    wait_until_avoided(&scene.proxy, &backends[2], &get("/"));
    wait_until_avoided(&scene.another_proxy(json!({})), &backends[2], &get("/"));
    for backend in [&backends[1], &backends[3]] {
        ask_until_reached(&scene.proxy, backend, &get("/"));
    }
    let shown = config.routes(&["show", SITE, "--json"]).json();
    assert_eq!(
        (&shown["backends"][1]["url"], &shown["backends"][1]["state"]),
        (&json!(urls[2]), &json!("dead"))
    );
    assert!(!shown["backends"][1]["mark"]["why"].is_null(), "{shown}");
    config.routes(&["remove", SITE, &urls[2]]).done();
    let keys: Vec<String> = scene.redis.query("KEYS d*");
    assert!(keys.is_empty(), "{keys:?}");
    scene.redis.command(&format!("SADD dead:{SITE} 0"));
    scene.redis.command(&format!("HSET options:{SITE} sticky cookie"));
    let gone = config.routes(&["remove", SITE]);
    assert!(gone.err.contains(&format!("options:{SITE} stays")), "{gone:?}");
    assert_eq!(scene.redis.query::<Vec<String>>("KEYS *"), [format!("options:{SITE}")]);
}

#[test]
fn an_identifier_that_looks_like_a_backend_stays() {
    let redis = Redis::start();
    redis.route("a.example", &["http://h", "http://h", "http://i", "http://h"]);
    redis.command("SADD dead:a.example 1 undefined");
    let removed = Config::redis(redis.port).routes(&["remove", "a.example", "http://h", "--json"]).json();
    assert_eq!((&removed["left"], &removed["backends"]), (&json!(1), &json!(["http://h"])));
    assert_eq!(redis.query::<Vec<String>>("LRANGE frontend:a.example 0 -1"), ["http://h", "http://i"]);
    let mut members: Vec<String> = redis.query("SMEMBERS dead:a.example");
    members.sort_unstable();
    assert_eq!(members, ["0", "undefined"]);
    assert_eq!(redis.query::<i64>("PTTL dead:a.example"), -1);
}

#[test]
fn editors_at_once_lose_nothing() {
    let redis = Redis::start();
    let config = Config::redis(redis.port);
    edit_at_once(|arguments| config.routes(arguments));
    let mut list: Vec<String> = redis.query("LRANGE frontend:a.example 0 -1");
    assert_eq!((list.remove(0), list.len()), ("a.example".into(), 100));
    list.sort_unstable();
    list.dedup();
    assert_eq!(list.len(), 100);
}

#[test]
fn a_store_that_is_away_is_named() {
    let mut redis = Redis::start_with(&["--requirepass", "s3cret"]);
    let port = redis.port;
    let with = |password: &str| Config::of(json!({ "redis": { "port": port, "password": password } }));
    let all: &[&[&str]] = &[&["list"], &["show", "a"], &["add", "a", "h"], &["remove", "a"], &["export"]];
    for arguments in all {
        let told = with("geheim").routes(arguments).failed();
        assert!(told.starts_with(&format!("redis 127.0.0.1:{port}: WRONGPASS")), "{told}");
        assert!(told.contains("redis.password is wrong") && !told.contains("geheim"), "{told}");
    }
    let told = Config::redis(port).routes(&["list"]).failed();
    assert!(told.contains("NOAUTH") && told.contains("set redis.password"), "{told}");
    redis.signal(Signal::SIGSTOP);
    let told = with("s3cret").routes(&["list"]).failed();
    assert!(told.contains("no answer within 5 s"), "{told}");
    redis.kill();
    for arguments in all {
        let told = with("s3cret").routes(arguments).failed();
        assert_eq!(told, format!("redis 127.0.0.1:{port}: Connection refused (os error 111)\n"));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one() {
    let redis = Redis::start();
    let config = Config::redis(redis.port);
    redis.route("a.example", &["app", "http://h"]);
    let run = |redirection: &str| {
        let line = format!("'{}' routes export -c c.json {redirection}", env!("CARGO_BIN_EXE_cjs-proxy"));
        let output = Command::new("sh").args(["-c", &line]).current_dir(config.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = run("> /dev/full");
    assert_eq!(code, Some(1));
    assert!(told.contains("the output could not be written"), "{told}");
    assert_eq!(run("2>&1 | true"), (Some(0), String::new()));
}

#[test]
fn control_characters_of_the_store_do_not_reach_the_terminal() {
    let redis = Redis::start();
    redis.route("a.example", &["\u{1b}[2J", "http://h\u{1b}"]);
    let config = Config::redis(redis.port);
    for arguments in [&["list"][..], &["show", "a.example"], &["list", "--json"]] {
        let ended = config.routes(arguments);
        assert!(!(ended.out + &ended.err).contains('\u{1b}'), "{arguments:?}");
    }
}

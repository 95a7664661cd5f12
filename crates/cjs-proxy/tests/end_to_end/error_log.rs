//! The error log: no secrets in it, one line an event, levels by area, and nobody waits for who does not read it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::admin::{address, fetch_with, on};
use crate::support::client::Client;
use crate::support::mortal::mortal;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::scene::{SITE, get_from};
use crate::support::wait;

#[test]
fn no_secret_is_told_whatever_goes_wrong() {
    const SECRET: &str = "hunter2";
    let redis = Redis::start_with(&["--requirepass", "another"]);
    let proxy = Proxy::start(on(json!({
        "driver": format!("redis://someone:{SECRET}-a@127.0.0.1:{}", redis.port), "rateLimit": {},
        "redis": { "masterHost": "127.0.0.1", "masterPort": redis.port, "masterPassword": format!("{SECRET}-b") },
        "admin": { "token": format!("{SECRET}-c") }, "log": { "level": "trace" },
    })));
    proxy.wait_for_log("WRONGPASS");
    let fields =
        format!("Authorization: Bearer {SECRET}-d\r\nX-Api-Key: {SECRET}-e\r\nCookie: a={SECRET}-f\r\n");
    assert_eq!(fetch_with(address(&proxy), "/metrics", &fields).status, 401);
    for head in ["GET / HTTP/1.1\r\nHost: site.example\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n", "GET /\r\n"] {
        proxy.connect().ask(format!("{head}{fields}\r\n"));
    }
    proxy.reload(json!({ "driver": format!("redis://:{SECRET}-g@127.0.0.1:none/x"), "redis": { "password": [SECRET] } }));
    proxy.wait_for_log("the configuration was not read anew");
    let told: Vec<String> = proxy.log().into_iter().chain(proxy.output()).collect();
    assert!(told.iter().all(|line| !line.contains(SECRET)), "{told:#?}");
    assert!(told.iter().any(|line| line.contains(" DEBUG ")), "{told:#?}");
}

#[test]
fn what_a_client_sends_stays_in_its_line_and_areas_have_levels() {
    let backend = mortal("a");
    let redis = Redis::start();
    redis.route(SITE, &["site", &backend.url(), "http://a\n[forged] line"]);
    let level = |http| json!({ "log": { "level": { "default": "info", "http": http } } });
    let mut config = level("debug");
    config["redis"] = json!({ "port": redis.port });
    let proxy = Proxy::start(config);
    assert_eq!(proxy.connect().ask(get_from("first.example", "/")).status, 400);
    proxy.wait_for_log(" DEBUG proxy_core::exchange::own_answers] ");
    assert_eq!(proxy.connect().ask(get_from(SITE, "/")).status, 200);
    proxy.wait_for_log("is not used");
    assert!(proxy.log().iter().all(|line| line.starts_with("[20")), "{:#?}", proxy.log());
    proxy.reload(level("warn"));
    proxy.wait_for_log("SIGHUP: the configuration was read anew");
    assert_eq!(proxy.connect().ask(get_from("second.example", "/")).status, 400);
    proxy.signal(Signal::SIGTERM);
    proxy.wait_for_log("draining");
    assert_eq!(proxy.count_in_log("second.example"), 0);
}

#[test]
fn a_log_that_nobody_reads_stalls_no_core() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("c.json");
    std::fs::write(dir.path().join("routes.json"), "{}").unwrap();
    let text = json!({
        "driver": "file:routes.json", "log": { "level": "debug" },
        "server": { "port": 0, "bind": "127.0.0.1", "workers": 1, "accessLog": null },
    });
    std::fs::write(&config, text.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cjs-proxy"));
    command.arg("run").arg("-c").arg(&config).env_remove("RUST_LOG").stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    fcntl(log.get_ref(), FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let mut line = String::new();
    while !line.contains("listening on 127.0.0.1") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0);
    }
    let proxy = line.trim().split_once("listening on ").unwrap().1.parse().unwrap();
    let host = "x".repeat(200);
    for _ in 0..200 {
        assert_eq!(Client::to(proxy).ask(get_from(&format!("{host}.example"), "/")).status, 400);
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    let ended = wait::until_some("its end", || child.try_wait().unwrap());
    assert!(ended.success());
}

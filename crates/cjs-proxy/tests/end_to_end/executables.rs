//! The executable replaced under a running proxy.

use std::path::PathBuf;
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::asking::asking_meanwhile;
use crate::support::client::Client;
use crate::support::mortal::mortal;
use crate::support::proxy::{Proxy, install};
use crate::support::redis::Redis;
use crate::support::scene::get;
use crate::support::wait;
use crate::support::{backend::Backend, scene::SITE};

struct Installed {
    proxy: Proxy,
    redis: Redis,
    _backend: Backend,
}

/// A proxy that runs from a file of its own, with a site.
fn installed(config: Value) -> Installed {
    let (redis, backend) = (Redis::start(), mortal("a"));
    redis.route(SITE, &["site", &backend.url()]);
    let mut whole = json!({ "redis": { "port": redis.port }, "server": { "gracefulWait": 4 } });
    crate::support::proxy::merge(&mut whole, config);
    let proxy = Proxy::start_installed(whole);
    assert_eq!(proxy.connect().ask(get("/")).text(), "a");
    Installed { proxy, redis, _backend: backend }
}

impl Installed {
    fn executable(&self) -> PathBuf {
        self.proxy.executable()
    }

    /// `cjs-proxy upgrade` for this proxy.
    fn upgrade(&self) -> Output {
        let config = self.proxy.dir().join("config.json");
        Command::new(env!("CARGO_BIN_EXE_cjs-proxy")).arg("upgrade").arg("-c").arg(config).output().unwrap()
    }

    /// Puts `text` as an executable in the place of the one that runs.
    fn replace_by(&self, text: &str) {
        let (written, new) =
            (self.executable().with_extension("written"), self.executable().with_extension("new"));
        std::fs::write(&written, text).unwrap();
        std::fs::set_permissions(&written, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        install(&written, &new);
        std::fs::rename(new, self.executable()).unwrap();
    }
}

#[test]
fn upgrades_lose_no_request() {
    let scene = installed(json!({}));
    let answered = asking_meanwhile(&scene.proxy, || {
        for upgraded in 1..=20 {
            let output = scene.upgrade();
            let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert!(output.status.success() && said.contains("serves now"), "{upgraded}: {said}");
        }
    });
    assert!(answered > 100);
    wait::until("the old ones have ended", || scene.proxy.count_in_log("has ended gracefully") >= 40);
    assert_eq!(scene.proxy.count_in_log("ERROR"), 0);
}

#[test]
fn a_signal_upgrades_too_and_the_new_process_follows_redis() {
    let mut scene = installed(json!({}));
    scene.proxy.signal(Signal::SIGUSR2);
    scene.proxy.wait_for_log("this one answers what is in flight and ends");
    assert!(scene.proxy.wait_for_exit().success());
    let other = mortal("other");
    scene.redis.route(SITE, &["site", &other.url()]);
    wait::until("the change is in force", || scene.proxy.connect().ask(get("/")).text() == "other");
}

#[test]
fn the_admin_listener_goes_over_to_the_new_process() {
    let mut scene = installed(json!({ "admin": { "port": 0 } }));
    let line = scene.proxy.wait_for_log(" for admin");
    let admin =
        line.split_once("listening on ").unwrap().1.strip_suffix(" for admin").unwrap().parse().unwrap();
    let ready = "GET /readyz HTTP/1.1\r\n\r\n";
    wait::until("it is ready", || Client::to(admin).ask(ready).status == 200);
    assert!(scene.upgrade().status.success());
    wait::until("the new one says where it listens", || {
        scene.proxy.count_in_log(&line[line.len() - 20..]) == 2
    });
    assert!(scene.proxy.wait_for_exit().success());
    wait::until("the new one is ready", || Client::to(admin).ask(ready).status == 200);
}

#[test]
fn a_broken_executable_leaves_the_old_one_serving() {
    let scene = installed(json!({}));
    for (broken, why) in [
        ("#!/bin/sh\nexit 3\n", "it ended with exit status: 3"),
        ("no program at all\n", "cannot start"),
        ("#!/bin/sh\necho no >&0\n", "it ended with"),
    ] {
        scene.replace_by(broken);
        let output = scene.upgrade();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(why), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(scene.proxy.connect().ask(get("/")).text(), "a");
    }
    assert_eq!(scene.proxy.count_in_log("this process goes on"), 3);
}

#[test]
fn a_config_with_faults_leaves_the_old_one_serving() {
    let scene = installed(json!({}));
    std::fs::write(scene.proxy.dir().join("config.json"), "{\"server\": {\"zebra\": 1}}").unwrap();
    let output = scene.upgrade();
    assert_eq!(output.status.code(), Some(1));
    scene.proxy.wait_for_log("server.zebra");
    assert_eq!(scene.proxy.connect().ask(get("/")).text(), "a");
}

#[test]
fn the_new_process_may_have_other_cores() {
    let scene = installed(json!({ "server": { "workers": 2 } }));
    for workers in [1, 2] {
        scene.proxy.rewrite(json!({ "server": { "workers": workers } }));
        assert!(scene.upgrade().status.success());
        // Enough connections to meet every socket that the kernel spreads them over.
        for _ in 0..64 {
            assert_eq!(scene.proxy.connect().ask(get("/")).text(), "a");
        }
    }
    scene.proxy.wait_for_log("serving on 1 core with");
}

#[test]
fn nobody_to_upgrade_is_told_in_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("c.json");
    std::fs::write(&config, "{}").unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_cjs-proxy")).args(["upgrade", "-c"]).arg(config).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.starts_with("no running proxy answers for "), "{said}");
    assert_eq!(said.lines().count(), 1);
}

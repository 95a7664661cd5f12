//! Starting, draining and stopping.

use std::net::{TcpListener, TcpStream};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::backend::Backend;
use crate::support::client::Client;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::scene::{Scene, get, get_from, request};
use crate::support::wait::{self, Gate};

#[test]
fn a_drain_answers_what_is_in_flight_and_exits_with_0() {
    let gate = Gate::default();
    let backend = Backend::gated(&gate);
    let mut scene = Scene::of(&backend);
    let mut clients: Vec<_> = (0..4).map(|_| scene.connect()).collect();
    clients.iter_mut().for_each(|client| {
        client.send(get("/"));
    });
    backend.wait_for_requests(4);
    scene.proxy.signal(Signal::SIGTERM);
    scene.proxy.wait_for_log("draining");
    gate.open();
    for client in &mut clients {
        let response = client.response();
        assert!(response.text() == "late" && response.says_close(), "{}", response.head.raw);
        client.expect_end();
    }
    assert_eq!(scene.proxy.wait_for_exit().code(), Some(0));
    assert_eq!(scene.proxy.wait_for_access(4).len(), 4);
}

#[test]
fn a_drain_closes_idle_connections_and_refuses_new_ones() {
    let gate = Gate::default();
    let backend = Backend::gated(&gate);
    let mut scene = Scene::of(&backend);
    let (mut busy, mut untouched, mut used) = (scene.connect(), scene.connect(), scene.connect());
    assert_eq!(used.ask("GET / HTTP/1.1\r\nHost: __ping__\r\n\r\n").status, 200);
    busy.send(get("/"));
    backend.wait_for_requests(1);
    scene.proxy.signal(Signal::SIGTERM);
    used.expect_end();
    untouched.expect_end();
    let address = scene.proxy.address();
    wait::until("new connections are refused", || TcpStream::connect(address).is_err());
    gate.open();
    assert_eq!(busy.response().text(), "late");
    assert_eq!(scene.proxy.wait_for_exit().code(), Some(0));
}

#[test]
fn a_request_that_is_half_sent_is_still_answered_in_a_drain() {
    let backend = Backend::echoing();
    let mut scene = Scene::of(&backend);
    let mut client = scene.connect();
    client.send(request("POST", "/", "Content-Length: 10\r\n") + "01234");
    wait::until("half a request at the backend", || backend.bytes().ends_with(b"01234"));
    scene.proxy.signal(Signal::SIGTERM);
    scene.proxy.wait_for_log("draining");
    let response = client.ask("56789");
    assert!(response.text() == "0123456789" && response.says_close(), "{}", response.head.raw);
    assert_eq!(scene.proxy.wait_for_exit().code(), Some(0));
}

#[test]
fn a_drain_ends_after_the_graceful_wait() {
    let backend = Backend::silent();
    let mut scene = Scene::with(json!({ "server": { "gracefulWait": 0.5 } }), &[&backend.url()]);
    let mut client = scene.connect();
    client.send(get("/"));
    backend.wait_for_requests(1);
    scene.proxy.signal(Signal::SIGINT);
    assert_eq!(scene.proxy.wait_for_exit().code(), Some(0));
    client.try_response(false).expect_err("it was cut");
}

#[test]
fn a_tunnel_lives_on_in_a_drain_until_the_graceful_wait_ends() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
        assert_eq!(peer.wire.exactly(4).unwrap(), b"ping");
        peer.send("pong");
        peer.hold();
    });
    let mut scene = Scene::with(json!({ "server": { "gracefulWait": 2 } }), &[&backend.url()]);
    let mut client = scene.connect();
    assert_eq!(client.ask(request("GET", "/", "Connection: Upgrade\r\nUpgrade: x\r\n")).status, 101);
    scene.proxy.signal(Signal::SIGTERM);
    scene.proxy.wait_for_log("draining");
    assert_eq!(client.send("ping").exactly(4), b"pong");
    assert_eq!(scene.proxy.wait_for_exit().code(), Some(0));
    client.expect_end();
}

#[test]
fn sighup_does_not_stop_it() {
    let backend = Backend::saying("x");
    let scene = Scene::of(&backend);
    scene.proxy.signal(Signal::SIGHUP);
    scene.proxy.wait_for_log("SIGHUP");
    assert_eq!(scene.ask(get("/")).status, 200);
}

#[test]
fn without_bind_all_addresses_are_listened_on() {
    let backend = Backend::saying("x");
    let scene = Scene::with(json!({ "server": { "bind": null } }), &[&backend.url()]);
    let addresses = scene.proxy.addresses();
    assert!(
        addresses.iter().any(|address| address.is_ipv4() && address.ip().is_unspecified()),
        "{addresses:?}"
    );
    for address in addresses {
        let loopback = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
        let to = (loopback.parse::<std::net::IpAddr>().unwrap(), address.port());
        assert_eq!(Client::to(to.into()).ask(get("/")).status, 200);
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let backend = Backend::silent();
    let mut scene = Scene::of(&backend);
    let mut client = scene.connect();
    client.send(get("/"));
    backend.wait_for_requests(1);
    scene.proxy.signal(Signal::SIGTERM);
    scene.proxy.wait_for_log("draining");
    scene.proxy.signal(Signal::SIGTERM);
    // The backend stays silent and the graceful wait is 30 s: only the second signal can end it in time.
    scene.proxy.wait_for_exit();
}

#[test]
fn an_idle_proxy_stops_with_0() {
    let mut proxy = Proxy::start(json!({ "redis": { "port": 1 } }));
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.wait_for_exit().code(), Some(0));
}

#[test]
fn several_addresses_are_listened_on() {
    let backend = Backend::saying("x");
    let bind = json!([{ "address": "127.0.0.1", "port": 0 }, { "address": "127.0.0.2", "port": 0 }]);
    let scene = Scene::with(json!({ "server": { "bind": bind } }), &[&backend.url()]);
    let addresses = scene.proxy.addresses();
    assert_eq!(addresses.len(), 2);
    for address in addresses {
        assert_eq!(Client::to(address).ask(get("/")).status, 200);
        let head = backend.requests().last().unwrap().head.clone();
        assert_eq!(head.get("x-forwarded-port"), Some(address.port().to_string().as_str()));
    }
}

#[test]
fn a_port_in_use_exits_with_1_and_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut proxy = Proxy::launch(json!({ "server": { "port": address.port() } }));
    assert_eq!(proxy.wait_for_exit().code(), Some(1));
    proxy.wait_for_log("server.port");
    let log = proxy.log();
    // The rest bears a time and a level: tests may run as root, which the start warns of.
    let lines: Vec<&String> = log.iter().filter(|line| !line.starts_with('[')).collect();
    assert!(lines.len() == 1 && lines[0].contains(&address.to_string()), "{log:#?}");
}

#[test]
fn a_second_proxy_cannot_share_the_port() {
    let first = Proxy::start(json!({ "redis": { "port": 1 } }));
    let mut second = Proxy::launch(json!({ "server": { "port": first.address().port() } }));
    assert_eq!(second.wait_for_exit().code(), Some(1));
}

#[test]
fn a_bad_config_exits_with_1_and_a_line_a_fault() {
    let mut proxy =
        Proxy::launch(json!({ "server": { "port": "x", "prot": 1, "timeouts": { "connect": -1 } } }));
    assert_eq!(proxy.wait_for_exit().code(), Some(1));
    for path in ["server.port", "server.prot", "server.timeouts.connect"] {
        proxy.wait_for_log(path);
    }
    assert_eq!(proxy.log().len(), 3, "{:#?}", proxy.log());
}

#[test]
fn an_access_log_that_cannot_be_opened_exits_with_1() {
    let mut proxy = Proxy::launch(json!({ "server": { "accessLog": "/no/such/folder/access.log" } }));
    assert_eq!(proxy.wait_for_exit().code(), Some(1));
    proxy.wait_for_log("/no/such/folder/access.log");
}

#[test]
fn a_broken_table_file_at_start_exits_with_1() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("routes.json"), "[").unwrap();
    let mut proxy = Proxy::launch_in(dir, json!({ "driver": "file:routes.json" }));
    assert_eq!(proxy.wait_for_exit().code(), Some(1));
    proxy.wait_for_log("routes.json");
}

#[test]
fn the_start_line_names_cores_driver_and_store() {
    let proxy = Proxy::start(json!({ "server": { "workers": 1 }, "redis": { "port": 1 } }));
    let line = proxy.wait_for_log("serving on 1 core with");
    assert!(line.contains("io_uring") || line.contains("epoll"), "{line}");
    assert!(line.contains("Redis"), "{line}");
}

#[test]
fn descriptors_do_not_leak() {
    let backend = Backend::saying("x");
    let scene = Scene::with(json!({ "server": { "workers": 1, "httpKeepAlive": false } }), &[&backend.url()]);
    let fds = || std::fs::read_dir(format!("/proc/{}/fd", scene.proxy.id())).unwrap().count();
    scene.ask(get("/"));
    let before = fds();
    for stage in 0..400 {
        let mut client = scene.connect();
        let whole = request("POST", "/", "Content-Length: 4\r\n") + "body";
        client.send(&whole[..whole.len() * (stage % 5) / 4]);
        if stage % 3 == 0 {
            client.reset();
        }
    }
    wait::until("as many descriptors as before", || fds() <= before + 2);
    assert_eq!(scene.ask(get("/")).status, 200);
}

/// Of the process: real, effective, saved and file system user.
fn users(process: u32) -> Vec<u32> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    line.split_whitespace().map(|user| user.parse().unwrap()).collect()
}

#[test]
fn root_becomes_the_user_for_good_and_others_stay_who_they_are() {
    let dir = tempfile::tempdir().unwrap();
    // What it becomes must reach its config file and its executable.
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let redis = Redis::start();
    let config =
        json!({ "user": "nobody", "redis": { "port": redis.port }, "server": { "staticDir": null } });
    let proxy = Proxy::launch_in(dir, config);
    wait::until("it serves", || proxy.count_in_log("serving on ") == 1);
    if !nix::unistd::geteuid().is_root() {
        proxy.wait_for_log("without effect, as this process is not root: user");
        return;
    }
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    assert_eq!(users(proxy.id()), [nobody; 4]);
    for task in std::fs::read_dir(format!("/proc/{}/task", proxy.id())).unwrap() {
        let task = task.unwrap().file_name().into_string().unwrap().parse().unwrap();
        assert_eq!(users(task), [nobody; 4]);
    }
    assert_eq!(proxy.connect().ask(get_from("unknown.example", "/")).status, 400);
    proxy.signal(Signal::SIGUSR1);
    proxy.wait_for_log("opened anew");
    proxy.reload(json!({ "server": { "retryOnError": 1 } }));
    proxy.wait_for_log("the configuration was read anew and is in force");
}

#[test]
fn a_service_manager_is_told_of_every_change() {
    let dir = tempfile::tempdir().unwrap();
    let manager = std::os::unix::net::UnixDatagram::bind(dir.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let hear = || {
        let mut said = [0; 200];
        let count = manager.recv(&mut said).unwrap();
        String::from_utf8_lossy(&said[..count]).trim_end().to_owned()
    };
    let env = [("NOTIFY_SOCKET", dir.path().join("notify")), ("WATCHDOG_USEC", "3000000".into())];
    let proxy = Proxy::launch_with(tempfile::tempdir().unwrap(), json!({ "redis": { "port": 1 } }), &env);
    assert_eq!(hear(), "READY=1");
    assert_eq!(hear(), "WATCHDOG=1");
    proxy.reload(json!({ "server": { "retryOnError": 1 } }));
    let heard: Vec<String> = (0..4).map(|_| hear()).filter(|said| said != "WATCHDOG=1").take(2).collect();
    assert!(heard[0].starts_with("RELOADING=1") && heard[1] == "READY=1", "{heard:?}");
    proxy.signal(Signal::SIGTERM);
    assert!((0..4).any(|_| hear() == "STOPPING=1"));
}

#[test]
fn sockets_of_a_service_manager_are_listened_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let redis = Redis::start();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.json");
    let text = json!({ "server": { "bind": "127.0.0.1", "port": address.port(), "workers": 2, "accessLog": null },
        "redis": { "port": redis.port } });
    std::fs::write(&config, text.to_string()).unwrap();
    // As systemd does it: the socket is descriptor 3, and LISTEN_PID the process that is to have it.
    let script = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_FDS='1', \
        LISTEN_PID=str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])";
    nix::fcntl::fcntl(&listener, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let mut started = std::process::Command::new("python3")
        .args(["-c", script, &std::os::fd::AsRawFd::as_raw_fd(&listener).to_string()])
        .args([env!("CARGO_BIN_EXE_cjs-proxy"), "run", "-c", &config.display().to_string()])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    drop(listener);
    let mut clients: Vec<_> = (0..16).map(|_| Client::to(address)).collect();
    for client in &mut clients {
        assert_eq!(client.ask(get_from("__ping__", "/")).status, 200);
    }
    started.kill().unwrap();
    started.wait().unwrap();
}

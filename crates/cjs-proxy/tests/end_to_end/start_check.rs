//! What `run` finds out about the configured Redis before it serves.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::routes_deployments::Sentinel;
use super::routing::wait_for;
use crate::support::backend::Backend;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::scene::SITE;

fn refused(config: Value) -> String {
    let mut proxy = Proxy::launch(config);
    assert_eq!(proxy.wait_for_exit().code(), Some(1), "{:#?}", proxy.log());
    proxy.wait_for_log("it is a ")
}

#[test]
fn a_node_of_a_cluster_is_refused_at_the_start() {
    let cluster = Redis::start_with(&["--cluster-enabled", "yes", "--requirepass", "s3cret"]);
    let own = json!({ "port": cluster.port, "password": "s3cret" });
    let said = format!("redis 127.0.0.1:{}: {}", cluster.port, redis_router::CLUSTER);
    assert_eq!(refused(json!({ "redis": own })), said);
    let alone = Redis::start();
    let as_master = json!({ "port": alone.port, "masterHost": "127.0.0.1", "masterPort": cluster.port,
        "masterPassword": "s3cret" });
    assert_eq!(refused(json!({ "redis": as_master })), said);
}

#[test]
fn a_sentinel_in_the_place_of_a_server_is_refused_at_the_start() {
    let redis = Redis::start();
    let sentinel = Sentinel::over(&redis);
    let said = refused(json!({ "redis": { "port": sentinel.port } }));
    assert!(said.contains("it is a sentinel, which holds no routes: name it in redis.sentinels"), "{said}");
}

#[test]
fn a_redis_that_cannot_be_asked_keeps_nobody_from_serving() {
    let backend = Backend::saying("fine");
    let redis = Redis::start_with(&["--requirepass", "s3cret"]);
    redis.signal(Signal::SIGSTOP);
    let proxy = Proxy::start(json!({ "redis": { "port": redis.port, "password": "s3cret" } }));
    redis.signal(Signal::SIGCONT);
    redis.route(SITE, &["site", &backend.url()]);
    wait_for(&proxy, SITE, "fine");
    let refusing = Proxy::start(json!({ "redis": { "port": redis.port, "password": "wrong" } }));
    refusing.wait_for_log("WRONGPASS");
    let absent = Redis::absent();
    Proxy::start(json!({ "redis": { "port": absent.port } }));
}

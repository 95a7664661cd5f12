//! A first path segment of three parts that selects a frontend of its own.

use serde_json::{Value, json};

use crate::support::backend::{Backend, ok};
use crate::support::scene::{SITE, Scene, get, get_from, request};
use crate::support::wait;

const VERSION: &str = "site.example:12-01-31";

fn on() -> Value {
    json!({ "server": { "apiVersions": true } })
}

/// Answers with its name and the target it was asked for.
fn mirror(name: &'static str) -> Backend {
    Backend::run(move |peer| {
        while let Some(request) = peer.request() {
            peer.send(ok(format!("{name} {}", request.target())));
        }
    })
}

/// The site and its version of January 2012.
fn versioned(config: Value) -> (Scene, [Backend; 2]) {
    let (site, version) = (mirror("site"), mirror("version"));
    let scene = Scene::with(config, &[&site.url()]);
    scene.redis.route(VERSION, &["version", &version.url()]);
    (scene, [site, version])
}

#[test]
fn the_segment_selects_the_version_and_is_taken_off() {
    let (scene, _backends) = versioned(on());
    for (target, seen) in [
        ("/12-01-31/users?x=1", "version /users?x=1"),
        ("/12-01-31/users/12-01-31/", "version /users/12-01-31/"),
        ("/12-01-31/", "version /"),
        ("/12-01-31", "version /"),
        ("/12-01-31?x=1", "version /?x=1"),
        ("/12-01-31//a//b", "version //a//b"),
        ("/12-01-31/%2e%2E/a%20b", "version /%2e%2E/a%20b"),
        ("/users/12-01-31", "site /users/12-01-31"),
        ("/", "site /"),
        ("/users?/12-01-31/", "site /users?/12-01-31/"),
    ] {
        assert_eq!(scene.ask(get(target)).text(), seen, "{target}");
    }
}

#[test]
fn a_version_that_is_not_set_is_a_path_like_any_other() {
    let (scene, _backends) = versioned(on());
    for target in [
        "/12-01-30/users",
        "/a-b-c",
        "/12-01/users",
        "/12-01-31-x/users",
        "/12-01-31x/users",
        "/12--31/users",
        "/-01-31/users",
        "/12-01-/users",
        "/--/users",
        "//12-01-31/users",
        "/12%2D01%2D31/users",
        "/.12-01-31/users",
    ] {
        assert_eq!(scene.ask(get(target)).text(), format!("site {target}"));
    }
}

#[test]
fn parts_need_not_be_numbers() {
    let (scene, backends) = versioned(on());
    scene.redis.route("site.example:v1-beta-2", &["beta", &backends[1].url()]);
    assert_eq!(scene.ask(get("/v1-beta-2/users")).text(), "version /users");
}

#[test]
fn two_or_four_parts_are_no_version() {
    let (scene, backends) = versioned(on());
    for segment in ["12-01", "12-01-31-59", "120131"] {
        scene.redis.route(&format!("site.example:{segment}"), &["never", &backends[1].url()]);
        let target = format!("/{segment}/users");
        assert_eq!(scene.ask(get(&target)).text(), format!("site {target}"));
    }
}

#[test]
fn without_the_option_a_version_is_a_path_like_any_other() {
    for config in [json!({}), json!({ "server": { "apiVersions": false } })] {
        let (scene, _backends) = versioned(config);
        assert_eq!(scene.ask(get("/12-01-31/users")).text(), "site /12-01-31/users");
    }
}

#[test]
fn versions_come_and_go_live() {
    let (scene, backends) = versioned(on());
    for _ in 0..3 {
        wait::until("it is there", || scene.ask(get("/12-01-31/users")).text() == "version /users");
        scene.redis.command(&format!("DEL frontend:{VERSION}"));
        wait::until("it is gone", || scene.ask(get("/12-01-31/users")).text() == "site /12-01-31/users");
        scene.redis.route(VERSION, &["version", &backends[1].url()]);
    }
}

#[test]
fn a_host_may_have_nothing_but_versions() {
    let (scene, backends) = versioned(on());
    scene.redis.route("only.example:12-01-31", &["only", &backends[1].url()]);
    assert_eq!(scene.ask(get_from("only.example", "/12-01-31/users")).text(), "version /users");
    assert_eq!(scene.ask(get_from("only.example", "/users")).status, 400);
    assert_eq!(scene.ask(get_from("only.example", "/12-01-30/users")).status, 400);
}

#[test]
fn the_spelling_of_the_host_does_not_matter() {
    let (scene, _backends) = versioned(on());
    for host in ["Site.Example", "site.example.", "site.example:8080"] {
        assert_eq!(scene.ask(get_from(host, "/12-01-31/users")).text(), "version /users", "{host}");
    }
    let absolute = "GET http://site.example/12-01-31/users HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(scene.ask(absolute).text(), "version /users");
}

#[test]
fn the_segment_is_taken_off_before_the_prefix_of_the_backend_is_put_on() {
    let (scene, backends) = versioned(on());
    scene.redis.route(VERSION, &["version", &format!("{}/base", backends[1].url())]);
    wait::until("the prefix is put on", || scene.ask(get("/12-01-31/users")).text() == "version /base/users");
    assert_eq!(scene.ask(get("/12-01-31")).text(), "version /base/");
}

#[test]
fn a_version_has_deaths_of_its_own() {
    let (scene, backends) = versioned(on());
    let dead = crate::support::mortal::dead();
    scene.redis.route(VERSION, &["version", &dead.url(), &backends[1].url()]);
    wait::until("a mark", || {
        assert_eq!(scene.ask(get("/12-01-31/users")).status, 200);
        scene.redis.marks(VERSION) == [0]
    });
    assert_eq!(scene.redis.marks(SITE), [0; 0]);
}

#[test]
fn versions_are_logged_as_asked_for() {
    let (scene, _backends) = versioned(on());
    scene.ask(request("GET", "/12-01-31/users", ""));
    let line = &scene.proxy.wait_for_access(1)[0];
    assert!(line.contains("\"GET /12-01-31/users HTTP/1.1\" 200") && line.contains("\"version\""), "{line}");
}

//! `routes` on a route table file, while a proxy serves it.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use super::routing::wait_for;
use crate::support::backend::Backend;
use crate::support::command::{Config, Ended, edit_at_once, routes};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;

/// A folder with a config and its table.
struct Table(TempDir);

impl Table {
    fn of(text: &str) -> Self {
        let table = Self(tempfile::tempdir().unwrap());
        std::fs::write(table.file(), text).unwrap();
        std::fs::write(table.0.path().join("c.json"), json!({ "driver": "file:routes.json" }).to_string())
            .unwrap();
        table
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("routes.json")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    fn routes(&self, arguments: &[&str]) -> Ended {
        routes(&self.0.path().join("c.json"), arguments, "")
    }
}

/// `routes` with the config of a running proxy.
fn by(proxy: &Proxy, arguments: &[&str]) -> Ended {
    routes(&proxy.dir().join("config.json"), arguments, "")
}

fn proxy_on(dir: TempDir) -> Proxy {
    let proxy = Proxy::launch_in(dir, json!({ "driver": "file:routes.json" }));
    proxy.wait_for_log("serving on ");
    proxy
}

#[test]
fn a_running_proxy_follows_the_edits() {
    let (first, second) = (Backend::saying("first"), Backend::saying("second"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("routes.json"), "{}").unwrap();
    let proxy = proxy_on(dir);
    by(&proxy, &["add", "a.example", &first.url()]).done();
    wait_for(&proxy, "a.example", "first");
    by(&proxy, &["add", "*.example", &second.url(), "--id", "rest"]).done();
    wait_for(&proxy, "b.example", "second");
    let shown = by(&proxy, &["show", "B.example:80", "--json"]).json();
    assert_eq!((&shown["key"], &shown["store"]), (&json!("frontend:*.example"), &json!(null)));
    assert_eq!(shown["backends"][0]["state"], json!(null));
    let text = by(&proxy, &["show", "b.example"]).done();
    assert!(text.contains("marks       of a table file are known to the running proxy alone"), "{text}");
    by(&proxy, &["remove", "a.example", &first.url()]).done();
    wait_for(&proxy, "a.example", "502");
    by(&proxy, &["remove", "a.example"]).done();
    wait_for(&proxy, "a.example", "second");
    let table = json!({ "a.example": ["a", first.url()] }).to_string();
    let counts = routes(&proxy.dir().join("config.json"), &["import", "-", "--prune"], &table).done();
    assert_eq!(counts, "1 added, 0 changed, 0 unchanged, 1 removed\n");
    wait_for(&proxy, "a.example", "first");
    wait_for(&proxy, "b.example", "400");
    assert_eq!(proxy.count_in_log("ERROR"), 0);
}

#[test]
fn the_layout_the_order_and_the_permissions_stay() {
    let text = "{\n  \"b.example\": [\"b\", \"http://h1\"],\n\n  \"a.example\" : [ \"a\" ],\n  \
                \"options:a.example\": {\"sticky\": \"cookie\", \"httpsRedirect\": true}\n}\n";
    let table = Table::of(text);
    std::fs::set_permissions(table.file(), PermissionsExt::from_mode(0o640)).unwrap();
    table.routes(&["add", "a.example", "http://h2"]).done();
    table.routes(&["add", "c.example", "http://h3"]).done();
    let expected = text
        .replace("[ \"a\" ]", "[ \"a\", \"http://h2\" ]")
        .replace("true}\n", "true},\n  \"c.example\": [ \"c.example\", \"http://h3\" ]\n");
    assert_eq!(table.text(), expected);
    assert_eq!(std::fs::metadata(table.file()).unwrap().permissions().mode() & 0o7777, 0o640);
    let before = (table.text(), std::fs::metadata(table.file()).unwrap().modified().unwrap());
    let nothing = table.routes(&["add", "c.example", "http://h3"]);
    assert!(nothing.err.contains("nothing was to be done"), "{nothing:?}");
    assert_eq!(before, (table.text(), std::fs::metadata(table.file()).unwrap().modified().unwrap()));
    let gone = table.routes(&["remove", "a.example"]);
    assert!(gone.err.contains("options:a.example stays"), "{gone:?}");
    let left: Vec<_> =
        std::fs::read_dir(table.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    let listed = table.routes(&["list"]);
    assert!(listed.err.contains("known to the running proxy alone"), "{listed:?}");
    assert_eq!(listed.out.lines().count(), 3);
}

#[test]
fn a_link_is_followed_and_the_proxy_notices() {
    let (backend, real) = (Backend::saying("fine"), tempfile::tempdir().unwrap());
    let (dir, file) = (tempfile::tempdir().unwrap(), real.path().join("real.json"));
    std::fs::write(&file, "{}").unwrap();
    symlink(&file, dir.path().join("routes.json")).unwrap();
    let proxy = proxy_on(dir);
    by(&proxy, &["add", "a.example", &backend.url()]).done();
    assert!(proxy.dir().join("routes.json").is_symlink());
    assert!(std::fs::read_to_string(&file).unwrap().contains("a.example"));
    wait_for(&proxy, "a.example", "fine");
}

#[test]
fn what_is_wrong_is_refused_and_the_file_stays() {
    let broken = Table::of("{ broken");
    for arguments in [&["list"][..], &["add", "a.example", "h"], &["export"]] {
        let told = broken.routes(arguments).failed();
        assert!(told.contains("routes.json") && told.contains("not a route table"), "{told}");
    }
    assert_eq!(broken.text(), "{ broken");
    let table = Table::of(r#"{"a.example": ["a", "http://h"]}"#);
    let upper = table.0.path().join("upper.json");
    std::fs::write(&upper, r#"{"A": ["a"]}"#).unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["add", "A.example", "h"], "lower case"),
        (&["add", "b.example", "ftp://h"], "unknown scheme"),
        (&["add", "a.example", "h2", "--id", "b"], "identifier \"a\""),
        (&["remove", "b.example"], "did you mean \"a.example\"?"),
        (&["remove", "a.example", "http://i"], "did you mean \"http://h\"?"),
        (
            &["show", "b.example"],
            "looked for frontend:b.example, frontend:*.example, frontend:*; did you mean",
        ),
        (&["import", upper.to_str().unwrap(), "--as-is"], "lower case"),
    ];
    for (arguments, said) in cases {
        let told = table.routes(arguments).failed();
        assert!(told.contains(said), "{arguments:?}: {told}");
    }
    assert_eq!(table.text(), r#"{"a.example": ["a", "http://h"]}"#);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let table = Table::of(r#"{"a.example": ["a"]}"#);
    // In the way of the new file, also for root.
    std::fs::create_dir(table.0.path().join(".routes.json.new")).unwrap();
    let told = table.routes(&["add", "a.example", "h"]).failed();
    assert!(told.contains(".routes.json.new") && told.contains("nothing was changed"), "{told}");
    assert_eq!(table.text(), r#"{"a.example": ["a"]}"#);
}

#[test]
fn editors_at_once_lose_nothing() {
    let table = Table::of("{}\n");
    edit_at_once(|arguments| table.routes(arguments));
    let listed = table.routes(&["list", "--json"]).json();
    assert_eq!((&listed[0]["backends"], &listed[0]["dead"]), (&json!(100), &json!(null)));
    assert_eq!(table.text().lines().count(), 3);
}

#[test]
fn a_table_moves_into_redis_and_back() {
    let text = "{\n  \"a.example\": [\"a\", \"http://h1\"],\n  \"options:a.example\": {\"httpsRedirect\": \"true\"},\n  \
                \"b.example\": [\"b\"]\n}\n";
    let (table, redis) = (Table::of(text), Redis::start());
    let exported = table.routes(&["export"]).done();
    let config = Config::redis(redis.port);
    config.routes_reading(&["import", "-"], &exported).done();
    assert_eq!(config.routes(&["export"]).done(), text);
    let other = Table::of("{}");
    let moved: &Path = &other.0.path().join("moved.json");
    std::fs::write(moved, &exported).unwrap();
    other.routes(&["import", moved.to_str().unwrap()]).done();
    assert_eq!(other.routes(&["export"]).done(), text);
}

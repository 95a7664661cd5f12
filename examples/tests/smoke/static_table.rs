//! The files of the example, on ports that are free here.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::process::proxy_of;
use super::wire::{ask, backend};

/// A file of the example.
fn shipped(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("static-table");
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn the_table_routes_each_host() {
    let ports = [("3000", backend("of www")), ("3001", backend("of echo")), ("3002", backend("of www"))];
    let mut table = shipped("routes.json");
    for (written, free) in ports {
        table = table.replace(&format!("127.0.0.1:{written}"), &format!("127.0.0.1:{free}"));
    }
    let table: Value = serde_json::from_str(&table).unwrap();
    let mut config: Value = serde_json::from_str(&shipped("config.json")).unwrap();
    config["server"]["port"] = 0.into();
    let (proxy, _folder) = proxy_of(&config, &table);
    let answers = [
        ("www.example", "of www"),
        ("shop.www.example", "of www"),
        ("echo.example", "of echo"),
        ("spread.example", "of www"),
    ];
    for (host, answer) in answers {
        assert!(ask(&proxy.address(), host).ends_with(answer), "{host}");
    }
    assert!(ask(&proxy.address(), "elsewhere.example").starts_with("HTTP/1.1 400 "));
}

//! The table of differences in docs/MIGRATION.md: the rows that files show, and the tests the rows name.

use std::path::{Path, PathBuf};

use super::{MACHINE, Machine};
use crate::config::differences::{self, DIFFERENCES};
use crate::config::json::Node;
use crate::config::{load, parse};

/// A row of docs/MIGRATION.md.
struct Row {
    number: u16,
    cells: Vec<String>,
}

fn rows() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/MIGRATION.md");
    let text = std::fs::read_to_string(path).unwrap();
    let row = |line: &str| {
        let cells: Vec<String> =
            line.strip_prefix('|')?.split('|').map(|cell| cell.trim().to_owned()).collect();
        Some(Row { number: cells[0].parse().ok()?, cells })
    };
    text.lines().filter_map(row).collect()
}

/// The numbers of the rows a text shows.
fn shown_by(text: &str, machine: Machine) -> Vec<u16> {
    let loaded = parse(Path::new("c.json"), text, machine);
    assert!(loaded.is_ok(), "{text}: {:?}", loaded.err());
    let hipache_04 = crate::config::written::is_hipache_04(&Node::parse(text).unwrap());
    differences::of(&Node::parse(text).unwrap(), hipache_04, machine)
        .map(|difference| difference.row)
        .collect()
}

#[test]
fn rows_are_whole_and_in_order() {
    for (place, row) in rows().iter().enumerate() {
        assert_eq!(usize::from(row.number), place + 1, "{:?}", row.cells);
        assert_eq!(row.cells.len(), 7, "{:?}", row.cells);
        assert!(row.cells[1..4].iter().all(|cell| !cell.is_empty()), "{:?}", row.cells);
    }
}

#[test]
fn the_rows_in_code_are_those_told_of_in_the_document() {
    let in_code: Vec<u16> = DIFFERENCES.iter().map(|difference| difference.row).collect();
    assert_eq!(in_code, (1..=19).collect::<Vec<u16>>());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/MIGRATION.md");
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains("Rows 1 to 19 are told by `check`"));
}

#[test]
fn every_row_names_a_test_that_exists() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let roots = [crates.join("cjs-proxy/tests"), crates.join("cjs-proxy/src"), crates];
    for Row { number, cells } in rows() {
        let named = cells[5].trim_matches('`');
        let (file, name) = named.split_once("::").unwrap_or_else(|| panic!("row {number}: {named}"));
        let path: Option<PathBuf> = roots.iter().map(|root| root.join(file)).find(|path| path.exists());
        let text =
            std::fs::read_to_string(path.unwrap_or_else(|| panic!("row {number}: no {file}"))).unwrap();
        let signature = format!("fn {name}(");
        let test = text.split("#[test]").skip(1).any(|test| test.trim_start().starts_with(&signature));
        assert!(test, "row {number}: no test {name} in {file}");
    }
}

#[test]
fn each_row_shows_where_it_should() {
    const CJS: &str = r#""redis": {"host": "127.0.0.1", "port": 6379}"#;
    let quiet = r#""accessLog": "a", "httpKeepAlive": false, "tcpTimeout": 5, "retryOnError": 3, "deadBackendOn500": true"#;
    let before = format!(r#"{quiet}, "port": 80, "address": ["0.0.0.0"], "address6": ["::1"]"#);
    let file = |server: &str, top: &str| {
        let comma = if top.is_empty() { "" } else { ", " };
        format!(r#"{{"server": {{{server}}}{comma}{top}}}"#)
    };
    let quiet_04 = r#""accessLog": "a", "httpKeepAlive": false, "deadBackendOn500": false"#;
    let http = r#""http": {"bind": ["127.0.0.1"]}"#;
    let table: &[(String, &[u16])] = &[
        ("{}".into(), &[]),
        (file(&before, ""), &[]),
        (file(r#""port": 80"#, ""), &[4, 5, 10, 14, 15, 16]),
        (file(r#""port": 80, "backlog": 9"#, ""), &[]),
        (file(&before, CJS), &[1, 3]),
        (file(&format!(r#"{before}, "errorMaxRetries": 3"#), CJS), &[1]),
        (file(&before, r#""redis": {"host": "10.0.0.1"}"#), &[1, 2, 3]),
        (file(&before, r#""redis": {"host": "localhost", "port": 6380}"#), &[1, 2, 3]),
        (file(&format!(r#"{quiet}, "port": 80, "address": ["0.0.0.0"]"#), ""), &[6]),
        (file(&format!(r#"{quiet}, "port": 80"#), r#""redisHost": "r""#), &[5]),
        (file(&format!(r#"{before}, "workers": 5, "lruCache": true"#), ""), &[12, 13]),
        (file(quiet_04, http), &[11]),
        (file(quiet_04, r#""driver": "redis:""#), &[7, 11]),
        (file(&format!(r#"{quiet_04}, "address6": ["::1"]"#), http), &[8, 11]),
        (file(quiet_04, &format!(r#"{http}, "redisHost": "r""#)), &[9, 11]),
        (file(r#""accessLog": null"#, http), &[10, 11, 15, 16]),
        (file(r#""staticDir": "src""#, r#""driver": "redis:""#), &[7, 10, 11, 15, 16, 17]),
        (file(r#""memoryLimit": 100"#, ""), &[19]),
        (file(r#""checkInterval": 1, "memoryLimit": 200"#, ""), &[19]),
    ];
    for (text, rows) in table {
        assert_eq!(shown_by(text, MACHINE), *rows, "{text}");
    }
    let root = Machine { root: true, ..MACHINE };
    assert_eq!(shown_by(&file(quiet_04, http), root), [11, 18]);
}

#[test]
fn the_files_of_the_program_itself_show_no_row() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    for name in ["config.json", "config_dev.json", "config_prod.json", "config_test.json"] {
        assert_eq!(load(&folder.join(name), MACHINE).unwrap().remarks, [], "{name}");
    }
}

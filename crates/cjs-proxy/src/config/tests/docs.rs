//! The schema against itself and against docs/CONFIG.md.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{at, effective};
use crate::config::json::Node;
use crate::config::kind::Kind;
use crate::config::schema::{Availability, Fallback, KEYS, Key, spellings};

/// The row of a key in docs/CONFIG.md.
fn row(key: &Key) -> String {
    let spellings: Vec<String> = key.spellings.iter().map(|other| format!("`{other}`")).collect();
    let default = match key.default {
        Fallback::Json(json) => format!("`{json}`"),
        Fallback::TcpTimeout => "`server.tcpTimeout`".into(),
        Fallback::UpToTcpTimeout(most) => format!("`{most}`, at most `server.tcpTimeout`"),
        Fallback::Words(words) => words.into(),
    };
    let availability = match key.availability {
        Availability::Now => "now".into(),
        Availability::AsRoot => "now as root; else without effect".into(),
        Availability::Ignored => "never: ignored with a warning".into(),
    };
    let cells = [
        format!("`{}`", key.path),
        spellings.join(", "),
        key.kind.accepted(),
        default,
        availability,
        key.meaning.into(),
    ];
    format!("| {} |", cells.join(" | ")).replace("|  |", "| |")
}

#[test]
fn every_spelling_is_unique() {
    let mut seen = HashSet::new();
    for spelling in spellings() {
        assert!(seen.insert(spelling), "{spelling} stands twice");
    }
}

#[test]
fn defaults_are_of_their_kind() {
    for key in KEYS {
        let Fallback::Json(json) = key.default else { continue };
        let node = Node::parse(json).unwrap();
        let free =
            matches!(key.kind, Kind::Section(_) | Kind::Shape(_)) || node == Node::Null || json == "\"\"";
        assert!(free || key.kind.parse(&node).is_ok(), "{}: {json}", key.path);
    }
}

/// A file that turns every section on and says nothing else.
fn sections_on(folder: &std::path::Path) -> String {
    json!({ "admin": { "port": 1 }, "healthCheck": {}, "rateLimit": {}, "server": { "https": { "certDir": folder } } }).to_string()
}

#[test]
fn defaults_are_in_force() {
    assert_eq!(at(&effective("{}"), "healthCheck"), Some(&Value::Null));
    let folder = tempfile::tempdir().unwrap();
    let config = effective(&sections_on(folder.path()));
    for key in KEYS {
        // What turns a section on is not left out.
        if ["admin.port", "https.certDir"].contains(&key.path)
            || key.availability != Availability::Now
            || matches!(key.kind, Kind::Section(_))
        {
            continue;
        }
        let default: Value = match key.default {
            Fallback::Json(json) => serde_json::from_str(json).unwrap(),
            Fallback::TcpTimeout => json!(30),
            Fallback::UpToTcpTimeout(most) => json!(most.min(30)),
            Fallback::Words(_) => continue,
        };
        assert_eq!(at(&config, key.path), Some(&default), "{}", key.path);
    }
}

#[test]
fn every_key_in_force_is_in_the_schema() {
    fn walk(above: &str, value: &Value) {
        let is_key = |key: &Key| key.path == above && !matches!(key.kind, Kind::Section(_));
        let members = value.as_object().filter(|_| !KEYS.iter().any(is_key));
        let Some(members) = members else {
            assert!(KEYS.iter().any(|key| key.path == above), "{above} is no key");
            return;
        };
        for (name, member) in members {
            let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            walk(&path, member);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    walk("", &effective(&sections_on(folder.path())));
}

#[test]
fn config_md_is_the_schema() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CONFIG.md");
    let text = std::fs::read_to_string(path).unwrap();
    let documented: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = KEYS.iter().map(row).collect();
    let lacking: Vec<&str> =
        expected.iter().map(String::as_str).filter(|row| !documented.contains(row)).collect();
    assert!(lacking.is_empty(), "docs/CONFIG.md lacks these rows:\n{}", lacking.join("\n"));
    for row in documented {
        assert!(expected.iter().any(|known| known == row), "docs/CONFIG.md has a row that is no key:\n{row}");
    }
}

//! Holds docs/OPERATIONS.md to the source: every log line that it quotes is one that is written, every metric one that is told of.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

/// Stands in a quoted line for what differs.
const DIFFERS: char = '…';

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// All code, its strings in one piece where they go over several lines.
fn source() -> String {
    let mut text = String::new();
    for file in files() {
        for line in fs::read_to_string(file).unwrap().lines() {
            match line.strip_suffix('\\') {
                Some(part) => text.push_str(part.trim_start()),
                None => text.push_str(&format!("{}\n", line.trim_start())),
            }
        }
    }
    text
}

/// The source files of all crates.
fn files() -> Vec<PathBuf> {
    let crates = fs::read_dir(root().join("crates")).unwrap();
    let mut folders: Vec<PathBuf> = crates.map(|entry| entry.unwrap().path().join("src")).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "rs" => files.push(path),
                _ => {}
            }
        }
    }
    files
}

/// The log lines that the document quotes: those that stand alone, and those in the first column of its last table.
fn quotes(document: &str) -> Vec<&str> {
    let (sections, table) = document.split_once("\n## You see").unwrap();
    let alone = sections.lines().filter_map(|line| line.strip_prefix("    "));
    let cells = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let spans = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    alone.chain(spans.filter(|span| !span.starts_with("cjs_proxy_"))).collect()
}

#[test]
fn quoted_log_lines_are_written() {
    let (document, source) = (document("OPERATIONS.md"), source());
    let quotes = quotes(&document);
    assert!(quotes.len() > 50, "{quotes:#?}");
    let is_written = |quote: &&str| {
        let mut parts = quote.split(DIFFERS).map(|part| part.trim_matches([' ', ':', ';', ',', '(', ')']));
        parts.all(|part| source.contains(part))
    };
    let unknown: Vec<&&str> = quotes.iter().filter(|quote| !is_written(quote)).collect();
    assert!(unknown.is_empty(), "no code writes {unknown:#?}");
}

#[test]
fn metrics_are_those_that_there_are() {
    let (operations, metrics) = (document("OPERATIONS.md"), document("METRICS.md"));
    let is_other = |letter: char| !letter.is_ascii_lowercase() && letter != '_';
    let named = operations.split(is_other).filter(|word| word.starts_with("cjs_proxy_"));
    let unknown: Vec<&str> = named.filter(|name| !metrics.contains(&format!("`{name}`"))).collect();
    assert!(unknown.is_empty() && operations.contains("cjs_proxy_"), "{unknown:?}");
}

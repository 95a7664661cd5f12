//! docs/dashboards asks for metrics and labels that the proxy really has.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::admin::{address, on, scrape};
use crate::support::scene::Scene;

/// Labels that Prometheus adds to what it scrapes.
const OF_TARGETS: [&str; 2] = ["instance", "job"];

fn file(name: &str) -> String {
    let path = format!("{}/../../docs/dashboards/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every query of the dashboard.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let asked = variables.filter_map(|variable| variable["query"]["query"].as_str());
    targets.map(|target| target["expr"].as_str().unwrap()).chain(asked).map(str::to_owned).collect()
}

/// Every expression of the rules: a line, or those indented below it.
fn expressions(rules: &str) -> Vec<String> {
    let parts = rules.split("        expr: ").skip(1);
    let expression = |part: &str| match part.strip_prefix("|\n") {
        Some(below) => {
            below.lines().take_while(|line| line.starts_with("          ")).collect::<Vec<_>>().join(" ")
        }
        None => part.lines().next().unwrap().to_owned(),
    };
    parts.map(expression).collect()
}

/// Names of metrics in a query.
fn metrics(query: &str) -> BTreeSet<&str> {
    let is_end = |character: char| !(character.is_ascii_alphanumeric() || character == '_');
    query.match_indices("cjs_proxy_").map(|(start, _)| query[start..].split(is_end).next().unwrap()).collect()
}

/// Labels that a query selects or sums by, with the values that it selects.
fn labels(query: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for part in query.split('{').skip(1) {
        for matcher in part.split('}').next().unwrap().split(',') {
            let (name, value) = matcher.split_once('=').expect(query);
            let values = value.trim_matches(['~', '"']).split('|').map(str::to_owned).collect();
            found.push((name.trim_end_matches('!').trim().to_owned(), values));
        }
    }
    for part in query.split(" by (").skip(1) {
        let names = part.split(')').next().unwrap().split(',');
        found.extend(names.map(|name| (name.trim().to_owned(), Vec::new())));
    }
    found
}

#[test]
fn dashboards_ask_for_what_there_is() {
    let scene = Scene::with(on(json!({ "rateLimit": {} })), &[]);
    let told = scrape(address(&scene.proxy));
    let (names, known) = (told.names(), told.labels());
    let dashboard: Value = serde_json::from_str(&file("grafana.json")).unwrap();
    let (queries, rules) = (queries(&dashboard), expressions(&file("alerts.yml")));
    assert!(queries.len() > 20 && rules.len() > 10, "{} {}", queries.len(), rules.len());
    let mut asked = BTreeSet::new();
    for query in queries.iter().chain(&rules) {
        asked.extend(metrics(query));
        for (name, values) in labels(query).iter().filter(|(name, _)| !OF_TARGETS.contains(&name.as_str())) {
            let of_name = known.get(name).unwrap_or_else(|| panic!("no label {name}: {query}"));
            let unknown = values.iter().find(|value| !of_name.contains(*value));
            assert_eq!(unknown, None, "no such {name}: {query}");
        }
    }
    for name in &asked {
        assert!(names.contains(*name), "there is no {name}");
    }
    let unused: Vec<_> =
        names.iter().filter(|name| !asked.iter().any(|used| name.starts_with(used))).collect();
    assert!(
        unused.iter().all(|name| name.ends_with("_sum") || name.ends_with("_count")),
        "not shown: {unused:?}"
    );
}

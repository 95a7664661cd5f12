//! Holds the layers of the data plane: reads what each module imports and fails where one looks upward, sideways
//! between steps, or from pure code at the outside world.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Modules from top to bottom. A module imports from its own layer and from those below. A folder counts as one
/// module, with all its files. Only the pure layer lies below the clock: it may not ask it.
const LAYERS: [(&str, &[&str]); 5] = [
    (
        "top",
        &[
            "supervisor",
            "admin",
            "metrics",
            "board",
            "checking",
            "upgrades",
            "handover",
            "control",
            "fleet",
            "event",
            "file_watch",
            "listening",
            "service",
            "certificate_watch",
            "watch",
        ],
    ),
    (
        "flow",
        &[
            "checker",
            "core",
            "context",
            "inbox",
            "conn",
            "exchange",
            "choice",
            "conversation",
            "hooks",
            "certificates",
            "handshakes",
            "refusals",
            "secured",
            "survey",
        ],
    ),
    (
        "I/O",
        &[
            "accept",
            "deadline",
            "dialer",
            "downstream",
            "log_writer",
            "memory",
            "message_reader",
            "readiness",
            "relay",
            "runtime",
            "socket",
            "stored_certificates",
            "stream",
            "upstream",
            "workers",
        ],
    ),
    ("clock", &["clock"]),
    (
        "pure",
        &[
            "access_log",
            "account",
            "answer",
            "api_version",
            "bounds",
            "buffer",
            "census",
            "debug_header",
            "error",
            "exposition",
            "http",
            "identity",
            "identity",
            "json_log",
            "pace",
            "pick",
            "proxy_header",
            "pure_path",
            "reload",
            "settings",
            "sticky",
        ],
    ),
];

/// Steps of an exchange. Only the exchange knows their order, so none knows another.
const STEPS: [&str; 5] = ["accept", "relay", "pick", "answer", "upstream"];

/// What pure code does not touch.
const OUTSIDE_WORLD: [&str; 10] = [
    "monoio",
    "nix::",
    "socket2",
    "io_uring",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixStream",
    "Instant::now",
    "SystemTime",
];

/// A source file: its module path and its code without comments and tests.
struct Module {
    path: Vec<String>,
    code: String,
}

impl Module {
    fn name(&self) -> String {
        self.path.join("::")
    }
}

/// One module's import of another, by their names.
type Import = (String, String);

#[test]
fn every_module_has_its_layer() {
    for module in modules() {
        assert!(
            layer(&module.name()).is_some(),
            "src/{}: unknown module; add it to the layer it belongs to in LAYERS of {}",
            module.name(),
            file!()
        );
    }
}

#[test]
fn no_module_looks_upward() {
    let describe = |(from, to): &Import| {
        let (above, below) = (layer(to)?, layer(from)?);
        let text = || format!("{from} ({}) imports {to} ({})", LAYERS[below].0, LAYERS[above].0);
        (above < below).then(text)
    };
    let upward: Vec<String> = imports(&modules()).iter().filter_map(describe).collect();
    assert!(upward.is_empty(), "{upward:#?}");
}

#[test]
fn no_module_imports_itself_by_way_of_others() {
    let mut of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (from, to) in imports(&modules()) {
        of.entry(from).or_default().insert(to);
    }
    let cycles: Vec<String> = of.keys().filter_map(|start| cycle(start, &of)).collect();
    assert!(cycles.is_empty(), "{cycles:#?}");
}

#[test]
fn steps_do_not_know_each_other() {
    let is_step = |module: &str| STEPS.contains(&unit(module));
    let is_sideways = |(from, to): &&Import| is_step(from) && is_step(to) && unit(from) != unit(to);
    let imports = imports(&modules());
    let sideways: Vec<&Import> = imports.iter().filter(is_sideways).collect();
    assert!(sideways.is_empty(), "{sideways:?}");
}

#[test]
fn pure_modules_touch_nothing_outside() {
    let pure = LAYERS.iter().position(|(name, _)| *name == "pure");
    let mut found = Vec::new();
    for module in modules().iter().filter(|module| layer(&module.name()) == pure) {
        for word in OUTSIDE_WORLD.iter().filter(|word| module.code.contains(*word)) {
            found.push(format!("src/{}: {word}", module.name()));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_leaves_know_neither_the_data_plane_nor_each_other() {
    for (leaf, unknown) in
        [("redis-router", ["proxy_core", "tls::"]), ("tls", ["proxy_core", "redis_router"])]
    {
        let manifest = std::fs::read_to_string(crates().join(leaf).join("Cargo.toml")).unwrap();
        let is_ours =
            |line: &str| ["proxy-core", "redis-router.", "tls."].iter().any(|own| line.starts_with(own));
        assert!(!manifest.lines().any(is_ours), "{leaf}");
        for file in sources(&crates().join(leaf).join("src")) {
            let code = code(&file);
            assert!(unknown.iter().all(|name| !code.contains(name)), "{}", file.display());
        }
    }
}

#[test]
fn tls_does_no_input_or_output() {
    for file in sources(&crates().join("tls/src")) {
        let code = code(&file);
        let found: Vec<_> = OUTSIDE_WORLD.iter().filter(|word| code.contains(*word)).collect();
        assert!(found.is_empty(), "{}: {found:?}", file.display());
    }
}

#[test]
fn config_and_json_stay_in_the_program() {
    for folder in ["proxy-core/src", "redis-router/src", "tls/src"] {
        for file in sources(&crates().join(folder)) {
            let code = code(&file);
            // The route table is JSON, so are reports of deaths and some answers to admins; the access log can be.
            let may = [
                "redis-router/src/file.rs",
                "redis-router/src/edit/held.rs",
                "redis-router/src/report.rs",
                "proxy-core/src/json_log.rs",
                "proxy-core/src/admin/json.rs",
            ];
            let is_exempt = may.iter().any(|exempt| file.ends_with(exempt));
            let reads_json = code.contains("serde") || code.contains("cjs_proxy::");
            assert!(
                is_exempt || !reads_json,
                "{}: config and JSON belong to crates/cjs-proxy",
                file.display()
            );
        }
    }
}

#[test]
fn imports_are_found_in_every_spelling() {
    let text = "use crate::a::{b, c::{D, self}, e};\n// use crate::comment;\nuse super::f;\nfn f() { crate::g::h() }\n\
                #[cfg(test)]\nmod tests {\n    use crate::test;\n}\nuse crate::{i, j::K as L};\n";
    let found = paths(&without_tests(text), &["x".into(), "y".into()]);
    let found: Vec<String> = found.iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["a::b", "a::c::D", "a::c", "a::e", "g::h", "i", "j::K", "x::f"]);
    let real = imports(&modules());
    for (from, to) in
        [("exchange", "relay"), ("upstream::connect", "upstream::pool"), ("http::request", "http::head")]
    {
        assert!(real.contains(&(from.into(), to.into())), "{from} does import {to}");
    }
}

/// The file or folder right under `src` that a module belongs to.
fn unit(module: &str) -> &str {
    module.split("::").next().unwrap()
}

/// Place of a module's layer, from the top.
fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, modules)| modules.contains(&unit(module)))
}

/// The way from `start` back to itself.
fn cycle(start: &str, imports: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    let mut open = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while let Some(way) = open.pop() {
        for next in imports.get(*way.last().unwrap()).into_iter().flatten() {
            let longer = [way.as_slice(), &[next.as_str()]].concat();
            if next == start {
                return Some(longer.join(" -> "));
            }
            if seen.insert(next) {
                open.push(longer);
            }
        }
    }
    None
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn modules() -> Vec<Module> {
    let src = crates().join("proxy-core/src");
    let mut modules = Vec::new();
    for file in sources(&src) {
        let place = file.strip_prefix(&src).unwrap().with_extension("");
        let mut path: Vec<String> = place.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        path.pop_if(|last| last == "mod");
        if path != ["lib"] {
            modules.push(Module { path, code: code(&file) });
        }
    }
    modules
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn code(file: &Path) -> String {
    without_tests(&std::fs::read_to_string(file).unwrap())
}

/// Source text without line comments and without what is compiled for tests only.
fn without_tests(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            // The item ends where its indentation comes back; a one-line item ends at once.
            let closing = line.replace("#[cfg(test)]", "}");
            if lines.next().is_some_and(|item| item.ends_with('{')) {
                lines.by_ref().take_while(|line| *line != closing).for_each(drop);
            }
            continue;
        }
        code.push_str(line.split("//").next().unwrap());
        code.push('\n');
    }
    code
}

/// Which module imports which.
fn imports(modules: &[Module]) -> BTreeSet<Import> {
    let names: BTreeSet<String> = modules.iter().map(Module::name).collect();
    let mut imports = BTreeSet::new();
    for module in modules {
        for path in paths(&module.code, &module.path) {
            let mut longest_first = (1..=path.len()).rev().map(|length| path[..length].join("::"));
            if let Some(to) = longest_first.find(|name| names.contains(name))
                && to != module.name()
            {
                imports.insert((module.name(), to));
            }
        }
    }
    imports
}

/// All paths of this crate that the code of module `at` names, in imports or in the middle of things.
fn paths(code: &str, at: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (start, base) in [("crate::", &[][..]), ("super::", &at[..at.len() - 1])] {
        for (place, _) in code.match_indices(start) {
            let is_whole_word =
                !code[..place].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if is_whole_word {
                tree(&code[place + start.len()..], base, &mut found);
            }
        }
    }
    found
}

/// Reads one path or use tree off the front of `text`; what follows it.
fn tree<'a>(text: &'a str, base: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        while !rest.trim_start().starts_with('}') {
            rest = tree(rest, base, found);
            // Past the comma, and past the new name after `as`.
            let end = rest.find([',', '}']).unwrap_or(rest.len());
            rest = rest[end..].trim_start_matches(',');
        }
        return rest.trim_start().strip_prefix('}').unwrap_or_default();
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let own = (name != "self" && !name.is_empty()).then(|| name.to_owned());
    let path = [base, own.as_slice()].concat();
    match rest.strip_prefix("::") {
        Some(deeper) => tree(deeper, &path, found),
        None => {
            found.push(path);
            rest
        }
    }
}

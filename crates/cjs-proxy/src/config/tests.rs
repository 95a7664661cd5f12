//! The config file from text to settings.

#[path = "../../../tls/tests/scene/authority.rs"]
mod authority;
mod bad;
mod differences;
mod docs;
mod good;
mod https;
mod rate_limit;
mod samples;

use std::path::Path;

use serde_json::Value;

use super::{Config, Machine, Remark, parse};

/// The same on every machine the tests run on.
const MACHINE: Machine = Machine { cpus: 4, root: false, memory: 8 << 30, now: 1_795_000_000 };

/// Loads a text as `c.json`.
fn load(text: &str) -> Result<Config, Vec<String>> {
    parse(Path::new("c.json"), text, MACHINE)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

/// The effective config of a text that must load.
fn effective(text: &str) -> Value {
    match load(text) {
        Ok(config) => config.effective,
        Err(faults) => panic!("{text}: {faults:?}"),
    }
}

/// The notes and warnings on a text that must load; the rows of the table of differences are another matter.
fn remarks(text: &str) -> Vec<String> {
    let own = |remark: &&Remark| !matches!(remark, Remark::Difference(_));
    match load(text) {
        Ok(config) => config.remarks.iter().filter(own).map(ToString::to_string).collect(),
        Err(faults) => panic!("{text}: {faults:?}"),
    }
}

/// The value at a key path.
fn at<'a>(config: &'a Value, path: &str) -> Option<&'a Value> {
    config.pointer(&format!("/{}", path.replace('.', "/")))
}

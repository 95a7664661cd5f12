//! The config file as an operator writes it, made into [`proxy_core::settings::Settings`]. No other part of
//! cjs-proxy knows a key's name or JSON.

mod addresses;
mod admin;
mod assemble;
mod differences;
mod effective;
mod file;
mod health_check;
mod https;
mod identity;
mod json;
mod kind;
mod levels;
mod locate;
mod pages;
mod rate_limit;
mod report;
mod schema;
mod store;
mod store_url;
mod suggest;
#[cfg(test)]
mod tests;
mod written;

use std::path::{Path, PathBuf};

use proxy_core::settings::Settings;

use crate::error_log::Levels;

pub(crate) use assemble::Machine;
pub(crate) use report::{Fault, Remark};

use json::Node;
use report::Report;
use written::Written;

/// A config file that can be run.
#[derive(Debug)]
pub(crate) struct Config {
    /// What the data plane runs by.
    pub(crate) settings: Settings,
    /// The same in the canonical spelling, secrets masked.
    pub(crate) effective: serde_json::Value,
    /// What to tell the operator.
    pub(crate) remarks: Vec<Remark>,
    /// How much the error log says.
    pub(crate) levels: Levels,
}

/// The file to use when none is named.
///
/// # Errors
/// Every path tried, if no file is there.
pub(crate) fn locate() -> Result<PathBuf, Vec<PathBuf>> {
    locate::find(std::env::var_os(locate::FLAVOR).as_deref())
}

/// Reads and checks a file.
///
/// # Errors
/// All faults of the file.
pub(crate) fn load(path: &Path, machine: Machine) -> Result<Config, Vec<Fault>> {
    match file::read(path) {
        Ok(text) => parse(path, &text, machine),
        Err(problem) => {
            let mut report = Report::new(path.to_owned());
            report.file_fault(&problem);
            Err(report.faults)
        }
    }
}

/// Checks the text of a file; `path` names it in messages and is where its relative `file:` address starts.
///
/// # Errors
/// All faults of the text.
pub(crate) fn parse(path: &Path, text: &str, machine: Machine) -> Result<Config, Vec<Fault>> {
    let mut report = Report::new(path.to_owned());
    let root = match Node::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let hint = if text.contains("undefined") { "; where it says undefined, say null" } else { "" };
            report.file_fault(&format!("not JSON: {error}{hint}"));
            return Err(report.faults);
        }
    };
    let written = Written::check(&root, machine, &mut report);
    let folder = path.parent().unwrap_or(Path::new(""));
    let assembled = assemble::assemble(&written, folder, machine, &mut report);
    if !report.faults.is_empty() {
        return Err(report.faults);
    }
    for difference in differences::of(&root, written.hipache_04, machine) {
        report.difference(difference.row, difference.sentence);
    }
    let effective = effective::effective(&assembled);
    Ok(Config { settings: assembled.settings, effective, remarks: report.remarks, levels: assembled.levels })
}

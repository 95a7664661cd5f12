//! What reading a config file found: faults that make it unusable, remarks that do not.

use std::fmt;
use std::path::PathBuf;

/// One fault of a config file: file, key path, value, accepted form, on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something to tell that does not keep the file from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remark {
    /// A value was adjusted.
    Note(String),
    /// Something in the file has no effect.
    Warning(String),
    /// A row of the table of differences shows in the file.
    Difference(String),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(text) => write!(f, "note: {text}"),
            Self::Warning(text) => write!(f, "warning: {text}"),
            Self::Difference(text) => f.write_str(text),
        }
    }
}

/// Collects the faults and remarks of one file.
#[derive(Debug)]
pub(crate) struct Report {
    file: PathBuf,
    pub(crate) faults: Vec<Fault>,
    pub(crate) remarks: Vec<Remark>,
}

impl Report {
    /// An empty report about `file`.
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file, faults: Vec::new(), remarks: Vec::new() }
    }

    /// A fault of the file as a whole.
    pub(crate) fn file_fault(&mut self, problem: &str) {
        let line = format!("{}: {problem}", self.file.display());
        self.faults.push(Fault(one_line(&line)));
    }

    /// A fault at a key.
    pub(crate) fn fault(&mut self, key: &str, problem: &str) {
        let line = format!("{}: {key}: {problem}", self.file.display());
        self.faults.push(Fault(one_line(&line)));
    }

    /// A value that was adjusted.
    pub(crate) fn note(&mut self, key: &str, text: &str) {
        self.remarks.push(Remark::Note(format!("{}: {key}: {text}", self.file.display())));
    }

    /// A row of the table of differences in docs/MIGRATION.md.
    pub(crate) fn difference(&mut self, row: u16, sentence: &str) {
        self.remarks.push(Remark::Difference(format!("MIGRATION.md row {row}: {sentence}")));
    }

    /// Something without effect.
    pub(crate) fn warn(&mut self, text: &str) {
        self.remarks.push(Remark::Warning(format!("{}: {text}", self.file.display())));
    }
}

/// A key or value may hold anything; a message stays one line.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

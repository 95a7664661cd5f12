//! Why a command ended, and the exit code it ends with.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Fault;

/// A command that did not succeed. `Display` prints one line a fault.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The operator's config file is wrong.
    Config(Vec<Fault>),
    /// No config file was named and none is where one is looked for.
    NoConfig(Vec<PathBuf>),
    /// The proxy did not start.
    Start(String),
    /// The routes could not be shown or changed.
    Routes(String),
    /// What a client has used could not be shown or forgotten.
    Limits(String),
    /// The command line asks for something that is not there.
    Usage(String),
}

impl Failure {
    /// 1 for a bad config, a failed start or routes that could not be had, 2 for usage.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::NoConfig(_) | Self::Start(_) | Self::Routes(_) | Self::Limits(_) => {
                ExitCode::from(1)
            }
            Self::Usage(_) => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(faults) => {
                let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::NoConfig(tried) => {
                let paths: Vec<String> = tried.iter().map(|path| path.display().to_string()).collect();
                write!(f, "no config file: tried {}; name one with -c", paths.join(", "))
            }
            Self::Start(problem) | Self::Routes(problem) | Self::Limits(problem) | Self::Usage(problem) => {
                f.write_str(problem)
            }
        }
    }
}

impl std::error::Error for Failure {}

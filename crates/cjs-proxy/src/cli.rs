//! The command line as typed, made into the command that is meant.

mod generate;
mod limits;
mod routes;

use std::path::PathBuf;

use argh::{ArgsInfo, CommandInfoWithArgs, FromArgs};

use crate::error::Failure;

pub(crate) use generate::Form;
pub(crate) use limits::LimitsCommand;
pub(crate) use routes::{Action, Import, RoutesCommand};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Serve.
    Run(Option<PathBuf>),
    /// Validate the config file and print what it means.
    Check(Option<PathBuf>),
    /// Have the running proxy replace its executable.
    Upgrade(Option<PathBuf>),
    /// Serve sample routes.
    Demo,
    /// Look at the routes of the configured store, or change them.
    Routes(RoutesCommand),
    /// Look at what a client has used of its limits, or forget it.
    Limits(LimitsCommand),
    /// Print the command line's own description.
    Generate(Form),
    /// Print the version.
    Version,
    /// Print a text and end: `--help`.
    Print(String),
}

#[derive(FromArgs, ArgsInfo)]
/// A distributed HTTP and WebSocket proxy: routes live in Redis and change without a restart.
/// Without a command: the same as run.
struct Arguments {
    /// config file; without it config/config.json (config_$SETTINGS_FLAVOR.json) here or in /etc/cjs-proxy
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
    /// validate the config file only: the same as check
    #[argh(switch, short = 'd')]
    dry: bool,
    /// print version, commit and io driver
    #[argh(switch)]
    version: bool,
    #[argh(subcommand)]
    command: Option<Subcommand>,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Subcommand {
    Run(Run),
    Check(Check),
    Demo(Demo),
    Upgrade(Upgrade),
    Routes(routes::Routes),
    Limits(limits::Limits),
    Generate(generate::Generate),
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "run")]
/// serve
struct Run {
    /// config file
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "check")]
/// validate the config file and print the effective config, secrets masked
struct Check {
    /// config file
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "upgrade")]
/// replace the executable of the running proxy without losing a connection
struct Upgrade {
    /// config file that the proxy runs by
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "demo")]
/// serve two sample backends on loopback, without Redis and without a config file
struct Demo {}

/// All commands and options there are.
pub(crate) fn tree() -> CommandInfoWithArgs {
    Arguments::get_args_info()
}

/// The command this process was started with.
///
/// # Errors
/// Usage.
pub(crate) fn command() -> Result<Command, Failure> {
    let mut typed = Vec::new();
    for argument in std::env::args_os().skip(1) {
        let text = argument.into_string().map_err(|raw| {
            Failure::Usage(format!("{} is not UTF-8; accepted: UTF-8 arguments", raw.to_string_lossy()))
        })?;
        typed.push(text);
    }
    parse(&typed.iter().map(String::as_str).collect::<Vec<_>>())
}

fn parse(typed: &[&str]) -> Result<Command, Failure> {
    let arguments = match Arguments::from_args(&["cjs-proxy"], &routes::with_stdin(typed)) {
        Ok(arguments) => arguments,
        Err(exit) if exit.status.is_ok() => return Ok(Command::Print(exit.output)),
        Err(exit) => return Err(Failure::Usage(exit.output.trim_end().to_owned())),
    };
    meant(arguments)
}

fn meant(arguments: Arguments) -> Result<Command, Failure> {
    if arguments.version {
        return Ok(Command::Version);
    }
    let Arguments { config, dry, command, .. } = arguments;
    match command {
        None if dry => Ok(Command::Check(config)),
        None => Ok(Command::Run(config)),
        Some(Subcommand::Run(run)) if dry => Ok(Command::Check(one(config, run.config)?)),
        Some(Subcommand::Run(run)) => Ok(Command::Run(one(config, run.config)?)),
        Some(Subcommand::Check(check)) => Ok(Command::Check(one(config, check.config)?)),
        Some(Subcommand::Demo(Demo {})) if config.is_some() || dry => {
            Err(Failure::Usage("demo takes no config file".into()))
        }
        Some(Subcommand::Demo(Demo {})) => Ok(Command::Demo),
        Some(Subcommand::Generate(_)) if config.is_some() || dry => {
            Err(Failure::Usage("generate takes no config file".into()))
        }
        Some(Subcommand::Generate(generate)) => Ok(Command::Generate(generate.form)),
        Some(Subcommand::Upgrade(_)) if dry => Err(Failure::Usage("upgrade cannot be tried dry".into())),
        Some(Subcommand::Upgrade(upgrade)) => Ok(Command::Upgrade(one(config, upgrade.config)?)),
        Some(Subcommand::Routes(_)) if dry => Err(Failure::Usage("routes cannot be tried dry".into())),
        Some(Subcommand::Limits(_)) if dry => Err(Failure::Usage("limits cannot be tried dry".into())),
        Some(Subcommand::Limits(limits)) => Ok(Command::Limits(limits.meant(config)?)),
        Some(Subcommand::Routes(routes)) => Ok(Command::Routes(routes.meant(config)?)),
    }
}

/// The file named before or after the command, but not both.
fn one(before: Option<PathBuf>, after: Option<PathBuf>) -> Result<Option<PathBuf>, Failure> {
    match (before, after) {
        (Some(_), Some(_)) => Err(Failure::Usage("-c stands twice; keep one".into())),
        (before, after) => Ok(before.or(after)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Option<PathBuf> {
        Some(PathBuf::from(name))
    }

    #[test]
    fn old_and_new_spellings_mean_the_same() {
        let table: &[(&[&str], Command)] = &[
            (&[], Command::Run(None)),
            (&["run"], Command::Run(None)),
            (&["-c", "f"], Command::Run(file("f"))),
            (&["--config", "f"], Command::Run(file("f"))),
            (&["run", "-c", "f"], Command::Run(file("f"))),
            (&["-c", "f", "run"], Command::Run(file("f"))),
            (&["-d"], Command::Check(None)),
            (&["--dry", "-c", "f"], Command::Check(file("f"))),
            (&["-c", "f", "-d"], Command::Check(file("f"))),
            (&["check", "-c", "f"], Command::Check(file("f"))),
            (&["-c", "f", "check"], Command::Check(file("f"))),
            (&["demo"], Command::Demo),
            (&["--version"], Command::Version),
            (&["generate", "man"], Command::Generate(Form::Man)),
            (&["generate", "zsh"], Command::Generate(Form::Zsh)),
            (&["upgrade", "-c", "x.json"], Command::Upgrade(Some("x.json".into()))),
        ];
        for (typed, command) in table {
            assert_eq!(parse(typed).ok().as_ref(), Some(command), "{typed:?}");
        }
    }

    #[test]
    fn usage_errors() {
        let table: &[(&[&str], &str)] = &[
            (&["-d", "routes", "list"], "routes cannot be tried dry"),
            (&["-d", "upgrade"], "upgrade cannot be tried dry"),
            (&["-c", "a", "upgrade", "-c", "b"], "-c stands twice; keep one"),
            (&["-c", "a", "run", "-c", "b"], "-c stands twice; keep one"),
            (&["-c", "a", "demo"], "demo takes no config file"),
            (&["-c", "a", "generate", "man"], "generate takes no config file"),
            (&["generate", "tcsh"], "accepted: man, bash, zsh, fish"),
            (&["serve"], "Unrecognized argument: serve"),
            (&["-c"], "No value provided for option '-c'."),
        ];
        for (typed, message) in table {
            match parse(typed) {
                Err(Failure::Usage(text)) => assert!(text.contains(message), "{typed:?}: {text}"),
                other => panic!("{typed:?}: {other:?}"),
            }
        }
    }
}

//! The command `routes` as typed.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use crate::error::Failure;

/// What is to be done with the routes of the store that a config file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoutesCommand {
    pub(crate) config: Option<PathBuf>,
    /// Print JSON.
    pub(crate) json: bool,
    pub(crate) action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    List,
    Show { host: String },
    Add { host: String, id: Option<String>, backends: Vec<String> },
    Remove { host: String, backend: Option<String> },
    Import(Import),
    Export,
}

/// A table that is to be written into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    pub(crate) file: PathBuf,
    /// Take away what is not in it.
    pub(crate) prune: bool,
    /// Take what a proxy would not use too.
    pub(crate) as_is: bool,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "routes")]
/// look at the routes of the configured store, and change them
pub(super) struct Routes {
    /// config file that names the store
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
    /// print JSON
    #[argh(switch)]
    json: bool,
    #[argh(subcommand)]
    what: What,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum What {
    List(List),
    Show(Show),
    Add(Add),
    Remove(Remove),
    Import(ImportTyped),
    Export(Export),
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "list")]
/// every frontend: host, number of backends, how many are marked dead, identifier
struct List {
    /// config file that names the store
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "show")]
/// what serves a host: the key that matches, its options, its backends, which are dead and why
struct Show {
    /// config file that names the store
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
    /// print JSON
    #[argh(switch)]
    json: bool,
    #[argh(positional)]
    /// host as a client sends it, or a wildcard as it is written
    host: String,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "add")]
/// add backends to a host; a host without a frontend gets one
struct Add {
    /// config file that names the store
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// identifier of a new frontend; without it, the host
    #[argh(option, arg_name = "name")]
    id: Option<String>,
    #[argh(positional)]
    /// host, host:port, *.parent or *
    host: String,
    #[argh(positional)]
    /// backend: [http:// or https://]host[:port][/prefix][#weight=3&drain&insecure]
    backends: Vec<String>,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "remove")]
/// remove a backend of a host, or the whole frontend
struct Remove {
    /// config file that names the store
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
    /// print JSON
    #[argh(switch)]
    json: bool,
    #[argh(positional)]
    /// host as list prints it
    host: String,
    #[argh(positional)]
    /// backend as show prints it; without one, the whole frontend goes
    backend: Option<String>,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "import")]
/// replace hosts by those of a route table file, as export prints it
struct ImportTyped {
    /// config file that names the store
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// remove the hosts that the file does not name
    #[argh(switch)]
    prune: bool,
    /// take hosts, backends and options too that a proxy does not use
    #[argh(switch)]
    as_is: bool,
    #[argh(positional)]
    /// the file; - reads standard input
    file: PathBuf,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "export")]
/// print all routes as a route table file
struct Export {
    /// config file that names the store
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
    /// changes nothing: it is JSON
    #[argh(switch)]
    json: bool,
}

impl Routes {
    /// The command that is meant; `config` was named before it.
    ///
    /// # Errors
    /// Usage.
    pub(super) fn meant(self, config: Option<PathBuf>) -> Result<RoutesCommand, Failure> {
        let (own, json, action) = match self.what {
            What::List(typed) => (typed.config, typed.json, Action::List),
            What::Show(typed) => (typed.config, typed.json, Action::Show { host: typed.host }),
            What::Add(typed) if typed.backends.is_empty() => {
                return Err(Failure::Usage(
                    "routes add names no backend; accepted: routes add HOST BACKEND…".into(),
                ));
            }
            What::Add(Add { config, json, id, host, backends }) => {
                (config, json, Action::Add { host, id, backends })
            }
            What::Remove(Remove { config, json, host, backend }) => {
                (config, json, Action::Remove { host, backend })
            }
            What::Import(ImportTyped { config, json, prune, as_is, file }) => {
                (config, json, Action::Import(Import { file, prune, as_is }))
            }
            What::Export(typed) => (typed.config, typed.json, Action::Export),
        };
        let config = super::one(super::one(config, self.config)?, own)?;
        Ok(RoutesCommand { config, json: self.json || json, action })
    }
}

/// `-` as a file is the standard input; argh takes it for an option.
pub(super) fn with_stdin<'a>(typed: &[&'a str]) -> Vec<&'a str> {
    typed.iter().map(|argument| if *argument == "-" { "/dev/stdin" } else { argument }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Command, parse};
    use super::{Action, Import, RoutesCommand};
    use crate::error::Failure;

    fn command(config: Option<&str>, json: bool, action: Action) -> Command {
        Command::Routes(RoutesCommand { config: config.map(Into::into), json, action })
    }

    #[test]
    fn every_spelling_is_understood() {
        let show = || Action::Show { host: "h".into() };
        let import = |prune, as_is| Action::Import(Import { file: "/dev/stdin".into(), prune, as_is });
        let table: &[(&[&str], Command)] = &[
            (&["routes", "list"], command(None, false, Action::List)),
            (&["-c", "f", "routes", "list", "--json"], command(Some("f"), true, Action::List)),
            (&["routes", "-c", "f", "--json", "list"], command(Some("f"), true, Action::List)),
            (&["routes", "show", "h", "--config", "f"], command(Some("f"), false, show())),
            (
                &["routes", "add", "h", "a", "b", "--id", "i"],
                command(
                    None,
                    false,
                    Action::Add {
                        host: "h".into(),
                        id: Some("i".into()),
                        backends: vec!["a".into(), "b".into()],
                    },
                ),
            ),
            (
                &["routes", "remove", "h", "b"],
                command(None, false, Action::Remove { host: "h".into(), backend: Some("b".into()) }),
            ),
            (
                &["routes", "remove", "h"],
                command(None, false, Action::Remove { host: "h".into(), backend: None }),
            ),
            (&["routes", "import", "-", "--prune"], command(None, false, import(true, false))),
            (
                &["routes", "import", "--as-is", "-", "-c", "f"],
                command(Some("f"), false, import(false, true)),
            ),
            (&["routes", "export"], command(None, false, Action::Export)),
        ];
        for (typed, command) in table {
            assert_eq!(parse(typed).ok().as_ref(), Some(command), "{typed:?}");
        }
    }

    #[test]
    fn usage_errors_are_told() {
        let table: &[(&[&str], &str)] = &[
            (&["routes"], "subcommand"),
            (&["routes", "add", "h"], "names no backend"),
            (&["routes", "add"], "host"),
            (&["routes", "show"], "host"),
            (&["routes", "show", "a", "b"], "Unrecognized argument: b"),
            (&["routes", "import"], "file"),
            (&["-c", "a", "routes", "list", "-c", "b"], "-c stands twice"),
            (&["routes", "-c", "a", "list", "-c", "b"], "-c stands twice"),
        ];
        for (typed, message) in table {
            match parse(typed) {
                Err(Failure::Usage(text)) => assert!(text.contains(message), "{typed:?}: {text}"),
                other => panic!("{typed:?}: {other:?}"),
            }
        }
    }
}

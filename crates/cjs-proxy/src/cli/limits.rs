//! The command `limits` as typed.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use crate::error::Failure;

/// What is to be done with what one client has used of its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LimitsCommand {
    pub(crate) config: Option<PathBuf>,
    /// Print JSON.
    pub(crate) json: bool,
    /// An address, or a name that is in a tier.
    pub(crate) client: String,
    /// Forget it.
    pub(crate) reset: bool,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "limits")]
/// look at what a client has used of its rate limits, or forget it
pub(super) struct Limits {
    /// config file that names the store and the tiers
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
    Show(Show),
    Reset(Reset),
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "show")]
/// what a client has used of each tier, with what cores have in hand for it
struct Show {
    /// config file that names the store and the tiers
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
    /// print JSON
    #[argh(switch)]
    json: bool,
    #[argh(positional)]
    /// client: its address; with rateLimit.key "identity", its name
    client: String,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "reset")]
/// forget what a client has used of every tier; it is in force within a second
struct Reset {
    /// config file that names the store and the tiers
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
    /// print JSON
    #[argh(switch)]
    json: bool,
    #[argh(positional)]
    /// client: its address; with rateLimit.key "identity", its name
    client: String,
}

impl Limits {
    /// The command that is meant; `config` was named before it.
    ///
    /// # Errors
    /// Usage.
    pub(super) fn meant(self, config: Option<PathBuf>) -> Result<LimitsCommand, Failure> {
        let (own, json, client, reset) = match self.what {
            What::Show(Show { config, json, client }) => (config, json, client, false),
            What::Reset(Reset { config, json, client }) => (config, json, client, true),
        };
        let config = super::one(super::one(config, self.config)?, own)?;
        Ok(LimitsCommand { config, json: self.json || json, client, reset })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, parse};
    use super::LimitsCommand;
    use crate::error::Failure;

    #[test]
    fn spellings() {
        let command = |config: Option<&str>, json, reset| {
            let (config, client) = (config.map(Into::into), "10.0.0.1".into());
            Command::Limits(LimitsCommand { config, json, client, reset })
        };
        let table: &[(&[&str], Command)] = &[
            (&["limits", "show", "10.0.0.1"], command(None, false, false)),
            (&["limits", "reset", "10.0.0.1", "-c", "f"], command(Some("f"), false, true)),
            (&["-c", "f", "limits", "--json", "show", "10.0.0.1"], command(Some("f"), true, false)),
        ];
        for (typed, command) in table {
            assert_eq!(parse(typed).ok().as_ref(), Some(command), "{typed:?}");
        }
        for (typed, message) in [
            (&["limits"][..], "subcommand"),
            (&["limits", "show"], "client"),
            (&["-d", "limits", "show", "x"], "limits cannot be tried dry"),
        ] {
            match parse(typed) {
                Err(Failure::Usage(text)) => assert!(text.contains(message), "{typed:?}: {text}"),
                other => panic!("{typed:?}: {other:?}"),
            }
        }
    }
}

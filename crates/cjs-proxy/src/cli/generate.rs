//! The command `generate` as typed.

use argh::{ArgsInfo, FromArgs};

/// What the command line is described in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Man,
    Bash,
    Zsh,
    Fish,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "generate")]
/// print the man page, or the completions of a shell
pub(super) struct Generate {
    #[argh(positional, from_str_fn(form))]
    /// man, bash, zsh or fish
    pub(super) form: Form,
}

fn form(typed: &str) -> Result<Form, String> {
    match typed {
        "man" => Ok(Form::Man),
        "bash" => Ok(Form::Bash),
        "zsh" => Ok(Form::Zsh),
        "fish" => Ok(Form::Fish),
        _ => Err("accepted: man, bash, zsh, fish".into()),
    }
}

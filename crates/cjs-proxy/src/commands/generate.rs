//! `generate`: the man page and the completions of shells, made from the command line as it is declared. Packages have them
//! made when they are built, so that none of them can lag behind.

mod bash;
mod fish;
mod man;
mod place;
mod zsh;

use crate::cli::{self, Form};

const PROGRAM: &str = "cjs-proxy";

/// The whole text in one form.
pub(super) fn text(form: Form) -> String {
    let tree = cli::tree();
    let places = place::places(&tree);
    match form {
        Form::Man => man::page(&places),
        Form::Bash => bash::script(&places),
        Form::Zsh => zsh::script(&places),
        Form::Fish => fish::script(&places),
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, cli, place, text};

    /// Every command and option stands in every form, an option as often as it is declared.
    #[test]
    fn nothing_is_left_out() {
        let tree = cli::tree();
        let places = place::places(&tree);
        assert!(places.iter().any(|place| place.path == ["routes", "show"]));
        let flags: Vec<&str> =
            places.iter().flat_map(|place| place.command.flags).map(|flag| flag.long).collect();
        for form in [Form::Man, Form::Bash, Form::Zsh, Form::Fish] {
            let text = text(form).replace("\\-", "-");
            for path in places.iter().map(|place| place.path.join(" ")) {
                assert!(text.contains(&path) || text.contains(&path.replace(' ', "_")), "{form:?}: {path}");
            }
            let dashes = if form == Form::Fish { "-l " } else { "--" };
            for flag in &flags {
                let name = flag.replace("--", dashes);
                let declared = flags.iter().filter(|other| *other == flag).count();
                assert!(text.matches(&name).count() >= declared, "{form:?}: {name}");
            }
        }
    }
}

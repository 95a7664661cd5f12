//! The commands in the order they are described: each before those below it.

use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind};

/// One command and where it stands.
pub(super) struct Place<'a> {
    /// The words that lead to it, without the program's name.
    pub(super) path: Vec<&'a str>,
    pub(super) command: &'a CommandInfoWithArgs,
}

/// `tree` and all commands below it.
pub(super) fn places(tree: &CommandInfoWithArgs) -> Vec<Place<'_>> {
    let mut places = Vec::new();
    visit(Vec::new(), tree, &mut places);
    places
}

fn visit<'a>(path: Vec<&'a str>, command: &'a CommandInfoWithArgs, places: &mut Vec<Place<'a>>) {
    places.push(Place { path: path.clone(), command });
    for below in &command.commands {
        visit([path.as_slice(), &[below.name]].concat(), &below.command, places);
    }
}

impl Place<'_> {
    /// The words from the program's name on, with `between` them.
    pub(super) fn name(&self, between: &str) -> String {
        [&[super::PROGRAM], self.path.as_slice()].concat().join(between)
    }

    /// Whether a file may follow.
    pub(super) fn takes_file(&self) -> bool {
        self.command.positionals.iter().any(|positional| positional.name == "file")
    }

    /// The words that one of its arguments is one of.
    pub(super) fn choices(&self) -> &'static [&'static str] {
        if self.path == ["generate"] { &["man", "bash", "zsh", "fish"] } else { &[] }
    }
}

/// What the value of `flag` is called; `None`: it has none.
pub(super) fn value<'a>(flag: &FlagInfo<'a>) -> Option<&'a str> {
    match flag.kind {
        FlagInfoKind::Switch => None,
        FlagInfoKind::Option { arg_name } => Some(arg_name),
    }
}

/// Its spellings, the short one first.
pub(super) fn spellings(flag: &FlagInfo<'_>) -> Vec<String> {
    flag.short.map(|short| format!("-{short}")).into_iter().chain([flag.long.to_owned()]).collect()
}

/// The spellings of all options that have a value; of those alone whose value is called `name`.
pub(super) fn with_value(places: &[Place<'_>], name: Option<&str>) -> Vec<String> {
    let flags = places.iter().flat_map(|place| place.command.flags);
    let mut all: Vec<String> = flags
        .filter(|flag| value(flag).is_some_and(|value| name.is_none_or(|name| name == value)))
        .flat_map(spellings)
        .collect();
    all.sort();
    all.dedup();
    all
}

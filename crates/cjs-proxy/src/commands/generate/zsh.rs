//! Completions for zsh: a function for each command.

use argh::{FlagInfo, Optionality, PositionalInfo};

use super::place::{Place, spellings, value};

pub(super) fn script(places: &[Place<'_>]) -> String {
    let mut script =
        "#compdef cjs-proxy\n# Completions of cjs-proxy for zsh, made by `cjs-proxy generate zsh`.\n"
            .to_owned();
    // Below first: a function that is called stands above its caller.
    for place in places.iter().rev() {
        script += &function(place);
    }
    script + "\n_cjs-proxy \"$@\"\n"
}

fn function(place: &Place<'_>) -> String {
    let mut lines: Vec<String> = place.command.flags.iter().map(option).collect();
    let name = place.name("_");
    if place.command.commands.is_empty() {
        lines.extend(place.command.positionals.iter().map(|positional| argument(place, positional)));
        return format!("\n_{name}() {{\n  _arguments \\\n    {}\n}}\n", lines.join(" \\\n    "));
    }
    lines.push("'1:command:->command'".into());
    lines.push("'*::argument:->argument'".into());
    let below = &place.command.commands;
    let described: Vec<String> =
        below.iter().map(|below| quoted(&format!("{}:{}", below.name, below.command.description))).collect();
    let calls: Vec<String> = below.iter().map(|below| format!("{0}) _{name}_{0} ;;", below.name)).collect();
    format!(
        r#"
_{name}() {{
  local curcontext="$curcontext" state line
  local -a commands
  _arguments -C \
    {}
  case $state in
    command)
      commands=(
        {}
      )
      _describe command commands
      ;;
    argument)
      case $line[1] in
        {}
      esac
      ;;
  esac
}}
"#,
        lines.join(" \\\n    "),
        described.join("\n        "),
        calls.join("\n        ")
    )
}

fn option(flag: &FlagInfo<'_>) -> String {
    let says = quoted(&format!("[{}]", bare(flag.description)));
    let value = value(flag).map_or(String::new(), |value| {
        quoted(&format!(":{value}:{}", if value == "file" { "_files" } else { "" }))
    });
    match spellings(flag).as_slice() {
        [one] => format!("{one}{says}{value}"),
        all => format!("'({})'{{{}}}{says}{value}", all.join(" "), all.join(",")),
    }
}

fn argument(place: &Place<'_>, positional: &PositionalInfo<'_>) -> String {
    let action = match (positional.name, place.choices()) {
        ("file", _) => "_files".to_owned(),
        (_, []) => String::new(),
        (_, choices) => format!("({})", choices.join(" ")),
    };
    let start = match positional.optionality {
        Optionality::Required => ":",
        Optionality::Optional => "::",
        Optionality::Repeating | Optionality::Greedy => "*:",
    };
    quoted(&format!("{start}{}:{action}", positional.name))
}

/// Without what `_arguments` reads as an end.
fn bare(text: &str) -> String {
    text.replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]").replace(':', "\\:")
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

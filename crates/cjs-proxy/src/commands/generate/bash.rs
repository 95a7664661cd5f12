//! Completions for bash.

use super::place::{Place, spellings, with_value};

const HEAD: &str = r#"# Completions of cjs-proxy for bash, made by `cjs-proxy generate bash`.
_cjs_proxy() {
    local at=cjs-proxy before= word words
    local now=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$before" in
        VALUED) ;;
        *)
            case "$at $word" in
            PATHS) at="$at $word" ;;
            esac
            ;;
        esac
        before=$word
    done
    case "$before" in
    FILED)
        compopt -o default
        return
        ;;
    VALUED) return ;;
    esac
    case "$at" in
"#;

const TAIL: &str = r#"    *) return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$now")
}

complete -F _cjs_proxy cjs-proxy
"#;

pub(super) fn script(places: &[Place<'_>]) -> String {
    let paths: Vec<String> = places.iter().skip(1).map(|place| format!("\"{}\"", place.name(" "))).collect();
    let mut script = HEAD
        .replace("VALUED", &with_value(places, None).join(" | "))
        .replace("FILED", &with_value(places, Some("file")).join(" | "))
        .replace("PATHS", &paths.join(" | "));
    for place in places {
        let words: Vec<String> = place.command.flags.iter().flat_map(spellings).collect();
        let below = place.command.commands.iter().map(|below| below.name);
        let words: Vec<&str> =
            words.iter().map(String::as_str).chain(below).chain(place.choices().iter().copied()).collect();
        let file = if place.takes_file() { " compopt -o default ;;" } else { " ;;" };
        script += &format!("    \"{}\") words=\"{}\"", place.name(" "), words.join(" "));
        script += &if place.takes_file() { format!(";{file}\n") } else { format!("{file}\n") };
    }
    script + TAIL
}

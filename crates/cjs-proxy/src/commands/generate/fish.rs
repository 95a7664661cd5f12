//! Completions for fish.

use super::place::{Place, value, with_value};

const HEAD: &str = r#"# Completions of cjs-proxy for fish, made by `cjs-proxy generate fish`.
function __cjs_proxy_at
    set -l at cjs-proxy
    set -l before
    set -l words (commandline -opc)
    for word in $words[2..-1]
        switch "$before"
            case VALUED
            case '*'
                switch "$at $word"
                    case PATHS
                        set at "$at $word"
                end
        end
        set before $word
    end
    test "$at" = "$argv"
end

complete -c cjs-proxy -f
"#;

pub(super) fn script(places: &[Place<'_>]) -> String {
    let paths: Vec<String> = places.iter().skip(1).map(|place| quoted(&place.name(" "))).collect();
    let mut script =
        HEAD.replace("VALUED", &with_value(places, None).join(" ")).replace("PATHS", &paths.join(" "));
    for place in places {
        let here = format!("complete -c cjs-proxy -n '__cjs_proxy_at {}'", place.name(" "));
        for flag in place.command.flags {
            let short = flag.short.map_or(String::new(), |short| format!(" -s {short}"));
            let value = value(flag).map_or("", |value| if value == "file" { " -r -F" } else { " -x" });
            let (long, says) = (flag.long.trim_start_matches('-'), quoted(flag.description));
            script += &format!("{here}{short} -l {long}{value} -d {says}\n");
        }
        for below in &place.command.commands {
            script += &format!("{here} -a {} -d {}\n", below.name, quoted(below.command.description));
        }
        if !place.choices().is_empty() {
            script += &format!("{here} -a {}\n", quoted(&place.choices().join(" ")));
        }
        if place.takes_file() {
            script += &format!("{here} -F\n");
        }
    }
    script
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

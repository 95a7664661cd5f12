//! The man page, in roff with the man macros.

use argh::{Optionality, PositionalInfo};

use super::place::{Place, spellings, value};
use crate::version::BUILD;

const TAIL: &str = r#".SH FILES
.TP
.I config/config.json
The config file where none is named, in the working directory; then
.I /etc/cjs\-proxy/config.json
and
.IR /etc/cjs\-proxy/config/config.json .
Its keys are described in
.IR CONFIG.md ,
which packages keep in
.IR /usr/share/doc/cjs\-proxy .
.TP
.I /var/log/cjs\-proxy/access.log
The access log, unless the config file names another.
.SH ENVIRONMENT
.TP
.B SETTINGS_FLAVOR
With a value
.IR X ,
the config file is looked for as
.I config_X.json
instead of
.IR config.json .
.TP
.B RUST_LOG
The level of the log on standard error: error, warn, info, debug or trace.
.SH SIGNALS
.TP
.BR SIGTERM ", " SIGINT
Stop taking connections, answer what is in flight, end. A second one ends the proxy at once.
.TP
.B SIGHUP
Read the config file again.
.TP
.B SIGUSR1
Open the access log anew.
.TP
.B SIGUSR2
Replace the executable, as
.B upgrade
does.
.SH EXIT STATUS
.TP
.B 0
Done.
.TP
.B 1
The config file has faults, the proxy did not start, or what was asked for could not be done.
.TP
.B 2
The command line is wrong.
.SH SEE ALSO
.BR redis\-server (1),
.BR systemctl (1)
"#;

pub(super) fn page(places: &[Place<'_>]) -> String {
    let version = escaped(BUILD.version);
    let mut page = format!(".TH CJS\\-PROXY 1 \"\" \"cjs\\-proxy {version}\" \"User Commands\"\n");
    page += ".SH NAME\ncjs\\-proxy \\- HTTP and WebSocket proxy with its routes in Redis\n.SH SYNOPSIS\n";
    for (number, place) in places.iter().filter(|place| is_typed(place)).enumerate() {
        page += if number == 0 { "" } else { ".br\n" };
        page += &synopsis(place);
    }
    for (number, place) in places.iter().enumerate() {
        page += &match number {
            0 => format!(".SH DESCRIPTION\n{}\n.SH OPTIONS\n", escaped(place.command.description)),
            1 => format!(".SH COMMANDS\n{}", headed(place)),
            _ => headed(place),
        };
        place.command.positionals.iter().for_each(|positional| page += &argument(positional));
        for flag in place.command.flags {
            let value = value(flag).map_or(String::new(), |value| format!(" \\fI{}\\fR", escaped(value)));
            let names: Vec<String> =
                spellings(flag).iter().map(|name| format!("\\fB{}\\fR{value}", escaped(name))).collect();
            page += &format!(".TP\n{}\n{}\n", names.join(", "), escaped(flag.description));
        }
    }
    page + TAIL
}

/// Whether it can be typed without a command below it.
fn is_typed(place: &Place<'_>) -> bool {
    place.path.is_empty() || place.command.commands.is_empty()
}

fn synopsis(place: &Place<'_>) -> String {
    let arguments: Vec<String> = place.command.positionals.iter().map(shown).collect();
    format!(".B {}\n[\\fIoption\\fR]... {}\n", escaped(&place.name(" ")), arguments.join(" "))
        .replace(" \n", "\n")
}

fn headed(place: &Place<'_>) -> String {
    format!(".SS {}\n{}\n", escaped(&place.path.join(" ")), escaped(place.command.description))
}

fn argument(positional: &PositionalInfo<'_>) -> String {
    format!(".TP\n{}\n{}\n", shown(positional), escaped(positional.description))
}

fn shown(positional: &PositionalInfo<'_>) -> String {
    let name = format!("\\fI{}\\fR", escaped(positional.name));
    match positional.optionality {
        Optionality::Required => name,
        Optionality::Optional => format!("[{name}]"),
        Optionality::Repeating | Optionality::Greedy => format!("{name}..."),
    }
}

/// As roff prints it as it is.
fn escaped(text: &str) -> String {
    let text = text.trim().replace('\\', "\\e").replace('-', "\\-");
    let lines: Vec<String> = text
        .lines()
        .map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() })
        .collect();
    lines.join("\n")
}

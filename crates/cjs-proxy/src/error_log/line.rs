//! How a line of the error log looks. Pure: the time is an argument.

use std::fmt::{Arguments, Write};

use log::Level;

/// Longest text of a line, in bytes: no message of ours comes near it, and what others send must not fill the log.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// The line, its end included. Control characters are escaped, so that an event is one line whatever is in it and no
/// terminal obeys it.
pub(super) fn of(unix_seconds: u64, level: Level, target: &str, text: &Arguments<'_>) -> String {
    let seconds = i64::try_from(unix_seconds).unwrap_or(0);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let mut line = Bounded { line: format!("[{time} {level:<5} {target}] "), left: TEXT_BYTES_MAX };
    if write!(line, "{text}").is_err() {
        line.line.push_str(" (cut)");
    }
    line.line.push('\n');
    line.line
}

/// Takes text up to a bound, escaped.
struct Bounded {
    line: String,
    left: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for character in text.chars() {
            self.left = self.left.checked_sub(character.len_utf8()).ok_or(std::fmt::Error)?;
            if character.is_control() || is_separator(character) {
                self.line.extend(character.escape_default());
            } else {
                self.line.push(character);
            }
        }
        Ok(())
    }
}

/// What some readers take for the end of a line, or what turns the direction of a text.
fn is_separator(character: char) -> bool {
    matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        for (text, wanted) in [
            ("plain, ä \"quoted\" C:\\", "plain, ä \"quoted\" C:\\"),
            ("a\nb\r\n", "a\\nb\\r\\n"),
            ("\x1b[31mred\x7f\0", "\\u{1b}[31mred\\u{7f}\\u{0}"),
            ("\u{85}\u{2028}\u{202e}", "\\u{85}\\u{2028}\\u{202e}"),
        ] {
            let line = of(1_795_386_600, Level::Warn, "proxy_core::fleet", &format_args!("{text}"));
            assert_eq!(line, format!("[2026-11-22T22:30:00Z WARN  proxy_core::fleet] {wanted}\n"));
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let text = "ä".repeat(TEXT_BYTES_MAX);
        let line = of(0, Level::Error, "t", &format_args!("{text}"));
        assert!(line.ends_with("ä (cut)\n") && line.len() < TEXT_BYTES_MAX + 60, "{}", line.len());
    }
}

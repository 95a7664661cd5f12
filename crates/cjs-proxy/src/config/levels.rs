//! `log.level`: how much the error log says, as a file writes it.

use log::LevelFilter;
use serde_json::{Map, Value};

use super::json::Node;
use super::kind::Refusal;
use super::written::Written;
use crate::error_log::{AREAS, Area, Levels};

/// What is accepted.
pub(crate) const LEVELS: &str = "\"error\", \"warn\", \"info\", \"debug\", \"trace\" or \"off\", or an object of such for \
                                 \"default\", \"redis\", \"routes\", \"tls\", \"limits\", \"health\", \"cores\", \"admin\" and \"http\"";
/// The member that stands for what no area says otherwise.
const DEFAULT: &str = "default";

/// The levels in force: as set, else by `server.debug`.
pub(crate) fn levels(written: &Written) -> Levels {
    let usual = if written.bool("server.debug") { LevelFilter::Debug } else { LevelFilter::Info };
    match written.levels_if_set("log.level") {
        None => Levels::of(usual),
        Some((default, areas)) => Levels { default: default.unwrap_or(usual), areas: areas.clone() },
    }
}

/// What a file says: the level of everything, where it names one, and of areas.
pub(crate) type Said = (Option<LevelFilter>, Vec<(&'static Area, LevelFilter)>);

/// Reads the value.
///
/// # Errors
/// A level or an area that is not known.
pub(crate) fn parse(node: &Node) -> Result<Said, Refusal> {
    let Node::Object(members) = node else { return Ok((Some(level(node)?), Vec::new())) };
    let (mut default, mut areas) = (None, Vec::new());
    for (name, node) in members {
        let level = level(node).map_err(|refusal| refusal.within(&format!(".{name}")))?;
        if name == DEFAULT {
            default = Some(level);
            continue;
        }
        let Some(area) = AREAS.iter().find(|area| area.name == name) else {
            let problem = format!("unknown area; accepted: {LEVELS}");
            return Err(Refusal::new(problem).within(&format!(".{name}")));
        };
        areas.push((area, level));
    }
    Ok((default, areas))
}

fn level(node: &Node) -> Result<LevelFilter, Refusal> {
    let refused = || Refusal::new(format!("{} is not accepted; accepted: {LEVELS}", node.excerpt()));
    let Node::Text(text) = node else { return Err(refused()) };
    // Only in the spelling that is printed.
    text.parse().ok().filter(|level| name(*level) == *text).ok_or_else(refused)
}

fn name(level: LevelFilter) -> String {
    level.as_str().to_ascii_lowercase()
}

/// The levels as `check` prints them.
pub(crate) fn effective(levels: &Levels) -> Value {
    if levels.areas.is_empty() {
        return name(levels.default).into();
    }
    let mut members = Map::new();
    members.insert(DEFAULT.into(), name(levels.default).into());
    members.extend(levels.areas.iter().map(|(area, level)| (area.name.to_owned(), name(*level).into())));
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn levels_are_read_and_printed_alike() {
        for text in [r#""warn""#, r#""off""#, r#"{"default":"info","redis":"debug","http":"trace"}"#] {
            let (default, areas) = parse(&Node::parse(text).unwrap()).unwrap();
            let levels = Levels { default: default.unwrap(), areas };
            assert_eq!(effective(&levels), serde_json::from_str::<Value>(text).unwrap());
        }
        let (default, areas) = parse(&Node::parse(r#"{"tls":"error"}"#).unwrap()).unwrap();
        assert_eq!((default, areas.len()), (None, 1));
        assert_eq!(effective(&Levels { default: LevelFilter::Info, areas })["tls"], json!("error"));
    }

    #[test]
    fn others_are_refused_and_named() {
        for (text, at, problem) in [
            (r#""loud""#, "", "\"loud\" is not accepted; accepted: \"error\""),
            (r#""INFO""#, "", "\"INFO\" is not accepted"),
            ("3", "", "3 is not accepted"),
            (r#"{"redis":"loud"}"#, ".redis", "\"loud\" is not accepted"),
            (r#"{"disk":"info"}"#, ".disk", "unknown area; accepted: "),
        ] {
            let refusal = parse(&Node::parse(text).unwrap()).unwrap_err();
            assert_eq!(refusal.at, at, "{text}");
            assert!(refusal.problem.starts_with(problem), "{text}: {}", refusal.problem);
        }
    }
}

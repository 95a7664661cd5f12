//! What the commands print: for people, or as JSON in the shapes of docs/ROUTES.md. Pure.

use std::fmt::Write;

use jiff::Timestamp;
use redis_router::edit::{
    Added, Counts, Freshness, Listed, Mark, Removed, Server, Shown, ShownBackend, ShownFrontend,
};
use serde_json::{Value, json};

/// The head of the list, for hosts of so many characters.
pub(super) fn list_head(width: usize) -> String {
    format!("{:width$}  BACKENDS  DEAD  IDENTIFIER", "HOST")
}

pub(super) fn list_line(listed: &Listed, width: usize) -> String {
    let dead = listed.dead.as_ref().map_or("-".into(), |dead| dead.len().to_string());
    let invalid = if listed.invalid > 0 { format!("  ({} invalid)", listed.invalid) } else { String::new() };
    let (host, identifier) = (plain(&listed.host), plain(&listed.identifier));
    format!("{host:width$}  {:8}  {dead:>4}  {identifier}{invalid}", listed.backends)
}

pub(super) fn list_json(listed: &Listed) -> Value {
    json!({
        "host": listed.host,
        "identifier": listed.identifier,
        "backends": listed.backends,
        "invalid": listed.invalid,
        "dead": listed.dead,
    })
}

/// What is shown of a host that a frontend serves.
pub(super) fn shown(shown: &Shown, frontend: &ShownFrontend) -> String {
    let mut text = format!("{} is served by {}\n", plain(&shown.host), plain(&frontend.key));
    line(&mut text, "identifier", &plain(&frontend.identifier));
    if let Some(left_ms) = frontend.left_ms {
        line(&mut text, "expires", &format!("in {} s", left_ms.div_ceil(1_000)));
    }
    if let Some(options) = &frontend.options {
        let fields: Vec<String> =
            options.fields.iter().map(|(field, value)| plain(&format!("{field} {value}"))).collect();
        line(&mut text, "options", &format!("{} ({})", fields.join(", "), plain(&options.key)));
    }
    line(&mut text, "backends", if frontend.backends.is_empty() { "none: requests get 502" } else { "" });
    for (index, backend) in frontend.backends.iter().enumerate() {
        let state = if shown.server.is_some() || backend.read.is_err() { state(backend) } else { "listed" };
        text.push_str(format!("    {index:3}  {state:7}  {}", plain(&backend.url)).trim_end());
        text.push_str(&attributes(backend));
        text.push('\n');
        if let (Some(mark), Ok(_)) = (&backend.mark, &backend.read) {
            let now = shown.server.as_ref().and_then(|server| server.now);
            writeln!(text, "                  {}", plain(&death(mark, now)))
                .expect("a String takes everything");
        }
    }
    match &shown.server {
        Some(server) => server_lines(&mut text, server),
        None => line(&mut text, "marks", "of a table file are known to the running proxy alone"),
    }
    text.truncate(text.trim_end().len());
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    let line = format!("  {name:11} {value}");
    text.push_str(line.trim_end());
    text.push('\n');
}

fn state(backend: &ShownBackend) -> &'static str {
    match (&backend.read, &backend.mark) {
        (Err(_), _) => "invalid",
        (Ok(_), Some(_)) => "dead",
        (Ok(_), None) => "live",
    }
}

fn attributes(backend: &ShownBackend) -> String {
    let backend = match &backend.read {
        Err(reason) => return format!("  {}", plain(reason)),
        Ok(backend) => backend,
    };
    let weight = (backend.weight != 1).then(|| format!("weight {}", backend.weight));
    let drain = backend.drain.then(|| "takes no new requests".to_owned());
    let insecure = backend.insecure.then(|| "certificate not verified".to_owned());
    let all: Vec<String> = [weight, drain, insecure].into_iter().flatten().collect();
    if all.is_empty() { String::new() } else { format!("  ({})", all.join(", ")) }
}

/// Why, since when, until when, and who said so.
fn death(mark: &Mark, now: Option<u64>) -> String {
    let left = mark
        .left_ms
        .map_or("until it is taken out".into(), |left_ms| format!("{} s left", left_ms.div_ceil(1_000)));
    let Some(report) = &mark.report else {
        return format!(
            "no report tells why: hipache-hchecker or Hipache marked it ({}), {left}",
            mark.sets.join(", ")
        );
    };
    let ago = now.map_or(String::new(), |now| format!("{} s ago, ", now.saturating_sub(report.since)));
    format!("{}; marked by {} {ago}at {}, {left}", report.why, report.by, utc(report.since))
}

fn utc(unix_seconds: u64) -> String {
    let time = i64::try_from(unix_seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| unix_seconds.to_string(), |time| time.to_string())
}

fn server_lines(text: &mut String, server: &Server) {
    line(text, "store", &format!("redis {}", server.address));
    let freshness = match &server.freshness {
        Freshness::Tracking => "every change is pushed at once (client-side caching)".to_owned(),
        Freshness::Keyspace { max_age_ms, why } => format!(
            "changes are known by keyspace notifications, and each route is read again after {} s: {why}",
            seconds(*max_age_ms)
        ),
        Freshness::Polling { max_age_ms, why } => {
            format!("nothing is pushed, each route is read again after {} s: {why}", seconds(*max_age_ms))
        }
    };
    line(text, "freshness", &plain(&freshness));
    if server.cut_off {
        line(text, "replica", "it does not hear its master: what it holds may be old");
    }
    if server.checker {
        line(text, "checker", "an external health checker is active and owns the dead sets");
    }
    if server.own_checker {
        line(text, "checker", "a built-in health checker is active");
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

pub(super) fn shown_json(shown: &Shown) -> Value {
    let now = shown.server.as_ref().and_then(|server| server.now);
    let frontend = shown.frontend.as_ref();
    let backends = frontend.map(|frontend| {
        let backends = frontend.backends.iter().enumerate();
        backends.map(|(index, one)| backend_json(index, one, now, shown.server.is_some())).collect::<Vec<_>>()
    });
    let options = frontend.and_then(|frontend| frontend.options.as_ref()).map(|options| {
        let fields = options.fields.iter().map(|(field, value)| (field.clone(), value.clone().into()));
        json!({ "key": options.key, "fields": Value::Object(fields.collect()) })
    });
    json!({
        "host": shown.host,
        "lookedFor": shown.looked_for,
        "key": frontend.map(|frontend| &frontend.key),
        "identifier": frontend.map(|frontend| &frontend.identifier),
        "secondsLeft": frontend.and_then(|frontend| frontend.left_ms).map(seconds),
        "options": options,
        "backends": backends,
        "notes": shown.notes,
        "store": shown.server.as_ref().map(server_json),
    })
}

fn backend_json(index: usize, backend: &ShownBackend, now: Option<u64>, has_marks: bool) -> Value {
    let read = backend.read.as_ref().ok();
    let mark = backend.mark.as_ref().filter(|_| read.is_some()).map(|mark| {
        let report = mark.report.as_ref();
        json!({
            "sets": mark.sets,
            "secondsLeft": mark.left_ms.map(seconds),
            "why": report.map(|report| &report.why),
            "by": report.map(|report| &report.by),
            "since": report.map(|report| report.since),
            "age": report.and_then(|report| Some(now?.saturating_sub(report.since))),
        })
    });
    let state = if has_marks || read.is_none() { Some(state(backend)) } else { None };
    json!({
        "index": index,
        "url": backend.url,
        "state": state,
        "weight": read.map(|read| read.weight),
        "drain": read.map(|read| read.drain),
        "insecure": read.map(|read| read.insecure),
        "invalid": backend.read.as_ref().err(),
        "mark": mark,
    })
}

fn server_json(server: &Server) -> Value {
    let (freshness, max_age_ms, why) = match &server.freshness {
        Freshness::Tracking => ("tracking", None, None),
        Freshness::Keyspace { max_age_ms, why } => ("keyspace", Some(*max_age_ms), Some(why)),
        Freshness::Polling { max_age_ms, why } => ("polling", Some(*max_age_ms), Some(why)),
    };
    json!({
        "server": server.address,
        "freshness": freshness,
        "maxAge": max_age_ms.map(seconds),
        "why": why,
        "cutOff": server.cut_off,
        "checker": server.checker,
        "builtInChecker": server.own_checker,
    })
}

pub(super) fn added(host: &str, added: &Added) -> String {
    let new = added.added.iter().map(|url| format!("added to {}: {}", plain(host), plain(url)));
    let listed = added.listed.iter().map(|url| format!("listed already: {}", plain(url)));
    let created = added
        .created
        .then(|| format!("new frontend {}, identifier {}", plain(host), plain(&added.identifier)));
    created.into_iter().chain(new).chain(listed).collect::<Vec<_>>().join("\n")
}

pub(super) fn added_json(host: &str, added: &Added) -> Value {
    json!({
        "host": host,
        "created": added.created,
        "identifier": added.identifier,
        "added": added.added,
        "listed": added.listed,
    })
}

pub(super) fn removed(host: &str, removed: &Removed) -> String {
    let host = plain(host);
    let Some(left) = removed.left else {
        return format!("removed frontend {host} with {} backends", removed.backends.len());
    };
    let lines: Vec<String> =
        removed.backends.iter().map(|url| format!("removed from {host}: {}", plain(url))).collect();
    format!("{}\n{left} left", lines.join("\n"))
}

pub(super) fn removed_json(host: &str, removed: &Removed) -> Value {
    json!({
        "host": host,
        "backends": removed.backends,
        "left": removed.left,
        "optionsLeft": removed.has_options,
    })
}

pub(super) fn counts(counts: &Counts) -> String {
    let Counts { added, changed, unchanged, removed } = counts;
    format!("{added} added, {changed} changed, {unchanged} unchanged, {removed} removed")
}

pub(super) fn counts_json(counts: &Counts) -> Value {
    let Counts { added, changed, unchanged, removed } = counts;
    json!({ "added": added, "changed": changed, "unchanged": unchanged, "removed": removed })
}

/// A text from the store fit for a terminal.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

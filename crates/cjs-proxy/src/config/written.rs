//! The file as written, held against the schema: which keys are set, by which spelling, to which checked value.
//! Every fault is reported; what is wrong counts as not set.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use proxy_core::settings::Identify;
use redis_router::Tier;

use super::Machine;
use super::addresses::{BindAddress, SecureAddress};
use super::json::Node;
use super::kind::{self, Empty, Kind, LogTarget, Refusal, StoreAddress, Value};
use super::levels;
use super::report::Report;
use super::schema::{self, Availability, Fallback, Key};
use super::suggest;

/// The keys a file sets.
#[derive(Debug)]
pub(crate) struct Written {
    entries: HashMap<&'static str, Entry>,
    /// Keys that the file names and whose values are not taken.
    faulty: Vec<&'static str>,
    /// Whether the file is in Hipache 0.4's style, whose default address is loopback.
    pub(crate) hipache_04: bool,
}

#[derive(Debug)]
struct Entry {
    spelling: String,
    value: Value,
}

/// A key as found, before keys are compared with each other.
struct Found<'a> {
    key: &'static Key,
    spelling: String,
    node: &'a Node,
}

impl Written {
    /// Holds a parsed file against the schema.
    pub(crate) fn check(root: &Node, machine: Machine, report: &mut Report) -> Self {
        let mut written = Self { entries: HashMap::new(), faulty: Vec::new(), hipache_04: false };
        let Node::Object(members) = root else {
            report.file_fault("the file must hold one JSON object, such as {}");
            return written;
        };
        written.hipache_04 = is_hipache_04(root);
        let mut found = Vec::new();
        walk("", members, &mut found, report);
        let found = drop_repeated(found, report);
        tell_without_effect(&found, machine, report);
        for Found { key, spelling, node } in found {
            let taken = match key.availability {
                Availability::Now => true,
                Availability::AsRoot => !is_left_out(node),
                Availability::Ignored => false,
            };
            if taken {
                written.take(key, spelling, node, report);
            }
        }
        written
    }

    fn take(&mut self, key: &'static Key, spelling: String, node: &Node, report: &mut Report) {
        if matches!(key.kind, Kind::Section(_)) {
            let value = Value::Bool(!is_off(key, node));
            self.entries.insert(key.path, Entry { spelling, value });
            return;
        }
        // An empty text stands for "none" where none is the default, as old files have it.
        let empty = matches!(node, Node::Text(text) if text.is_empty());
        if empty && matches!(key.kind, Kind::Text | Kind::Secret | Kind::Host) && is_empty_default(key) {
            return;
        }
        // A template filled from a variable that is not set; Hipache takes its default then.
        if empty && key.path.starts_with("redis.") && matches!(key.kind, Kind::Host | Kind::Integer(..)) {
            report.note(&spelling, "the empty text counts as left out");
            return;
        }
        let value = match key.kind.parse(node) {
            Ok(value) => value,
            Err(Refusal { at, problem }) => {
                report.fault(&format!("{spelling}{at}"), &problem);
                self.faulty.push(key.path);
                return;
            }
        };
        if matches!((key.kind, node), (Kind::Integer(..) | Kind::Timeout | Kind::Seconds(..), Node::Text(_)))
        {
            report.note(&spelling, &format!("the text {} is read as a number", node.excerpt()));
        }
        self.entries.insert(key.path, Entry { spelling, value });
    }

    /// The key as the file spells it, or canonically where the file leaves it out.
    pub(crate) fn spelling(&self, path: &'static str) -> &str {
        self.entries.get(path).map_or(path, |entry| entry.spelling.as_str())
    }

    /// Whether the file sets the key.
    pub(crate) fn is_set(&self, path: &'static str) -> bool {
        self.set(path).is_some()
    }

    /// Whether the file says what holds without it.
    pub(crate) fn is_default(&self, path: &'static str) -> bool {
        let key = schema::find(path).expect("the path stands in the schema");
        let Fallback::Json(json) = key.default else { return false };
        let default = Node::parse(json).ok().and_then(|node| key.kind.parse(&node).ok());
        self.set(path).is_some_and(|value| default.as_ref() == Some(value))
    }

    /// Whether the file names the key, be its value taken or not.
    pub(crate) fn is_named(&self, path: &'static str) -> bool {
        self.is_set(path) || self.faulty.contains(&path)
    }

    /// Whether the file turns the feature of a section on.
    pub(crate) fn has_section(&self, path: &'static str) -> bool {
        self.set(path) == Some(&Value::Bool(true))
    }

    fn set(&self, path: &'static str) -> Option<&Value> {
        debug_assert!(schema::find(path).is_some_and(|key| key.path == path), "{path} is no key");
        self.entries.get(path).map(|entry| &entry.value)
    }

    /// What the file says, else the schema's default.
    fn value(&self, path: &'static str) -> Value {
        if let Some(value) = self.set(path) {
            return value.clone();
        }
        let key = schema::find(path).expect("the path stands in the schema");
        let Fallback::Json(json) = key.default else { panic!("{path} has no plain default") };
        let node = Node::parse(json).expect("defaults in the schema are JSON");
        key.kind.parse(&node).expect("defaults in the schema are of their kind")
    }

    pub(crate) fn bool(&self, path: &'static str) -> bool {
        let Value::Bool(flag) = self.value(path) else { panic!("{path} is no flag") };
        flag
    }

    pub(crate) fn integer(&self, path: &'static str) -> u64 {
        let Value::Integer(number) = self.value(path) else { panic!("{path} is no number") };
        number
    }

    pub(crate) fn integer_if_set(&self, path: &'static str) -> Option<u64> {
        match self.set(path)? {
            Value::Integer(number) => Some(*number),
            _ => panic!("{path} is no number"),
        }
    }

    pub(crate) fn seconds(&self, path: &'static str) -> Duration {
        let Value::Seconds(time) = self.value(path) else { panic!("{path} is no time") };
        time
    }

    pub(crate) fn seconds_if_set(&self, path: &'static str) -> Option<Duration> {
        match self.set(path)? {
            Value::Seconds(time) => Some(*time),
            _ => panic!("{path} is no time"),
        }
    }

    pub(crate) fn text_if_set(&self, path: &'static str) -> Option<&str> {
        match self.set(path)? {
            Value::Text(text) => Some(text),
            _ => panic!("{path} is no text"),
        }
    }

    pub(crate) fn text(&self, path: &'static str) -> String {
        let Value::Text(text) = self.value(path) else { panic!("{path} is no text") };
        text
    }

    pub(crate) fn choice(&self, path: &'static str) -> String {
        let Value::Text(choice) = self.value(path) else { panic!("{path} is no choice") };
        choice
    }

    pub(crate) fn bind_if_set(&self, path: &'static str) -> Option<&[BindAddress]> {
        match self.set(path)? {
            Value::Bind(addresses) => Some(addresses),
            _ => panic!("{path} is no address list"),
        }
    }

    pub(crate) fn secure_bind_if_set(&self, path: &'static str) -> Option<&[SecureAddress]> {
        match self.set(path)? {
            Value::SecureBind(addresses) => Some(addresses),
            _ => panic!("{path} is no address list"),
        }
    }

    pub(crate) fn paths(&self, path: &'static str) -> Vec<PathBuf> {
        let Value::Paths(paths) = self.value(path) else { panic!("{path} is no list of paths") };
        paths
    }

    pub(crate) fn store_if_set(&self, path: &'static str) -> Option<&StoreAddress> {
        match self.set(path)? {
            Value::Store(address) => Some(address),
            _ => panic!("{path} is no store address"),
        }
    }

    pub(crate) fn servers(&self, path: &'static str) -> Vec<(String, u16)> {
        let Value::Servers(servers) = self.value(path) else { panic!("{path} is no list of servers") };
        servers
    }

    pub(crate) fn tiers(&self, path: &'static str) -> Vec<Tier> {
        let Value::Tiers(tiers) = self.value(path) else { panic!("{path} names no tiers") };
        tiers
    }

    pub(crate) fn identify(&self, path: &'static str) -> Vec<Identify> {
        let Value::Identify(sources) = self.value(path) else { panic!("{path} names no client") };
        sources
    }

    pub(crate) fn levels_if_set(&self, path: &'static str) -> Option<&levels::Said> {
        match self.set(path)? {
            Value::Levels(said) => Some(said),
            _ => panic!("{path} names no levels"),
        }
    }

    pub(crate) fn networks(&self, path: &'static str) -> Vec<IpNet> {
        let Value::Networks(networks) = self.value(path) else { panic!("{path} is no network list") };
        networks
    }

    pub(crate) fn access_log(&self, path: &'static str) -> LogTarget {
        let Value::AccessLog(target) = self.value(path) else { panic!("{path} is no log target") };
        target
    }

    /// Default listening addresses where the file names none; both families unless it is one of Hipache 0.4, or
    /// names those of IPv6.
    pub(crate) fn default_addresses(&self) -> (Vec<IpAddr>, bool) {
        use std::net::{Ipv4Addr, Ipv6Addr};
        if self.hipache_04 {
            return (vec![Ipv4Addr::LOCALHOST.into()], false);
        }
        if self.is_set("server.address6") {
            return (vec![Ipv4Addr::UNSPECIFIED.into()], false);
        }
        (vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()], true)
    }
}

fn is_empty_default(key: &Key) -> bool {
    matches!(key.default, Fallback::Json("null" | "\"\""))
}

/// Whether a file is in Hipache 0.4's style: `http` or `https` at the top, or a `driver` and no `server.port`.
/// (0.3 took `driver` too, beside `server.port`.)
pub(crate) fn is_hipache_04(root: &Node) -> bool {
    let has = |path| root.at(path).is_some();
    has("http") || has("https") || (has("driver") && !has("server.port"))
}

/// Finds the known keys of an object and reports the names that are not.
fn walk<'a>(above: &str, members: &'a [(String, Node)], found: &mut Vec<Found<'a>>, report: &mut Report) {
    let mut seen: Vec<&str> = Vec::with_capacity(members.len());
    for (name, node) in members {
        let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        if seen.contains(&name.as_str()) {
            report.fault(&path, "stands twice in the file; keep one");
            continue;
        }
        seen.push(name);
        if name.contains('.') {
            report.fault(&path, "unknown key; keys are nested objects, such as {\"server\": {\"port\": 80}}");
            continue;
        }
        member(path, node, found, report);
    }
}

fn member<'a>(path: String, node: &'a Node, found: &mut Vec<Found<'a>>, report: &mut Report) {
    let key = schema::find(&path);
    let group = schema::is_group(&path);
    match (key, node) {
        (_, Node::Object(members)) if group => {
            walk(&path, members, found, report);
            found.extend(key.map(|key| Found { key, spelling: path, node }));
        }
        // `lruCache: true` of old files, `https: false`.
        (Some(Key { kind: Kind::Section(_), path: "server.lruCache", .. }), Node::Bool(false)) => {
            report.note(&path, "false: the route cache is always on; it has its default size");
        }
        (Some(Key { kind: Kind::Section(_), .. }), Node::Bool(_)) => {
            found.extend(key.map(|key| Found { key, spelling: path, node }));
        }
        (Some(Key { kind: Kind::Section(_), .. }), _) if node.is_off() => {}
        (Some(key), _) if !group => found.push(Found { key, spelling: path, node }),
        (None, Node::Null) if group => {}
        (_, _) if group => {
            report.fault(&path, &format!("{} is not accepted; accepted: an object", node.excerpt()));
        }
        _ => {
            let hint = match suggest::closest(&path) {
                Some(known) => format!("unknown key; did you mean \"{known}\"?"),
                None => "unknown key; docs/CONFIG.md lists the keys".to_owned(),
            };
            report.fault(&path, &hint);
        }
    }
}

/// A key said by two spellings must say the same; one of them is kept. Sections are the sum of theirs, and
/// `null` says nothing, but for the access log.
fn drop_repeated<'a>(found: Vec<Found<'a>>, report: &mut Report) -> Vec<Found<'a>> {
    let mut kept: Vec<Found<'a>> = Vec::with_capacity(found.len());
    for next in found {
        if *next.node == Node::Null && next.key.kind != Kind::AccessLog {
            continue;
        }
        let section = matches!(next.key.kind, Kind::Section(_));
        let first = kept.iter().find(|first| first.key.path == next.key.path && !section);
        let Some(first) = first else {
            kept.push(next);
            continue;
        };
        if as_number(first) != as_number(&next) {
            let problem = format!("says otherwise than {}, which is the same key; keep one", first.spelling);
            report.fault(&next.spelling, &problem);
        }
    }
    kept
}

/// The value, a text of digits as the number it is read as.
fn as_number<'a>(found: &Found<'a>) -> Cow<'a, Node> {
    match (found.key.kind, found.node) {
        (Kind::Integer(..) | Kind::Timeout | Kind::Seconds(..), Node::Text(text)) => {
            kind::number(text).map_or(Cow::Borrowed(found.node), Cow::Owned)
        }
        _ => Cow::Borrowed(found.node),
    }
}

fn is_off(key: &Key, node: &Node) -> bool {
    match (key.kind, node) {
        (Kind::Section(Empty::On), Node::Object(_)) => false,
        (Kind::Section(Empty::Off), Node::Object(members)) => {
            let unbound = |(name, node): &(String, Node)| {
                name == "bind" && matches!(node, Node::List(addresses) if addresses.is_empty())
            };
            // A port alone turns the admin listener on, and 0 is a port.
            let on_by_port = |(name, node): &(String, Node)| {
                key.path == "admin" && name == "port" && matches!(node, Node::Number(_) | Node::Text(_))
            };
            let is_off = |member: &(String, Node)| member.1.is_off() && !on_by_port(member);
            members.iter().any(unbound) || members.iter().all(is_off)
        }
        _ => node.is_off(),
    }
}

/// Whether an account is as good as not named; 0 names one.
fn is_left_out(node: &Node) -> bool {
    matches!(node, Node::Null) || matches!(node, Node::Text(text) if text.is_empty())
}

/// One warning for all keys of the old programs that mean nothing here, one
/// for those that mean nothing to this process.
fn tell_without_effect(found: &[Found<'_>], machine: Machine, report: &mut Report) {
    let spelled = |wanted: &dyn Fn(&Found<'_>) -> bool| -> Option<String> {
        let of: Vec<&str> = found.iter().filter(|key| wanted(key)).map(|key| key.spelling.as_str()).collect();
        (!of.is_empty()).then(|| of.join(", "))
    };
    if let Some(keys) = spelled(&|found| found.key.availability == Availability::Ignored) {
        report.warn(&format!("without a meaning here and ignored: {keys}"));
    }
    let as_root = |key: &Key| key.availability == Availability::AsRoot;
    if let Some(keys) = spelled(&|found| !machine.root && as_root(found.key) && !found.node.is_off()) {
        report.warn(&format!("without effect, as this process is not root: {keys}"));
    }
}

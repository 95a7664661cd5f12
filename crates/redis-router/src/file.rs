//! Routes from a JSON text instead of Redis: `{"www.example.tld": ["app", "http://10.0.0.1:8080"]}`, and their options:
//! `{"options:www.example.tld": {"sticky": "cookie"}}`.
//! Here a mistake is an error, since whoever wrote the file is there to mend it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::rc::Rc;

use serde::de::{Deserializer, MapAccess, Visitor};

use crate::bounds::{BACKENDS_MAX, HOST_BYTES_MAX, PARENTS_MAX};
use crate::deaths::Deaths;
use crate::frontend::Frontend;
use crate::keys::{Candidate, candidates, exact_name};
use crate::options::Options;
use crate::route::Route;

/// A route table, parsed and checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    frontends: BTreeMap<String, Frontend>,
    options: BTreeMap<String, Options>,
}

impl Table {
    /// Reads a JSON object: key = host, `host:port`, `*.parent` or `*`, with or without `frontend:` before it;
    /// value = list of the identifier and the backend URLs, as in Redis. With `options:` before the host: an object of
    /// options.
    ///
    /// # Errors
    /// Names the key, what is wrong and the accepted form.
    pub fn parse(text: &str) -> Result<Table, TableError> {
        let mut table = Table::default();
        for (written, value) in entries(text)? {
            table.take(&written, &value)?;
        }
        Ok(table)
    }

    fn take(&mut self, written: &str, value: &serde_json::Value) -> Result<(), TableError> {
        let fail = |problem| TableError::Key { key: written.into(), problem };
        let is_new = if let Some(key) = options_host(written) {
            check_key(key).map_err(fail)?;
            self.options.insert(key.into(), read_options(written, value)?).is_none()
        } else {
            let key = written.strip_prefix("frontend:").unwrap_or(written);
            check_key(key).map_err(fail)?;
            self.frontends.insert(key.into(), read_frontend(written, key, value)?).is_none()
        };
        if is_new { Ok(()) } else { Err(fail("it stands twice in the table")) }
    }

    fn frontend(&self, candidate: Candidate<'_>) -> Option<&Frontend> {
        self.frontends.get(&candidate.to_string())
    }

    fn options(&self, candidate: Candidate<'_>) -> Option<&Options> {
        self.options.get(&candidate.to_string())
    }

    /// Frontends in the table.
    pub fn len(&self) -> usize {
        self.frontends.len()
    }

    /// Whether no frontend is in it.
    pub fn is_empty(&self) -> bool {
        self.frontends.is_empty()
    }
}

/// Why a text is no route table.
#[derive(Debug)]
pub enum TableError {
    /// Not a JSON object of lists.
    NotATable(serde_json::Error),
    /// A key that no host can ever match, or that stands twice.
    Key {
        /// As written.
        key: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A value that is no list of texts with an identifier in front.
    List {
        /// Key of the list.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Options that are not known, or no object of texts.
    Options {
        /// Key of the options.
        key: String,
        /// What is wrong with them and what is accepted.
        problem: String,
    },
    /// An element that is no backend URL.
    Backend {
        /// Key of the list.
        key: String,
        /// The element.
        url: String,
        /// What is wrong with it and what is accepted.
        reason: String,
    },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableError::NotATable(_) => f.write_str(
                "not a route table; accepted: {\"host\": [\"identifier\", \"http://backend:port\", ...]}",
            ),
            TableError::Key { key, problem } => {
                write!(
                    f,
                    "key {key:?}: {problem}; accepted: \"www.example.tld\", \"host:port\", \"*.example.tld\", \"*\""
                )
            }
            TableError::List { key, problem } => {
                write!(f, "key {key:?}: {problem}; accepted: [\"identifier\", \"http://backend:port\", ...]")
            }
            TableError::Options { key, problem } => write!(f, "key {key:?}: {problem}"),
            TableError::Backend { key, url, reason } => write!(f, "key {key:?}: backend {url:?}: {reason}"),
        }
    }
}

impl std::error::Error for TableError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TableError::NotATable(error) => Some(error),
            _ => None,
        }
    }
}

/// One core's view of a table: look-ups allocate nothing and hand out the same `Rc` each time. What a host finds is told
/// by the first of its candidates that has a list or options: those after it are the same for every such host.
#[derive(Debug, Default)]
pub(crate) struct CoreTable {
    exact: Routes,
    wildcards: Routes,
    any: Option<Rc<Route>>,
    /// By their own key, with their own options.
    alone: Routes,
    /// The same in the order of their keys.
    listed: Vec<Rc<Route>>,
}

type Routes = HashMap<Box<str>, Rc<Route>, foldhash::fast::RandomState>;

impl CoreTable {
    pub(crate) fn new(table: &Table, deaths: &Rc<Deaths>) -> CoreTable {
        let mut core = CoreTable::default();
        let frontends: HashMap<&str, Rc<Frontend>> =
            table.frontends.iter().map(|(key, frontend)| (key.as_str(), Rc::new(frontend.clone()))).collect();
        let route = |frontend: &Frontend, options: Option<&Options>| {
            let frontend = frontends[&*frontend.key].clone();
            Rc::new(Route::new(frontend, options.cloned().unwrap_or_default(), None, deaths.clone()))
        };
        for (key, frontend) in &table.frontends {
            let route = route(frontend, table.options.get(key));
            core.listed.push(Rc::clone(&route));
            core.alone.insert(key.as_str().into(), route);
        }
        for key in table.frontends.keys().chain(table.options.keys()) {
            let Some(frontend) = candidates(key).find_map(|candidate| table.frontend(candidate)) else {
                continue;
            };
            let route = route(frontend, candidates(key).find_map(|candidate| table.options(candidate)));
            match key.strip_prefix("*.") {
                Some(parent) => drop(core.wildcards.insert(parent.into(), route)),
                None if key == "*" => core.any = Some(route),
                None => drop(core.exact.insert(key.as_str().into(), route)),
            }
        }
        core
    }

    /// Frontends in it.
    pub(crate) fn len(&self) -> usize {
        self.listed.len()
    }

    /// The routes of all frontends, by key, from the place `from` on.
    pub(crate) fn routes(&self, from: usize) -> impl Iterator<Item = &Rc<Route>> {
        self.listed.get(from..).unwrap_or_default().iter()
    }

    pub(crate) fn find(&self, host: &str) -> Option<Rc<Route>> {
        if let Some(name) = exact_name(host) {
            return self.alone.get(name).cloned();
        }
        let found = candidates(host).find_map(|candidate| match candidate {
            Candidate::Exact(name) => self.exact.get(name),
            Candidate::Wildcard(parent) => self.wildcards.get(parent),
            Candidate::Any => self.any.as_ref(),
        });
        found.cloned()
    }
}

/// The members of a JSON object, in order.
///
/// # Errors
/// It is none.
pub(crate) fn entries(text: &str) -> Result<Vec<(String, serde_json::Value)>, TableError> {
    let mut json = serde_json::Deserializer::from_str(text);
    let entries = json.deserialize_map(Entries).map_err(TableError::NotATable)?;
    json.end().map_err(TableError::NotATable)?;
    Ok(entries)
}

/// The host whose options `key` holds; `options:80` is port 80 of the host `options`.
pub(crate) fn options_host(key: &str) -> Option<&str> {
    key.strip_prefix("options:").filter(|host| host.parse::<u16>().is_err())
}

/// Whether a host can be looked up as `key`.
///
/// # Errors
/// Why not.
pub(crate) fn check_key(key: &str) -> Result<(), &'static str> {
    let name = key.strip_prefix("*.").unwrap_or(key);
    if key == "*" {
        return Ok(());
    }
    if name.is_empty() {
        return Err("it is empty");
    }
    if key.len() > HOST_BYTES_MAX {
        return Err("it is longer than any host name");
    }
    if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("hosts are looked up in lower case");
    }
    if !name.bytes().all(|byte| byte.is_ascii_graphic() && !b"*/\\@?#\"".contains(&byte)) {
        return Err("it holds a byte that no host has");
    }
    if key.ends_with('.') || name.starts_with('.') {
        return Err("hosts are looked up without a dot at the end");
    }
    if name.len() < key.len() && (name.contains(':') || name.split('.').count() > PARENTS_MAX) {
        return Err("a wildcard has one to five labels and no port");
    }
    Ok(())
}

fn read_frontend(written: &str, key: &str, value: &serde_json::Value) -> Result<Frontend, TableError> {
    let frontend = Frontend::from_list(key, &read_list(written, value)?);
    match frontend.invalid.first() {
        None => Ok(frontend),
        Some(invalid) => {
            let (url, reason) = (invalid.url.to_string(), invalid.reason.clone());
            Err(TableError::Backend { key: written.into(), url, reason })
        }
    }
}

fn read_options(key: &str, value: &serde_json::Value) -> Result<Options, TableError> {
    let fail = |problem: String| TableError::Options { key: key.into(), problem };
    let accepted = "accepted: {\"balance\": \"random\", \"sticky\": \"cookie\", \"httpsRedirect\": true}";
    let fields = value.as_object().ok_or_else(|| fail(format!("its value is no object; {accepted}")))?;
    let mut options = Options::default();
    for (field, value) in fields {
        let value = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Bool(flag) => flag.to_string(),
            _ => return Err(fail(format!("option {field:?} is no text; {accepted}"))),
        };
        options.take(field, &value).map_err(|reason| fail(format!("option {field:?}: {reason}")))?;
    }
    Ok(options)
}

fn read_list<'a>(key: &str, value: &'a serde_json::Value) -> Result<Vec<Cow<'a, [u8]>>, TableError> {
    let fail = |problem: String| TableError::List { key: key.into(), problem };
    let list = value.as_array().ok_or_else(|| fail("its value is no list".into()))?;
    if list.is_empty() {
        return Err(fail("the list is empty, its first element is the identifier".into()));
    }
    if list.len() > BACKENDS_MAX + 1 {
        return Err(fail(format!("the list has more than {BACKENDS_MAX} backends")));
    }
    let text = |(index, element): (usize, &'a serde_json::Value)| match element.as_str() {
        Some(text) => Ok(Cow::Borrowed(text.as_bytes())),
        None => Err(fail(format!("element {index} is no text: {element}"))),
    };
    list.iter().enumerate().map(text).collect()
}

/// Keeps every entry in order: a map type would let the last of two equal keys win without a word.
struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<(String, serde_json::Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of hosts")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            entries.push((key, map.next_value()?));
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::{CoreTable, Table};
    use crate::clock::Clock;
    use crate::deaths::Deaths;

    fn core(text: &str) -> CoreTable {
        CoreTable::new(&Table::parse(text).unwrap(), &Rc::new(Deaths::new(Rc::new(Clock::new()))))
    }

    #[test]
    fn looks_up_like_redis() {
        let text = r#"{"www.example.tld": ["www", "http://10.0.0.1"], "frontend:*.example.tld": ["any", "10.0.0.2"],
            "www.example.tld:81": ["port", "10.0.0.3"], "*": ["rest"], "[::1]": ["six", "[::1]:80"]}"#;
        let core = core(text);
        let table = [
            ("www.example.tld", "www"),
            ("www.example.tld:80", "www"),
            ("www.example.tld:81", "port"),
            ("a.b.example.tld", "any"),
            ("example.tld", "rest"),
            ("[::1]:8080", "six"),
            ("", "rest"),
        ];
        for (host, identifier) in table {
            let found = core.find(host).unwrap();
            assert_eq!(&*found.frontend.identifier, identifier, "{host}");
        }
        assert!(self::core("{}").find("a").is_none());
    }

    #[test]
    fn options_are_looked_up_apart_from_lists() {
        let text = r#"{"*": ["any"], "a.tld": ["a"], "a.tld:1-2-3": ["version"], "*.only.tld": ["only"],
            "options:*.tld": {"sticky": "cookie"}, "options:b.a.tld": {"balance": "random", "httpsRedirect": true},
            "options:a.tld:1-2-3": {}, "options:none": {}, "options:80": ["port"]}"#;
        let core = core(text);
        let table = [
            ("a.tld", ("a", true, false)),
            ("b.a.tld:81", ("any", false, true)),
            ("c.tld", ("any", true, false)),
            ("x.only.tld", ("only", true, false)),
            ("other", ("any", false, false)),
            ("/a.tld", ("a", false, false)),
            ("/a.tld:1-2-3", ("version", false, false)),
            ("/*", ("any", false, false)),
            ("options:80", ("port", false, false)),
        ];
        for (host, expected) in table {
            let found = core.find(host).unwrap();
            let options = &found.options;
            assert_eq!(
                (&*found.frontend.identifier, options.sticky, options.https_redirect),
                expected,
                "{host}"
            );
            assert!(Rc::ptr_eq(&found, &core.find(host).unwrap()));
        }
        for host in ["/c.tld", "/b.a.tld", "/", "/none"] {
            assert!(core.find(host).is_none(), "{host}");
        }
    }

    #[test]
    fn crosses_threads() {
        fn check<T: Send + Sync>() {}
        check::<Table>();
    }

    #[test]
    fn mistakes_are_named() {
        let table = [
            ("", "not a route table"),
            ("[]", "not a route table"),
            ("{} x", "not a route table"),
            (r#"{"a": ["i"]"#, "not a route table"),
            (r#"{"a": "http://h"}"#, "no list"),
            (r#"{"a": []}"#, "list is empty"),
            (r#"{"a": ["i", 1]}"#, "element 1 is no text"),
            (r#"{"a": ["i", ["h"]]}"#, "element 1 is no text"),
            (r#"{"a": ["i", "ftp://h"]}"#, "unknown scheme"),
            (r#"{"options:a": ["i"]}"#, "no object"),
            (r#"{"options:a": {"sticky": 1}}"#, "no text"),
            (r#"{"options:a": {"sticky": "ip"}}"#, "none of its values"),
            (r#"{"options:a": {"color": "red"}}"#, "unknown option"),
            (r#"{"options:A": {}}"#, "lower case"),
            (r#"{"options:a": {}, "options:a": {}}"#, "twice"),
            (r#"{"a": ["i"], "a": ["j"]}"#, "twice"),
            (r#"{"a": ["i"], "frontend:a": ["j"]}"#, "twice"),
            (r#"{"A.tld": ["i"]}"#, "lower case"),
            (r#"{"a.tld.": ["i"]}"#, "without a dot"),
            (r#"{"": ["i"]}"#, "empty"),
            (r#"{"*.": ["i"]}"#, "empty"),
            (r#"{"a*.tld": ["i"]}"#, "no host has"),
            (r#"{"a b": ["i"]}"#, "no host has"),
            (r#"{"http://a": ["i"]}"#, "no host has"),
            (r#"{"*.a:80": ["i"]}"#, "no port"),
            (r#"{"*.a.b.c.d.e.f": ["i"]}"#, "one to five"),
        ];
        for (text, expected) in table {
            let error = Table::parse(text).expect_err(text);
            let said = error.to_string();
            assert!(said.contains(expected), "{text}: {said}");
            assert!(said.contains("accepted: "), "{said}");
        }
    }
}

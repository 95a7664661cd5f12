//! Routes from a JSON text instead of Redis: `{"www.example.tld": ["app", "http://10.0.0.1:8080"]}`.
//! Here a mistake is an error, since whoever wrote the file is there to mend it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::rc::Rc;

use serde::de::{Deserializer, MapAccess, Visitor};

use crate::bounds::{BACKENDS_MAX, HOST_BYTES_MAX, PARENTS_MAX};
use crate::frontend::Frontend;
use crate::keys::{Candidate, candidates};
use crate::options::Options;
use crate::route::Route;

/// A route table, parsed and checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    frontends: BTreeMap<String, Frontend>,
}

impl Table {
    /// Reads a JSON object: key = host, `host:port`, `*.parent` or `*`, with or without `frontend:` before it;
    /// value = list of the identifier and the backend URLs, as in Redis.
    ///
    /// # Errors
    /// Names the key, what is wrong and the accepted form.
    pub fn parse(text: &str) -> Result<Table, TableError> {
        let mut json = serde_json::Deserializer::from_str(text);
        let entries = json.deserialize_map(Entries).map_err(TableError::NotATable)?;
        json.end().map_err(TableError::NotATable)?;
        let mut table = Table::default();
        for (written, value) in entries {
            let key = written.strip_prefix("frontend:").unwrap_or(&written);
            check_key(key).map_err(|problem| TableError::Key { key: written.clone(), problem })?;
            let list = read_list(&written, &value)?;
            let frontend = Frontend::from_list(key, &list);
            if let Some(invalid) = frontend.invalid.first() {
                let (url, reason) = (invalid.url.to_string(), invalid.reason.clone());
                return Err(TableError::Backend { key: written, url, reason });
            }
            if table.frontends.insert(key.into(), frontend).is_some() {
                return Err(TableError::Key { key: written, problem: "it stands twice in the table" });
            }
        }
        Ok(table)
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

/// One core's view of a table: look-ups allocate nothing and hand out the same `Rc` each time.
#[derive(Debug, Default)]
pub(crate) struct CoreTable {
    exact: HashMap<Box<str>, Rc<Route>, foldhash::fast::RandomState>,
    wildcards: HashMap<Box<str>, Rc<Route>, foldhash::fast::RandomState>,
    any: Option<Rc<Route>>,
}

impl CoreTable {
    pub(crate) fn new(table: &Table) -> CoreTable {
        let mut core = CoreTable::default();
        for (key, frontend) in &table.frontends {
            let frontend = Rc::new(frontend.clone());
            let frontend = Rc::new(Route { frontend, options: Options::default() });
            match key.strip_prefix("*.") {
                Some(parent) => drop(core.wildcards.insert(parent.into(), frontend)),
                None if key == "*" => core.any = Some(frontend),
                None => drop(core.exact.insert(key.as_str().into(), frontend)),
            }
        }
        core
    }

    pub(crate) fn find(&self, host: &str) -> Option<&Rc<Route>> {
        candidates(host).find_map(|candidate| match candidate {
            Candidate::Exact(name) => self.exact.get(name),
            Candidate::Wildcard(parent) => self.wildcards.get(parent),
            Candidate::Any => self.any.as_ref(),
        })
    }
}

fn check_key(key: &str) -> Result<(), &'static str> {
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
    use super::{CoreTable, Table};

    #[test]
    fn looks_up_like_redis() {
        let text = r#"{"www.example.tld": ["www", "http://10.0.0.1"], "frontend:*.example.tld": ["any", "10.0.0.2"],
            "www.example.tld:81": ["port", "10.0.0.3"], "*": ["rest"], "[::1]": ["six", "[::1]:80"]}"#;
        let core = CoreTable::new(&Table::parse(text).unwrap());
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
            assert_eq!(core.find(host).map(|found| &*found.frontend.identifier), Some(identifier), "{host}");
        }
        assert!(CoreTable::new(&Table::parse("{}").unwrap()).find("a").is_none());
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

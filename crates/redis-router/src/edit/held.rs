//! What stands under hosts, byte for byte, and the JSON form of it: that of a route table, which also holds what such a
//! table would refuse. A text that is not UTF-8 stands there as `{"hex": "ff"}`. Pure.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use serde_json::Value;

use crate::bounds::MISTAKES_MAX;
use crate::file::{TableError, check_key, entries, options_host};
use crate::frontend::Frontend;
use crate::options::Options;

/// What stands under one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Identifier and backends; empty: there is no list.
    pub list: Vec<Vec<u8>>,
    /// Fields of its options; empty: there are none.
    pub options: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A table to import, in its own order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct HeldTable {
    pub(crate) hosts: Vec<(String, Held)>,
    places: HashMap<String, usize>,
}

impl HeldTable {
    /// Reads the JSON form, whatever the hosts, backends and options are.
    ///
    /// # Errors
    /// It is no such form.
    pub fn parse(text: &str) -> Result<HeldTable, TableError> {
        let mut table = HeldTable::default();
        for (written, value) in entries(text)? {
            let options = options_host(&written)
                .or_else(|| written.strip_prefix("options:").filter(|_| value.is_object()));
            let twice = match options {
                Some(host) => {
                    let read = read_options(&written, &value)?;
                    !std::mem::replace(&mut table.at(host).options, read).is_empty()
                }
                None => {
                    let host = written.strip_prefix("frontend:").unwrap_or(&written);
                    let read = read_list(&written, &value)?;
                    !std::mem::replace(&mut table.at(host).list, read).is_empty()
                }
            };
            if twice {
                return Err(TableError::Key { key: written, problem: "it stands twice in the table" });
            }
        }
        Ok(table)
    }

    /// What a route table file would refuse, at most `MISTAKES_MAX`.
    pub fn mistakes(&self) -> Vec<TableError> {
        self.hosts.iter().flat_map(|(host, held)| held.mistakes(host)).take(MISTAKES_MAX).collect()
    }

    /// What it holds under `host`.
    pub(crate) fn get(&self, host: &str) -> Option<&Held> {
        Some(&self.hosts[*self.places.get(host)?].1)
    }

    fn at(&mut self, host: &str) -> &mut Held {
        let place = *self.places.entry(host.to_owned()).or_insert(self.hosts.len());
        if place == self.hosts.len() {
            self.hosts.push((host.to_owned(), Held::default()));
        }
        &mut self.hosts[place].1
    }
}

impl Held {
    /// What a route table file would refuse of it.
    pub fn mistakes(&self, host: &str) -> Vec<TableError> {
        let mut found = Vec::new();
        if let Err(problem) = check_key(host) {
            found.push(TableError::Key { key: host.into(), problem });
        }
        for invalid in Frontend::from_list(host, &self.list).invalid {
            let (url, reason) = (invalid.url.into(), invalid.reason);
            found.push(TableError::Backend { key: host.into(), url, reason });
        }
        if self.list.first().is_some_and(|identifier| str::from_utf8(identifier).is_err()) {
            let problem = "the identifier is not UTF-8".into();
            found.push(TableError::List { key: host.into(), problem });
        }
        for (field, value) in &self.options {
            let (field, value) = (String::from_utf8_lossy(field), String::from_utf8_lossy(value));
            if let Err(reason) = Options::default().take(&field, &value) {
                let problem = format!("option {field:?}: {reason}");
                found.push(TableError::Options { key: format!("options:{host}"), problem });
            }
        }
        found
    }

    /// Its members of the JSON form: `"host": ["identifier", …]`, `"options:host": {…}`.
    pub fn members(&self, host: &str) -> Vec<String> {
        let mut members = Vec::new();
        if !self.list.is_empty() {
            members.push(format!("{}: {}", json(&list_key(host)), list_json(&self.list)));
        }
        if !self.options.is_empty() {
            members.push(format!("{}: {}", json(&options_key(host)), options_json(&self.options)));
        }
        members
    }
}

/// The key of a list in the JSON form: without `frontend:` where that is not mistaken for something else.
pub(crate) fn list_key(host: &str) -> String {
    let is_mistaken = host.starts_with("frontend:") || host.starts_with("options:");
    if is_mistaken { format!("frontend:{host}") } else { host.to_owned() }
}

pub(crate) fn options_key(host: &str) -> String {
    format!("options:{host}")
}

pub(crate) fn list_json(list: &[Vec<u8>]) -> String {
    let elements: Vec<String> = list.iter().map(|element| bytes_json(element)).collect();
    format!("[{}]", elements.join(", "))
}

pub(crate) fn options_json(options: &BTreeMap<Vec<u8>, Vec<u8>>) -> String {
    let member = |(field, value): (&Vec<u8>, &Vec<u8>)| {
        format!("{}: {}", json(&String::from_utf8_lossy(field)), bytes_json(value))
    };
    format!("{{{}}}", options.iter().map(member).collect::<Vec<_>>().join(", "))
}

/// A text, or what is none as `{"hex": …}`.
pub(crate) fn bytes_json(bytes: &[u8]) -> String {
    if let Ok(text) = str::from_utf8(bytes) {
        return json(text);
    }
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(hex, "{byte:02x}").expect("a String takes everything");
    }
    format!("{{\"hex\": \"{hex}\"}}")
}

pub(crate) fn json(text: &str) -> String {
    Value::from(text).to_string()
}

fn read_bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Object(members) if members.len() == 1 => {
            let hex = members.get("hex")?.as_str()?.as_bytes();
            let pair = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
            let is_hex = hex.len().is_multiple_of(2) && hex.iter().all(u8::is_ascii_hexdigit);
            if is_hex { hex.chunks(2).map(pair).collect() } else { None }
        }
        _ => None,
    }
}

fn read_list(key: &str, value: &Value) -> Result<Vec<Vec<u8>>, TableError> {
    let fail = |problem: String| TableError::List { key: key.into(), problem };
    let list = value.as_array().ok_or_else(|| fail("its value is no list".into()))?;
    if list.is_empty() {
        return Err(fail("the list is empty, its first element is the identifier".into()));
    }
    let element = |(index, element): (usize, &Value)| {
        read_bytes(element).ok_or_else(|| fail(format!("element {index} is no text: {element}")))
    };
    list.iter().enumerate().map(element).collect()
}

fn read_options(key: &str, value: &Value) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, TableError> {
    let fail = |problem: String| TableError::Options { key: key.into(), problem };
    let accepted = "accepted: {\"balance\": \"random\", \"sticky\": \"cookie\", \"httpsRedirect\": true}";
    let members = value.as_object().ok_or_else(|| fail(format!("its value is no object; {accepted}")))?;
    let field = |(field, value): (&String, &Value)| {
        let bytes = match value {
            Value::Bool(flag) => Some(flag.to_string().into_bytes()),
            value => read_bytes(value),
        };
        let bytes = bytes.ok_or_else(|| fail(format!("option {field:?} is no text; {accepted}")))?;
        Ok((field.clone().into_bytes(), bytes))
    };
    members.iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::{Held, HeldTable};

    fn table_of(hosts: &[(&str, Held)]) -> String {
        let members: Vec<String> = hosts.iter().flat_map(|(host, held)| held.members(host)).collect();
        format!("{{\n{}\n}}\n", members.join(",\n"))
    }

    fn held(list: &[&[u8]], options: &[(&str, &[u8])]) -> Held {
        let options =
            options.iter().map(|(field, value)| (field.as_bytes().to_vec(), value.to_vec())).collect();
        Held { list: list.iter().map(|element| element.to_vec()).collect(), options }
    }

    #[test]
    fn what_is_written_is_read_again_byte_for_byte() {
        let hosts = [
            ("www.example.tld", held(&[b"app", b"http://10.0.0.1:80"], &[("balance", b"random")])),
            ("*", held(&[b""], &[])),
            ("Upper \"case\"\n", held(&[b"\xff\x00", b"\"\\\n\r\t\x01", b"\xc3\xbc", b"ftp://x"], &[])),
            ("options:80", held(&[b"port"], &[])),
            ("options:other", held(&[b"odd"], &[("sticky", b"\xfe")])),
            ("frontend:80", held(&[b"port"], &[])),
            ("80", held(&[], &[("color", b"red")])),
            ("{\"hex\": \"00\"}", held(&[b"{\"hex\": \"00\"}"], &[])),
        ];
        let text = table_of(&hosts);
        let read = HeldTable::parse(&text).unwrap();
        for (host, held) in &hosts {
            assert_eq!(read.get(host), Some(held), "{text}");
        }
        assert_eq!(read.hosts.len(), hosts.len());
        assert_eq!(text.lines().count(), 2 + 10);
    }

    #[test]
    fn what_is_no_table_is_refused_and_mistakes_are_told() {
        for text in [
            "",
            "[]",
            "{",
            r#"{"a": []}"#,
            r#"{"a": [1]}"#,
            r#"{"a": [{"hex": "f"}]}"#,
            r#"{"a": [{"hex": "+1"}]}"#,
            r#"{"a": [{"hex": "zz"}]}"#,
            r#"{"a": ["i"], "frontend:a": ["i"]}"#,
            r#"{"options:a": {"sticky": 1}}"#,
            r#"{"options:a": ["i"]}"#,
        ] {
            assert!(HeldTable::parse(text).is_err(), "{text}");
        }
        let of = |text: &str| HeldTable::parse(text).unwrap().mistakes();
        assert!(of(r#"{"a": ["i", "10.0.0.1"], "options:a": {"httpsRedirect": true}}"#).is_empty());
        for (text, told) in [
            (r#"{"A": ["i"]}"#, "lower case"),
            (r#"{"a": ["i", "ftp://h"]}"#, "unknown scheme"),
            (r#"{"a": [{"hex": "ff"}]}"#, "not UTF-8"),
            (r#"{"options:a": {"color": "red"}}"#, "unknown option"),
        ] {
            let mistakes = of(text);
            assert!(mistakes.len() == 1 && mistakes[0].to_string().contains(told), "{text}: {mistakes:?}");
        }
    }
}

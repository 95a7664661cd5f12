//! The same commands on the text of a route table. Pure: whoever uses this reads and writes the file.

use std::collections::HashMap;

use crate::backend::Backend;
use crate::file::{Table, TableError, entries, options_host};
use crate::frontend::Frontend;
use crate::keys::candidates;

use super::document::{Document, Value};
use super::failure::Failure;
use super::held::{Held, HeldTable, bytes_json, json, list_key, options_json, options_key};
use super::plan::{self, Added, Removed, text};
use super::session::in_force;
use super::shown::{Shown, ShownBackend, ShownFrontend, ShownOptions};
use super::{Counts, Listed, Take, Told};

/// A route table as text.
pub struct TableText {
    document: Document,
    /// What it holds, in its order.
    table: HeldTable,
    /// Where the members of a host stand in the document.
    places: HashMap<String, Places>,
    changed: bool,
}

#[derive(Default, Clone, Copy)]
struct Places {
    list: Option<usize>,
    options: Option<usize>,
}

impl TableText {
    /// Reads the text of a route table.
    ///
    /// # Errors
    /// It is none that a proxy would take.
    pub fn parse(text: &str) -> Result<TableText, TableError> {
        Table::parse(text)?;
        let mut places = HashMap::<String, Places>::new();
        for (place, (written, _)) in entries(text)?.iter().enumerate() {
            match options_host(written) {
                Some(host) => places.entry(host.into()).or_default().options = Some(place),
                None => {
                    let host = written.strip_prefix("frontend:").unwrap_or(written);
                    places.entry(host.into()).or_default().list = Some(place);
                }
            }
        }
        let (document, table) = (Document::new(text), HeldTable::parse(text)?);
        Ok(TableText { document, table, places, changed: false })
    }

    /// The text as it is to be written; `None`: nothing has changed.
    ///
    /// # Errors
    /// A proxy would not take it.
    pub fn changed_text(&self) -> Result<Option<String>, TableError> {
        if !self.changed {
            return Ok(None);
        }
        let text = self.document.text();
        Table::parse(&text).map(|_| Some(text))
    }

    fn list_of(&self, host: &str) -> &[Vec<u8>] {
        self.table.get(host).map_or(&[], |held| &held.list)
    }

    fn sorted(&self) -> Vec<&(String, Held)> {
        let mut hosts: Vec<&(String, Held)> = self.table.hosts.iter().collect();
        hosts.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        hosts
    }

    pub(crate) fn hosts(&self) -> Vec<String> {
        let with_list = self.sorted().into_iter().filter(|(_, held)| !held.list.is_empty());
        with_list.map(|(host, _)| host.clone()).collect()
    }

    pub(crate) fn list(&self, take: &mut Take<'_, Listed>) -> Result<(), Failure> {
        for (host, held) in self.sorted().into_iter().filter(|(_, held)| !held.list.is_empty()) {
            let frontend = Frontend::from_list(host, &held.list);
            let (identifier, backends) = (frontend.identifier.into(), frontend.listed);
            let listed = Listed { host: host.clone(), identifier, backends, invalid: 0, dead: None };
            take(Told::Entry(listed)).map_err(Failure::Output)?;
        }
        Ok(())
    }

    pub(crate) fn export(&self, take: &mut Take<'_, (String, Held)>) -> Result<(), Failure> {
        for entry in self.sorted() {
            take(Told::Entry(entry.clone())).map_err(Failure::Output)?;
        }
        Ok(())
    }

    pub(crate) fn show(&self, host: &str) -> Shown {
        let names: Vec<String> = candidates(host).map(|candidate| candidate.to_string()).collect();
        let mut notes = Vec::new();
        let found = names.iter().find(|name| !self.list_of(name).is_empty());
        let frontend = found.map(|name| {
            let list: Vec<String> = self.list_of(name).iter().map(|element| text(element)).collect();
            let backend = |(index, url): (usize, &String)| ShownBackend {
                url: url.clone(),
                read: Backend::parse(url, index),
                mark: None,
            };
            ShownFrontend {
                key: format!("frontend:{name}"),
                identifier: list[0].clone(),
                left_ms: None,
                options: self.options_among(&names, &mut notes),
                backends: list.iter().skip(1).enumerate().map(backend).collect(),
            }
        });
        let looked_for = names.iter().map(|name| format!("frontend:{name}")).collect();
        Shown { host: host.into(), looked_for, frontend, notes, server: None }
    }

    fn options_among(&self, names: &[String], notes: &mut Vec<String>) -> Option<ShownOptions> {
        let options = |name: &String| self.table.get(name).map(|held| &held.options);
        let has_options =
            |name: &&String| self.places.get(*name).is_some_and(|places| places.options.is_some());
        let name = names.iter().find(has_options)?;
        let fields: Vec<(String, String)> =
            options(name)?.iter().map(|(field, value)| (text(field), text(value))).collect();
        let key = options_key(name);
        Some(ShownOptions { fields: in_force(&key, &fields, notes), key })
    }

    pub(crate) fn add(&mut self, host: &str, id: Option<&str>, urls: &[String]) -> Result<Added, Failure> {
        let list = self.list_of(host);
        let added = plan::addition(host, list, id, urls)?;
        let extended = plan::extended(list, &added);
        if extended.len() > list.len() {
            self.set_list(host, &extended);
        }
        Ok(added)
    }

    pub(crate) fn remove(&mut self, host: &str, backend: Option<&str>) -> Result<Removed, Failure> {
        let list = self.list_of(host).to_vec();
        if list.is_empty() {
            return Err(Failure::UnknownHost { host: host.into(), known: self.hosts() });
        }
        let Some(backend) = backend else {
            let backends = plan::texts_at(&list, &(0..list.len() - 1).collect::<Vec<_>>());
            let has_options = self.places.get(host).is_some_and(|places| places.options.is_some());
            self.delete_list(host);
            return Ok(Removed { backends, left: None, has_options });
        };
        let gone = plan::occurrences(host, &list, backend)?;
        let left = plan::without(&list, &gone);
        self.set_list(host, &left);
        Ok(Removed { backends: plan::texts_at(&list, &gone), left: Some(left.len() - 1), has_options: false })
    }

    pub(crate) fn import(&mut self, table: &HeldTable, prune: bool) -> Result<Counts, Failure> {
        if let Some(mistake) = table.mistakes().into_iter().next() {
            return Err(Failure::Invalid(mistake));
        }
        let mut counts = Counts::default();
        for (host, new) in &table.hosts {
            let old = self.table.get(host).cloned().unwrap_or_default();
            let (lists_differ, options_differ) =
                (!new.list.is_empty() && new.list != old.list, new.options != old.options);
            match (lists_differ || options_differ, self.places.contains_key(host)) {
                (false, _) => counts.unchanged += 1,
                (true, false) => counts.added += 1,
                (true, true) => counts.changed += 1,
            }
            if lists_differ {
                self.set_list(host, &new.list);
            }
            if options_differ {
                self.set_options(host, new);
            }
        }
        if prune {
            counts.removed = self.prune(table);
        }
        Ok(counts)
    }

    /// Takes out what `table` does not hold; returns the number of hosts.
    fn prune(&mut self, table: &HeldTable) -> usize {
        let mut removed = 0;
        let there: Vec<(String, Places)> =
            self.places.iter().map(|(host, places)| (host.clone(), *places)).collect();
        for (host, places) in there {
            let named = table.get(&host);
            let list = places.list.filter(|_| named.is_none_or(|held| held.list.is_empty()));
            let options = places.options.filter(|_| named.is_none());
            if list.is_some() {
                self.delete_list(&host);
            }
            if let Some(place) = options {
                self.document.delete(place);
                self.changed = true;
            }
            removed += usize::from(list.is_some() || options.is_some());
        }
        removed
    }

    fn set_list(&mut self, host: &str, list: &[Vec<u8>]) {
        let elements: Vec<String> = list.iter().map(|element| bytes_json(element)).collect();
        let places = self.places.entry(host.into()).or_default();
        match places.list {
            Some(place) => self.document.set_list(place, &elements),
            None => places.list = Some(self.document.append(json(&list_key(host)), Value::List(&elements))),
        }
        self.changed = true;
    }

    fn set_options(&mut self, host: &str, new: &Held) {
        let places = self.places.entry(host.into()).or_default();
        let value = options_json(&new.options);
        match places.options {
            Some(place) if new.options.is_empty() => {
                self.document.delete(place);
                places.options = None;
            }
            Some(place) => self.document.set(place, value),
            None => {
                places.options = Some(self.document.append(json(&options_key(host)), Value::Text(value)));
            }
        }
        self.changed = true;
    }

    fn delete_list(&mut self, host: &str) {
        if let Some(place) = self.places.get_mut(host).and_then(|places| places.list.take()) {
            self.document.delete(place);
            self.changed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TableText;
    use crate::edit::{Counts, Failure, HeldTable};

    const TEXT: &str = r#"{
  "b.tld": ["b", "http://h1", "http://h2", "http://h1"],
  "frontend:a.tld": ["a"],
  "options:a.tld": {"httpsRedirect": true, "balance": "random"},
  "options:*.tld": {"sticky": "cookie"}
}
"#;

    fn table() -> TableText {
        TableText::parse(TEXT).unwrap()
    }

    fn lines(table: &TableText) -> Vec<String> {
        let text = table.changed_text().unwrap().unwrap();
        text.lines().map(|line| line.trim().trim_end_matches(',').to_owned()).collect()
    }

    #[test]
    fn backends_come_and_go_in_the_text() {
        let mut table = table();
        assert_eq!(table.changed_text().unwrap(), None);
        assert!(table.add("a.tld", None, &["http://h3".into()]).unwrap().added.len() == 1);
        let mut lines_now = lines(&table);
        assert_eq!(lines_now[2], r#""frontend:a.tld": ["a", "http://h3"]"#);
        let mut table = self::table();
        let removed = table.remove("b.tld", Some("http://h1")).unwrap();
        assert_eq!((removed.left, &*removed.backends), (Some(1), &["http://h1".to_owned()][..]));
        lines_now = lines(&table);
        assert_eq!(lines_now[1], r#""b.tld": ["b", "http://h2"]"#);
        let mut table = self::table();
        assert!(table.add("new.tld", Some("n"), &["h".into()]).unwrap().created);
        assert_eq!(lines(&table)[5], r#""new.tld": ["n", "h"]"#);
        assert_eq!(table.add("b.tld", None, &["http://h1".into()]).unwrap().added.len(), 0);
    }

    #[test]
    fn a_frontend_goes_and_its_options_stay() {
        let mut table = table();
        let removed = table.remove("a.tld", None).unwrap();
        assert!(removed.has_options && removed.left.is_none() && removed.backends.is_empty());
        assert_eq!(lines(&table).len(), 5);
        for (host, backend) in [("c.tld", None), ("c.tld", Some("x"))] {
            let Err(Failure::UnknownHost { known, .. }) = self::table().remove(host, backend) else {
                panic!("{host} is there")
            };
            assert_eq!(known, ["a.tld", "b.tld"]);
        }
        assert!(self::table().remove("b.tld", Some("http://h9")).is_err());
    }

    #[test]
    fn a_host_is_shown_with_what_was_looked_for() {
        let shown = table().show("a.tld:81");
        assert_eq!(shown.looked_for, ["frontend:a.tld:81", "frontend:a.tld", "frontend:*.tld", "frontend:*"]);
        let frontend = shown.frontend.unwrap();
        assert_eq!((&*frontend.key, &*frontend.identifier), ("frontend:a.tld", "a"));
        let options = frontend.options.unwrap();
        assert_eq!((&*options.key, options.fields.len()), ("options:a.tld", 2));
        assert_eq!(table().show("b.tld").frontend.unwrap().options.unwrap().key, "options:*.tld");
        assert!(table().show("c.tld").frontend.is_none());
    }

    #[test]
    fn an_import_changes_what_differs() {
        let import = |text: &str, prune| {
            let mut table = table();
            let counts = table.import(&HeldTable::parse(text).unwrap(), prune).unwrap();
            (counts, table.changed_text().unwrap())
        };
        assert_eq!(import(TEXT, true), (Counts { unchanged: 3, ..Counts::default() }, None));
        let new = r#"{"b.tld": ["b"], "c.tld": ["c"], "options:*.tld": {"sticky": "cookie"}}"#;
        let (counts, text) = import(new, false);
        assert_eq!(counts, Counts { added: 1, changed: 1, unchanged: 1, removed: 0 });
        assert_eq!(text.unwrap().lines().count(), TEXT.lines().count() + 1);
        let (counts, text) = import(new, true);
        assert_eq!(counts, Counts { added: 1, changed: 1, unchanged: 1, removed: 1 });
        assert_eq!(HeldTable::parse(&text.unwrap()).unwrap().hosts.len(), 3);
        assert!(table().import(&HeldTable::parse(r#"{"A": ["i"]}"#).unwrap(), false).is_err());
    }
}

//! What a change of one list comes to. Pure.

use crate::backend::{Backend, is_same_url};
use crate::bounds::BACKENDS_MAX;
use crate::file::{TableError, check_key};

use super::failure::Failure;

/// What `add` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// There was no list before.
    pub created: bool,
    /// Identifier of the list.
    pub identifier: String,
    /// URLs that were appended.
    pub added: Vec<String>,
    /// URLs that were listed already.
    pub listed: Vec<String>,
    /// Appended URLs beside listed ones that name the same place with other options.
    pub similar: Vec<(String, String)>,
}

/// What `remove` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Backends that were taken out, as they stood in the list, each once.
    pub backends: Vec<String>,
    /// Backends that are left; `None`: the frontend is gone.
    pub left: Option<usize>,
    /// Options of the host, which stay.
    pub has_options: bool,
}

/// Whether `urls` can stand under `host`.
///
/// # Errors
/// What is wrong, and the accepted form.
pub(crate) fn check_new(host: &str, urls: &[String]) -> Result<(), Failure> {
    let invalid = |error| Err(Failure::Invalid(error));
    let port = |rest: &str| rest.parse::<u16>().is_ok();
    if host.strip_prefix("frontend:").is_some_and(|rest| !port(rest)) {
        return invalid(TableError::Key {
            key: host.into(),
            problem: "the host stands without \"frontend:\"",
        });
    }
    if let Err(problem) = check_key(host) {
        return invalid(TableError::Key { key: host.into(), problem });
    }
    for url in urls {
        if let Err(reason) = Backend::parse(url, 0) {
            return invalid(TableError::Backend { key: host.into(), url: url.clone(), reason });
        }
    }
    Ok(())
}

/// What adding `urls` to `list` comes to.
///
/// # Errors
/// The list has another identifier than `id`, or becomes too long.
pub(crate) fn addition(
    host: &str,
    list: &[Vec<u8>],
    id: Option<&str>,
    urls: &[String],
) -> Result<Added, Failure> {
    let identifier = match (list.first(), id) {
        (None, id) => id.unwrap_or(host).to_owned(),
        (Some(own), Some(id)) if own != id.as_bytes() => {
            let identifier = text(own);
            return Err(Failure::OtherIdentifier { host: host.into(), identifier });
        }
        (Some(own), _) => text(own),
    };
    let backends = list.get(1..).unwrap_or_default();
    let (mut added, mut listed, mut similar) = (Vec::<String>::new(), Vec::new(), Vec::new());
    for url in urls {
        let is_listed = backends.iter().any(|one| is_same_url(&text(one), url));
        if is_listed || added.iter().any(|one| is_same_url(one, url)) {
            listed.push(url.clone());
            continue;
        }
        if let Some(other) = backends.iter().map(|one| text(one)).find(|one| is_same_place(one, url)) {
            similar.push((url.clone(), other));
        }
        added.push(url.clone());
    }
    if backends.len() + added.len() > BACKENDS_MAX {
        let problem = format!("the list would have more than {BACKENDS_MAX} backends");
        return Err(Failure::Invalid(TableError::List { key: host.into(), problem }));
    }
    Ok(Added { created: list.is_empty(), identifier, added, listed, similar })
}

/// The list with what `added` brings.
pub(crate) fn extended(list: &[Vec<u8>], added: &Added) -> Vec<Vec<u8>> {
    let first = if list.is_empty() { vec![added.identifier.clone().into_bytes()] } else { list.to_vec() };
    first.into_iter().chain(added.added.iter().map(|url| url.clone().into_bytes())).collect()
}

/// Indexes of `backend` in `list`, all its occurrences.
///
/// # Errors
/// It is not there.
pub(crate) fn occurrences(host: &str, list: &[Vec<u8>], backend: &str) -> Result<Vec<usize>, Failure> {
    let backends = list.get(1..).unwrap_or_default();
    let found = |is_it: &dyn Fn(&[u8]) -> bool| -> Vec<usize> {
        (0..backends.len()).filter(|index| is_it(&backends[*index])).collect()
    };
    let mut indexes = found(&|one| one == backend.as_bytes());
    if indexes.is_empty() {
        indexes = found(&|one| is_same_url(&text(one), backend));
    }
    if indexes.is_empty() {
        let known = backends.iter().map(|one| text(one)).collect();
        return Err(Failure::UnknownBackend { host: host.into(), backend: backend.into(), known });
    }
    Ok(indexes)
}

/// Where the backend at `index` stands once those at `gone`, ascending, are taken out; `None`: it is one of them.
pub(crate) fn renumbered(index: usize, gone: &[usize]) -> Option<usize> {
    match gone.binary_search(&index) {
        Ok(_) => None,
        Err(before) => Some(index - before),
    }
}

/// The list without the backends at `gone`.
pub(crate) fn without(list: &[Vec<u8>], gone: &[usize]) -> Vec<Vec<u8>> {
    let stays = |place: usize| place == 0 || gone.binary_search(&(place - 1)).is_err();
    list.iter().enumerate().filter(|(place, _)| stays(*place)).map(|(_, one)| one.clone()).collect()
}

/// The backends at `indexes`, each once.
pub(crate) fn texts_at(list: &[Vec<u8>], indexes: &[usize]) -> Vec<String> {
    let mut texts: Vec<String> = indexes.iter().map(|index| text(&list[index + 1])).collect();
    texts.dedup();
    texts
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is_same_place(one: &str, other: &str) -> bool {
    match (Backend::parse(one, 0), Backend::parse(other, 0)) {
        (Ok(one), Ok(other)) => {
            (one.scheme, &one.authority, &one.path_prefix)
                == (other.scheme, &other.authority, &other.path_prefix)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{addition, check_new, extended, occurrences, renumbered, text, texts_at, without};
    use crate::bounds::BACKENDS_MAX;
    use crate::edit::Failure;

    fn list(elements: &[&str]) -> Vec<Vec<u8>> {
        elements.iter().map(|one| one.as_bytes().to_vec()).collect()
    }

    fn urls(urls: &[&str]) -> Vec<String> {
        urls.iter().map(|url| (*url).to_owned()).collect()
    }

    #[test]
    fn only_what_is_not_listed_is_added() {
        let added = addition(
            "a",
            &list(&["app", "http://h1", "http://h2"]),
            None,
            &urls(&["http://h2/", "http://h3", "http://h3"]),
        )
        .unwrap();
        assert_eq!((added.created, &*added.identifier), (false, "app"));
        assert_eq!((added.added, added.listed), (urls(&["http://h3"]), urls(&["http://h2/", "http://h3"])));
        let new = addition("a", &[], None, &urls(&["h1"])).unwrap();
        assert_eq!((new.created, &*new.identifier), (true, "a"));
        assert_eq!(extended(&[], &new), list(&["a", "h1"]));
        assert_eq!(addition("a", &[], Some("id"), &[]).unwrap().identifier, "id");
        let similar =
            addition("a", &list(&["app", "http://h1"]), Some("app"), &urls(&["h1:80#weight=2"])).unwrap();
        assert_eq!(similar.similar, [("h1:80#weight=2".to_owned(), "http://h1".to_owned())]);
        assert_eq!(extended(&list(&["app", "x"]), &similar), list(&["app", "x", "h1:80#weight=2"]));
    }

    #[test]
    fn what_cannot_be_added_is_refused() {
        let refused = addition("a", &list(&["app"]), Some("other"), &[]).unwrap_err();
        assert!(matches!(refused, Failure::OtherIdentifier { .. }), "{refused}");
        let full = vec![b"http://h".to_vec(); BACKENDS_MAX + 1];
        assert!(
            addition("a", &full, None, &urls(&["http://new"])).unwrap_err().to_string().contains("more than")
        );
        for (host, url, told) in [
            ("A.tld", "h", "lower case"),
            ("frontend:a.tld", "h", "without \"frontend:\""),
            ("*.a.b.c.d.e.f", "h", "one to five"),
            ("a.tld", "ftp://h", "unknown scheme"),
            ("", "h", "empty"),
        ] {
            let refused = check_new(host, &urls(&[url])).unwrap_err().to_string();
            assert!(refused.contains(told) && refused.contains("accepted: "), "{refused}");
        }
        for host in ["*", "*.a.tld", "a.tld:80", "[::1]:80", "a.tld:12-01-31", "frontend:80"] {
            assert!(check_new(host, &urls(&["h"])).is_ok(), "{host}");
        }
    }

    #[test]
    fn all_occurrences_go_and_the_others_move_up() {
        let all = list(&["b", "a", "b", "c", "b", "d"]);
        let gone = occurrences("h", &all, "b").unwrap();
        assert_eq!(gone, [1, 3]);
        assert_eq!(without(&all, &gone), list(&["b", "a", "c", "d"]));
        assert_eq!(texts_at(&all, &gone), ["b"]);
        let moved: Vec<_> = (0..6).map(|index| renumbered(index, &gone)).collect();
        assert_eq!(moved, [Some(0), None, Some(1), None, Some(2), Some(3)]);
        assert_eq!(occurrences("h", &list(&["i", "http://H/"]), "http://h").unwrap(), [0]);
        assert_eq!(occurrences("h", &list(&["i", "http://h/", "http://h"]), "http://h").unwrap(), [1]);
        let Err(Failure::UnknownBackend { known, .. }) = occurrences("h", &all, "x") else { panic!("found") };
        assert_eq!(known.len(), 5);
        assert_eq!(text(b"a\xff"), "a\u{fffd}");
    }
}

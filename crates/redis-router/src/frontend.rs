//! One frontend: the list under `frontend:<host>`, parsed once into backends that cannot be wrong.

use crate::backend::Backend;
use crate::bounds::BACKENDS_MAX;

/// A virtual host with its backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontend {
    /// The key that matched, without prefix and `frontend:` (`*.example.tld`, say).
    pub key: Box<str>,
    /// First element of the list: the name of the virtual host in logs.
    pub identifier: Box<str>,
    /// Valid backends in list order. May be empty.
    pub backends: Vec<Backend>,
    /// Elements that are no backend URL.
    pub invalid: Vec<InvalidBackend>,
    /// Elements behind the identifier, valid or not; at most `BACKENDS_MAX` and one.
    pub listed: usize,
}

impl Frontend {
    /// Reads the list found under `key`: the identifier, then backend URLs (Hipache's format). Nothing in a list is an
    /// error of the whole: what is no backend goes to `invalid`, and so does the first one past `BACKENDS_MAX`.
    pub fn from_list<E: AsRef<[u8]>>(key: &str, list: &[E]) -> Frontend {
        let mut elements = list.iter().map(|element| element.as_ref());
        let identifier =
            elements.next().map_or(String::new(), |bytes| String::from_utf8_lossy(bytes).into_owned());
        let mut frontend = Frontend {
            key: key.into(),
            identifier: identifier.into(),
            backends: Vec::with_capacity(elements.len().min(BACKENDS_MAX)),
            invalid: Vec::new(),
            listed: elements.len(),
        };
        for (index, element) in elements.enumerate() {
            let url = String::from_utf8_lossy(element);
            if index == BACKENDS_MAX {
                let reason = format!(
                    "a frontend has at most {BACKENDS_MAX} backends; this one and those after it are not used"
                );
                frontend.invalid.push(InvalidBackend { url: url.into(), reason });
                break;
            }
            match Backend::parse(&url, index) {
                Ok(backend) => frontend.backends.push(backend),
                Err(reason) => frontend.invalid.push(InvalidBackend { url: url.into(), reason }),
            }
        }
        frontend
    }

    /// URL of the valid backend at `index`.
    pub(crate) fn url_at(&self, index: usize) -> Option<&str> {
        let place = self.backends.binary_search_by_key(&index, |backend| backend.index).ok()?;
        Some(&self.backends[place].url)
    }
}

/// An element of a list that is no backend URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidBackend {
    /// As it stands in the list.
    pub url: Box<str>,
    /// What is wrong with it and what is accepted.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, any, proptest};

    use super::Frontend;
    use crate::bounds::BACKENDS_MAX;

    #[test]
    fn reads_identifier_and_backends() {
        let frontend =
            Frontend::from_list("*.tld", &["app", "http://10.0.0.1:80", "ftp://x", "10.0.0.2#weight=2"]);
        assert_eq!((&*frontend.key, &*frontend.identifier), ("*.tld", "app"));
        let backends: Vec<_> =
            frontend.backends.iter().map(|one| (one.index, &*one.authority, one.weight)).collect();
        assert_eq!(backends, [(0, "10.0.0.1:80", 1), (2, "10.0.0.2:80", 2)]);
        assert_eq!(frontend.invalid.len(), 1);
        assert_eq!((&*frontend.invalid[0].url, frontend.listed), ("ftp://x", 3));
        let urls: Vec<_> = (0..4).map(|index| frontend.url_at(index)).collect();
        assert_eq!(urls, [Some("http://10.0.0.1:80"), None, Some("10.0.0.2#weight=2"), None]);
    }

    #[test]
    fn identifier_alone_has_no_backends() {
        let frontend = Frontend::from_list("a", &["app"]);
        assert!(frontend.backends.is_empty() && frontend.invalid.is_empty());
        assert_eq!(Frontend::from_list::<&str>("a", &[]).identifier.as_ref(), "");
    }

    #[test]
    fn backends_are_bounded_and_the_rest_reported() {
        let list = vec!["10.0.0.1"; BACKENDS_MAX + 10];
        let frontend = Frontend::from_list("a", &list);
        assert_eq!(frontend.backends.len(), BACKENDS_MAX);
        assert_eq!(frontend.invalid.len(), 1);
        assert!(frontend.invalid[0].reason.contains("at most"));
    }

    #[test]
    fn bytes_that_are_no_text_are_invalid() {
        let frontend = Frontend::from_list("a", &[&b"app"[..], b"http://h\xff"]);
        assert!(frontend.backends.is_empty());
        assert_eq!(frontend.invalid.len(), 1);
    }

    fn cannot_split_a_request(frontend: &Frontend) {
        for backend in &frontend.backends {
            assert!(backend.port > 0 && backend.weight > 0);
            assert!(backend.path_prefix.is_empty() || backend.path_prefix.starts_with('/'));
            assert!(!backend.path_prefix.ends_with('/'));
            for part in [&backend.path_prefix, &backend.authority] {
                assert!(
                    part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b'?'),
                    "{part:?}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

        #[test]
        fn any_bytes(list in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6)) {
            cannot_split_a_request(&Frontend::from_list("a", &list));
        }

        #[test]
        fn near_urls(url in "(https?://)?[a-z\\[\\]:.@]{0,12}(:[0-9]{0,6})?(/[ -~]{0,12})?(#[a-z=&,0-9]{0,20})?") {
            cannot_split_a_request(&Frontend::from_list("a", &["app", &url]));
        }
    }
}

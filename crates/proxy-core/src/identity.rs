//! What a request says of who sends it, for the tiers of service. Pure.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::http::request::RequestHead;
use crate::settings::Identify;

/// The names of a request, in the order of the sources.
pub(crate) type Names<'a> = SmallVec<[Cow<'a, str>; 4]>;

/// What `sources` find in `request`. Where a field stands several times each of its values is a name.
pub(crate) fn names<'a>(request: &'a RequestHead, sources: &[Identify]) -> Names<'a> {
    let mut names = Names::new();
    for source in sources {
        match source {
            Identify::Header(field) => {
                let values = request.values_of(field).filter_map(|value| std::str::from_utf8(value).ok());
                names.extend(values.filter(|value| !value.is_empty()).map(Cow::Borrowed));
            }
            Identify::Referer => names.extend(host_in(request.referer.within(&request.bytes))),
            Identify::Origin => names.extend(request.values_of("origin").filter_map(host_in)),
        }
        names.truncate(NAMES_MAX);
    }
    names
}

/// Names of one request that are looked for: a client gains nothing by sending many.
const NAMES_MAX: usize = 8;

/// The host in an absolute URI (RFC 3986 section 3.2.2), without port, in lower case.
fn host_in(uri: &[u8]) -> Option<Cow<'_, str>> {
    if uri.is_empty() {
        return None;
    }
    let uri = std::str::from_utf8(uri).ok()?;
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    };
    let is_lower = !host.bytes().any(|byte| byte.is_ascii_uppercase());
    let host = if is_lower { Cow::Borrowed(host) } else { Cow::Owned(host.to_ascii_lowercase()) };
    Some(host).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::HeadLimits;

    const LIMITS: HeadLimits = HeadLimits { bytes: 65_536, fields: 100, target: 1000 };

    #[test]
    fn hosts_of_uris() {
        for (uri, host) in [
            ("http://a.tld/x", Some("a.tld")),
            ("HTTPS://A.TLD:8080", Some("a.tld")),
            ("https://user:secret@a.tld:1/", Some("a.tld")),
            ("http://[::1]:8/", Some("[::1]")),
            ("http://[::1]", Some("[::1]")),
            ("http://a.tld?x=http://b.tld/", Some("a.tld")),
            ("a.tld/x", None),
            ("null", None),
            ("http:///x", None),
            ("", None),
        ] {
            assert_eq!(host_in(uri.as_bytes()).as_deref(), host, "{uri}");
        }
        assert_eq!(host_in(b"http://\xff/"), None);
    }

    #[test]
    fn sources_in_turn() {
        let text = "GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://o.tld\r\nx-api-KEY: k1\r\nX-Api-Key:\r\n\
            X-Api-Key: k2\r\nReferer: http://r.tld/\r\n\r\n";
        let mut head = RequestHead::default();
        head.parse(text.as_bytes().to_vec(), text.len(), LIMITS).unwrap();
        let key = Identify::Header("x-api-key".into());
        let found = names(&head, &[key, Identify::Referer, Identify::Origin]);
        assert_eq!(found.as_slice(), ["k1", "k2", "r.tld", "o.tld"]);
        assert!(names(&head, &[]).is_empty());
    }
}

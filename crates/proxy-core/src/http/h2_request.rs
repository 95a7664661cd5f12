//! A request of HTTP/2 in the form of HTTP/1.1, so that one parser decides what may pass: what it would refuse of an
//! HTTP/1.1 client is refused of one that speaks HTTP/2 (RFC 9113 sections 8.2 and 8.3). Nothing is left out in
//! silence that would mean something else to the next hop.

use ::http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use ::http::request::Parts;
use ::http::{Method, uri::Authority};

use super::body::keep_trailer_fields;
use super::fault::Fault;
use super::host;
use crate::bounds::TRAILER_BYTES;

/// The only protocol that an extended CONNECT may ask for (RFC 8441).
const WEBSOCKET: &str = "websocket";

/// What a head depends on beside what it says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The `:protocol` of an extended CONNECT.
    pub(crate) protocol: Option<&'a str>,
    /// Whether the stream goes on behind the head.
    pub(crate) has_body: bool,
    /// Random, for a `Sec-WebSocket-Key`.
    pub(crate) key: u128,
}

/// Appends the head to `out`. On a fault `out` holds method and target all the same, for the log.
///
/// # Errors
/// A [`Fault`] for what HTTP/2 forbids and for what the next hop could read otherwise. What HTTP/1.1 forbids too is
/// left to the parser.
pub(crate) fn write_head(out: &mut Vec<u8>, parts: &Parts, asked: Asked<'_>) -> Result<(), Fault> {
    let upgrades = parts.method == Method::CONNECT && asked.protocol == Some(WEBSOCKET);
    let method = if upgrades { Method::GET } else { parts.method.clone() };
    let target = match parts.uri.path_and_query() {
        Some(target) => target.as_str(),
        None => parts.uri.authority().map_or("", Authority::as_str),
    };
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let written = write_fields(out, parts, asked, upgrades);
    out.extend_from_slice(b"\r\n");
    if method == Method::CONNECT {
        // Refused like any other by the parser, whatever its fields.
        return Ok(());
    }
    if !matches!(target.as_bytes(), [b'/', ..] | b"*") {
        return Err(Fault::Target);
    }
    written
}

fn write_fields(out: &mut Vec<u8>, parts: &Parts, asked: Asked<'_>, upgrades: bool) -> Result<(), Fault> {
    let scheme = parts.uri.scheme_str();
    if !matches!(scheme, None | Some("http" | "https")) {
        return Err(Fault::Target);
    }
    write_host(out, parts)?;
    for name in parts.headers.keys() {
        let values = parts.headers.get_all(name);
        let own = *name == HOST || (upgrades && *name == SEC_WEBSOCKET_KEY);
        if own {
            continue;
        }
        if is_of_a_connection(name) || (*name == TE && values.iter().any(|value| value != "trailers")) {
            return Err(Fault::Malformed);
        }
        if values.iter().any(is_padded) {
            return Err(Fault::Malformed);
        }
        if *name == COOKIE {
            let crumbs: Vec<&[u8]> = values.iter().map(HeaderValue::as_bytes).collect();
            line(out, name.as_str(), &crumbs.join(&b"; "[..]));
        } else {
            values.iter().for_each(|value| line(out, name.as_str(), value.as_bytes()));
        }
    }
    write_framing(out, parts, asked, upgrades)
}

/// One Host, from `:authority`; a `host` that says something else makes the request two requests.
fn write_host(out: &mut Vec<u8>, parts: &Parts) -> Result<(), Fault> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let Some(authority) = parts.uri.authority() else {
        // None or several are for the parser to refuse.
        hosts.for_each(|host| line(out, "host", host.as_bytes()));
        return Ok(());
    };
    if let Some(host) = hosts.next() {
        let (mut one, mut other) = (String::new(), String::new());
        host::normalize(authority.as_str().as_bytes(), &mut one)?;
        host::normalize(host.as_bytes(), &mut other)?;
        if one != other || hosts.next().is_some() {
            return Err(Fault::Host);
        }
    }
    line(out, "host", authority.as_str().as_bytes());
    Ok(())
}

/// How the next hop finds the body's end, and what it is asked to become.
fn write_framing(out: &mut Vec<u8>, parts: &Parts, asked: Asked<'_>, upgrades: bool) -> Result<(), Fault> {
    let has_length = parts.headers.contains_key(CONTENT_LENGTH);
    if upgrades {
        if has_length {
            return Err(Fault::ContentLength);
        }
        out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
        line(out, SEC_WEBSOCKET_KEY.as_str(), &base64(asked.key));
    } else if asked.has_body && !has_length {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    } else if !has_length && matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) {
        // Servers ask for a length with these methods (RFC 9110 section 8.6).
        out.extend_from_slice(b"content-length: 0\r\n");
    }
    Ok(())
}

/// The lines of a request's trailers, as far as they may be passed on.
///
/// # Errors
/// [`Fault::Trailer`].
pub(crate) fn trailer_lines(trailers: &HeaderMap) -> Result<Vec<u8>, Fault> {
    let mut lines = Vec::new();
    for (name, value) in trailers {
        if is_padded(value) {
            return Err(Fault::Trailer);
        }
        line(&mut lines, name.as_str(), value.as_bytes());
        if lines.len() > TRAILER_BYTES {
            return Err(Fault::Trailer);
        }
    }
    lines.extend_from_slice(b"\r\n");
    keep_trailer_fields(&mut lines)?;
    Ok(lines)
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// RFC 9113 section 8.2.2.
fn is_of_a_connection(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || name == "keep-alive"
        || name == "proxy-connection"
}

/// RFC 9113 section 8.2.1: no white space around a value.
fn is_padded(value: &HeaderValue) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.as_bytes().first()) || is_space(value.as_bytes().last())
}

/// The 16 bytes of `key` (RFC 4648 section 4).
fn base64(key: u128) -> [u8; 24] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut digits = [b'='; 24];
    for (place, digit) in digits.iter_mut().take(22).enumerate() {
        // Six bits from the top each; the last digit has two, and four of padding.
        let at = 128 - 6 * (place as i32 + 1);
        let bits = if at >= 0 { key >> at } else { key << -at };
        *digit = DIGITS[(bits & 63) as usize];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{HeadLimits, Length};
    use crate::http::request::RequestHead;

    const LIMITS: HeadLimits = HeadLimits { bytes: 65_536, fields: 100, target: 1000 };

    fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
        let mut builder = ::http::Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            builder = builder.header(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    const GET: Asked<'_> = Asked { protocol: None, has_body: false, key: 0 };

    fn translated(parts: &Parts, asked: Asked<'_>) -> Result<(String, RequestHead), Fault> {
        let mut bytes = Vec::new();
        write_head(&mut bytes, parts, asked)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (mut head, length) = (RequestHead::default(), bytes.len());
        head.parse(bytes, length, LIMITS).map(|()| (text, head))
    }

    #[test]
    fn puts_requests_into_the_form_of_http_1_1() {
        let at = "https://a.tld";
        let with_body = Asked { has_body: true, ..GET };
        for (method, path, fields, asked, lines, body) in [
            ("GET", "/x?y=z", vec![("accept", "*/*")], GET, "accept: */*\r\n", Length::None),
            ("GET", "/", vec![("host", "A.tld")], GET, "", Length::None),
            (
                "GET",
                "/",
                vec![("cookie", "a=1"), ("x", "1"), ("cookie", "b=2"), ("x", "2")],
                GET,
                "cookie: a=1; b=2\r\nx: 1\r\nx: 2\r\n",
                Length::None,
            ),
            ("POST", "/", vec![], GET, "content-length: 0\r\n", Length::Bytes(0)),
            ("DELETE", "/", vec![], GET, "", Length::None),
            ("POST", "/", vec![], with_body, "transfer-encoding: chunked\r\n", Length::Chunked),
            (
                "POST",
                "/",
                vec![("content-length", "5")],
                with_body,
                "content-length: 5\r\n",
                Length::Bytes(5),
            ),
            (
                "GET",
                "/",
                vec![("te", "trailers"), ("empty", "")],
                GET,
                "te: trailers\r\nempty: \r\n",
                Length::None,
            ),
        ] {
            let (text, head) = translated(&parts(method, &format!("{at}{path}"), &fields), asked).unwrap();
            assert_eq!(text, format!("{method} {path} HTTP/1.1\r\nhost: a.tld\r\n{lines}\r\n"));
            assert_eq!((head.host.as_str(), head.body), ("a.tld", body), "{text}");
        }
        let (text, _) = translated(&parts("GET", "/x", &[("host", "a.tld:81")]), GET).unwrap();
        assert_eq!(text, "GET /x HTTP/1.1\r\nhost: a.tld:81\r\n\r\n");
        let mut options = parts("OPTIONS", "*", &[("host", "a.tld")]);
        assert!(translated(&options, GET).unwrap().0.starts_with("OPTIONS * HTTP/1.1\r\n"));
        options.method = Method::GET;
        assert_eq!(translated(&options, GET).unwrap_err(), Fault::Target);
    }

    #[test]
    fn refuses_what_could_be_two_requests() {
        let table: &[(&[(&str, &str)], Fault)] = &[
            (&[("connection", "close")], Fault::Malformed),
            (&[("keep-alive", "5")], Fault::Malformed),
            (&[("proxy-connection", "x")], Fault::Malformed),
            (&[("transfer-encoding", "chunked")], Fault::Malformed),
            (&[("upgrade", "h2c")], Fault::Malformed),
            (&[("te", "gzip")], Fault::Malformed),
            (&[("te", "trailers"), ("te", "trailers, deflate")], Fault::Malformed),
            (&[("x", " a")], Fault::Malformed),
            (&[("x", "a ")], Fault::Malformed),
            (&[("x", "\ta")], Fault::Malformed),
            (&[("cookie", "a=1 ")], Fault::Malformed),
            (&[("host", "b.tld")], Fault::Host),
            (&[("host", "a.tld"), ("host", "a.tld")], Fault::Host),
            (&[("host", "a.tld:80")], Fault::Host),
            (&[("host", "a b")], Fault::Host),
            (&[("content-length", "1"), ("content-length", "1")], Fault::ContentLength),
            (&[("content-length", "1,1")], Fault::ContentLength),
            (&[("content-length", "+1")], Fault::ContentLength),
        ];
        for (fields, fault) in table {
            let asked = Asked { has_body: true, ..GET };
            let found = translated(&parts("POST", "https://a.tld/", fields), asked).unwrap_err();
            assert_eq!(found, *fault, "{fields:?}");
        }
        for uri in ["https://a@b.tld/", "https://*.tld/", "ftp://a.tld/", "https://a.tld:99999/"] {
            assert!(translated(&parts("GET", uri, &[]), GET).is_err(), "{uri}");
        }
        assert_eq!(translated(&parts("GET", "/", &[]), GET).unwrap_err(), Fault::Host);
        assert_eq!(translated(&parts("CONNECT", "a.tld:443", &[]), GET).unwrap_err(), Fault::Connect);
        let asked = Asked { protocol: Some("connect-udp"), ..GET };
        assert_eq!(translated(&parts("CONNECT", "https://a.tld/", &[]), asked).unwrap_err(), Fault::Connect);
    }

    #[test]
    fn tells_the_log_method_and_target_of_what_it_refuses() {
        let mut bytes = Vec::new();
        write_head(&mut bytes, &parts("PUT", "https://a.tld/x", &[("upgrade", "x")]), GET).unwrap_err();
        assert!(bytes.starts_with(b"PUT /x HTTP/1.1\r\n") && bytes.ends_with(b"\r\n\r\n"));
    }

    #[test]
    fn an_extended_connect_asks_for_an_upgrade() {
        let asked = Asked {
            protocol: Some("websocket"),
            has_body: true,
            key: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
        };
        let fields = [("sec-websocket-version", "13"), ("sec-websocket-key", "theirs")];
        let (text, head) = translated(&parts("CONNECT", "https://a.tld/chat", &fields), asked).unwrap();
        assert_eq!(
            text,
            "GET /chat HTTP/1.1\r\nhost: a.tld\r\nsec-websocket-version: 13\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n\r\n"
        );
        assert!(head.wants_upgrade() && head.body == Length::None);
        let fields = [("content-length", "0")];
        assert!(translated(&parts("CONNECT", "https://a.tld/chat", &fields), asked).is_err());
    }

    #[test]
    fn trailers_lose_what_would_change_the_message() {
        let of = |fields: &[(&str, &str)]| trailer_lines(&parts("GET", "/", fields).headers);
        assert_eq!(of(&[("x-sum", "1"), ("host", "evil"), ("x", "y")]).unwrap(), b"x-sum: 1\r\nx: y\r\n");
        assert_eq!(of(&[]).unwrap(), b"");
        assert_eq!(of(&[("x", " y")]), Err(Fault::Trailer));
        assert_eq!(of(&[("x", &"y".repeat(TRAILER_BYTES))]), Err(Fault::Trailer));
    }
}

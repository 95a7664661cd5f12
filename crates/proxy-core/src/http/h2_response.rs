//! A response of HTTP/1.1 as HTTP/2 carries it: field names in lower case, nothing that is of one connection
//! (RFC 9113 section 8.2.2).

use ::http::header::{HeaderMap, HeaderName, HeaderValue};
use ::http::{Response, StatusCode};
use bytes::Bytes;

use super::encode::keeps;
use super::headers::{Field, Name};
use super::response::ResponseHead;

/// The head for a stream, `more` lines behind the backend's own. A 101 becomes the 200 that opens the tunnel of an
/// extended CONNECT (RFC 8441 section 5).
pub(crate) fn head(head: &ResponseHead, bytes: &[u8], more: &[u8]) -> Response<()> {
    let mut response = Response::new(());
    let opens_tunnel = head.status == 101;
    let status = if opens_tunnel { 200 } else { head.status };
    // Checked by the parser: 100 to 599.
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let has_no_length = head.status < 200 || head.status == 204;
    // All values share one copy of the head.
    let shared = Bytes::copy_from_slice(&bytes[..head.length]);
    let fields = response.headers_mut();
    fields.reserve(head.fields.len());
    for field in &head.fields {
        let is_for_stream = keeps(field, &head.fields, bytes, head.connection.nominates)
            && !(has_no_length && field.known == Name::ContentLength);
        let name = field.name.within(bytes);
        if is_for_stream && !(opens_tunnel && is_of_the_handshake(name)) {
            append(fields, name, value(&shared, field));
        }
    }
    append_lines(fields, more);
    response
}

/// The fields of trailer `lines`, each ending in CRLF.
pub(crate) fn trailers(lines: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    append_lines(&mut fields, lines);
    fields
}

/// Bytes of a head or of trailers before they are compressed: what the log counts of them.
pub(crate) fn size(fields: &HeaderMap) -> usize {
    const SEPARATORS: usize = ": \r\n".len();
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + SEPARATORS).sum()
}

/// Its answer to a key that the client never saw.
fn is_of_the_handshake(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"sec-websocket-accept")
}

fn value(shared: &Bytes, field: &Field) -> Option<HeaderValue> {
    let place = field.value.start as usize..field.value.end as usize;
    HeaderValue::from_maybe_shared(shared.slice(place)).ok()
}

fn append_lines(fields: &mut HeaderMap, lines: &[u8]) {
    for line in lines.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if Name::of(name).is_hop_by_hop() {
            continue;
        }
        append(fields, name, HeaderValue::from_bytes(value).ok());
    }
}

/// Leaves out what HTTP/2 has no way to say: the parser lets pass nothing of that kind that means something.
fn append(fields: &mut HeaderMap, name: &[u8], value: Option<HeaderValue>) {
    if let (Ok(name), Some(value)) = (HeaderName::from_bytes(name), value) {
        // Only beyond 32,768 fields: limits.headers is far below.
        let _ = fields.try_append(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::HeadLimits;

    const LIMITS: HeadLimits = HeadLimits { bytes: 65_536, fields: 100, target: 0 };

    fn translated(text: &str, more: &str) -> (u16, Vec<String>) {
        let mut parsed = ResponseHead::default();
        parsed.parse(text.as_bytes(), false, LIMITS).unwrap();
        let response = head(&parsed, text.as_bytes(), more.as_bytes());
        let line =
            |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        (response.status().as_u16(), response.headers().iter().map(line).collect())
    }

    #[test]
    fn keeps_what_is_end_to_end_in_lower_case() {
        let text = "HTTP/1.1 200 Fine\r\nDate: d\r\nConnection: x-hop, close\r\nX-Hop: 1\r\nSet-Cookie: a\r\n\
            Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nContent-Length: 3\r\nset-cookie: b\r\n\r\n";
        let (status, lines) = translated(text, "X-Debug-Vhost: v\r\nSet-Cookie: c\r\n");
        assert_eq!(status, 200);
        assert_eq!(
            lines,
            [
                "date: d",
                "set-cookie: a",
                "set-cookie: b",
                "set-cookie: c",
                "content-length: 3",
                "x-debug-vhost: v"
            ]
        );
        let (_, lines) =
            translated("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n", "");
        assert_eq!(lines, ["trailer: x"]);
    }

    #[test]
    fn lengths_of_bodies_that_cannot_be_are_left_out() {
        for (text, expected) in [
            ("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", &[][..]),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", &["content-length: 3"]),
            ("HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\nLink: l\r\n\r\n", &["link: l"]),
        ] {
            assert_eq!(translated(text, "").1, expected, "{text}");
        }
    }

    #[test]
    fn a_switch_of_protocols_opens_the_tunnel() {
        let text = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
        assert_eq!(translated(text, ""), (200, vec!["sec-websocket-protocol: chat".to_owned()]));
    }

    #[test]
    fn trailers_lose_what_is_of_a_connection() {
        let fields = trailers(b"X-Sum: 1\r\nConnection: close\r\nx-sum: 2\r\n");
        assert_eq!(fields.get_all("x-sum").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((fields.len(), size(&fields)), (2, 2 * "x-sum: 1\r\n".len()));
        assert!(trailers(b"").is_empty());
    }
}

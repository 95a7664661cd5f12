//! Heads as they go out: the request to a backend, the response to a client. Everything end-to-end keeps its
//! bytes, order and case; hop-by-hop fields are taken off; the proxy's own fields come last.

use tls::Member;

use super::head::{Length, Version};
use super::headers::{Field, Name, copy_fields, is_nominated};
use super::request::RequestHead;
use super::response::ResponseHead;
use crate::access_log::RequestId;
use crate::bounds::{CHUNK_HEADROOM_BYTES, REQUEST_ID_BYTES};
use crate::buffer::chunk_size_line;

/// What the proxy tells a backend about the client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forwarding<'a> {
    /// Address of the peer, as text.
    pub(crate) peer: &'a str,
    /// Whether the peer's own forwarding fields are believed.
    pub(crate) trusted: bool,
    /// `http` or `https`.
    pub(crate) scheme: &'a str,
    /// Who the client is by its certificate, where it has shown one.
    pub(crate) member: Option<&'a Member>,
    /// Port the client connected to.
    pub(crate) port: u16,
    /// Value for `X-Request-Id` where the client sent no usable one.
    pub(crate) request_id: u128,
}

/// Where the request goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination<'a> {
    /// Bytes to take off the target's front: the segment that named an API version.
    pub(crate) skipped: usize,
    /// Put before the target; may be empty.
    pub(crate) path_prefix: &'a str,
    /// Host for a client that sent none.
    pub(crate) authority: &'a str,
}

/// Appends the head of `request` as a backend gets it, always HTTP/1.1 (RFC 9110 section 6.2: the version is the
/// sender's own).
pub(crate) fn request(
    out: &mut Vec<u8>,
    request: &RequestHead,
    forwarding: &Forwarding<'_>,
    to: Destination<'_>,
) {
    let bytes = request.bytes.as_slice();
    let host = request.host_value.within(bytes);
    out.extend_from_slice(request.method());
    out.push(b' ');
    let target = &request.target.within(bytes)[to.skipped..];
    if target != b"*" {
        out.extend_from_slice(to.path_prefix.as_bytes());
    }
    if !matches!(target, [b'/', ..] | b"*") {
        out.push(b'/');
    }
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if request.absolute {
        line(out, "Host", host);
    } else if request.host.is_empty() {
        line(out, "Host", to.authority.as_bytes());
    }
    let own_request_id = match request_id(request, forwarding.request_id) {
        RequestId::Given(_) => None,
        RequestId::Own(id) => Some(id),
    };
    copy_fields(out, bytes, &request.fields, request.length - 2, |field| {
        keeps(field, &request.fields, bytes, request.connection.nominates)
            && match field.known {
                Name::Host => !request.absolute && !request.host.is_empty(),
                Name::RequestId => own_request_id.is_none(),
                // Not even a trusted proxy's: it may pass on what it does not know.
                Name::ClientCertificate => false,
                known => !known.is_forwarding() || (forwarding.trusted && known != Name::ForwardedFor),
            }
    });
    if request.body == Length::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if request.wants_upgrade() {
        out.extend_from_slice(b"Connection: Upgrade\r\n");
        line(out, "Upgrade", request.upgrade.within(bytes));
    }
    forwarding_fields(out, request, forwarding, host);
    if let Some(id) = own_request_id {
        line(out, "X-Request-Id", &hex(id));
    }
    out.extend_from_slice(b"\r\n");
}

/// The head as a backend would get it from an untrusted client: for fuzzing.
#[doc(hidden)]
pub fn request_for_fuzzing(head: &RequestHead) -> Vec<u8> {
    let forwarding = Forwarding {
        peer: "192.0.2.1",
        trusted: false,
        scheme: "http",
        member: None,
        port: 80,
        request_id: 0,
    };
    let mut out = Vec::new();
    request(
        &mut out,
        head,
        &forwarding,
        Destination { skipped: 0, path_prefix: "", authority: "backend.test" },
    );
    out
}

/// `X-Forwarded-*` and `X-Real-IP`: from the real connection, or what a trusted proxy said with its own address
/// appended.
fn forwarding_fields(out: &mut Vec<u8>, request: &RequestHead, forwarding: &Forwarding<'_>, host: &[u8]) {
    let given = |name: Name| forwarding.trusted && request.fields.iter().any(|field| field.known == name);
    out.extend_from_slice(b"X-Forwarded-For: ");
    if forwarding.trusted {
        for field in request.fields.iter().filter(|field| field.known == Name::ForwardedFor) {
            out.extend_from_slice(field.value.within(&request.bytes));
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(forwarding.peer.as_bytes());
    out.extend_from_slice(b"\r\n");
    if !given(Name::RealIp) {
        line(out, "X-Real-IP", forwarding.peer.as_bytes());
    }
    if !given(Name::ForwardedHost) && !host.is_empty() {
        line(out, "X-Forwarded-Host", host);
    }
    if !given(Name::ForwardedProto) {
        line(out, "X-Forwarded-Proto", forwarding.scheme.as_bytes());
    }
    if !given(Name::ForwardedProtocol) {
        line(out, "X-Forwarded-Protocol", forwarding.scheme.as_bytes());
    }
    if !given(Name::ForwardedPort) {
        line(out, "X-Forwarded-Port", itoa::Buffer::new().format(forwarding.port).as_bytes());
    }
    if let Some(member) = forwarding.member {
        line(out, "X-Client-Cert-Subject", member.subject.as_bytes());
        line(out, "X-Client-Cert-Fingerprint", member.fingerprint.as_bytes());
    }
}

/// The id the backend is told: the client's where it sent a usable one, else `own`.
pub(crate) fn request_id(request: &RequestHead, own: u128) -> RequestId<'_> {
    let given = request.request_id.within(&request.bytes);
    if is_usable_id(given) { RequestId::Given(given) } else { RequestId::Own(own) }
}

/// 32 digits.
pub(crate) fn hex(id: u128) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(id.to_be_bytes()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    digits
}

/// A client's request id is passed on when it is printable and of a sane length.
fn is_usable_id(id: &[u8]) -> bool {
    !id.is_empty() && id.len() <= REQUEST_ID_BYTES && id.iter().all(u8::is_ascii_graphic)
}

/// Appends `payload` as one chunk (RFC 9112 section 7.1); nothing where it is empty, as that would end the body.
pub(crate) fn chunk(out: &mut Vec<u8>, payload: &[u8]) {
    if payload.is_empty() {
        return;
    }
    out.extend_from_slice(chunk_size_line(payload.len(), &mut [0; CHUNK_HEADROOM_BYTES]));
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a chunked body with its trailer lines.
pub(crate) fn last_chunk(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}

/// How a client's connection goes on after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// Another request may follow.
    KeepAlive,
    /// The connection ends with this response.
    Close,
}

/// Appends the head of `response` (parsed from `bytes`) as a client of `version` gets it, its body framed by
/// `framing`. `more`: whole lines behind the backend's own.
pub(crate) fn response(
    out: &mut Vec<u8>,
    response: &ResponseHead,
    bytes: &[u8],
    framing: Length,
    client: (Version, Persistence),
    more: &[u8],
) {
    status_line(out, response.status, response.reason.within(bytes));
    let drop_length = response.status < 200 || response.status == 204;
    // A list of trailers to come is a promise that only chunks can keep.
    let drop_trailer = framing != Length::Chunked;
    copy_fields(out, bytes, &response.fields, response.length - 2, |field| {
        keeps(field, &response.fields, bytes, response.connection.nominates)
            && !(drop_length && field.known == Name::ContentLength)
            && !(drop_trailer && field.known == Name::Trailer)
    });
    if framing == Length::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if response.status == 101 {
        out.extend_from_slice(b"Connection: Upgrade\r\n");
    } else if !response.is_interim() {
        persistence_line(out, client);
    }
    // 426 names what the client should have asked for (RFC 9110 section 15.5.22).
    if matches!(response.status, 101 | 426) {
        for field in response.fields.iter().filter(|field| field.known == Name::Upgrade) {
            line(out, "Upgrade", field.value.within(bytes));
        }
    }
    out.extend_from_slice(more);
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of an answer that the proxy itself gives, up to and including the empty line. `more`: whole lines
/// behind the others.
pub(crate) fn own_response(
    out: &mut Vec<u8>,
    status: u16,
    fields: &[(&str, &str)],
    length: usize,
    client: (Version, Persistence),
    more: &[u8],
) {
    status_line(out, status, reason(status).as_bytes());
    for (name, value) in fields {
        line(out, name, value.as_bytes());
    }
    line(out, "content-length", itoa::Buffer::new().format(length).as_bytes());
    persistence_line(out, client);
    out.extend_from_slice(more);
    out.extend_from_slice(b"\r\n");
}

/// Says how the connection goes on where the client's version would assume otherwise.
fn persistence_line(out: &mut Vec<u8>, client: (Version, Persistence)) {
    match client {
        (Version::Http2, _) | (Version::Http11, Persistence::KeepAlive) => {}
        (_, Persistence::Close) => out.extend_from_slice(b"Connection: close\r\n"),
        (Version::Http10, Persistence::KeepAlive) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
    }
}

/// Whether a field is for the next hop too. `nominates`: a `Connection` among `fields` names some that are not.
pub(super) fn keeps(field: &Field, fields: &[Field], bytes: &[u8], nominates: bool) -> bool {
    !(field.known.is_hop_by_hop() || nominates && is_nominated(field, fields, bytes))
}

fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Reason phrases of the statuses the proxy itself answers with (RFC 9110 section 15, RFC 6585).
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        403 => "Forbidden",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::HeadLimits;

    const LIMITS: HeadLimits = HeadLimits { bytes: 65_536, fields: 100, target: 1000 };
    const PEER: Forwarding<'static> = Forwarding {
        peer: "10.0.0.9",
        trusted: false,
        scheme: "http",
        member: None,
        port: 80,
        request_id: 0xabc,
    };
    const OWN: &str = "X-Forwarded-For: 10.0.0.9\r\nX-Real-IP: 10.0.0.9\r\nX-Forwarded-Host: a\r\n\
        X-Forwarded-Proto: http\r\nX-Forwarded-Protocol: http\r\nX-Forwarded-Port: 80\r\n";

    fn sent(text: &str, forwarding: Forwarding<'_>, prefix: &str) -> String {
        let mut head = RequestHead::default();
        head.parse(text.as_bytes().to_vec(), text.len(), LIMITS).unwrap();
        let mut out = Vec::new();
        request(
            &mut out,
            &head,
            &forwarding,
            Destination { skipped: 0, path_prefix: prefix, authority: "backend:81" },
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn keeps_end_to_end_fields_as_they_are() {
        let text = "GET /a?b HTTP/1.1\r\nhOSt: a\r\nX-Dup: 1\r\nAccept:  */*\r\nx-dup: 2\r\nX-Request-Id: id-1\r\n\r\n";
        let expected = format!(
            "GET /base/a?b HTTP/1.1\r\nhOSt: a\r\nX-Dup: 1\r\nAccept:  */*\r\nx-dup: 2\r\nX-Request-Id: id-1\r\n{OWN}\r\n"
        );
        assert_eq!(sent(text, PEER, "/base"), expected);
    }

    #[test]
    fn takes_off_what_is_for_one_hop_and_what_is_forged() {
        let text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop, Host\r\nX-Hop: 1\r\nTE: trailers\r\n\
            Keep-Alive: 5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nX-Forwarded-For: 1.1.1.1\r\n\
            X_Forwarded_Host: evil\r\nX-Real-IP: 1.1.1.1\r\nX-Last: 1\r\n\r\n";
        let expected =
            format!("GET / HTTP/1.1\r\nHost: a\r\nX-Last: 1\r\n{OWN}X-Request-Id: {:032x}\r\n\r\n", 0xabc);
        assert_eq!(sent(text, PEER, ""), expected);
    }

    #[test]
    fn appends_to_what_a_trusted_proxy_says() {
        let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\
            X-Forwarded-Proto: https\r\nX-Request-Id: i\r\n\r\n";
        let out = sent(text, Forwarding { trusted: true, ..PEER }, "");
        assert!(out.contains("\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.0.0.9\r\n"), "{out}");
        assert!(out.contains("\r\nX-Forwarded-Proto: https\r\n"), "{out}");
        assert_eq!(out.matches("X-Forwarded-For").count(), 1);
        assert_eq!(out.matches("X-Forwarded-Proto:").count(), 1);
    }

    #[test]
    fn gives_a_host_where_there_is_none_and_the_targets_where_it_is_absolute() {
        let out = sent("GET / HTTP/1.0\r\n\r\n", PEER, "");
        assert!(out.starts_with("GET / HTTP/1.1\r\nHost: backend:81\r\n"), "{out}");
        let out = sent("GET http://b:9/x HTTP/1.1\r\nHost: a\r\n\r\n", PEER, "");
        assert!(out.starts_with("GET /x HTTP/1.1\r\nHost: b:9\r\n") && !out.contains("Host: a\r\n"), "{out}");
        let out = sent("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", PEER, "/base");
        assert!(out.starts_with("OPTIONS * HTTP/1.1\r\n"), "{out}");
    }

    #[test]
    fn asks_for_an_upgrade_only_when_the_client_does() {
        let out =
            sent("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", PEER, "");
        assert!(out.contains("\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"), "{out}");
        let out =
            sent("GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", PEER, "");
        assert!(!out.contains("pgrade"), "{out}");
    }

    #[test]
    fn frames_a_response_for_the_client() {
        let text = "HTTP/1.1 200 Fine\r\nDate: d\r\nConnection: x-hop\r\nX-Hop: 1\r\nSet-Cookie: a\r\n\
            Transfer-Encoding: chunked\r\nset-cookie: b\r\n\r\n";
        let mut head = ResponseHead::default();
        head.parse(text.as_bytes(), false, LIMITS).unwrap();
        let encode = |framing, client| {
            let mut out = Vec::new();
            response(&mut out, &head, text.as_bytes(), framing, client, b"");
            String::from_utf8(out).unwrap()
        };
        let fields = "HTTP/1.1 200 Fine\r\nDate: d\r\nSet-Cookie: a\r\nset-cookie: b\r\n";
        assert_eq!(
            encode(Length::Chunked, (Version::Http11, Persistence::KeepAlive)),
            format!("{fields}Transfer-Encoding: chunked\r\n\r\n")
        );
        assert_eq!(
            encode(Length::UntilClose, (Version::Http10, Persistence::Close)),
            format!("{fields}Connection: close\r\n\r\n")
        );
    }
}

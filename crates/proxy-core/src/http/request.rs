//! The head of a request, parsed once into something that cannot be ambiguous (RFC 9112 sections 2, 3, 5, 6).

use super::fault::Fault;
use super::head::{ConnectionOptions, HeadLimits, Length, Lengths, Version, empty_table, parse_error};
use super::headers::{Field, Name};
use super::host;
use super::span::Span;

/// A request head with the bytes it was parsed from. Reused from request to request of one connection: after
/// the first it allocates nothing.
#[derive(Debug, Default)]
pub struct RequestHead {
    pub(crate) bytes: Vec<u8>,
    /// Bytes of the head at the front of `bytes`.
    pub(crate) length: usize,
    pub(crate) method: Span,
    /// In origin form: `/path?query`, or `*`. Empty where an absolute form had no path: stands for `/`.
    pub(crate) target: Span,
    /// The target as the client wrote it, for logs.
    pub(crate) written_target: Span,
    pub(crate) version: Version,
    pub(crate) fields: Vec<Field>,
    /// Host in look-up spelling, from the target's authority where it has one; empty: none was sent.
    pub(crate) host: String,
    /// Host as sent.
    pub(crate) host_value: Span,
    /// Whether the target was in absolute form, so that its authority replaces the Host field.
    pub(crate) absolute: bool,
    pub(crate) body: Length,
    pub(crate) connection: ConnectionOptions,
    pub(crate) upgrade: Span,
    pub(crate) expects_continue: bool,
    pub(crate) referer: Span,
    pub(crate) user_agent: Span,
    pub(crate) forwarded_for: Span,
    pub(crate) request_id: Span,
    /// Whether `X-Debug` asks for the `x-debug-*` fields.
    pub(crate) asks_for_debug: bool,
}

impl RequestHead {
    /// Parses the head that is the first `length` bytes of `bytes`. `bytes` becomes this head's own; what this
    /// head held before is replaced, capacity kept.
    ///
    /// # Errors
    /// A [`Fault`] for anything that two readers could take for different requests. The head then still tells
    /// method and target for the log, as far as they were read.
    pub fn parse(&mut self, bytes: Vec<u8>, length: usize, limits: HeadLimits) -> Result<(), Fault> {
        self.clear();
        self.bytes = bytes;
        self.length = length;
        let bytes = std::mem::take(&mut self.bytes);
        let parsed = self.read_lines(&bytes[..length], limits);
        self.bytes = bytes;
        parsed?;
        self.check_target(limits)?;
        self.settle_host()
    }

    /// Forgets the request; capacity is kept.
    pub(crate) fn clear(&mut self) {
        let (mut fields, mut host) = (std::mem::take(&mut self.fields), std::mem::take(&mut self.host));
        fields.clear();
        host.clear();
        *self = Self { fields, host, ..Self::default() };
    }

    fn read_lines(&mut self, bytes: &[u8], limits: HeadLimits) -> Result<(), Fault> {
        let mut table = empty_table();
        let table = &mut table[..limits.fields.min(crate::bounds::HEADER_FIELDS_CEILING)];
        let mut parsed = httparse::Request::new(&mut []);
        let status = parsed.parse_with_uninit_headers(bytes, table).map_err(parse_error);
        let span = |text: Option<&str>| text.map_or(Span::default(), |text| Span::of(text.as_bytes(), bytes));
        (self.method, self.target) = (span(parsed.method), span(parsed.path));
        self.written_target = self.target;
        self.version = Version::from_minor(parsed.version.or(Some(1)))?;
        if !status?.is_complete() {
            return Err(Fault::Malformed);
        }
        self.read_fields(parsed.headers, bytes)
    }

    fn read_fields(&mut self, fields: &[httparse::Header<'_>], bytes: &[u8]) -> Result<(), Fault> {
        let mut lengths = Lengths::default();
        let mut hosts = 0;
        for field in fields {
            let known = Name::of(field.name.as_bytes());
            let value = Span::of(field.value, bytes);
            self.fields.push(Field { name: Span::of(field.name.as_bytes(), bytes), value, known });
            match known {
                Name::Other => {}
                Name::Debug => self.asks_for_debug = true,
                Name::Host => (hosts, self.host_value) = (hosts + 1, value),
                Name::ContentLength => lengths.see_content_length(field.value)?,
                Name::TransferEncoding => lengths.see_transfer_encoding(field.value)?,
                Name::Connection => self.connection.see(field.value),
                Name::Upgrade => self.upgrade = value,
                Name::Expect => self.expects_continue |= field.value.eq_ignore_ascii_case(b"100-continue"),
                Name::Referer => self.referer = value,
                Name::UserAgent => self.user_agent = value,
                Name::ForwardedFor => self.forwarded_for = value,
                Name::RequestId => self.request_id = value,
                _ => {}
            }
        }
        self.body = lengths.settle(self.version)?.unwrap_or(Length::None);
        if hosts > 1 || (hosts == 0 && self.version == Version::Http11) {
            return Err(Fault::Host);
        }
        Ok(())
    }

    /// Brings the target into origin form (RFC 9112 section 3.2).
    fn check_target(&mut self, limits: HeadLimits) -> Result<(), Fault> {
        if self.method.within(&self.bytes) == b"CONNECT" {
            return Err(Fault::Connect);
        }
        let target = self.target.within(&self.bytes);
        if target.len() > limits.target {
            return Err(Fault::TargetTooLong);
        }
        match target {
            [b'/', ..] => Ok(()),
            b"*" if self.method.within(&self.bytes) == b"OPTIONS" => Ok(()),
            _ => self.split_absolute_target(),
        }
    }

    /// `http://authority/path`: the authority is the host, the rest the target (RFC 9112 section 3.2.2).
    fn split_absolute_target(&mut self) -> Result<(), Fault> {
        let target = self.target.within(&self.bytes);
        let scheme_end = [&b"http://"[..], b"https://"]
            .into_iter()
            .find(|scheme| target.len() > scheme.len() && target[..scheme.len()].eq_ignore_ascii_case(scheme))
            .ok_or(Fault::Target)?
            .len();
        let rest = &target[scheme_end..];
        let authority_end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
        if rest.get(authority_end).is_some_and(|&byte| byte != b'/') {
            return Err(Fault::Target);
        }
        let authority = Span::of(&rest[..authority_end], &self.bytes);
        self.target = Span::of(&rest[authority_end..], &self.bytes);
        (self.host_value, self.absolute) = (authority, true);
        Ok(())
    }

    fn settle_host(&mut self) -> Result<(), Fault> {
        if self.version == Version::Http10 && self.host_value.is_empty() && !self.absolute {
            return Ok(());
        }
        let mut out = std::mem::take(&mut self.host);
        let settled = host::normalize(self.host_value.within(&self.bytes), &mut out);
        self.host = out;
        settled
    }

    /// How long the body is.
    pub fn body_length(&self) -> Length {
        self.body
    }

    /// Bytes of the method.
    pub fn method(&self) -> &[u8] {
        self.method.within(&self.bytes)
    }

    /// Whether sending it twice means the same as sending it once (RFC 9110 section 9.2.2).
    pub(crate) fn is_idempotent(&self) -> bool {
        matches!(self.method(), b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
    }

    /// Values of the fields called `name`, which is lower-case.
    pub(crate) fn values_of(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let is_named = |field: &&Field| field.name.within(&self.bytes).eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(is_named).map(|field| field.value.within(&self.bytes))
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method() == b"HEAD"
    }

    /// Whether it asks for another protocol on this connection (RFC 9110 section 7.8). HTTP/1.0 cannot.
    pub(crate) fn wants_upgrade(&self) -> bool {
        self.version != Version::Http10 && self.connection.upgrade && !self.upgrade.is_empty()
    }

    /// Whether the client wants the connection kept after the answer.
    pub(crate) fn persistent(&self) -> bool {
        self.connection.persistent(self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 65_536, fields: 100, target: 100 };

    fn parse(text: &[u8]) -> Result<RequestHead, Fault> {
        let mut head = RequestHead::default();
        head.parse(text.to_vec(), text.len(), LIMITS)?;
        Ok(head)
    }

    #[test]
    fn reads_a_request() {
        let head = parse(
            b"POST /a?b=c HTTP/1.1\r\nHost: Www.Example.TLD:8080\r\nContent-Length: 5\r\n\
              Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nReferer: r\r\nUser-Agent: u\r\n\r\n",
        )
        .unwrap();
        assert_eq!(head.method(), b"POST");
        assert_eq!(head.target.within(&head.bytes), b"/a?b=c");
        assert_eq!((head.host.as_str(), head.body), ("www.example.tld:8080", Length::Bytes(5)));
        assert!(head.persistent() && head.connection.nominates && !head.is_idempotent());
        assert_eq!(head.user_agent.within(&head.bytes), b"u");
    }

    #[test]
    fn brings_absolute_targets_into_origin_form() {
        for (target, host, origin) in [
            ("http://a.tld/x?y", "a.tld", "/x?y"),
            ("HTTP://A.tld:81/", "a.tld:81", "/"),
            ("http://a.tld", "a.tld", ""),
            ("https://[::1]:9/z", "[::1]:9", "/z"),
        ] {
            let head = parse(format!("GET {target} HTTP/1.1\r\nHost: other\r\n\r\n").as_bytes()).unwrap();
            assert_eq!((head.host.as_str(), head.target.within(&head.bytes)), (host, origin.as_bytes()));
        }
    }

    #[test]
    fn refuses_what_could_be_two_requests() {
        let table: &[(&str, Fault)] = &[
            ("GET / HTTP/1.1\r\n\r\n", Fault::Host),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Fault::Host),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Fault::Host),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Fault::Host),
            ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
            ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
            ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Host),
            ("GET http://a@b/x HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Host),
            ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Connect),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Fault::BothLengths,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                Fault::ContentLength,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                Fault::TransferEncoding,
            ),
            ("GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Fault::TransferEncoding),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Fault::Malformed),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", Fault::Malformed),
            ("GET / HTTP/1.1\r\nHost: a\r\n Folded: b\r\n\r\n", Fault::Malformed),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", Fault::Malformed),
            ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Fault::Malformed),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", Fault::Malformed),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x0bb\r\n\r\n", Fault::Malformed),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", Fault::Malformed),
            ("GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", Fault::Malformed),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", Fault::Malformed),
            ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", Fault::Malformed),
            ("GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n", Fault::Malformed),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Malformed),
            ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Fault::BareLineEnd),
            ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Malformed),
            ("GET / x HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Version),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Fault::Version),
            ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", Fault::Version),
            ("GET / http/1.1\r\nHost: a\r\n\r\n", Fault::Version),
            ("GET /\r\n\r\n", Fault::Malformed),
            ("G\u{e9}T / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Malformed),
            ("(GET) / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Malformed),
        ];
        for (text, fault) in table {
            let found = parse(text.as_bytes()).map(|_| ()).unwrap_err();
            assert_eq!(found.client_status(), fault.client_status(), "{text:?}: {found}");
        }
    }

    #[test]
    fn holds_its_limits() {
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100));
        assert_eq!(parse(many.as_bytes()).unwrap_err(), Fault::TooManyFields);
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100));
        assert_eq!(parse(long.as_bytes()).unwrap_err(), Fault::TargetTooLong);
        assert!(parse(long.replacen('x', "", 1).as_bytes()).is_ok());
    }

    #[test]
    fn http_1_0_needs_no_host_and_closes() {
        let head = parse(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        assert!(head.host.is_empty() && !head.persistent());
        assert!(parse(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").unwrap().persistent());
    }

    #[test]
    fn a_cut_head_is_never_taken_for_a_whole_one() {
        let text = b"GET /abc HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
        for cut in 0..text.len() {
            assert!(parse(&text[..cut]).is_err(), "cut at {cut}");
        }
    }
}

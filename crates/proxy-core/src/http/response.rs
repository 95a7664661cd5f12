//! The head of a backend's response, parsed once (RFC 9112 sections 4, 5, 6).

use super::fault::Fault;
use super::head::{ConnectionOptions, HeadLimits, Length, Lengths, Version, empty_table, parse_error};
use super::headers::{Field, Name};
use super::span::Span;

/// A response head as ranges of the buffer it was parsed from.
#[derive(Debug, Default)]
pub struct ResponseHead {
    /// Bytes of the head at the front of the buffer.
    pub(crate) length: usize,
    /// 100 to 599.
    pub(crate) status: u16,
    pub(crate) reason: Span,
    pub(crate) version: Version,
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Length,
    pub(crate) connection: ConnectionOptions,
}

impl ResponseHead {
    /// Parses the head that `bytes` is, an answer to a HEAD request where `to_head` says so. What this head held
    /// before is replaced.
    ///
    /// # Errors
    /// A [`Fault`] for anything ambiguous; the connection it came from must not be used again.
    pub fn parse(&mut self, bytes: &[u8], to_head: bool, limits: HeadLimits) -> Result<(), Fault> {
        let mut table = empty_table();
        let table = &mut table[..limits.fields.min(crate::bounds::HEADER_FIELDS_CEILING)];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let status =
            config.parse_response_with_uninit_headers(&mut parsed, bytes, table).map_err(parse_error)?;
        let Some(code) = parsed.code.filter(|_| status.is_complete()) else {
            return Err(Fault::Malformed);
        };
        if !(100..600).contains(&code) {
            return Err(Fault::Status);
        }
        self.fields.clear();
        (self.length, self.status) = (bytes.len(), code);
        self.reason = Span::of(parsed.reason.unwrap_or("").as_bytes(), bytes);
        self.version = Version::from_minor(parsed.version)?;
        self.connection = ConnectionOptions::default();
        let lengths = self.read_fields(parsed.headers, bytes)?.settle(self.version)?;
        self.body = match lengths {
            _ if to_head || code < 200 || code == 204 || code == 304 => Length::None,
            Some(length) => length,
            None => Length::UntilClose,
        };
        Ok(())
    }

    fn read_fields(&mut self, fields: &[httparse::Header<'_>], bytes: &[u8]) -> Result<Lengths, Fault> {
        let mut lengths = Lengths::default();
        for field in fields {
            let known = Name::of(field.name.as_bytes());
            let value = Span::of(field.value, bytes);
            self.fields.push(Field { name: Span::of(field.name.as_bytes(), bytes), value, known });
            match known {
                Name::ContentLength => lengths.see_content_length(field.value)?,
                Name::TransferEncoding => lengths.see_transfer_encoding(field.value)?,
                Name::Connection => self.connection.see(field.value),
                _ => {}
            }
        }
        Ok(lengths)
    }

    /// Its status, 100 to 599.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// How long the body is.
    pub fn body_length(&self) -> Length {
        self.body
    }

    /// Whether it has a field called `name`, which is lower-case. `bytes`: what the head was parsed from.
    pub(crate) fn has(&self, name: &str, bytes: &[u8]) -> bool {
        self.fields.iter().any(|field| field.name.within(bytes).eq_ignore_ascii_case(name.as_bytes()))
    }

    /// 1xx, but for 101 which ends the talk of HTTP.
    pub(crate) fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// Whether the backend's connection may be used again once this response is read to its end.
    pub(crate) fn persistent(&self) -> bool {
        self.connection.persistent(self.version) && self.body != Length::UntilClose
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 65_536, fields: 10, target: 0 };

    fn parse(text: &str, to_head: bool) -> Result<ResponseHead, Fault> {
        let mut head = ResponseHead::default();
        head.parse(text.as_bytes(), to_head, LIMITS).map(|()| head)
    }

    #[test]
    fn finds_the_length_of_each_kind_of_body() {
        for (text, to_head, body, persistent) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false, Length::Bytes(3), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true, Length::None, true),
            ("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", false, Length::Chunked, true),
            ("HTTP/1.1 200 OK\r\n\r\n", false, Length::UntilClose, false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", false, Length::Bytes(3), false),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
                false,
                Length::Bytes(0),
                true,
            ),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", false, Length::None, true),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", false, Length::None, true),
            ("HTTP/1.1 100 Continue\r\n\r\n", false, Length::None, true),
            (
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\n",
                false,
                Length::Bytes(3),
                false,
            ),
        ] {
            let head = parse(text, to_head).unwrap();
            assert_eq!((head.body, head.persistent()), (body, persistent), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_ambiguous() {
        for text in [
            "HTTP/1.1 099 Low\r\n\r\n",
            "HTTP/1.1 600 High\r\n\r\n",
            "HTTP/1.1 20 Short\r\n\r\n",
            "HTTP/1.1 2000 Long\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "<html>\r\n\r\n",
        ] {
            assert!(parse(text, false).is_err(), "{text:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(11));
        assert_eq!(parse(&many, false).unwrap_err(), Fault::TooManyFields);
    }

    #[test]
    fn a_cut_head_is_never_taken_for_a_whole_one() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\n\r\n";
        for cut in 0..text.len() {
            assert!(parse(&text[..cut], false).is_err(), "cut at {cut}");
        }
    }
}

//! What request and response heads share: finding the head's end without reading a byte twice, fields as
//! ranges, message lengths.

use std::mem::MaybeUninit;

use super::fault::Fault;
use super::headers::tokens;
use crate::bounds::HEADER_FIELDS_CEILING;

/// Protocol version of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2; a head that says so was put into the form of HTTP/1.1 first.
    Http2,
}

impl Version {
    pub(crate) fn from_minor(minor: Option<u8>) -> Result<Self, Fault> {
        match minor {
            Some(0) => Ok(Self::Http10),
            Some(1) => Ok(Self::Http11),
            _ => Err(Fault::Version),
        }
    }
}

/// Sizes a head may have.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Bytes of the whole head.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
    /// Bytes of a request target.
    pub target: usize,
}

/// Looks for the end of a head as bytes arrive. Each byte is looked at once, however they are cut.
#[derive(Debug, Default, Clone, Copy)]
pub struct HeadScan {
    seen: usize,
    line_start: usize,
}

impl HeadScan {
    /// The length of the head once its empty line is among `bytes`, which must begin where the head begins and
    /// only grow between calls.
    ///
    /// # Errors
    /// A line that ends without CR (RFC 9112 section 2.2 lets one accept it; two readers that differ on it are
    /// how requests get smuggled), or a head beyond `limit` bytes.
    pub fn advance(&mut self, bytes: &[u8], limit: usize) -> Result<Option<usize>, Fault> {
        for at in memchr::memchr_iter(b'\n', &bytes[self.seen..]) {
            let at = self.seen + at;
            if at == 0 || bytes[at - 1] != b'\r' {
                return Err(Fault::BareLineEnd);
            }
            if at >= limit {
                break;
            }
            if at - 1 == self.line_start {
                return Ok(Some(at + 1));
            }
            self.line_start = at + 1;
        }
        self.seen = bytes.len();
        if self.seen >= limit { Err(Fault::HeadTooLarge) } else { Ok(None) }
    }
}

/// The length fields of a message as they were found, before the rules of RFC 9112 section 6.3 are applied.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Lengths {
    content_length: Option<u64>,
    chunked: bool,
}

impl Lengths {
    pub(crate) fn see_content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.content_length.is_some() {
            return Err(Fault::ContentLength);
        }
        self.content_length = Some(parse_length(value)?);
        Ok(())
    }

    pub(crate) fn see_transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Fault::TransferEncoding);
        }
        self.chunked = true;
        Ok(())
    }

    /// The one length the message states, `None` for none at all.
    pub(crate) fn settle(self, version: Version) -> Result<Option<Length>, Fault> {
        match (self.chunked, self.content_length) {
            (true, Some(_)) => Err(Fault::BothLengths),
            (true, None) if version == Version::Http10 => Err(Fault::TransferEncoding),
            (true, None) => Ok(Some(Length::Chunked)),
            (false, Some(bytes)) => Ok(Some(Length::Bytes(bytes))),
            (false, None) => Ok(None),
        }
    }
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Length {
    /// Exactly so many bytes; 0: no body.
    Bytes(u64),
    /// Chunks up to one of size 0.
    Chunked,
    /// Everything until the connection ends (responses only).
    UntilClose,
    /// There is none, whatever the head says (HEAD, 1xx, 204, 304).
    #[default]
    None,
}

fn parse_length(value: &[u8]) -> Result<u64, Fault> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Fault::ContentLength);
    }
    let text = std::str::from_utf8(value).map_err(|_| Fault::ContentLength)?;
    text.parse().map_err(|_| Fault::ContentLength)
}

/// What the `Connection` fields of a message say (RFC 9110 section 7.6.1).
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct ConnectionOptions {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    /// Names a field of this message that is for one hop only.
    pub(crate) nominates: bool,
}

impl ConnectionOptions {
    pub(crate) fn see(&mut self, value: &[u8]) {
        for option in tokens(value) {
            match () {
                () if option.eq_ignore_ascii_case(b"close") => self.close = true,
                () if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                () if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                () => self.nominates = true,
            }
        }
    }

    /// Whether the connection may serve another message after this one (RFC 9112 section 9.3).
    pub(crate) fn persistent(self, version: Version) -> bool {
        match version {
            Version::Http11 | Version::Http2 => !self.close,
            Version::Http10 => self.keep_alive && !self.close,
        }
    }
}

pub(crate) fn parse_error(error: httparse::Error) -> Fault {
    match error {
        httparse::Error::TooManyHeaders => Fault::TooManyFields,
        httparse::Error::Version => Fault::Version,
        httparse::Error::NewLine => Fault::BareLineEnd,
        httparse::Error::Status => Fault::Status,
        _ => Fault::Malformed,
    }
}

/// The parser's field table: uninitialised, on the stack.
pub(crate) type FieldTable<'a> = [MaybeUninit<httparse::Header<'a>>; HEADER_FIELDS_CEILING];

/// An empty table.
pub(crate) fn empty_table<'a>() -> FieldTable<'a> {
    [const { MaybeUninit::uninit() }; HEADER_FIELDS_CEILING]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8], limit: usize) -> Result<Option<usize>, Fault> {
        HeadScan::default().advance(bytes, limit)
    }

    #[test]
    fn finds_the_end_of_a_head() {
        type Case = (&'static [u8], Result<Option<usize>, Fault>);
        let table: [Case; 8] = [
            (b"", Ok(None)),
            (b"GET / HTTP/1.1\r\n", Ok(None)),
            (b"GET / HTTP/1.1\r\n\r", Ok(None)),
            (b"GET / HTTP/1.1\r\n\r\n", Ok(Some(18))),
            (b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest\n", Ok(Some(24))),
            (b"GET / HTTP/1.1\n\n", Err(Fault::BareLineEnd)),
            (b"GET / HTTP/1.1\r\nA: b\n\r\n", Err(Fault::BareLineEnd)),
            (b"\n", Err(Fault::BareLineEnd)),
        ];
        for (bytes, expected) in table {
            assert_eq!(scan(bytes, 100), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(scan(b"GET / HTTP/1.1\r\n\r\n", 18), Ok(Some(18)));
        assert_eq!(scan(b"GET / HTTP/1.1\r\n\r\n", 17), Err(Fault::HeadTooLarge));
    }

    #[test]
    fn finds_the_same_end_split_at_every_byte() {
        let head = b"POST /x HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
        for cut in 0..head.len() {
            let mut scan = HeadScan::default();
            assert_eq!(scan.advance(&head[..cut], 1000), Ok(None), "cut at {cut}");
            assert_eq!(scan.advance(head, 1000), Ok(Some(head.len())), "cut at {cut}");
        }
    }

    #[test]
    fn settles_lengths() {
        let of = |lengths: &[&[u8]], codings: &[&[u8]], version| {
            let mut found = Lengths::default();
            for value in lengths {
                found.see_content_length(value)?;
            }
            for value in codings {
                found.see_transfer_encoding(value)?;
            }
            found.settle(version)
        };
        let v11 = Version::Http11;
        assert_eq!(of(&[], &[], v11), Ok(None));
        assert_eq!(of(&[b"0"], &[], v11), Ok(Some(Length::Bytes(0))));
        assert_eq!(of(&[b"18446744073709551615"], &[], v11), Ok(Some(Length::Bytes(u64::MAX))));
        assert_eq!(of(&[], &[b"Chunked"], v11), Ok(Some(Length::Chunked)));
        let bad: [&[u8]; 9] =
            [b"18446744073709551616", b"", b"+1", b"-1", b"1,1", b"0x1", b"1 1", b"1.0", b"\x31\xa0"];
        for bad in bad {
            assert_eq!(of(&[bad], &[], v11), Err(Fault::ContentLength), "{bad:?}");
        }
        assert_eq!(of(&[b"5", b"5"], &[], v11), Err(Fault::ContentLength));
        assert_eq!(of(&[b"5"], &[b"chunked"], v11), Err(Fault::BothLengths));
        assert_eq!(of(&[], &[b"chunked"], Version::Http10), Err(Fault::TransferEncoding));
        let bad: [&[u8]; 6] =
            [b"gzip", b"gzip, chunked", b"chunked, identity", b"", b"xchunked", b"chunked;q=1"];
        for bad in bad {
            assert_eq!(of(&[], &[bad], v11), Err(Fault::TransferEncoding));
        }
        assert_eq!(of(&[], &[b"chunked", b"chunked"], v11), Err(Fault::TransferEncoding));
    }
}

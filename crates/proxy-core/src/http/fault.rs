//! What can be wrong with a message, and whose fault it is.

use std::fmt;

/// Why a message was refused. The same fault is 4xx from a client and 502 from a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The head has more bytes than `limits.headerBytes`.
    HeadTooLarge,
    /// The head has more fields than `limits.headers`.
    TooManyFields,
    /// The target has more bytes than `limits.uriBytes`.
    TargetTooLong,
    /// The body has more bytes than `limits.bodyBytes`.
    BodyTooLarge,
    /// A CR or LF on its own.
    BareLineEnd,
    /// The start line or a field is not HTTP (control byte, space before the colon, folded line, …).
    Malformed,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    Version,
    /// A status outside 100-599.
    Status,
    /// The target is neither `/path`, nor `http://host/path`, nor `*` with OPTIONS.
    Target,
    /// Host missing, sent twice, or not a host name.
    Host,
    /// Content-Length sent twice, not a number, or beyond 64 bits.
    ContentLength,
    /// A transfer coding other than `chunked`, or one in HTTP/1.0.
    TransferEncoding,
    /// Content-Length and Transfer-Encoding in one message.
    BothLengths,
    /// A chunk size that is no hexadecimal number, too long, or a chunk that does not end where it says.
    Chunk,
    /// The trailer section is malformed or too long.
    Trailer,
    /// CONNECT, which this proxy does not offer.
    Connect,
}

impl Fault {
    /// The status a client gets for it.
    pub(crate) fn client_status(self) -> u16 {
        match self {
            Self::HeadTooLarge | Self::TooManyFields => 431,
            Self::TargetTooLong => 414,
            Self::BodyTooLarge => 413,
            Self::Version => 505,
            Self::Connect => 405,
            _ => 400,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeadTooLarge => "head larger than limits.headerBytes",
            Self::TooManyFields => "more header fields than limits.headers",
            Self::TargetTooLong => "target longer than limits.uriBytes",
            Self::BodyTooLarge => "body larger than limits.bodyBytes",
            Self::BareLineEnd => "bare CR or LF in the head",
            Self::Malformed => "malformed start line or header field",
            Self::Version => "version other than HTTP/1.0 and HTTP/1.1",
            Self::Status => "status outside 100-599",
            Self::Target => "malformed request target",
            Self::Host => "missing, repeated or invalid Host",
            Self::ContentLength => "repeated or malformed Content-Length",
            Self::TransferEncoding => "transfer coding other than chunked",
            Self::BothLengths => "Content-Length together with Transfer-Encoding",
            Self::Chunk => "malformed chunk",
            Self::Trailer => "malformed trailer section",
            Self::Connect => "CONNECT is not offered",
        })
    }
}

impl std::error::Error for Fault {}

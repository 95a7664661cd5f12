//! A client's first message, read before anything is answered: which name it asks for, and what it wants to speak. The
//! bytes are kept, and whoever serves the connection begins with them.

use rustls::server::Acceptor;

use crate::bounds::CLIENT_HELLO_BYTES;
use crate::error::Error;

/// The name of HTTP/2 (RFC 9113 section 3.2).
pub(crate) const HTTP2: &[u8] = b"h2";
/// The name of HTTP/1.1 (RFC 7301 section 6).
pub(crate) const HTTP1: &[u8] = b"http/1.1";

/// What client and server speak inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.x, also where the client named nothing.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A whole first message.
#[derive(Debug)]
pub struct Hello {
    /// The name it asks for, in lower case; `None`: it names none, or an address.
    pub name: Option<String>,
    /// Whether it can speak HTTP/2.
    pub offers_http2: bool,
    /// All that was received, to begin the connection with: the message, and perhaps more.
    pub bytes: Vec<u8>,
}

/// Takes a first message in.
#[derive(Default)]
pub struct Listener {
    acceptor: Acceptor,
    bytes: Vec<u8>,
    /// Bytes that rustls has seen.
    seen: usize,
}

/// A first message that nothing can be done with.
#[derive(Debug)]
pub struct Misheard {
    /// Why.
    pub error: Error,
    /// What the client is to be told; may be empty.
    pub alert: Vec<u8>,
}

impl Listener {
    /// Where received bytes are appended.
    pub fn incoming(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The message, once it is whole.
    ///
    /// # Errors
    /// It is none, or too large.
    pub fn hear(&mut self) -> Result<Option<Hello>, Misheard> {
        let mut new = &self.bytes[self.seen..];
        self.seen = self.bytes.len();
        if self.seen > CLIENT_HELLO_BYTES {
            return Err(Misheard { error: Error::HelloTooLarge, alert: Vec::new() });
        }
        loop {
            let taken = self.acceptor.read_tls(&mut new);
            let accepted = self.acceptor.accept().map_err(|(error, mut alert)| {
                let mut bytes = Vec::new();
                // A vector takes whatever it is given.
                let _ = alert.write_all(&mut bytes);
                Misheard { error: error.into(), alert: bytes }
            })?;
            if let Some(accepted) = accepted {
                let hello = accepted.client_hello();
                let offers_http2 = hello.alpn().is_some_and(|mut names| names.any(|name| name == HTTP2));
                let name = hello.server_name().map(plain);
                return Ok(Some(Hello { name, offers_http2, bytes: std::mem::take(&mut self.bytes) }));
            }
            match taken {
                Ok(count) if count > 0 && !new.is_empty() => {}
                Ok(_) => return Ok(None),
                Err(_) => return Err(Misheard { error: Error::HelloTooLarge, alert: Vec::new() }),
            }
        }
    }
}

/// A name as certificates are kept under: lower case, no dot at the end.
pub(crate) fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The alert for a name that nothing is served under (RFC 6066 section 3): fatal, and in the clear, as nothing was
/// agreed upon.
pub const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

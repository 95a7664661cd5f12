//! A raw client: sends the bytes it is given, reads answers by the rules of RFC 9112 section 6.3.

use std::io::Write;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::message::{Cut, Head, Wire};

/// One connection to the proxy.
pub(crate) struct Client {
    wire: Wire,
}

/// How an answer said where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// It can have no body.
    None,
    Length,
    Chunked,
    UntilClose,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<String>,
    pub(crate) framing: Framing,
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether it announces that the connection ends.
    pub(crate) fn says_close(&self) -> bool {
        self.head.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl Client {
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self { wire: Wire::new(TcpStream::connect(address).unwrap()) }
    }

    /// From the address `from`, which is one of this machine.
    pub(crate) fn coming_from(from: IpAddr, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Self { wire: Wire::new(socket.into()) }
    }

    /// Sends `bytes`. That the proxy may have closed already is seen when the answer is read.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.wire.stream.write_all(bytes.as_ref());
        self
    }

    /// Sends `bytes` in pieces of `size` bytes, each in a segment of its own.
    pub(crate) fn send_in_pieces(&mut self, bytes: impl AsRef<[u8]>, size: usize) -> &mut Self {
        for piece in bytes.as_ref().chunks(size) {
            self.send(piece);
        }
        self
    }

    /// Sends and reads the answer to anything but HEAD.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request).response()
    }

    /// The next answer, interim ones included.
    pub(crate) fn response(&mut self) -> Response {
        self.try_response(false).unwrap_or_else(|cut| panic!("the answer was cut: {cut:?}"))
    }

    /// The next answer, to a HEAD request.
    pub(crate) fn response_to_head(&mut self) -> Response {
        self.try_response(true).unwrap_or_else(|cut| panic!("the answer was cut: {cut:?}"))
    }

    /// The next answer, or how far it came.
    pub(crate) fn try_response(&mut self, to_head: bool) -> Result<Response, Cut> {
        let head = self.wire.head()?;
        let status = head.start_line().split(' ').nth(1).and_then(|code| code.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("no status in {}", head.raw));
        let framing = framing_of(&head, status, to_head);
        let mut trailers = Vec::new();
        let body = match framing {
            Framing::None => Vec::new(),
            Framing::Length => self.wire.exactly(head.get("content-length").unwrap().parse().unwrap())?,
            Framing::Chunked => {
                let body;
                (body, trailers) = self.wire.chunks()?;
                body
            }
            Framing::UntilClose => match self.wire.rest() {
                Cut { got, by_reset: false } => got,
                cut => return Err(cut),
            },
        };
        Ok(Response { status, head, body, trailers, framing })
    }

    /// Reads to the end of the connection. What still came before it.
    pub(crate) fn end(&mut self) -> Cut {
        self.wire.rest()
    }

    /// Reads to the end of the connection, before which nothing may come.
    pub(crate) fn expect_end(&mut self) {
        let cut = self.end();
        assert!(cut.got.is_empty(), "came before the end: {:?}", String::from_utf8_lossy(&cut.got));
    }

    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        self.wire.exactly(count).unwrap_or_else(|cut| panic!("cut: {cut:?}"))
    }

    /// Ends the client's side; answers can still be read.
    pub(crate) fn finish(&mut self) -> &mut Self {
        self.wire.stream.shutdown(Shutdown::Write).unwrap();
        self
    }

    /// Whether something has come, or the connection has ended.
    pub(crate) fn has_news(&self) -> bool {
        let stream = &self.wire.stream;
        stream.set_nonblocking(true).unwrap();
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        !matches!(peeked, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Leaves without a word: the proxy gets a reset.
    pub(crate) fn reset(self) {
        SockRef::from(&self.wire.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Another handle on the same connection, to write from a thread of its own.
    pub(crate) fn writer(&self) -> TcpStream {
        let stream = self.wire.stream.try_clone().unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// The raw head of the next answer, whose body is left to be read otherwise.
    pub(crate) fn head(&mut self) -> Head {
        self.wire.head().unwrap_or_else(|cut| panic!("cut: {cut:?}"))
    }
}

fn framing_of(head: &Head, status: u16, to_head: bool) -> Framing {
    let coding = head.get("transfer-encoding");
    let length = head.get("content-length");
    assert!(coding.is_none() || length.is_none(), "both lengths in {}", head.raw);
    match (coding, length) {
        _ if to_head || status < 200 || status == 204 || status == 304 => Framing::None,
        (Some(coding), _) => {
            assert_eq!(coding, "chunked");
            Framing::Chunked
        }
        (_, Some(_)) => Framing::Length,
        (None, None) => Framing::UntilClose,
    }
}

//! HTTP/1.x towards a client: requests read from it, responses framed for it.

use crate::buffer::Buffer;
use crate::deadline::Ticks;
use crate::downstream::OutgoingHead;
use crate::error::Failure;
use crate::http::encode::{self, Persistence};
use crate::http::fault::Fault;
use crate::http::head::{HeadLimits, Length, Version};
use crate::http::request::RequestHead;
use crate::http::response::ResponseHead;
use crate::message_reader::{MessageReader, Part, ReadFault};
use crate::stream::{StreamError, WriteHalf};

/// How long a client may take, in ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientPatience {
    pub(crate) idle: Ticks,
    pub(crate) head: Ticks,
    pub(crate) body: Ticks,
}

/// Requests of one connection.
pub(crate) struct H1Reader {
    pub(crate) messages: MessageReader,
    pub(crate) patience: ClientPatience,
    /// Payload bytes this body may still have; `None`: any number.
    body_left: Option<u64>,
}

/// What waiting for a request came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Its first bytes are here.
    Begun,
    /// The client has left, or was idle for too long.
    Gone,
}

impl H1Reader {
    pub(crate) fn new(messages: MessageReader, patience: ClientPatience) -> Self {
        Self { messages, patience, body_left: None }
    }

    /// Waits for the first byte of a request. Empty lines before it are skipped (RFC 9112 section 2.2).
    pub(crate) async fn arrival(&mut self) -> Arrival {
        self.messages.deadline().arm(self.patience.idle);
        loop {
            match self.messages.buffered() {
                [b'\r', b'\n', ..] => self.messages.consume(2),
                [] | [b'\r'] => match self.messages.fill().await {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return Arrival::Gone,
                },
                _ => break,
            }
        }
        self.messages.deadline().arm(self.patience.head);
        Arrival::Begun
    }

    /// Reads the head whose first byte has arrived. On a fault `head` tells as much as could be read.
    pub(crate) async fn head(&mut self, head: &mut RequestHead, limits: HeadLimits) -> Result<(), Failure> {
        head.clear();
        let starts_well = self.messages.buffered().first().is_some_and(u8::is_ascii_graphic);
        if !starts_well {
            return Err(Failure::Client(Fault::Malformed));
        }
        match self.messages.head(limits.bytes).await {
            Ok(length) => {
                let bytes = self.messages.take_head(length);
                head.parse(bytes, length, limits).map_err(Failure::Client)
            }
            Err(fault) => Err(self.failed_head(fault, head, limits)),
        }
    }

    fn failed_head(&mut self, fault: ReadFault, head: &mut RequestHead, limits: HeadLimits) -> Failure {
        let length = self.messages.buffered().len();
        let partial = self.messages.take_head(length);
        // For the log only: the request line may have arrived even so. A target that is too long is the better
        // reason for a head that is.
        let is_long = partial.len() >= limits.target && !partial[..limits.target].contains(&b'\n');
        let _ = head.parse(partial, length, limits);
        match fault {
            ReadFault::Timeout => Failure::ClientTimeout,
            ReadFault::Closed | ReadFault::Tls(_) => Failure::ClientGone,
            ReadFault::Message(Fault::HeadTooLarge) if is_long => Failure::Client(Fault::TargetTooLong),
            ReadFault::Message(fault) => Failure::Client(fault),
        }
    }

    /// Begins the body of the request whose head was read, of at most `limit` bytes.
    pub(crate) fn begin_body(&mut self, length: Length, limit: Option<u64>) -> Result<(), Failure> {
        self.messages.deadline().disarm();
        self.body_left = limit;
        // Begun also where it is refused: whatever the answer is, a body that was not read is known to be there.
        self.messages.begin_body(length);
        match (length, limit) {
            (Length::Bytes(bytes), Some(limit)) if bytes > limit => Err(Failure::Client(Fault::BodyTooLarge)),
            _ => Ok(()),
        }
    }

    pub(crate) fn body_is_done(&self) -> bool {
        self.messages.body_is_done()
    }

    pub(crate) fn take_buffered(&mut self, payload: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Failure> {
        let before = payload.len();
        let end = self.messages.take_buffered(payload).map_err(Failure::Client)?;
        self.count(payload.len() - before)?;
        Ok(end)
    }

    pub(crate) async fn part(&mut self, patience: Ticks) -> Result<Part, Failure> {
        self.messages.deadline().arm(patience);
        let part = self.messages.part().await;
        self.messages.deadline().disarm();
        match part {
            Ok(Part::Data(data)) => self.count(data.len()).map(|()| Part::Data(data)),
            Ok(end) => Ok(end),
            Err(ReadFault::Timeout) => Err(Failure::ClientTimeout),
            Err(ReadFault::Closed | ReadFault::Tls(_)) => Err(Failure::ClientGone),
            Err(ReadFault::Message(fault)) => Err(Failure::Client(fault)),
        }
    }

    /// Counts payload against the limit.
    fn count(&mut self, bytes: usize) -> Result<(), Failure> {
        if let Some(left) = &mut self.body_left {
            *left = left.checked_sub(bytes as u64).ok_or(Failure::Client(Fault::BodyTooLarge))?;
        }
        Ok(())
    }

    /// How long the client may take over the rest of a body.
    pub(crate) fn body_patience(&self) -> Ticks {
        self.patience.body
    }
}

/// Responses of one connection.
pub(crate) struct H1Writer {
    pub(crate) io: WriteHalf,
    /// Heads are encoded here. Kept from response to response.
    scratch: Vec<u8>,
    pub(crate) patience: Ticks,
    version: Version,
    framing: Length,
    pub(crate) begun: bool,
    pub(crate) sent: u64,
}

impl H1Writer {
    /// `patience`: how long the client may take nothing.
    pub(crate) fn new(io: WriteHalf, patience: Ticks) -> Self {
        let scratch = Vec::new();
        Self { io, scratch, patience, version: Version::Http11, framing: Length::None, begun: false, sent: 0 }
    }

    /// Begins the response to a request of this version.
    pub(crate) fn begin(&mut self, version: Version) {
        (self.version, self.framing, self.begun, self.sent) = (version, Length::None, false, 0);
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The framing a body of `length` gets for this client: HTTP/1.0 knows no chunks.
    fn framing_of(&self, length: Length) -> Length {
        match (length, self.version) {
            (Length::Chunked | Length::UntilClose, Version::Http10) => Length::UntilClose,
            (Length::Chunked | Length::UntilClose, _) => Length::Chunked,
            (length, _) => length,
        }
    }

    pub(crate) fn persistence(&self, head: &ResponseHead, wanted: bool) -> Persistence {
        if wanted && self.framing_of(head.body) != Length::UntilClose {
            Persistence::KeepAlive
        } else {
            Persistence::Close
        }
    }

    pub(crate) fn put_head(&mut self, outgoing: OutgoingHead<'_>) {
        (self.framing, self.begun) = (self.framing_of(outgoing.head.body), true);
        let client = (self.version, outgoing.persistence);
        encode::response(
            &mut self.scratch,
            outgoing.head,
            outgoing.bytes,
            self.framing,
            client,
            outgoing.more,
        );
    }

    pub(crate) fn put_payload(&mut self, payload: &[u8]) {
        if self.framing == Length::Chunked {
            encode::chunk(&mut self.scratch, payload);
        } else {
            self.scratch.extend_from_slice(payload);
        }
    }

    pub(crate) fn put_end(&mut self, trailers: &[u8]) {
        if self.framing == Length::Chunked {
            encode::last_chunk(&mut self.scratch, trailers);
        }
    }

    pub(crate) async fn send_interim(&mut self, outgoing: OutgoingHead<'_>) -> Result<(), StreamError> {
        if self.version == Version::Http10 {
            return Ok(());
        }
        let client = (self.version, outgoing.persistence);
        encode::response(&mut self.scratch, outgoing.head, outgoing.bytes, Length::None, client, &[]);
        self.flush().await
    }

    pub(crate) async fn send_part(&mut self, part: Part) -> (Result<(), StreamError>, Option<Buffer>) {
        match part {
            Part::Data(mut data) => {
                if self.framing == Length::Chunked {
                    data.wrap_as_chunk();
                }
                let (result, data) = self.send_raw(data, self.patience).await;
                (result, Some(data))
            }
            Part::End(trailers) => {
                self.put_end(&trailers);
                (self.flush().await, None)
            }
        }
    }

    pub(crate) async fn send_raw(
        &mut self,
        piece: Buffer,
        patience: Ticks,
    ) -> (Result<(), StreamError>, Buffer) {
        self.sent += piece.len() as u64;
        self.io.write_all(piece, patience).await
    }

    pub(crate) async fn send_own(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), StreamError> {
        self.begun = true;
        write(&mut self.scratch);
        self.flush().await
    }

    pub(crate) async fn flush(&mut self) -> Result<(), StreamError> {
        if self.scratch.is_empty() {
            return Ok(());
        }
        let out = Buffer::from_vec(std::mem::take(&mut self.scratch), 0);
        let (result, out) = self.send_raw(out, self.patience).await;
        let (scratch, _) = out.into_parts();
        // A first part may have made it large; an idle connection must stay small.
        if scratch.capacity() <= crate::bounds::CLIENT_HEAD_BYTES {
            self.scratch = scratch;
        }
        result
    }

    /// A response framed by the connection's end is aborted by a reset, any other by ending it early.
    pub(crate) fn abort(&self) {
        if self.framing == Length::UntilClose {
            self.io.reset();
        }
    }
}

//! The seam between an exchange and the protocol its client speaks. `exchange` and `relay` know only this, so
//! that another protocol is another variant, not another exchange.

pub(crate) mod h1;
pub(crate) mod h2;

use std::rc::Rc;

use crate::bounds::BULK_BYTES;
use crate::buffer::Buffer;
use crate::deadline::{Deadline, Ticks};
use crate::error::Failure;
use crate::http::encode::Persistence;
use crate::http::head::{Length, Version};
use crate::http::response::ResponseHead;
use crate::message_reader::Part;
use crate::stream::{Cutter, StreamError};

/// One exchange as seen from its client: the request's body to take, the response to give. The two halves are
/// used at the same time.
pub(crate) struct Downstream<'a> {
    pub(crate) body: RequestBody<'a>,
    pub(crate) out: ResponseOut<'a>,
}

/// The body of the request.
pub(crate) enum RequestBody<'a> {
    H1(&'a mut h1::H1Reader),
    H2(&'a mut h2::reader::H2Reader),
}

impl RequestBody<'_> {
    /// Begins the body of `length`, of at most `limit` bytes.
    pub(crate) fn begin(&mut self, length: Length, limit: Option<u64>) -> Result<(), Failure> {
        match self {
            Self::H1(reader) => reader.begin_body(length, limit),
            Self::H2(reader) => reader.begin_body(length, limit),
        }
    }

    /// Appends to `payload` what has arrived already. Trailer lines where that is all of it.
    pub(crate) fn take_buffered(&mut self, payload: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Self::H1(reader) => reader.take_buffered(payload),
            Self::H2(reader) => reader.take_buffered(payload),
        }
    }

    /// The next part, waited for as long as `patience`.
    pub(crate) async fn part(&mut self, patience: Ticks) -> Result<Part, Failure> {
        match self {
            Self::H1(reader) => reader.part(patience).await,
            Self::H2(reader) => reader.part(patience).await,
        }
    }

    /// Whether all of it has been taken.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::H1(reader) => reader.body_is_done(),
            Self::H2(reader) => reader.body_is_done(),
        }
    }

    /// The deadline of reads from the client, for use while one is under way. To be dropped before the connection.
    pub(crate) fn deadline(&self) -> Rc<Deadline> {
        match self {
            Self::H1(reader) => reader.messages.shared_deadline(),
            Self::H2(reader) => reader.deadline(),
        }
    }

    /// How long the client may take over a part of a body.
    pub(crate) fn patience(&self) -> Ticks {
        match self {
            Self::H1(reader) => reader.body_patience(),
            Self::H2(reader) => reader.body_patience(),
        }
    }

    /// The next bytes of a tunnel; `None`: the client has ended its side.
    pub(crate) async fn raw(&mut self) -> Result<Option<Buffer>, StreamError> {
        match self {
            Self::H1(reader) => reader.messages.raw().await,
            Self::H2(reader) => reader.raw().await,
        }
    }
}

/// A response head on its way to the client, with the bytes it was parsed from.
pub(crate) struct OutgoingHead<'a> {
    pub(crate) head: &'a ResponseHead,
    pub(crate) bytes: &'a [u8],
    pub(crate) persistence: Persistence,
    /// Lines of the proxy's own to go behind the backend's.
    pub(crate) more: &'a [u8],
}

/// Where the response goes.
pub(crate) enum ResponseOut<'a> {
    H1(&'a mut h1::H1Writer),
    H2(&'a mut h2::writer::H2Writer),
}

impl ResponseOut<'_> {
    /// How the connection will go on, given what the response allows. Also settles how the body is framed.
    pub(crate) fn persistence(&self, head: &ResponseHead, wanted: bool) -> Persistence {
        match self {
            Self::H1(writer) => writer.persistence(head, wanted),
            Self::H2(writer) => writer.persistence(wanted),
        }
    }

    /// Puts the head into the next write. It begins the response and settles how its body is framed.
    pub(crate) fn put_head(&mut self, head: OutgoingHead<'_>) {
        match self {
            Self::H1(writer) => writer.put_head(head),
            Self::H2(writer) => writer.put_head(&head),
        }
    }

    /// Puts payload, framed, into the next write; it may be empty.
    pub(crate) fn put_payload(&mut self, payload: &[u8]) {
        match self {
            Self::H1(writer) => writer.put_payload(payload),
            Self::H2(writer) => writer.put_payload(payload),
        }
    }

    /// Puts the end of the body into the next write.
    pub(crate) fn put_end(&mut self, trailers: &[u8]) {
        match self {
            Self::H1(writer) => writer.put_end(trailers),
            Self::H2(writer) => writer.put_end(trailers),
        }
    }

    /// Writes what was put.
    pub(crate) async fn flush(&mut self) -> Result<(), StreamError> {
        match self {
            Self::H1(writer) => writer.flush().await,
            Self::H2(writer) => writer.flush().await,
        }
    }

    /// Sends an interim (1xx) head.
    pub(crate) async fn send_interim(&mut self, head: OutgoingHead<'_>) -> Result<(), StreamError> {
        match self {
            Self::H1(writer) => writer.send_interim(head).await,
            Self::H2(writer) => writer.send_interim(&head),
        }
    }

    /// Waits until the client takes more of a body or a tunnel. How many bytes to read for it at most.
    pub(crate) async fn room(&mut self, patience: Ticks) -> Result<usize, StreamError> {
        match self {
            // A write waits by itself.
            Self::H1(_) => Ok(BULK_BYTES),
            Self::H2(writer) => writer.room(patience).await,
        }
    }

    /// How long the client may take nothing of a body.
    pub(crate) fn patience(&self) -> Ticks {
        match self {
            Self::H1(writer) => writer.patience,
            Self::H2(writer) => writer.patience(),
        }
    }

    /// Gives up what [`Self::room`] kept for this response: there is nothing to send yet.
    pub(crate) fn leave_room(&mut self) {
        match self {
            Self::H1(_) => {}
            Self::H2(writer) => writer.leave_room(),
        }
    }

    /// Sends one part of the body; gives the buffer of a data part back, emptied.
    pub(crate) async fn send_part(&mut self, part: Part) -> (Result<(), StreamError>, Option<Buffer>) {
        match self {
            Self::H1(writer) => writer.send_part(part).await,
            Self::H2(writer) => (writer.send_part(part).await, None),
        }
    }

    /// Sends bytes of a tunnel; the client may take nothing for as long as `patience`.
    pub(crate) async fn send_raw(
        &mut self,
        piece: Buffer,
        patience: Ticks,
    ) -> (Result<(), StreamError>, Buffer) {
        match self {
            Self::H1(writer) => writer.send_raw(piece, patience).await,
            Self::H2(writer) => (writer.send_raw(piece, patience).await, Buffer::default()),
        }
    }

    /// Ends our side of a tunnel.
    pub(crate) fn finish(&self) {
        match self {
            Self::H1(writer) => writer.io.finish(),
            Self::H2(writer) => writer.finish(),
        }
    }

    /// For ending a tunnel both ways at once. To be dropped before the connection.
    pub(crate) fn cutter(&self) -> ClientCutter {
        match self {
            Self::H1(writer) => ClientCutter::Connection(writer.io.cutter()),
            Self::H2(writer) => ClientCutter::Stream(writer.link()),
        }
    }

    /// Sends an answer of the proxy's own. `write` appends it to the buffer it is given.
    pub(crate) async fn send_own(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), StreamError> {
        match self {
            Self::H1(writer) => writer.send_own(write).await,
            Self::H2(writer) => writer.send_own(write).await,
        }
    }

    /// Gives a response up in its middle so that the client cannot take it for whole.
    pub(crate) fn abort(&self) {
        match self {
            Self::H1(writer) => writer.abort(),
            Self::H2(writer) => writer.abort(),
        }
    }

    /// The client's version of the protocol, and how its connection goes on after this response.
    pub(crate) fn client(&self, persistence: Persistence) -> (Version, Persistence) {
        match self {
            Self::H1(writer) => (writer.version(), persistence),
            Self::H2(_) => (Version::Http2, persistence),
        }
    }

    /// Whether any of the final response has been sent.
    pub(crate) fn has_begun(&self) -> bool {
        match self {
            Self::H1(writer) => writer.begun,
            Self::H2(writer) => writer.has_begun(),
        }
    }

    /// Bytes sent in this exchange, heads included.
    pub(crate) fn bytes_sent(&self) -> u64 {
        match self {
            Self::H1(writer) => writer.sent,
            Self::H2(writer) => writer.bytes_sent(),
        }
    }
}

/// Ends a tunnel on the client's side, both ways.
pub(crate) enum ClientCutter {
    Connection(Cutter),
    Stream(Rc<h2::link::Link>),
}

impl ClientCutter {
    pub(crate) fn cut(&self) {
        match self {
            Self::Connection(cutter) => cutter.cut(),
            Self::Stream(link) => link.cancel(),
        }
    }
}

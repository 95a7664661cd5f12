//! Reads messages from one half of a connection: a head, then the parts of a body, then the next head. Both
//! sides use it. Knows framing, not meaning.

use std::rc::Rc;

use crate::bounds::{BULK_BYTES, LARGE_HEAD_BYTES};
use crate::buffer::{Buffer, BulkBuffers};
use crate::deadline::Deadline;
use crate::error::Failure;
use crate::http::body::{BodyDecoder, Decoded};
use crate::http::fault::Fault;
use crate::http::head::{HeadScan, Length};
use crate::stream::{ReadHalf, StreamError};

/// A piece of a body.
pub(crate) enum Part {
    /// Payload, never empty, with headroom for a chunk's size line. The receiver gives it to the bulk buffers.
    Data(Buffer),
    /// The body is whole. Trailer lines, each ending in CRLF; most often empty.
    End(Vec<u8>),
}

/// What there is of bytes without framing.
pub(crate) enum Raw {
    /// Never empty, with headroom. The receiver gives it to the bulk buffers.
    Piece(Buffer),
    /// The peer has ended its side.
    End,
    Nothing,
}

/// Why no message could be read.
#[derive(Debug)]
pub(crate) enum ReadFault {
    /// The deadline passed.
    Timeout,
    /// The peer ended or broke the connection where a message was not complete.
    Closed,
    /// The peer broke the connection, and TLS says why.
    Tls(Box<tls::Error>),
    /// What arrived is not acceptable.
    Message(Fault),
}

impl ReadFault {
    /// What it means where the peer is a backend.
    pub(crate) fn of_backend(self) -> Failure {
        match self {
            Self::Timeout => Failure::BackendTimeout,
            Self::Closed => Failure::BackendClosed,
            Self::Tls(error) => Failure::BackendTls(error),
            Self::Message(fault) => Failure::BackendInvalid(fault),
        }
    }
}

impl From<StreamError> for ReadFault {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Timeout => Self::Timeout,
            StreamError::Closed => Self::Closed,
            StreamError::Tls(error) => Self::Tls(error),
        }
    }
}

/// The reading side of one connection.
pub(crate) struct MessageReader {
    // Dropped before the socket: see `Wheel::deadline`.
    deadline: Rc<Deadline>,
    half: ReadHalf,
    /// Bytes that have arrived and belong to no part yet.
    buffer: Buffer,
    /// Bytes of a first read. Grows once where a peer sends more at a time: a body often comes with its head.
    head_capacity: usize,
    decoder: BodyDecoder,
    bulk: Rc<BulkBuffers>,
    /// There may be something to read: nothing was read yet, or the last read got as much as it asked for.
    filled: bool,
}

impl MessageReader {
    /// Heads are first read into `head_capacity` bytes.
    pub(crate) fn new(half: ReadHalf, head_capacity: usize, bulk: Rc<BulkBuffers>) -> Self {
        Self {
            deadline: half.deadline(),
            half,
            buffer: Buffer::default(),
            head_capacity,
            decoder: BodyDecoder::new(Length::None),
            bulk,
            filled: true,
        }
    }

    /// Whether the last read got less than it asked for: then nothing more had arrived by that time.
    fn has_seen_all(&self) -> bool {
        !self.filled && self.half.has_seen_all()
    }

    /// Whether everything the peer is known to have sent was consumed.
    pub(crate) fn is_spent(&self) -> bool {
        self.buffer.is_empty() && self.has_seen_all() && self.decoder.is_done()
    }

    /// Whether nothing lies behind what was consumed, neither here nor, where the last read cannot tell, in the socket.
    pub(crate) fn has_nothing_left(&self) -> bool {
        self.buffer.is_empty() && (self.has_seen_all() || self.half.looks_quiet())
    }

    pub(crate) fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    /// The deadline, for use while a read is under way. To be dropped before the connection.
    pub(crate) fn shared_deadline(&self) -> Rc<Deadline> {
        Rc::clone(&self.deadline)
    }

    /// What has arrived and was not consumed.
    pub(crate) fn buffered(&self) -> &[u8] {
        self.buffer.as_slice()
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.buffer.consume(count);
    }

    /// Reads until there is at least one more byte. `false`: the peer has ended its side.
    pub(crate) async fn fill(&mut self) -> Result<bool, StreamError> {
        loop {
            if !self.filled {
                self.half.readable().await?;
            }
            self.buffer.reserve(if self.buffer.is_empty() { self.head_capacity } else { 1 });
            let read = self.half.read_now(&mut self.buffer, usize::MAX)?;
            self.filled = self.buffer.room() == 0;
            if self.filled {
                self.head_capacity = self.head_capacity.max(LARGE_HEAD_BYTES);
            }
            if let Some(count) = read {
                return Ok(count > 0);
            }
        }
    }

    /// The length of the head that comes next, once all of it is in [`Self::buffered`].
    pub(crate) async fn head(&mut self, limit: usize) -> Result<usize, ReadFault> {
        let mut scan = HeadScan::default();
        loop {
            if let Some(length) = scan.advance(self.buffered(), limit).map_err(ReadFault::Message)? {
                return Ok(length);
            }
            if !self.fill().await? {
                return Err(ReadFault::Closed);
            }
        }
    }

    /// Moves the buffered head of `length` bytes out, without copying where nothing follows it.
    pub(crate) fn take_head(&mut self, length: usize) -> Vec<u8> {
        let (mut bytes, start) = std::mem::take(&mut self.buffer).into_parts();
        if start > 0 {
            bytes.drain(..start);
        }
        if bytes.len() > length {
            self.buffer = Buffer::from_vec(bytes[length..].to_vec(), 0);
            bytes.truncate(length);
        }
        bytes
    }

    /// Takes the vector of a head that is done with, so that the next one needs no new memory.
    pub(crate) fn recycle(&mut self, mut bytes: Vec<u8>) {
        let fits = bytes.capacity() <= 2 * self.head_capacity;
        if fits && self.buffer.is_empty() {
            bytes.clear();
            self.buffer = Buffer::from_vec(bytes, 0);
        }
    }

    /// Begins a body of `length`. Its bytes are those buffered, then those read.
    pub(crate) fn begin_body(&mut self, length: Length) {
        self.decoder = BodyDecoder::new(length);
    }

    /// Whether the body is whole.
    pub(crate) fn body_is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// Decodes what has arrived of the body, in place, from `offset` on. Once those before it are consumed,
    /// [`Self::payload`] is what it yields; then [`Self::consume`] as much as was decoded.
    pub(crate) fn decode_buffered(&mut self, offset: usize) -> Result<Decoded, Fault> {
        self.decoder.decode(&mut self.buffer.as_mut_slice()[offset..])
    }

    pub(crate) fn payload(&self, decoded: Decoded) -> &[u8] {
        &self.buffer.as_slice()[decoded.payload_start..decoded.payload_end]
    }

    /// The trailer lines of a body that is done.
    pub(crate) fn take_trailers(&mut self) -> Vec<u8> {
        self.decoder.take_trailer_lines()
    }

    /// Appends to `payload` what has arrived of the body. Trailer lines where that is all of it.
    pub(crate) fn take_buffered(&mut self, payload: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Fault> {
        if !self.decoder.is_done() && !self.buffer.is_empty() {
            let decoded = self.decode_buffered(0)?;
            payload.extend_from_slice(self.payload(decoded));
            self.consume(decoded.consumed);
        }
        Ok(self.decoder.is_done().then(|| self.take_trailers()))
    }

    /// The next part as far as it has arrived already; `None`: a read is needed.
    fn buffered_part(&mut self) -> Result<Option<Part>, Fault> {
        let mut part = None;
        if !self.decoder.is_done() && !self.buffer.is_empty() {
            let decoded = self.decode_buffered(0)?;
            if decoded.payload_end > decoded.payload_start {
                let mut data = self.bulk.take();
                data.extend(self.payload(decoded));
                part = Some(Part::Data(data));
            }
            self.consume(decoded.consumed);
        }
        if part.is_none() && self.decoder.is_done() {
            part = Some(Part::End(self.take_trailers()));
        }
        Ok(part)
    }

    /// The next part of the body.
    pub(crate) async fn part(&mut self) -> Result<Part, ReadFault> {
        loop {
            self.part_ready().await?;
            if let Some(part) = self.part_now(BULK_BYTES)? {
                return Ok(part);
            }
        }
    }

    /// Waits until there may be a part to take. As for [`Self::raw_ready`].
    pub(crate) async fn part_ready(&self) -> Result<(), StreamError> {
        if self.decoder.is_done() { Ok(()) } else { self.raw_ready().await }
    }

    /// Waits until there may be bytes to take. No buffer is held meanwhile, and giving the wait up loses nothing.
    pub(crate) async fn raw_ready(&self) -> Result<(), StreamError> {
        if self.filled || !self.buffer.is_empty() {
            return Ok(());
        }
        self.half.readable().await
    }

    /// The next part of the body as far as it is there; `None`: nothing is. Of what has not been read yet at most `most`
    /// bytes are.
    pub(crate) fn part_now(&mut self, most: usize) -> Result<Option<Part>, ReadFault> {
        match self.buffered_part().map_err(ReadFault::Message)? {
            Some(part) => Ok(Some(part)),
            None => self.read_part(most),
        }
    }

    /// Reads into a bulk buffer and decodes there; what belongs to the next message is set aside.
    fn read_part(&mut self, most: usize) -> Result<Option<Part>, ReadFault> {
        let mut part = match self.bulk_read(self.decoder.wanted(most))? {
            Raw::Nothing => return Ok(None),
            Raw::End if self.decoder.ends_with_connection() => {
                self.decoder = BodyDecoder::new(Length::None);
                return Ok(None);
            }
            Raw::End => return Err(ReadFault::Closed),
            Raw::Piece(part) => part,
        };
        let decoded = self.decoder.decode(part.as_mut_slice()).map_err(ReadFault::Message)?;
        self.buffer.extend(&part.as_slice()[decoded.consumed..]);
        part.truncate(decoded.payload_end);
        part.consume(decoded.payload_start);
        if part.is_empty() {
            self.bulk.put(part);
            return Ok(None);
        }
        Ok(Some(Part::Data(part)))
    }

    /// Up to `most` bytes in a bulk buffer.
    fn bulk_read(&mut self, most: usize) -> Result<Raw, StreamError> {
        let mut part = self.bulk.take();
        let read = self.half.read_now(&mut part, most);
        self.filled = matches!(read, Ok(Some(count)) if count == most);
        if let Ok(Some(1..)) = read {
            return Ok(Raw::Piece(part));
        }
        self.bulk.put(part);
        Ok(if read?.is_some() { Raw::End } else { Raw::Nothing })
    }

    /// Readies the reader for a time without messages. The buffer must be empty.
    pub(crate) fn rest(&mut self) {
        assert!(self.buffer.is_empty(), "a message is waiting already");
        if self.buffer.room() > 2 * self.head_capacity {
            // A long head made it grow; idle connections stay small.
            self.buffer = Buffer::default();
        }
        self.filled = false;
    }

    /// Whether a resting connection is quiet: nothing has arrived and the peer has not closed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.half.is_quiet()
    }

    /// The next bytes of a tunnel. `None`: the peer has ended its side.
    pub(crate) async fn raw(&mut self) -> Result<Option<Buffer>, StreamError> {
        loop {
            self.raw_ready().await?;
            match self.raw_now(BULK_BYTES)? {
                Raw::Piece(piece) => return Ok(Some(piece)),
                Raw::End => return Ok(None),
                Raw::Nothing => {}
            }
        }
    }

    /// The next bytes of a tunnel, as they come, without framing, as far as they are there: at most `most` of those
    /// that have not been read yet.
    pub(crate) fn raw_now(&mut self, most: usize) -> Result<Raw, StreamError> {
        if self.buffer.is_empty() {
            return self.bulk_read(most);
        }
        let mut piece = self.bulk.take();
        piece.extend(self.buffer.as_slice());
        self.buffer = Buffer::default();
        Ok(Raw::Piece(piece))
    }
}

//! The response of one stream, as the exchange writes it: heads of HTTP/1.1 translated, payload as the client's windows
//! allow.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use ::http::{HeaderMap, Response};

use crate::bounds::{BULK_BYTES, HEADER_FIELDS_CEILING};
use crate::buffer::Buffer;
use crate::deadline::{Deadline, Ticks};
use crate::downstream::OutgoingHead;
use crate::downstream::h2::link::Link;
use crate::http::encode::Persistence;
use crate::http::h2_response;
use crate::http::head::{HeadLimits, HeadScan};
use crate::http::response::ResponseHead;
use crate::message_reader::Part;
use crate::stream::StreamError;

/// What holds for an answer of our own.
const OWN: HeadLimits = HeadLimits { bytes: usize::MAX, fields: HEADER_FIELDS_CEILING, target: 0 };

/// One stream's response.
pub(crate) struct H2Writer {
    link: Rc<Link>,
    /// What was put and not sent yet.
    head: Option<Response<()>>,
    payload: Vec<u8>,
    end: Option<HeaderMap>,
    begun: bool,
    sent: u64,
    deadline: Deadline,
    patience: Ticks,
}

impl H2Writer {
    /// `patience`: how long the client may take nothing.
    pub(crate) fn new(link: Rc<Link>, deadline: Deadline, patience: Ticks) -> Self {
        Self { link, head: None, payload: Vec::new(), end: None, begun: false, sent: 0, deadline, patience }
    }

    pub(crate) fn link(&self) -> Rc<Link> {
        Rc::clone(&self.link)
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(crate) fn bytes_sent(&self) -> u64 {
        self.sent
    }

    /// Every body has an end of its own here; what is `wanted` is whether the rest of the request is waited for.
    pub(crate) fn persistence(&self, wanted: bool) -> Persistence {
        if wanted { Persistence::KeepAlive } else { Persistence::Close }
    }

    pub(crate) fn put_head(&mut self, outgoing: &OutgoingHead<'_>) {
        let head = h2_response::head(outgoing.head, outgoing.bytes, outgoing.more);
        self.begun = true;
        self.sent += h2_response::size(head.headers()) as u64;
        self.head = Some(head);
    }

    pub(crate) fn put_payload(&mut self, payload: &[u8]) {
        if self.payload.capacity() == 0 && !payload.is_empty() {
            self.payload = self.link.vector();
        }
        self.payload.extend_from_slice(payload);
    }

    pub(crate) fn put_end(&mut self, trailers: &[u8]) {
        self.end = Some(h2_response::trailers(trailers));
    }

    pub(crate) async fn flush(&mut self) -> Result<(), StreamError> {
        let ends_with_payload = self.end.as_ref().is_some_and(HeaderMap::is_empty);
        if let Some(head) = self.head.take() {
            let ends = ends_with_payload && self.payload.is_empty();
            self.link.send_head(head, ends)?;
            if ends {
                return Ok(());
            }
        }
        let mut payload = Buffer::from_vec(std::mem::take(&mut self.payload), 0);
        while !payload.is_empty() {
            let room = self.room_for(payload.len(), self.patience).await?;
            let piece = if room < payload.len() {
                let piece = Buffer::from_vec(payload.as_slice()[..room].to_vec(), 0);
                payload.consume(room);
                piece
            } else {
                std::mem::take(&mut payload)
            };
            let ends = payload.is_empty() && ends_with_payload;
            self.send(piece, ends)?;
        }
        match self.end.take() {
            Some(trailers) if !trailers.is_empty() => self.send_trailers(trailers),
            Some(_) if !self.link.has_ended() => self.send(Buffer::default(), true),
            _ => Ok(()),
        }
    }

    fn send(&mut self, data: Buffer, ends: bool) -> Result<(), StreamError> {
        self.sent += data.len() as u64;
        self.link.send_data(data, ends)
    }

    fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), StreamError> {
        self.sent += h2_response::size(&trailers) as u64;
        self.link.send_trailers(trailers)
    }

    pub(crate) fn send_interim(&mut self, outgoing: &OutgoingHead<'_>) -> Result<(), StreamError> {
        let head = h2_response::head(outgoing.head, outgoing.bytes, outgoing.more);
        self.sent += h2_response::size(head.headers()) as u64;
        self.link.send_interim(head)
    }

    /// How many bytes the client takes now. Memory is taken for no more than that.
    pub(crate) async fn room(&mut self, patience: Ticks) -> Result<usize, StreamError> {
        self.room_for(BULK_BYTES, patience).await
    }

    pub(crate) fn patience(&self) -> Ticks {
        self.patience
    }

    async fn room_for(&mut self, wanted: usize, patience: Ticks) -> Result<usize, StreamError> {
        self.deadline.arm(patience);
        let room = poll_fn(|context| match self.link.poll_room(context, wanted) {
            Poll::Pending if self.deadline.poll_passed(context).is_ready() => {
                Poll::Ready(Err(StreamError::Timeout))
            }
            polled => polled,
        })
        .await;
        self.deadline.disarm();
        room
    }

    pub(crate) fn leave_room(&mut self) {
        self.link.leave_room();
    }

    pub(crate) async fn send_part(&mut self, part: Part) -> Result<(), StreamError> {
        match part {
            Part::Data(data) => self.send(data, false),
            Part::End(trailers) => {
                self.put_end(&trailers);
                self.flush().await
            }
        }
    }

    /// Sends bytes of a tunnel, more of them than there was room for as well.
    pub(crate) async fn send_raw(&mut self, piece: Buffer, patience: Ticks) -> Result<(), StreamError> {
        self.room_for(1, patience).await?;
        self.send(piece, false)
    }

    /// Ends our side of a tunnel.
    pub(crate) fn finish(&self) {
        // The only error is that the stream is over already.
        let _ = self.link.send_data(Buffer::default(), true);
    }

    /// Sends an answer of the proxy's own, which `write` appends in the form of HTTP/1.1.
    pub(crate) async fn send_own(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), StreamError> {
        let mut answer = Vec::new();
        write(&mut answer);
        let length = HeadScan::default().advance(&answer, OWN.bytes).ok().flatten();
        let length = length.expect("our own answers have a whole head");
        let mut head = ResponseHead::default();
        head.parse(&answer[..length], false, OWN).expect("our own answers are well-formed");
        let persistence = Persistence::KeepAlive;
        self.put_head(&OutgoingHead { head: &head, bytes: &answer, persistence, more: &[] });
        self.put_payload(&answer[length..]);
        self.put_end(&[]);
        self.flush().await
    }

    /// Gives a response up in its middle so that the client cannot take it for whole.
    pub(crate) fn abort(&self) {
        self.link.abort();
    }
}

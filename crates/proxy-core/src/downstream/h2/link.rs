//! The sending side of one stream, for those who write to it and for those who watch over it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use ::h2::server::SendResponse;
use ::h2::{Reason, SendStream};
use ::http::{HeaderMap, Response};

use crate::buffer::Buffer;
use crate::downstream::h2::outflow::{Outflow, Payload};
use crate::stream::StreamError;

/// One stream's sending side.
pub(crate) struct Link {
    sender: RefCell<Sender>,
    outflow: Rc<Outflow>,
}

/// How far the response has come.
///
/// ```text
///   Waiting ──head──▶ Streaming ──END_STREAM──▶ Ended
///      └─────────────────┴────RST_STREAM────────▶ Ended
/// ```
enum Sender {
    Waiting(SendResponse<Payload>),
    Streaming(SendStream<Payload>),
    Ended,
}

impl Link {
    pub(crate) fn new(respond: SendResponse<Payload>, outflow: Rc<Outflow>) -> Self {
        Self { sender: RefCell::new(Sender::Waiting(respond)), outflow }
    }

    /// An empty vector for a small payload.
    pub(crate) fn vector(&self) -> Vec<u8> {
        self.outflow.vector()
    }

    /// Whether the whole response was handed over, or given up.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(*self.sender.borrow(), Sender::Ended)
    }

    /// Waits until the client has given the stream up, or its connection is over.
    pub(crate) fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        let polled = match &mut *self.sender.borrow_mut() {
            Sender::Waiting(respond) => respond.poll_reset(context),
            Sender::Streaming(stream) => stream.poll_reset(context),
            Sender::Ended => return Poll::Pending,
        };
        polled.map(drop)
    }

    /// Sends an interim head.
    pub(crate) fn send_interim(&self, head: Response<()>) -> Result<(), StreamError> {
        match &mut *self.sender.borrow_mut() {
            Sender::Waiting(respond) => respond.send_informational(head).map_err(gone),
            Sender::Streaming(_) | Sender::Ended => Err(StreamError::Closed),
        }
    }

    /// Sends the head; `ends`: and nothing else.
    pub(crate) fn send_head(&self, head: Response<()>, ends: bool) -> Result<(), StreamError> {
        let sender = &mut *self.sender.borrow_mut();
        let Sender::Waiting(respond) = sender else { return Err(StreamError::Closed) };
        let stream = respond.send_response(head, ends).map_err(gone)?;
        *sender = if ends { Sender::Ended } else { Sender::Streaming(stream) };
        Ok(())
    }

    /// How many of `wanted` bytes the client's windows and its connection take at once; they are kept for this stream.
    pub(crate) fn poll_room(
        &self,
        context: &mut Context<'_>,
        wanted: usize,
    ) -> Poll<Result<usize, StreamError>> {
        let Sender::Streaming(stream) = &mut *self.sender.borrow_mut() else {
            return Poll::Ready(Err(StreamError::Closed));
        };
        if self.outflow.poll_place(context).is_pending() {
            // What another stream could use is not kept meanwhile.
            stream.reserve_capacity(0);
            return Poll::Pending;
        }
        stream.reserve_capacity(wanted);
        match stream.capacity() {
            0 => {}
            room => return Poll::Ready(Ok(room.min(wanted))),
        }
        stream.poll_capacity(context).map(|polled| match polled {
            Some(room) => room.map(|room| room.min(wanted)).map_err(gone),
            None => Err(StreamError::Closed),
        })
    }

    /// Gives up what was kept for this stream.
    pub(crate) fn leave_room(&self) {
        if let Sender::Streaming(stream) = &mut *self.sender.borrow_mut() {
            stream.reserve_capacity(0);
        }
    }

    /// Sends `data`, as soon as the windows allow; `ends`: and nothing else.
    pub(crate) fn send_data(&self, data: Buffer, ends: bool) -> Result<(), StreamError> {
        let sender = &mut *self.sender.borrow_mut();
        let Sender::Streaming(stream) = sender else { return Err(StreamError::Closed) };
        let payload = Payload::new(data, Rc::clone(&self.outflow));
        stream.send_data(payload, ends).map_err(gone)?;
        if ends {
            *sender = Sender::Ended;
        } else {
            // What is not used of the window is for others.
            stream.reserve_capacity(0);
        }
        Ok(())
    }

    pub(crate) fn send_trailers(&self, trailers: HeaderMap) -> Result<(), StreamError> {
        let sender = &mut *self.sender.borrow_mut();
        let Sender::Streaming(stream) = sender else { return Err(StreamError::Closed) };
        stream.send_trailers(trailers).map_err(gone)?;
        *sender = Sender::Ended;
        Ok(())
    }

    /// Gives the response up: nobody can take it for whole.
    pub(crate) fn abort(&self) {
        self.reset(Reason::INTERNAL_ERROR);
    }

    /// Gives the stream up.
    pub(crate) fn cancel(&self) {
        self.reset(Reason::CANCEL);
    }

    fn reset(&self, reason: Reason) {
        let sender = &mut *self.sender.borrow_mut();
        match sender {
            Sender::Waiting(respond) => respond.send_reset(reason),
            Sender::Streaming(stream) => stream.send_reset(reason),
            Sender::Ended => {}
        }
        *sender = Sender::Ended;
    }
}

/// The stream was reset, or the connection is over. Our own mistakes would show in the tests.
fn gone(error: ::h2::Error) -> StreamError {
    log::debug!("a stream takes no more: {error}");
    StreamError::Closed
}

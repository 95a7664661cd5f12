//! The body of one stream's request. What was received is acknowledged only when the next part is asked for: by then
//! the backend has taken it, so that its pace is the client's.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use ::h2::RecvStream;
use bytes::Bytes;

use crate::bounds::{BULK_BYTES, H2_FRAME_BYTES, REPLAY_BYTES};
use crate::buffer::Buffer;
use crate::deadline::{Deadline, Ticks};
use crate::downstream::h2::outflow::Outflow;
use crate::error::Failure;
use crate::http::fault::Fault;
use crate::http::h2_request;
use crate::http::head::Length;
use crate::message_reader::Part;
use crate::stream::StreamError;

/// Frames are taken whole: so much room one needs.
const FRAME: usize = H2_FRAME_BYTES as usize;

/// One stream's receiving side.
pub(crate) struct H2Reader {
    stream: RecvStream,
    state: State,
    /// Payload bytes this body may still have; `None`: any number.
    left: Option<u64>,
    /// Bytes taken and not acknowledged.
    taken: usize,
    deadline: Rc<Deadline>,
    patience: Ticks,
    outflow: Rc<Outflow>,
}

/// ```text
///   Data ──END_STREAM──▶ Trailers ──▶ Done
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Data,
    Trailers,
    Done,
}

impl H2Reader {
    /// `patience`: how long the client may take over a part.
    pub(crate) fn new(
        stream: RecvStream,
        deadline: Deadline,
        patience: Ticks,
        outflow: &Rc<Outflow>,
    ) -> Self {
        let (deadline, outflow) = (Rc::new(deadline), Rc::clone(outflow));
        Self { stream, state: State::Done, left: None, taken: 0, deadline, patience, outflow }
    }

    /// Begins the body, of at most `limit` bytes. That it is as long as its head says, the h2 crate sees to.
    pub(crate) fn begin_body(&mut self, length: Length, limit: Option<u64>) -> Result<(), Failure> {
        self.left = limit;
        self.state = if length == Length::None { State::Done } else { State::Data };
        match (length, limit) {
            (Length::Bytes(bytes), Some(limit)) if bytes > limit => Err(Failure::Client(Fault::BodyTooLarge)),
            _ => Ok(()),
        }
    }

    pub(crate) fn body_is_done(&self) -> bool {
        self.state == State::Done
    }

    pub(crate) fn deadline(&self) -> Rc<Deadline> {
        Rc::clone(&self.deadline)
    }

    pub(crate) fn body_patience(&self) -> Ticks {
        self.patience
    }

    /// Appends what has arrived, as far as it can be held. Trailer lines where that is all of the body.
    pub(crate) fn take_buffered(&mut self, payload: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Failure> {
        // Whoever asks for the next part is the one to be woken.
        let mut context = Context::from_waker(Waker::noop());
        while self.state == State::Data && payload.len() + FRAME <= REPLAY_BYTES {
            match self.poll_frame(&mut context)? {
                Poll::Ready(Some(bytes)) => payload.extend_from_slice(&bytes),
                Poll::Ready(None) => {}
                Poll::Pending => return Ok(None),
            }
        }
        match self.state {
            State::Data => Ok(None),
            State::Trailers => match self.poll_trailers(&mut context) {
                Poll::Ready(lines) => lines.map(Some),
                Poll::Pending => Ok(None),
            },
            State::Done => Ok(Some(Vec::new())),
        }
    }

    pub(crate) async fn part(&mut self, patience: Ticks) -> Result<Part, Failure> {
        self.acknowledge();
        self.deadline.arm(patience);
        let part = poll_fn(|context| match self.poll_part(context) {
            Poll::Pending if self.deadline.poll_passed(context).is_ready() => {
                Poll::Ready(Err(Failure::ClientTimeout))
            }
            polled => polled,
        })
        .await;
        self.deadline.disarm();
        part
    }

    /// The next bytes of a tunnel; the deadline is the tunnel's. `None`: the client has ended its side.
    pub(crate) async fn raw(&mut self) -> Result<Option<Buffer>, StreamError> {
        self.state = State::Data;
        self.acknowledge();
        let part = poll_fn(|context| match self.poll_data(context) {
            Poll::Pending if self.deadline.poll_passed(context).is_ready() => {
                Poll::Ready(Err(Failure::ClientTimeout))
            }
            polled => polled,
        })
        .await;
        part.map_err(|failure| match failure {
            Failure::ClientTimeout => StreamError::Timeout,
            _ => StreamError::Closed,
        })
    }

    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Result<Part, Failure>> {
        if self.state == State::Data
            && let Some(data) = ready!(self.poll_data(context))?
        {
            return Poll::Ready(Ok(Part::Data(data)));
        }
        if self.state == State::Done {
            return Poll::Ready(Ok(Part::End(Vec::new())));
        }
        self.poll_trailers(context).map_ok(Part::End)
    }

    /// What has arrived of the payload, frames together. `None`: the payload is over.
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Buffer>, Failure>> {
        let Some(first) = ready!(self.poll_frame(context)?) else { return Poll::Ready(Ok(None)) };
        let mut data = self.outflow.bulk().take();
        data.extend(&first);
        while data.len() + FRAME <= BULK_BYTES {
            let Poll::Ready(Some(next)) = self.poll_frame(context)? else { break };
            data.extend(&next);
        }
        Poll::Ready(Ok(Some(data)))
    }

    /// The payload of the next frame that has one. `None`: there is no other.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Result<Poll<Option<Bytes>>, Failure> {
        while self.state == State::Data {
            let Poll::Ready(frame) = self.stream.poll_data(context) else { return Ok(Poll::Pending) };
            let Some(frame) = frame.transpose().map_err(gone)? else {
                self.state = State::Trailers;
                break;
            };
            self.taken += frame.len();
            self.outflow.count(frame.len());
            if let Some(left) = &mut self.left {
                *left = left.checked_sub(frame.len() as u64).ok_or(Failure::Client(Fault::BodyTooLarge))?;
            }
            if !frame.is_empty() {
                return Ok(Poll::Ready(Some(frame)));
            }
        }
        Ok(Poll::Ready(None))
    }

    fn poll_trailers(&mut self, context: &mut Context<'_>) -> Poll<Result<Vec<u8>, Failure>> {
        let trailers = ready!(self.stream.poll_trailers(context)).map_err(gone)?;
        self.state = State::Done;
        self.acknowledge();
        let lines = trailers.map_or(Ok(Vec::new()), |trailers| h2_request::trailer_lines(&trailers));
        Poll::Ready(lines.map_err(Failure::Client))
    }

    /// Lets the client send as many bytes again as were taken.
    fn acknowledge(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        // The only error is to acknowledge more than was received.
        let _ = self.stream.flow_control().release_capacity(taken);
    }
}

/// The stream was reset, by the client or for a mistake of its, or the connection is over.
fn gone(error: ::h2::Error) -> Failure {
    log::debug!("a request body breaks off: {error}");
    Failure::ClientGone
}

//! Moves bodies: the request's to the backend while the response comes back, and bytes of a tunnel both ways.
//! Knows nothing of routes, heads or statuses.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use crate::bounds::REPLAY_BYTES;
use crate::buffer::{Buffer, BulkBuffers};
use crate::deadline::{Deadline, Ticks};
use crate::downstream::{Downstream, RequestBody, ResponseOut};
use crate::error::Failure;
use crate::http::encode;
use crate::message_reader::{MessageReader, Part, Raw, ReadFault};
use crate::pace::Pace;
use crate::stream::{StreamError, WriteHalf};

/// The part of a request body that is kept so that another backend can be sent it.
#[derive(Default)]
pub(crate) struct HeldBody {
    payload: Vec<u8>,
    /// Trailer lines, once the body is whole.
    end: Option<Vec<u8>>,
    /// Some of the body has been let go.
    lost: bool,
}

impl HeldBody {
    /// What of the body has arrived with its head.
    pub(crate) fn with_head(body: &mut RequestBody<'_>) -> Result<Self, Failure> {
        let mut held = Self::default();
        held.end = body.take_buffered(&mut held.payload)?;
        Ok(held)
    }

    /// Keeps a copy of what is about to be sent, while it fits and `worthwhile`.
    fn keep(&mut self, data: &Buffer, worthwhile: bool) {
        if self.lost || !worthwhile || self.payload.len() + data.len() > REPLAY_BYTES {
            (self.lost, self.payload) = (true, Vec::new());
        } else {
            self.payload.extend_from_slice(data.as_slice());
        }
    }

    /// Whether everything that has been taken from the client is still here.
    pub(crate) fn is_replayable(&self) -> bool {
        !self.lost
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.end.is_some()
    }

    /// Appends what is held, framed, behind a request head.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>, chunked: bool) {
        if !chunked {
            out.extend_from_slice(&self.payload);
            return;
        }
        encode::chunk(out, &self.payload);
        if let Some(trailers) = &self.end {
            encode::last_chunk(out, trailers);
        }
    }
}

/// How far an exchange with a backend has come, for the side that does not see it itself.
#[derive(Default)]
pub(crate) struct Progress {
    /// The request has been sent to its end.
    pub(crate) uploaded: Cell<bool>,
    /// The final answer has begun.
    pub(crate) answered: Cell<bool>,
}

/// How an upload goes about it.
pub(crate) struct Upload<'a> {
    pub(crate) held: &'a mut HeldBody,
    pub(crate) bulk: &'a BulkBuffers,
    /// Whether the request could be sent again at all.
    pub(crate) keep: bool,
    pub(crate) chunked: bool,
    /// How long the client may take for a part.
    pub(crate) client_patience: Ticks,
    /// The client sends nothing before the backend asks it to; the first part is waited for without end.
    pub(crate) awaits_continue: bool,
    /// How fast the client must send; `None`: as it likes.
    pub(crate) pace: Option<Pace>,
    /// How long the backend may take nothing.
    pub(crate) backend_patience: Ticks,
    /// Counts the backend's time from the last byte it was sent.
    pub(crate) answer_deadline: &'a Deadline,
    pub(crate) answer_patience: Ticks,
    pub(crate) progress: &'a Progress,
}

impl Upload<'_> {
    /// Sends the rest of the request body.
    ///
    /// # Errors
    /// [`Failure::ClientTimeout`], [`Failure::ClientGone`] and [`Failure::Client`] are the client's. A backend
    /// that takes no more is no error here: it may have answered already.
    pub(crate) async fn run(
        mut self,
        body: &mut RequestBody<'_>,
        write: &mut WriteHalf,
    ) -> Result<(), Failure> {
        let mut taken = true;
        loop {
            let part = self.next(body).await?;
            if !self.progress.answered.get() {
                self.answer_deadline.disarm();
            }
            let is_end = matches!(part, Part::End(_));
            let out = self.framed(part);
            // A backend that takes no more gets no more; the client may finish what it began.
            let buffer = if taken {
                let (sent, buffer) = write.write_all(out, self.backend_patience).await;
                taken = sent.is_ok();
                buffer
            } else {
                out
            };
            self.bulk.put(buffer);
            if is_end {
                break;
            }
        }
        self.progress.uploaded.set(true);
        // A 100 that came while the last part was written may have armed it.
        body.deadline().disarm();
        if !self.progress.answered.get() {
            self.answer_deadline.arm(self.answer_patience);
        }
        Ok(())
    }

    /// The next part of the body. The time until it is here is the client's: there is nothing else to wait for.
    async fn next(&mut self, body: &mut RequestBody<'_>) -> Result<Part, Failure> {
        if std::mem::take(&mut self.awaits_continue) {
            return body.part(Ticks::NONE).await;
        }
        let Some(pace) = &mut self.pace else { return body.part(self.client_patience).await };
        let begun = self.answer_deadline.now();
        let part = body.part(self.client_patience.min(Ticks::whole(pace.patience()))).await?;
        let bytes = if let Part::Data(data) = &part { data.len() } else { 0 };
        pace.took(self.answer_deadline.now() - begun, bytes);
        Ok(part)
    }

    /// The part as the backend gets it; what is worth keeping of it is kept.
    fn framed(&mut self, part: Part) -> Buffer {
        match part {
            Part::Data(mut data) => {
                self.held.keep(&data, self.keep);
                if self.chunked {
                    data.wrap_as_chunk();
                }
                data
            }
            Part::End(trailers) => {
                let mut out = Vec::new();
                if self.chunked {
                    encode::last_chunk(&mut out, &trailers);
                }
                self.held.end = Some(trailers);
                Buffer::from_vec(out, 0)
            }
        }
    }
}

/// Work that goes on beside something else until it is done.
pub(crate) struct Beside<'a, F: Future> {
    work: Pin<&'a mut F>,
    outcome: Option<F::Output>,
}

impl<'a, F: Future> Beside<'a, F> {
    pub(crate) fn new(work: Pin<&'a mut F>) -> Self {
        Self { work, outcome: None }
    }

    /// Awaits `main`, letting the work go on meanwhile. `stops` says of the work's outcome whether `main` has
    /// become pointless; then it is given up and `None` returned.
    pub(crate) async fn during<T>(
        &mut self,
        main: impl Future<Output = T>,
        stops: impl Fn(&F::Output) -> bool,
    ) -> Option<T> {
        let mut main = std::pin::pin!(main);
        std::future::poll_fn(|context| {
            if self.outcome.is_none()
                && let Poll::Ready(outcome) = self.work.as_mut().poll(context)
            {
                self.outcome = Some(outcome);
            }
            match &self.outcome {
                Some(outcome) if stops(outcome) => Poll::Ready(None),
                _ => main.as_mut().poll(context).map(Some),
            }
        })
        .await
    }

    /// Waits until the work is done.
    pub(crate) async fn finish(&mut self) {
        self.during(std::future::pending::<()>(), |_| true).await;
    }

    /// What the work came to; `None`: it is not done.
    pub(crate) fn into_outcome(self) -> Option<F::Output> {
        self.outcome
    }

    pub(crate) fn is_done(&self) -> bool {
        self.outcome.is_some()
    }
}

/// How a response body ended before its end.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The backend stopped, or sent what is no body.
    Backend,
    /// The client no longer takes it.
    Client,
}

/// Sends the rest of a response body to the client.
pub(crate) async fn download(
    messages: &mut MessageReader,
    out: &mut ResponseOut<'_>,
    bulk: &Rc<BulkBuffers>,
    patience: Ticks,
) -> Result<(), Broken> {
    loop {
        messages.deadline().arm(patience);
        let ready = messages.part_ready().await;
        messages.deadline().disarm();
        ready.map_err(|_: StreamError| Broken::Backend)?;
        // No more is read than the client takes: one that takes nothing has no buffer kept for it.
        let room = out.room(out.patience()).await.map_err(|_: StreamError| Broken::Client)?;
        let part = messages.part_now(room).map_err(|_: ReadFault| Broken::Backend)?;
        let Some(part) = part else {
            out.leave_room();
            continue;
        };
        let is_end = matches!(part, Part::End(_));
        let (sent, buffer) = out.send_part(part).await;
        if let Some(buffer) = buffer {
            bulk.put(buffer);
        }
        sent.map_err(|_: StreamError| Broken::Client)?;
        if is_end {
            return Ok(());
        }
    }
}

/// Moves bytes both ways until both sides have ended, or nothing moves for `patience`. An end on one side is
/// passed on as an end to the other (RFC 6455 and others close in halves); a broken side ends both.
pub(crate) async fn tunnel(
    client: &mut Downstream<'_>,
    (messages, write): (&mut MessageReader, &mut WriteHalf),
    bulk: &BulkBuffers,
    patience: Ticks,
) {
    let Downstream { body, out } = client;
    let (client_deadline, backend_deadline) = (body.deadline(), messages.shared_deadline());
    let arm = || {
        client_deadline.arm(patience);
        backend_deadline.arm(patience);
    };
    arm();
    let (client_side, backend_socket) = (out.cutter(), write.cutter());
    let end = |moved: Result<(), StreamError>| {
        if moved.is_err() {
            client_side.cut();
            backend_socket.cut();
        }
    };
    let forth = async {
        while let Some(piece) = body.raw().await? {
            arm();
            let (sent, piece) = write.write_all(piece, patience).await;
            bulk.put(piece);
            sent?;
        }
        write.finish();
        Ok(())
    };
    let back = async {
        loop {
            messages.raw_ready().await?;
            let room = out.room(patience).await?;
            match messages.raw_now(room)? {
                Raw::Nothing => out.leave_room(),
                Raw::End => break,
                Raw::Piece(piece) => {
                    arm();
                    let (sent, piece) = out.send_raw(piece, patience).await;
                    bulk.put(piece);
                    sent?;
                }
            }
        }
        out.finish();
        Ok(())
    };
    monoio::join!(async { end(forth.await) }, async { end(back.await) });
}

//! One pipelined connection: commands are queued and written in batches, replies go to their waiters in order, pushes to
//! `on_push` between them exactly as they came. Knows no command.
//!
//! ```text
//!   open --- read ended, write failed, deadline missed, stop ---> closed (for good; every waiter has failed)
//! ```

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use redis::{Cmd, PushKind, Value};

use crate::bell::Bell;
use crate::bounds::{READ_BYTES, SEND_BUFFER_KEPT_BYTES};
use crate::replies::Replies;

/// Commands that are sent together, packed.
#[derive(Default)]
pub(crate) struct Pipeline {
    bytes: Vec<u8>,
    commands: usize,
}

impl Pipeline {
    pub(crate) fn push(&mut self, command: &Cmd) {
        command.write_packed_command(&mut self.bytes);
        self.commands += 1;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn commands(&self) -> usize {
        self.commands
    }
}

/// The connection ended before the replies came. The reason is with the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost;

/// How what the server says unasked comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// As pushes (RESP3), or not at all: nothing is subscribed to.
    Plain,
    /// As lists that begin with its kind (RESP2). Nothing but subscriptions and PING is sent then.
    Subscriber,
}

pub(crate) struct Connection {
    dialect: Dialect,
    outgoing: RefCell<Vec<u8>>,
    to_send: Bell,
    waiters: RefCell<VecDeque<Waiter>>,
    closed: OnceCell<String>,
    closing: Bell,
    hang_up: Box<dyn Fn()>,
}

/// Replies one pipeline still waits for.
struct Waiter {
    missing: usize,
    replies: Vec<Value>,
    call: Rc<Call>,
}

#[derive(Default)]
struct Call {
    outcome: Cell<Option<Result<Vec<Value>, Lost>>>,
    done: Bell,
}

impl Call {
    fn complete(&self, outcome: Result<Vec<Value>, Lost>) {
        self.outcome.set(Some(outcome));
        self.done.ring();
    }
}

impl Connection {
    pub(crate) fn new(hang_up: Box<dyn Fn()>, dialect: Dialect) -> Connection {
        Connection {
            dialect,
            outgoing: RefCell::default(),
            to_send: Bell::default(),
            waiters: RefCell::default(),
            closed: OnceCell::new(),
            closing: Bell::default(),
            hang_up,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.closed.get().is_none()
    }

    /// Why it ended; empty while it is open.
    pub(crate) fn reason(&self) -> &str {
        self.closed.get().map_or("", String::as_str)
    }

    /// Queues `pipeline`; completes with one reply for each of its commands. Dropping the future leaves the order intact.
    pub(crate) async fn call(&self, pipeline: Pipeline) -> Result<Vec<Value>, Lost> {
        if !self.is_open() {
            return Err(Lost);
        }
        assert!(pipeline.commands > 0, "a pipeline without commands has no reply");
        let call = Rc::new(Call::default());
        let replies = Vec::with_capacity(pipeline.commands);
        let waiter = Waiter { missing: pipeline.commands, replies, call: call.clone() };
        self.waiters.borrow_mut().push_back(waiter);
        self.outgoing.borrow_mut().extend_from_slice(&pipeline.bytes);
        self.to_send.ring();
        call.done.until(|| call.outcome.take()).await
    }

    /// As `call`; a reply later than `limit` closes the connection.
    pub(crate) async fn call_within(&self, limit: Duration, pipeline: Pipeline) -> Result<Vec<Value>, Lost> {
        match monoio::time::timeout(limit, self.call(pipeline)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.close(format!("no answer within {} ms", limit.as_millis()));
                Err(Lost)
            }
        }
    }

    /// Hangs up and fails every waiter; the first reason stays. The pending read ends by itself.
    pub(crate) fn close(&self, reason: String) {
        if self.closed.set(reason).is_err() {
            return;
        }
        (self.hang_up)();
        let waiters = std::mem::take(&mut *self.waiters.borrow_mut());
        waiters.into_iter().for_each(|waiter| waiter.call.complete(Err(Lost)));
        self.to_send.ring();
        self.closing.ring();
    }

    /// Waits for its end, at most `limit`.
    pub(crate) async fn closed_within(&self, limit: Duration) {
        // Elapsed is the ordinary outcome.
        let _ = monoio::time::timeout(limit, self.closing.until_true(|| !self.is_open())).await;
    }

    /// Reads until the end of the stream; run as a task of its own.
    pub(crate) async fn receive<R: AsyncReadRent>(&self, mut read: R, on_push: impl Fn(PushKind, &[Value])) {
        let mut replies = Replies::new();
        let mut buffer = Vec::with_capacity(READ_BYTES);
        loop {
            let (result, filled) = read.read(buffer).await;
            buffer = filled;
            match result {
                Ok(0) => return self.close("the server closed the connection".into()),
                Ok(_) => {}
                Err(error) => return self.close(format!("reading failed: {error}")),
            }
            if let Err(error) = replies.feed(&buffer, |value| self.deliver(value, &on_push)) {
                return self.close(error.to_string());
            }
        }
    }

    fn deliver(&self, value: Value, on_push: &impl Fn(PushKind, &[Value])) {
        let value = match self.dialect {
            Dialect::Plain => value,
            Dialect::Subscriber => as_push(value),
        };
        let value = match value {
            // In RESP3 the answer to SUBSCRIBE is a push, in the place of a reply.
            Value::Push { kind: PushKind::Subscribe | PushKind::PSubscribe, .. } => Value::Okay,
            Value::Push { kind, data } => return on_push(kind, &data),
            value => value,
        };
        let mut waiters = self.waiters.borrow_mut();
        let Some(first) = waiters.front_mut() else {
            drop(waiters);
            return self.close("it sent an answer to no question".into());
        };
        first.replies.push(value);
        first.missing -= 1;
        if first.missing == 0 {
            let done = waiters.pop_front().expect("the front was just filled");
            drop(waiters);
            done.call.complete(Ok(done.replies));
        }
    }

    /// Writes what is queued, in batches, until the connection ends; run as a task of its own.
    pub(crate) async fn send<W: AsyncWriteRent>(&self, mut write: W) {
        let mut batch = Vec::new();
        loop {
            self.to_send.until_true(|| !self.is_open() || !self.outgoing.borrow().is_empty()).await;
            if !self.is_open() {
                return;
            }
            std::mem::swap(&mut batch, &mut *self.outgoing.borrow_mut());
            let (result, written) = write.write_all(batch).await;
            let flushed = match result {
                Ok(_) => write.flush().await,
                Err(error) => Err(error),
            };
            if let Err(error) = flushed {
                return self.close(format!("writing failed: {error}"));
            }
            batch = if written.capacity() > SEND_BUFFER_KEPT_BYTES { Vec::new() } else { written };
            batch.clear();
        }
    }
}

/// What a RESP2 subscriber is told, in the form RESP3 has for it.
fn as_push(value: Value) -> Value {
    let Value::Array(mut data) = value else { return value };
    let kind = match data.first() {
        Some(Value::BulkString(kind)) => match kind.as_slice() {
            b"message" => Some(PushKind::Message),
            b"pmessage" => Some(PushKind::PMessage),
            b"subscribe" => Some(PushKind::Subscribe),
            b"psubscribe" => Some(PushKind::PSubscribe),
            _ => None,
        },
        _ => None,
    };
    match kind {
        Some(kind) => Value::Push { kind, data: data.split_off(1) },
        None => Value::Array(data),
    }
}

//! One HTTP/2 connection: hands its streams out, each to a task of its own, and ends it in order. The frames are the
//! h2 crate's, which knows most of what a peer may not do; what it does not count is counted here.

mod shared;
mod stream;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use ::h2::server::{Builder, Connection};
use ::h2::{Error, Reason};

use self::shared::Shared;
pub(crate) use self::stream::release;
use crate::bounds::{
    H2_CONNECTION_WINDOW, H2_FAULTS, H2_FRAME_BYTES, H2_RESETS_REMEMBERED, H2_RESETS_UNSEEN,
    H2_STREAM_WINDOW, H2_STREAMS, LINGER, LINGER_BYTES, LINGER_DRAINING,
};
use crate::context::{Core, Registration, Rules};
use crate::deadline::{Deadline, Ticks};
use crate::downstream::h2::outflow::Payload;
use crate::secured::Peer;
use crate::stream::wire::{SharedWire, Wire};
use crate::stream::{ReadHalf, WriteHalf};

/// Serves the connection until it ends. Where it has TLS, hands were shaken; without it, a test writes raw frames.
pub(crate) async fn serve(core: Rc<Core>, halves: (ReadHalf, WriteHalf), peer: Peer) {
    let rules = core.rules();
    let fd = halves.1.fd();
    let bulk = Rc::clone(&core.connector.bulk);
    let Ok(wire) = Wire::new(halves, bulk, rules.client_patience.body) else { return };
    let wire = SharedWire::new(wire);
    // Declared last, dropped first: before the socket is closed.
    let registration = core.connections.register(fd);
    let Some(connection) = shake_hands(&wire, &rules).await else { return };
    let shared = Rc::new(Shared::new(Rc::clone(&core), wire.clone(), fd, peer));
    let idle = core.connector.waits.wheel.timer();
    let mut serving = Serving { shared, connection, registration: &registration, idle, stage: Stage::Open };
    poll_fn(|context| serving.poll(context)).await;
    let Serving { shared, connection, .. } = serving;
    // Its streams learn that it is over.
    drop(connection);
    poll_fn(|context| shared.poll_alone(context)).await;
    let patience = if core.draining.get() { LINGER_DRAINING } else { LINGER };
    wire.drain(Ticks::of(Some(patience)), LINGER_BYTES).await;
}

/// The client's preface and our settings. It has as long as for a head.
async fn shake_hands(wire: &SharedWire, rules: &Rules) -> Option<Connection<SharedWire, Payload>> {
    let deadline = wire.with(|wire| wire.read_deadline());
    deadline.arm(rules.client_patience.head);
    let header_list = u32::try_from(rules.limits.bytes).unwrap_or(u32::MAX);
    let mut handshake = pin!(
        Builder::new()
            .max_concurrent_streams(H2_STREAMS)
            .max_header_list_size(header_list)
            .initial_window_size(H2_STREAM_WINDOW)
            .initial_connection_window_size(H2_CONNECTION_WINDOW)
            .max_frame_size(H2_FRAME_BYTES)
            .max_concurrent_reset_streams(H2_RESETS_REMEMBERED)
            .max_pending_accept_reset_streams(H2_RESETS_UNSEEN)
            .max_local_error_reset_streams(Some(H2_FAULTS))
            .enable_connect_protocol()
            .handshake(wire.clone())
    );
    let connection = poll_fn(|context| {
        wire.with(Wire::begin_turn);
        let polled = handshake.as_mut().poll(context);
        match wire.with(|wire| wire.poll_push(context)) {
            Poll::Ready(Err(_)) => Poll::Ready(None),
            _ => polled.map(Result::ok),
        }
    })
    .await;
    deadline.disarm();
    connection
}

/// A connection being served.
struct Serving<'a> {
    shared: Rc<Shared>,
    connection: Connection<SharedWire, Payload>,
    registration: &'a Registration<'a>,
    /// Runs while there are no streams.
    idle: Deadline,
    stage: Stage,
}

/// ```text
///   Open ──drain──▶ Leaving        streams there are go on to their end, none is begun
///     └───────────────┴──idle for too long, or abused──▶ Over
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Leaving,
    Over,
}

impl Serving<'_> {
    /// One turn: takes in what has arrived, then sends what all streams have written.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            self.shared.wire.with(Wire::begin_turn);
            self.shared.watch(context);
            if self.take_in(context).is_ready() {
                // What the peer is told last.
                let _ = self.shared.wire.with(|wire| wire.poll_push(context));
                return Poll::Ready(());
            }
            match self.shared.wire.with(|wire| wire.poll_push(context)) {
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                // There was more to write than fitted.
                Poll::Ready(Ok(())) if self.shared.wire.with(|wire| wire.was_blocked()) => {}
                _ if self.must_end(context) => {}
                _ => return Poll::Pending,
            }
        }
    }

    fn take_in(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.connection.poll_accept(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok((request, respond)))) => stream::begin(&self.shared, request, respond),
                Poll::Ready(Some(Err(error))) => {
                    self.tell(&error);
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
            }
        }
    }

    /// A client that breaks the protocol, or a rule of ours, may be worth knowing of.
    fn tell(&self, error: &Error) {
        if !error.is_io() {
            log::debug!("{}: an HTTP/2 connection is given up: {error}", self.shared.peer.address);
        }
    }

    /// Whether the connection was just told to end, so that there is something to send.
    fn must_end(&mut self, context: &mut Context<'_>) -> bool {
        let is_idle = self.shared.is_idle();
        self.registration.set_idle(is_idle);
        self.registration.wake_to_drain(context.waker());
        match self.stage {
            Stage::Over => return false,
            Stage::Open if self.shared.core.draining.get() => {
                self.stage = Stage::Leaving;
                self.connection.graceful_shutdown();
                return true;
            }
            Stage::Open | Stage::Leaving => {}
        }
        if self.shared.is_abused() {
            log::debug!(
                "{}: an HTTP/2 connection asks for too much that it does not want",
                self.shared.peer.address
            );
            return self.end(Reason::ENHANCE_YOUR_CALM);
        }
        if !is_idle {
            self.idle.disarm();
            self.shared.rests.set(false);
        } else if !self.shared.rests.replace(true) {
            self.shared.outflow.rest();
            self.idle.arm(self.shared.patience().idle);
        }
        is_idle && self.idle.poll_passed(context).is_ready() && self.end(Reason::NO_ERROR)
    }

    fn end(&mut self, reason: Reason) -> bool {
        self.stage = Stage::Over;
        self.connection.abrupt_shutdown(reason);
        true
    }
}

//! TLS between a connection's halves and its socket: what both share. It moves bytes between the session and where
//! they come from and go to; whom it trusts and what a record is, the crate `tls` knows.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use tls::{Error, Handshake, Hello, Listener, Member, Misheard, Read, Session};

use crate::bounds::{
    BULK_BYTES, HANDSHAKE_BYTES, HELLO_BYTES, LINGER_BYTES, QUIET_LOOKS, RECORDS_OVERHEAD_BYTES,
    TLS_READ_BYTES,
};
use crate::buffer::{Buffer, BulkBuffers};
use crate::deadline::Ticks;
use crate::stream::{ReadHalf, StreamError, Transport, WriteHalf};

/// One connection's session. Its borrows end before anything is awaited.
pub(super) struct Tls {
    session: RefCell<Session>,
    bulk: Rc<BulkBuffers>,
    /// What the last read left in the session.
    left: Cell<Read>,
    /// What the socket had when it was asked last.
    received: Cell<Received>,
}

/// What the socket had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Received {
    /// Nothing has arrived.
    Nothing,
    /// All that had arrived.
    Some,
    /// As much as was asked for: there may be more.
    Full,
    /// The end, in order or not.
    End,
}

/// Shakes hands over a new connection, whose halves speak TLS from then on. It may be given up at any time. The last
/// message of a client goes out with the first data.
///
/// # Errors
/// Why there is no connection, in words.
pub(crate) async fn secure(
    (read, write): (&mut ReadHalf, &mut WriteHalf),
    mut session: Session,
    bulk: Rc<BulkBuffers>,
) -> io::Result<()> {
    let mut received = Received::Nothing;
    loop {
        let progress = session.handshake();
        if let Ok(Handshake::Done) = progress {
            break;
        }
        // A new connection takes a few messages at once; an alert is sent as far as that is possible.
        let sent = write.send_now(&session.take_pending());
        progress.map_err(io::Error::other)?;
        sent?;
        received = receive_some(read, &mut session).await?;
    }
    share((read, write), session, bulk, received);
    Ok(())
}

/// Has both halves speak TLS.
fn share(
    (read, write): (&mut ReadHalf, &mut WriteHalf),
    mut session: Session,
    bulk: Rc<BulkBuffers>,
    received: Received,
) {
    // What it holds still holds it, in a vector of its own size.
    session.take_back();
    let left = if session.holds_incoming() { Read::More } else { Read::Drained };
    let tls = Rc::new(Tls::new(session, bulk, (left, received)));
    read.transport = Transport::Tls(Rc::clone(&tls));
    write.transport = Transport::Tls(tls);
}

/// Why a client's first message was not heard.
#[derive(Debug)]
pub(crate) enum Unheard {
    /// The client has left, or took too long.
    Gone,
    /// It speaks HTTP without TLS.
    PlainHttp,
    /// What it says is no first message.
    Misheard(Misheard),
}

impl std::fmt::Display for Unheard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => f.write_str("the client left or took too long"),
            Self::PlainHttp => f.write_str("the client speaks HTTP without TLS"),
            Self::Misheard(misheard) => misheard.error.fmt(f),
        }
    }
}

/// Waits for the first message of a client, for as long as the deadline of `read` says. Nothing is answered.
pub(crate) async fn hear(read: &ReadHalf) -> Result<Hello, Unheard> {
    read.readable().await.map_err(|_| Unheard::Gone)?;
    let mut listener = Listener::default();
    loop {
        let incoming = listener.incoming();
        incoming.reserve(HELLO_BYTES);
        match read.receive(incoming, HELLO_BYTES) {
            Ok(None) => read.readable().await.map_err(|_| Unheard::Gone)?,
            Ok(Some(0)) | Err(_) => return Err(Unheard::Gone),
            // No record of TLS begins with a letter, and every method of HTTP does.
            Ok(Some(_)) if incoming[0].is_ascii_uppercase() => return Err(Unheard::PlainHttp),
            Ok(Some(_)) => {
                if let Some(hello) = listener.hear().map_err(Unheard::Misheard)? {
                    return Ok(hello);
                }
            }
        }
    }
}

/// Shakes hands with a client whose first message `session` was given; both halves speak TLS from then on. Reads wait as
/// long as their deadline says, writes may make no progress for as long as `patience`. Who the client has proved to be.
///
/// # Errors
/// Why there is no connection, in words. The client has been told.
pub(crate) async fn welcome(
    (read, write): (&mut ReadHalf, &mut WriteHalf),
    mut session: Session,
    bulk: Rc<BulkBuffers>,
    patience: Ticks,
) -> Result<Option<Member>, String> {
    // There may be more where the first message came from.
    let mut received = Received::Full;
    loop {
        let progress = session.handshake();
        let is_done = matches!(progress, Ok(Handshake::Done));
        // With the first request here already, tickets go out with its answer. Without it the client may be waiting: one
        // that gathers small writes (Nagle) sends its request when it has an acknowledgement, which tickets carry.
        if is_done && session.holds_incoming() && !session.owes() {
            break;
        }
        let sent = write.send_all(session.take_pending(), patience).await;
        progress.map_err(|error| error.to_string())?;
        sent.map_err(|_| "TLS: the client left in the handshake".to_owned())?;
        if is_done {
            break;
        }
        received = receive_some(read, &mut session).await.map_err(|error| error.to_string())?;
    }
    let member = session.member();
    share((read, write), session, bulk, received);
    Ok(member)
}

/// Takes in and throws away what a client sends until it ends its side, or until the deadline of `read`. Not over TLS.
pub(crate) async fn drain(read: &ReadHalf) {
    let mut left = LINGER_BYTES;
    let mut bytes = Vec::with_capacity(HELLO_BYTES);
    while left > 0 {
        bytes.clear();
        match read.receive(&mut bytes, HELLO_BYTES) {
            Ok(Some(0)) | Err(_) => return,
            Ok(Some(count)) => left = left.saturating_sub(count),
            Ok(None) => {
                if read.readable().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Waits for the peer's next bytes.
async fn receive_some(read: &ReadHalf, session: &mut Session) -> io::Result<Received> {
    let cut = |_: StreamError| io::Error::other("TLS: the connection broke in the handshake");
    loop {
        read.readable().await.map_err(cut)?;
        session.incoming().reserve(HANDSHAKE_BYTES);
        match read.receive(session.incoming(), HANDSHAKE_BYTES).map_err(cut)? {
            None => {}
            Some(0) => session.end_of_input().map_err(io::Error::other)?,
            Some(HANDSHAKE_BYTES) => return Ok(Received::Full),
            Some(_) => return Ok(Received::Some),
        }
    }
}

impl Tls {
    fn new(session: Session, bulk: Rc<BulkBuffers>, (left, received): (Read, Received)) -> Self {
        let (left, received) = (Cell::new(left), Cell::new(received));
        Self { session: RefCell::new(session), bulk, left, received }
    }

    /// Whether a read may find something though nothing arrives.
    pub(super) fn has_more(&self) -> bool {
        self.left.get() != Read::Drained || matches!(self.received.get(), Received::Full | Received::End)
    }

    /// Whether the last read found the socket empty and nothing is left of what it got.
    pub(super) fn has_seen_all(&self) -> bool {
        !self.has_more() && !self.session.borrow().holds_incoming()
    }

    /// As [`ReadHalf::read_now`], of plaintext: what is there, or what one `receive` brings.
    pub(super) fn read(
        &self,
        into: &mut Vec<u8>,
        most: usize,
        receive: impl FnOnce(&mut Vec<u8>, usize) -> Result<Option<usize>, StreamError>,
    ) -> Result<Option<usize>, StreamError> {
        let mut session = self.session.borrow_mut();
        let before = into.len();
        let mut left = session.read(into, most).map_err(broken)?;
        if into.len() == before && left == Read::Drained {
            if self.receive(&mut session, most, receive)? == Received::End {
                return session.end_of_input().map(|()| Some(0)).map_err(broken);
            }
            left = session.read(into, most).map_err(broken)?;
        }
        if left == Read::Drained {
            self.give_back(&mut session);
        }
        self.left.set(left);
        match into.len() - before {
            0 if left == Read::Ended => Ok(Some(0)),
            0 => Ok(None),
            count => Ok(Some(count)),
        }
    }

    /// Whether nothing has arrived but what concerns the connection alone, such as session tickets and new keys, which
    /// are taken in. Not even the peer's end.
    pub(super) fn is_quiet(
        &self,
        receive: impl Fn(&mut Vec<u8>, usize) -> Result<Option<usize>, StreamError>,
    ) -> bool {
        let mut session = self.session.borrow_mut();
        for _ in 0..QUIET_LOOKS {
            let left = session.read(&mut Vec::new(), 0).unwrap_or(Read::Ended);
            self.left.set(left);
            if left != Read::Drained {
                return false;
            }
            match self.receive(&mut session, BULK_BYTES, &receive) {
                Ok(Received::Some | Received::Full) => {}
                Ok(Received::Nothing) => {
                    self.give_back(&mut session);
                    return !session.holds_incoming();
                }
                Ok(Received::End) | Err(_) => return false,
            }
        }
        false
    }

    /// Receives about as much as yields `most` bytes, into a bulk buffer that is lent to the session.
    fn receive(
        &self,
        session: &mut Session,
        most: usize,
        receive: impl FnOnce(&mut Vec<u8>, usize) -> Result<Option<usize>, StreamError>,
    ) -> Result<Received, StreamError> {
        if session.incoming().capacity() < BULK_BYTES {
            let (mut vector, _) = self.bulk.take().into_parts();
            vector.clear();
            session.lend(vector);
        }
        let incoming = session.incoming();
        let room = incoming.capacity() - incoming.len();
        let wanted = (most + RECORDS_OVERHEAD_BYTES).clamp(TLS_READ_BYTES, BULK_BYTES).min(room);
        debug_assert!(wanted > 0, "receiving into no room looks like the end of the connection");
        let received = match receive(incoming, wanted)? {
            None => Received::Nothing,
            Some(0) => Received::End,
            Some(count) if count == wanted => Received::Full,
            Some(_) => Received::Some,
        };
        self.received.set(received);
        Ok(received)
    }

    /// Part of a record is kept in a vector of its size, while the rest is waited for.
    fn give_back(&self, session: &mut Session) {
        if session.incoming().capacity() >= BULK_BYTES {
            self.bulk.put(Buffer::from_vec(session.take_back(), 0));
        }
    }

    /// The next so many bytes of `plaintext` as records, in a bulk buffer.
    pub(super) fn encrypt(&self, plaintext: &[u8]) -> Result<(usize, Buffer), StreamError> {
        let (mut out, _) = self.bulk.take().into_parts();
        out.clear();
        let count = plaintext.len().min(BULK_BYTES);
        out.reserve_exact(count + RECORDS_OVERHEAD_BYTES);
        self.session.borrow_mut().encrypt(&plaintext[..count], &mut out).map_err(broken)?;
        Ok((count, Buffer::from_vec(out, 0)))
    }

    pub(super) fn put_back(&self, buffer: Buffer) {
        self.bulk.put(buffer);
    }

    /// Our last bytes; empty where they were made before.
    pub(super) fn close(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.session.borrow_mut().close(&mut out);
        out
    }
}

/// A connection that was cut is over as any other; who else breaks it is worth telling.
fn broken(error: Error) -> StreamError {
    match error {
        Error::Truncated | Error::NotOpen => StreamError::Closed,
        other => StreamError::Tls(Box::new(other)),
    }
}

#[cfg(test)]
mod tests;

//! One TLS connection as a state machine: what was received goes in, plaintext comes out, and the other way round.
//! It does no I/O; whoever holds it moves the bytes.
//!
//! It stands on rustls's unbuffered API, which leaves the buffers to us: ciphertext is decrypted where it was received,
//! and plaintext encrypted from where it lies to where it is sent from.

use std::fmt;

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, ReadTraffic, UnbufferedStatus, WriteTraffic,
};
use rustls::{AlertDescription, CommonState, ProtocolVersion, ServerConfig};

use crate::bounds::{CONTROL_BYTES, RECORD_BYTES, RECORD_OVERHEAD_BYTES};
use crate::error::Error;
use crate::member::Member;
use crate::trust::{Clients, Verification};

/// One end of a TLS connection.
pub struct Session {
    connection: Connection,
    state: State,
    /// Our own close_notify was made: nothing can be sent behind it.
    closed: bool,
    /// Received and not yet done with, from `start` on.
    incoming: Vec<u8>,
    start: usize,
    /// Bytes from `start` on that rustls has seen: they hold no whole record that it has not.
    seen: usize,
    /// Decrypted when there was no room for it: the rest of one record.
    surplus: Vec<u8>,
    /// Records that are to be sent before any other.
    outgoing: Vec<u8>,
}

/// Which end it is.
enum Connection {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// Where the peer's side stands.
///
/// ```text
///   Handshaking ──▶ Open ──▶ Ended     by its close_notify
///        │            │
///        └────────────┴────▶ Failed    by whatever is wrong; an alert to be sent tells the peer
/// ```
#[derive(Debug)]
enum State {
    Handshaking,
    Open,
    Ended,
    Failed(Error),
}

/// How far a handshake has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// What is pending must be sent, then the peer's next bytes are needed.
    Waits,
    /// Both sides may send. What is pending may go out with the first data.
    Done,
}

/// What is left after a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// More can be read without receiving: there was no room for all.
    More,
    /// The next bytes must be received first.
    Drained,
    /// The peer has ended its side.
    Ended,
}

/// What a call of rustls is for.
enum Task<'a> {
    /// Plaintext that arrives is appended to `into` until that has `full` bytes.
    Read { into: &'a mut Vec<u8>, full: usize },
    /// `plaintext` is to be appended to `out`, as records.
    Encrypt { plaintext: &'a [u8], out: &'a mut Vec<u8> },
    /// A close_notify is to be appended to `out`.
    Close { out: &'a mut Vec<u8> },
}

/// What a call of rustls came to.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// Something was done; there may be more.
    Moved,
    /// Plaintext has arrived.
    Plaintext,
    /// The peer has ended its side.
    PeerEnded,
    /// The handshake needs more bytes of the peer.
    Blocked,
    /// The handshake is over, and what was received is used up. The task is done.
    Open,
    /// Both sides have ended.
    Closed,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("state", &self.state)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// The client's end of a connection to `host`, a name or an address (IPv6 without brackets). Its first message is
    /// pending.
    ///
    /// # Errors
    /// No certificate can be for `host`, or the authorities to verify it with are missing.
    pub fn client(clients: &Clients, verification: Verification, host: &str) -> Result<Self, Error> {
        let config = clients.config(verification)?;
        let name = ServerName::try_from(host.strip_suffix('.').unwrap_or(host));
        let name = name.map_err(|_| Error::Name { host: host.to_owned() })?.to_owned();
        let connection = UnbufferedClientConnection::new(config, name)?;
        Ok(Self::new(Connection::Client(Box::new(connection))))
    }

    /// The server's end of a connection of which `received` has been received: the client's first message, perhaps more.
    ///
    /// # Errors
    /// The configuration is of no use.
    pub fn server(config: Arc<ServerConfig>, received: Vec<u8>) -> Result<Self, Error> {
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Self { incoming: received, ..Self::new(Connection::Server(Box::new(connection))) })
    }

    fn new(connection: Connection) -> Self {
        Self {
            connection,
            state: State::Handshaking,
            closed: false,
            incoming: Vec::new(),
            start: 0,
            seen: 0,
            surplus: Vec::new(),
            outgoing: Vec::new(),
        }
    }

    /// Where received bytes are appended. What was read takes up no room in it.
    pub fn incoming(&mut self) -> &mut Vec<u8> {
        // Little is left to be moved: whoever receives has read what there was.
        self.incoming.drain(..self.start);
        self.start = 0;
        &mut self.incoming
    }

    /// Whether bytes were received that are not plaintext yet: part of a record, or whole ones after [`Read::More`].
    pub fn holds_incoming(&self) -> bool {
        !self.incoming.is_empty() || !self.surplus.is_empty()
    }

    /// Has further bytes be received into `vector`, which must be empty and best has room for many records.
    pub fn lend(&mut self, mut vector: Vec<u8>) {
        assert!(vector.is_empty(), "what a lent vector holds would be lost");
        vector.extend_from_slice(&self.incoming[self.start..]);
        (self.incoming, self.start) = (vector, 0);
    }

    /// Gives the lent vector back, empty. What is not done with moves into one of its own size.
    pub fn take_back(&mut self) -> Vec<u8> {
        let rest = self.incoming[self.start..].to_vec();
        self.start = 0;
        let mut vector = std::mem::replace(&mut self.incoming, rest);
        vector.clear();
        vector
    }

    /// Takes what is to be sent now; most often empty. Data that is encrypted later has what is pending before it.
    pub fn take_pending(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// Whether the peer cannot go on before it has what is pending, though the handshake is over here: a server's last
    /// message in TLS 1.2. The tickets of TLS 1.3 may go out with the first data.
    pub fn owes(&self) -> bool {
        let Connection::Server(server) = &self.connection else { return false };
        !self.outgoing.is_empty() && server.protocol_version() == Some(ProtocolVersion::TLSv1_2)
    }

    /// Who the client is, once the handshake is over; `None`: it has shown no certificate.
    pub fn member(&self) -> Option<Member> {
        let Connection::Server(server) = &self.connection else { return None };
        let state: &CommonState = server;
        Member::of(state.peer_certificates()?.first()?)
    }

    /// Goes on with the handshake as far as what was received allows.
    ///
    /// # Errors
    /// Why there will be no connection. An alert may be pending that tells the peer.
    pub fn handshake(&mut self) -> Result<Handshake, Error> {
        loop {
            let mut task = Task::Read { into: &mut Vec::new(), full: 0 };
            match self.step(&mut task, self.incoming.len())? {
                Turn::Moved => {}
                Turn::Blocked => return Ok(Handshake::Waits),
                Turn::Open | Turn::Plaintext => break,
                Turn::PeerEnded | Turn::Closed => {
                    return Err(self.fail(Error::Refused(AlertDescription::CloseNotify)));
                }
            }
        }
        self.state = State::Open;
        Ok(Handshake::Done)
    }

    /// Appends at most `most` bytes of plaintext to `into`. With `most` being 0 it finds out whether there are any.
    ///
    /// # Errors
    /// What the peer did wrong. An alert may be pending that tells it.
    pub fn read(&mut self, into: &mut Vec<u8>, most: usize) -> Result<Read, Error> {
        let full = into.len() + most;
        loop {
            let taken = self.surplus.len().min(full - into.len());
            into.extend(self.surplus.drain(..taken));
            if !self.surplus.is_empty() {
                return Ok(Read::More);
            }
            // Idle connections stay small.
            self.surplus = Vec::new();
            match &self.state {
                State::Failed(error) => return Err(error.clone()),
                State::Ended => return Ok(Read::Ended),
                State::Handshaking | State::Open => {}
            }
            if most > 0 && into.len() == full && !self.incoming.is_empty() {
                return Ok(Read::More);
            }
            match self.step(&mut Task::Read { into, full }, self.incoming.len())? {
                Turn::Moved | Turn::Plaintext => {}
                Turn::PeerEnded | Turn::Closed => self.state = State::Ended,
                Turn::Open | Turn::Blocked => return Ok(Read::Drained),
            }
        }
    }

    /// What it means that the peer sends no more bytes.
    ///
    /// # Errors
    /// The peer has not ended its side in order: what it sent may not be all.
    pub fn end_of_input(&self) -> Result<(), Error> {
        match &self.state {
            State::Ended => Ok(()),
            State::Handshaking => Err(Error::Aborted),
            State::Open => Err(Error::Truncated),
            State::Failed(error) => Err(error.clone()),
        }
    }

    /// Appends `plaintext` to `out` as records, behind what is pending.
    ///
    /// # Errors
    /// The connection takes no data (yet, or no more), or so much was sent that its keys are worn out.
    pub fn encrypt(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.write(&mut Task::Encrypt { plaintext, out })
    }

    /// Ends our side: appends a close_notify to `out`, behind what is pending. Nothing where that was done before, or
    /// where there is nothing to end.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        // One that cannot be ended in order ends with its socket.
        let _ = self.write(&mut Task::Close { out });
        self.closed = true;
    }

    fn write(&mut self, task: &mut Task<'_>) -> Result<(), Error> {
        if self.closed || !matches!(self.state, State::Open | State::Ended) {
            return Err(Error::NotOpen);
        }
        loop {
            // Only what was seen before: whole records that nobody has asked for yet stay where they are.
            match self.step(task, self.start + self.seen)? {
                Turn::Moved | Turn::Plaintext => {}
                Turn::PeerEnded => self.state = State::Ended,
                Turn::Open => return Ok(()),
                Turn::Blocked | Turn::Closed => return Err(Error::NotOpen),
            }
        }
    }

    /// Lets rustls see what was received up to `end`, once.
    fn step(&mut self, task: &mut Task<'_>, end: usize) -> Result<Turn, Error> {
        let incoming = &mut self.incoming[self.start..end];
        let (done, turn) = self.connection.process(incoming, task, &mut self.surplus, &mut self.outgoing);
        self.start += done;
        self.seen = match turn {
            Ok(Turn::Open | Turn::Blocked) => end - self.start,
            Ok(Turn::Plaintext) => 0,
            _ => self.seen.saturating_sub(done),
        };
        if self.start == self.incoming.len() {
            self.incoming.clear();
            self.start = 0;
        }
        turn.map_err(|error| self.fail(error))
    }

    /// Takes in what there is to tell the peer, and stays broken.
    fn fail(&mut self, error: Error) -> Error {
        // What was received is seen no more: it would be found as wrong again.
        while self.connection.wants_write() {
            let mut task = Task::Read { into: &mut Vec::new(), full: 0 };
            let (_, turn) = self.connection.process(&mut [], &mut task, &mut Vec::new(), &mut self.outgoing);
            if turn.is_err() {
                break;
            }
        }
        self.state = State::Failed(error.clone());
        error
    }
}

impl Connection {
    fn wants_write(&self) -> bool {
        match self {
            Self::Client(client) => client.wants_write(),
            Self::Server(server) => server.wants_write(),
        }
    }

    fn process(
        &mut self,
        incoming: &mut [u8],
        task: &mut Task<'_>,
        surplus: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> (usize, Result<Turn, Error>) {
        match self {
            Self::Client(client) => take(client.process_tls_records(incoming), task, surplus, outgoing),
            Self::Server(server) => take(server.process_tls_records(incoming), task, surplus, outgoing),
        }
    }
}

/// Does what rustls asks for, of whichever end. How many bytes it is done with, and what that was.
fn take<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    task: &mut Task<'_>,
    surplus: &mut Vec<u8>,
    outgoing: &mut Vec<u8>,
) -> (usize, Result<Turn, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let turn = match state {
        Err(error) => Err(error.into()),
        Ok(ConnectionState::ReadTraffic(traffic)) => take_plaintext(traffic, &mut discard, task, surplus),
        Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // It lies in `outgoing`, before all that comes later.
            data.done();
            Ok(Turn::Moved)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Turn::PeerEnded),
        Ok(ConnectionState::Closed) => Ok(Turn::Closed),
        Ok(ConnectionState::BlockedHandshake) => Ok(Turn::Blocked),
        Ok(ConnectionState::WriteTraffic(traffic)) => write_traffic(traffic, task, outgoing),
        Ok(other) => Err(Error::Protocol(rustls::Error::General(format!("{other:?} was not asked for")))),
    };
    (discard, turn)
}

fn take_plaintext<Data>(
    mut traffic: ReadTraffic<'_, '_, Data>,
    discard: &mut usize,
    task: &mut Task<'_>,
    surplus: &mut Vec<u8>,
) -> Result<Turn, Error> {
    while let Some(record) = traffic.next_record() {
        let record = record?;
        *discard += record.discard;
        let mut payload = record.payload;
        if let Task::Read { into, full } = task {
            let fitting = payload.len().min(full.saturating_sub(into.len()));
            into.extend_from_slice(&payload[..fitting]);
            payload = &payload[fitting..];
        }
        surplus.extend_from_slice(payload);
    }
    Ok(Turn::Plaintext)
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) -> Result<Turn, Error> {
    let before = outgoing.len();
    // Without room it says how much it needs.
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        outgoing.resize(before + size.required_size, 0);
        let written = data.encode(&mut outgoing[before..]);
        let written = written.map_err(|error| Error::Protocol(rustls::Error::General(error.to_string())))?;
        outgoing.truncate(before + written);
    }
    Ok(Turn::Moved)
}

fn write_traffic<Data>(
    mut traffic: WriteTraffic<'_, Data>,
    task: &mut Task<'_>,
    outgoing: &mut Vec<u8>,
) -> Result<Turn, Error> {
    match task {
        Task::Read { .. } => {}
        Task::Encrypt { plaintext, out } => {
            let records = plaintext.len().div_ceil(RECORD_BYTES);
            let room = plaintext.len() + records * RECORD_OVERHEAD_BYTES + CONTROL_BYTES;
            out.append(outgoing);
            append(out, room, |free| traffic.encrypt(plaintext, free))?;
        }
        Task::Close { out } => {
            out.append(outgoing);
            append(out, CONTROL_BYTES, |free| traffic.queue_close_notify(free))?;
        }
    }
    Ok(Turn::Open)
}

/// Has `write` write behind what `out` holds: into `room` bytes, or as many as it asks for.
fn append(
    out: &mut Vec<u8>,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), Error> {
    let before = out.len();
    out.resize(before + room, 0);
    let mut written = write(&mut out[before..]);
    if let Err(EncryptError::InsufficientSize(size)) = &written {
        out.resize(before + size.required_size, 0);
        written = write(&mut out[before..]);
    }
    out.truncate(before + written.as_ref().copied().unwrap_or(0));
    written.map(drop).map_err(|error| Error::Protocol(rustls::Error::General(error.to_string())))
}

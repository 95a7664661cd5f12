//! A client's session and a server of rustls at two ends of a wire that is a vector.
#![allow(dead_code, reason = "each test file uses its part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod authority;

pub(crate) use authority::Authority;

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};
use tls::{Clients, Error, Handshake, Read, Session, Trust, Verification};

/// Clients that trust this authority.
pub(crate) fn clients(authority: &Authority) -> Clients {
    trust(&authority.pem).clients()
}

pub(crate) fn trust(pem: &str) -> Trust {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    Trust::file(file.path()).unwrap()
}

/// Both ends of one connection.
pub(crate) struct Pair {
    pub(crate) client: Session,
    pub(crate) server: ServerConnection,
    /// So many bytes of the server's are received at once.
    pub(crate) piece: usize,
    /// Sent by the server, not yet received.
    pub(crate) wire: Vec<u8>,
}

impl Pair {
    pub(crate) fn new(clients: &Clients, host: &str, server: &Arc<ServerConfig>) -> Self {
        Self::between(Session::client(clients, Verification::Full, host).unwrap(), server)
    }

    pub(crate) fn between(client: Session, server: &Arc<ServerConfig>) -> Self {
        let server = ServerConnection::new(Arc::clone(server)).unwrap();
        Self { client, server, piece: usize::MAX, wire: Vec::new() }
    }

    /// Both shake hands; the error is the client's.
    pub(crate) fn shake_hands(&mut self) -> Result<(), Error> {
        loop {
            let progress = self.client.handshake();
            let pending = self.client.take_pending();
            self.deliver(&pending);
            if progress? == Handshake::Done {
                return Ok(());
            }
            assert!(self.receive(), "neither side says anything");
        }
    }

    /// Gives the server what the client has sent. What is wrong with it, in the server's words.
    pub(crate) fn deliver(&mut self, mut sent: &[u8]) -> Option<String> {
        while !sent.is_empty() {
            self.server.read_tls(&mut sent).unwrap();
            if let Err(error) = self.server.process_new_packets() {
                return Some(error.to_string());
            }
        }
        None
    }

    /// Has the client receive a piece of what the server has sent. `false`: there was nothing.
    pub(crate) fn receive(&mut self) -> bool {
        while self.server.wants_write() {
            self.server.write_tls(&mut self.wire).unwrap();
        }
        let count = self.piece.min(self.wire.len());
        self.client.incoming().extend(self.wire.drain(..count));
        count > 0
    }

    /// Has the client send `plaintext`; what the server reads of it.
    pub(crate) fn up(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut got = Vec::new();
        for piece in plaintext.chunks(50_000) {
            let mut out = Vec::new();
            self.client.encrypt(piece, &mut out).unwrap();
            self.take(&out, &mut got);
        }
        got
    }

    /// Has the server read what the client sent.
    pub(crate) fn take(&mut self, mut sent: &[u8], got: &mut Vec<u8>) {
        while !sent.is_empty() {
            self.server.read_tls(&mut sent).unwrap();
            let state = self.server.process_new_packets().unwrap();
            let before = got.len();
            got.resize(before + state.plaintext_bytes_to_read(), 0);
            self.server.reader().read_exact(&mut got[before..]).unwrap();
        }
    }

    /// Has the server send `plaintext`; what the client reads of it, at most `most` bytes at a time.
    pub(crate) fn down(&mut self, plaintext: &[u8], most: usize) -> Vec<u8> {
        let mut got = Vec::new();
        for piece in plaintext.chunks(50_000) {
            self.server.writer().write_all(piece).unwrap();
            while self.receive() {
                self.read_all(&mut got, most).unwrap();
            }
        }
        got
    }

    /// Reads until nothing is left of what was received.
    pub(crate) fn read_all(&mut self, got: &mut Vec<u8>, most: usize) -> Result<Read, Error> {
        loop {
            match self.client.read(got, most)? {
                Read::More => {}
                read => return Ok(read),
            }
        }
    }
}

/// So many bytes in which every place can be told.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    (0..count as u64).map(|place| (place.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

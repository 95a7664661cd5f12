//! A blocking stream over TLS.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use tls::{Clients, Handshake, Session, Verification};

/// Bytes received at once, and plaintext read at once: what a TLS record holds.
const PIECE_BYTES: usize = 16 * 1024;

pub(super) struct Secured {
    socket: TcpStream,
    session: Session,
    /// Read and not yet taken, from `taken` on.
    plaintext: Vec<u8>,
    taken: usize,
}

impl Secured {
    /// Shakes hands with whoever must be `host`.
    ///
    /// # Errors
    /// The peer does not prove it, or the connection is lost.
    pub(super) fn open(socket: TcpStream, clients: &Clients, host: &str) -> io::Result<Self> {
        let session = Session::client(clients, Verification::Full, host).map_err(io::Error::other)?;
        let mut secured = Self { socket, session, plaintext: Vec::new(), taken: 0 };
        loop {
            let handshake = secured.session.handshake();
            secured.send_pending()?;
            match handshake.map_err(io::Error::other)? {
                Handshake::Done => return Ok(secured),
                Handshake::Waits if secured.receive()? => {}
                Handshake::Waits => secured.session.end_of_input().map_err(io::Error::other)?,
            }
        }
    }

    fn send_pending(&mut self) -> io::Result<()> {
        let pending = self.session.take_pending();
        self.socket.write_all(&pending)
    }

    /// Returns whether anything came; nothing does where the peer sends no more.
    fn receive(&mut self) -> io::Result<bool> {
        let mut piece = [0; PIECE_BYTES];
        let count = self.socket.read(&mut piece)?;
        self.session.incoming().extend_from_slice(&piece[..count]);
        Ok(count > 0)
    }
}

impl Read for Secured {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.plaintext.len() {
            self.plaintext.clear();
            self.taken = 0;
            let read = self.session.read(&mut self.plaintext, PIECE_BYTES);
            self.send_pending()?;
            match read.map_err(io::Error::other)? {
                tls::Read::Ended if self.plaintext.is_empty() => return Ok(0),
                tls::Read::Drained if self.plaintext.is_empty() && !self.receive()? => {
                    return self.session.end_of_input().map(|()| 0).map_err(io::Error::other);
                }
                _ => {}
            }
        }
        let count = (&self.plaintext[self.taken..]).read(buffer)?;
        self.taken += count;
        Ok(count)
    }
}

impl Write for Secured {
    fn write(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        let mut records = Vec::with_capacity(plaintext.len() + PIECE_BYTES);
        self.session.encrypt(plaintext, &mut records).map_err(io::Error::other)?;
        self.socket.write_all(&records)?;
        Ok(plaintext.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

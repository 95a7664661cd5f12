//! TLS before a backend: ends the proxy's connections as a server does, and passes what is inside on.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection};
use socket2::SockRef;

use super::authority::Identity;
use super::backend::Backend;
use super::wait;

/// A backend that is reached over TLS.
pub(crate) struct Secured {
    pub(crate) backend: Backend,
    listener: Arc<TcpListener>,
    seen: Arc<Seen>,
}

/// What the proxy's connections were like.
#[derive(Default)]
struct Seen {
    handshakes: Mutex<Vec<Handshake>>,
    /// Connections that the proxy ended in order.
    farewells: Mutex<usize>,
}

/// One that was completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handshake {
    pub(crate) version: ProtocolVersion,
    pub(crate) resumed: bool,
    /// The name it asked for.
    pub(crate) name: Option<String>,
}

/// How a backend's end is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// As TLS wants it: with a close_notify.
    Polite,
    /// By closing the connection, so that nobody can tell whether something was cut off.
    Curt,
}

impl Secured {
    /// Speaks TLS 1.2 and 1.3.
    pub(crate) fn before(backend: Backend, identity: &Identity) -> Self {
        Self::with(backend, identity.serving(&[&TLS12, &TLS13]), Manners::Polite)
    }

    pub(crate) fn with(backend: Backend, config: Arc<ServerConfig>, manners: Manners) -> Self {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let (seen, inner) = (Arc::new(Seen::default()), backend.address());
        let secured = Self { backend, listener: Arc::clone(&listener), seen: Arc::clone(&seen) };
        thread::spawn(move || {
            while let Ok((outer, _)) = listener.accept() {
                let (config, seen) = (Arc::clone(&config), Arc::clone(&seen));
                thread::spawn(move || drop(serve(outer, config, (inner, manners), &seen)));
            }
        });
        secured
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// Its URL by name.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port())
    }

    pub(crate) fn handshakes(&self) -> Vec<Handshake> {
        self.seen.handshakes.lock().unwrap().clone()
    }

    /// Waits until the proxy has ended so many connections in order.
    pub(crate) fn wait_for_farewells(&self, count: usize) {
        wait::until("connections are ended in order", || *self.seen.farewells.lock().unwrap() >= count);
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
    }
}

/// One connection, to its end.
fn serve(
    mut outer: TcpStream,
    config: Arc<ServerConfig>,
    (inner, manners): (SocketAddr, Manners),
    seen: &Seen,
) -> std::io::Result<()> {
    outer.set_nodelay(true)?;
    let mut connection = ServerConnection::new(config).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut outer)?;
    }
    seen.handshakes.lock().unwrap().push(Handshake {
        version: connection.protocol_version().unwrap(),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        name: connection.server_name().map(str::to_owned),
    });
    let inner = TcpStream::connect(inner)?;
    inner.set_nodelay(true)?;
    let connection = Mutex::new(connection);
    thread::scope(|scope| {
        scope.spawn(|| drop(down(&inner, &outer, &connection, manners)));
        if let Ok(true) = up(&outer, &inner, &connection) {
            *seen.farewells.lock().unwrap() += 1;
        }
        let _ = inner.shutdown(Shutdown::Write);
    });
    Ok(())
}

/// Passes on what the proxy sends. Whether it ended in order.
fn up(
    mut outer: &TcpStream,
    mut inner: &TcpStream,
    connection: &Mutex<ServerConnection>,
) -> std::io::Result<bool> {
    let mut received = [0; 20_000];
    // Of the first request some may have come with the handshake.
    let mut rest = &received[..0];
    loop {
        let mut locked = connection.lock().unwrap();
        if !rest.is_empty() {
            locked.read_tls(&mut rest)?;
        }
        let state = locked.process_new_packets().map_err(|_| ErrorKind::InvalidData)?;
        let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
        locked.reader().read_exact(&mut plaintext)?;
        drop(locked);
        inner.write_all(&plaintext)?;
        if state.peer_has_closed() {
            return Ok(true);
        }
        if rest.is_empty() {
            let count = outer.read(&mut received)?;
            if count == 0 {
                return Ok(false);
            }
            rest = &received[..count];
        }
    }
}

/// Passes on what the backend sends, and its end.
fn down(
    mut inner: &TcpStream,
    mut outer: &TcpStream,
    connection: &Mutex<ServerConnection>,
    manners: Manners,
) -> std::io::Result<()> {
    let mut plaintext = [0; 16_000];
    loop {
        let read = inner.read(&mut plaintext);
        let Ok(count) = read else {
            return SockRef::from(outer).set_linger(Some(std::time::Duration::ZERO));
        };
        let mut records = Vec::new();
        let mut locked = connection.lock().unwrap();
        if count > 0 {
            locked.writer().write_all(&plaintext[..count])?;
        } else if manners == Manners::Polite {
            locked.send_close_notify();
        }
        while locked.wants_write() {
            locked.write_tls(&mut records)?;
        }
        drop(locked);
        outer.write_all(&records)?;
        if count == 0 {
            return outer.shutdown(Shutdown::Write);
        }
    }
}

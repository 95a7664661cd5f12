//! A client that speaks TLS: shakes hands, then passes on what a plain [`Client`] sends and reads, so that every way of
//! asking works over it too.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
};
use socket2::SockRef;

use super::authority::{Authority, Identity};
use super::client::Client;
use super::wait::DEADLINE;

/// A connection on which hands were shaken.
pub(crate) struct Dialled {
    pub(crate) client: Client,
    pub(crate) version: ProtocolVersion,
    pub(crate) resumed: bool,
    /// What the proxy has shown, its own certificate first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) protocol: Option<Vec<u8>>,
}

/// Speaks both versions and believes `authority`.
pub(crate) fn believing(authority: &Authority) -> ClientConfig {
    with_versions(authority, &[&TLS13, &TLS12], None)
}

/// Shows a certificate where it is asked for one.
pub(crate) fn showing(authority: &Authority, member: &Identity) -> ClientConfig {
    with_versions(authority, &[&TLS13, &TLS12], Some(member))
}

pub(crate) fn with_versions(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    member: Option<&Identity>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(authority.pem.as_bytes()).flatten());
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
    match member.map(Identity::as_client) {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    }
}

/// Connects to `address` and asks for `name`. The error says why there was no handshake.
pub(crate) fn dial(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Result<Dialled, String> {
    dial_behind(&[], address, config, name)
}

/// As [`dial`], with these bytes in front of the first message, in one write with it.
pub(crate) fn dial_behind(
    introduction: &[u8],
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> Result<Dialled, String> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut outer = TcpStream::connect(address).unwrap();
    outer.set_nodelay(true).unwrap();
    outer.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut first = introduction.to_vec();
    while connection.wants_write() {
        connection.write_tls(&mut first).unwrap();
    }
    outer.write_all(&first).map_err(|error| error.to_string())?;
    while connection.is_handshaking() || connection.wants_write() {
        connection.complete_io(&mut outer).map_err(|error| error.to_string())?;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::to(listener.local_addr().unwrap());
    let dialled = Dialled {
        client,
        version: connection.protocol_version().unwrap(),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        chain: connection.peer_certificates().unwrap().to_vec(),
        protocol: connection.alpn_protocol().map(<[u8]>::to_vec),
    };
    let inner = listener.accept().unwrap().0;
    inner.set_nodelay(true).unwrap();
    // The client has the deadline.
    outer.set_read_timeout(None).unwrap();
    let connection = Arc::new(Mutex::new(connection));
    let ends = (inner.try_clone().unwrap(), outer.try_clone().unwrap(), Arc::clone(&connection));
    thread::spawn(move || drop(up(&ends.0, &ends.1, &ends.2)));
    thread::spawn(move || down(&inner, &outer, &connection));
    Ok(dialled)
}

/// Passes on what the client sends, and its end. One that resets its connection leaves without a word.
fn up(
    mut inner: &TcpStream,
    mut outer: &TcpStream,
    connection: &Mutex<ClientConnection>,
) -> std::io::Result<()> {
    let mut plaintext = [0; 16_000];
    loop {
        let Ok(count) = inner.read(&mut plaintext) else {
            SockRef::from(outer).set_linger(Some(std::time::Duration::ZERO))?;
            return outer.shutdown(Shutdown::Both);
        };
        let mut records = Vec::new();
        let mut locked = connection.lock().unwrap();
        match count {
            0 => locked.send_close_notify(),
            _ => locked.writer().write_all(&plaintext[..count])?,
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

/// Passes on what the proxy sends. An end that it has not announced becomes a reset.
fn down(inner: &TcpStream, outer: &TcpStream, connection: &Mutex<ClientConnection>) {
    match pass_down(inner, outer, connection) {
        Ok(()) => drop(inner.shutdown(Shutdown::Write)),
        Err(_) => {
            let _ = SockRef::from(inner).set_linger(Some(std::time::Duration::ZERO));
            let _ = outer.shutdown(Shutdown::Both);
            // Both handles must go for the reset to be sent: the other thread finds its reads ended.
            let _ = inner.shutdown(Shutdown::Read);
        }
    }
}

fn pass_down(
    mut inner: &TcpStream,
    mut outer: &TcpStream,
    connection: &Mutex<ClientConnection>,
) -> std::io::Result<()> {
    let mut received = [0; 20_000];
    loop {
        let count = outer.read(&mut received)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut rest = &received[..count];
        while !rest.is_empty() {
            let mut locked = connection.lock().unwrap();
            locked.read_tls(&mut rest)?;
            let state = locked.process_new_packets().map_err(|_| ErrorKind::InvalidData)?;
            let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
            locked.reader().read_exact(&mut plaintext)?;
            drop(locked);
            inner.write_all(&plaintext)?;
            if state.peer_has_closed() {
                return Ok(());
            }
        }
    }
}

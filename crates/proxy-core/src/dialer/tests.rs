//! The store over TLS: a server on a thread, this core on a runtime of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use ::tls::Trust;
use monoio::io::AsyncWriteRentExt as _;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::authority::Authority;
use crate::deadline::Wheel;
use crate::readiness::Readiness;
use crate::runtime;

/// Sends back what it gets, until the other side ends, and then a word. The port.
fn echo(config: Arc<ServerConfig>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
        let mut bytes = [0; 5000];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            stream.write_all(&bytes[..count]).unwrap();
        }
        let _ = stream.write_all(b"bye");
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    port
}

/// Dials `host` as a core does and goes on with what that comes to.
fn dialled<F: Future<Output = ()>>(
    authority: &Authority,
    (host, port): (&str, u16),
    test: impl FnOnce(io::Result<Link<StoreRead, StoreWrite>>) -> F,
) {
    let file = tempfile::NamedTempFile::new().unwrap();
    authority.write(file.path());
    let clients = Trust::file(file.path()).unwrap().clients();
    let (mut runtime, _) = runtime::build().unwrap();
    runtime.block_on(async move {
        let waits = Waits { wheel: Wheel::new(), readiness: Readiness::new().unwrap() };
        let readiness = waits.readiness.clone();
        let arrivals = {
            let readiness = readiness.clone();
            monoio::spawn(async move { readiness.run().await })
        };
        let trust = Some(StoreTrust { clients, waits, bulk: Rc::default() });
        // The test names addresses only: nobody answers questions.
        let resolver = Resolver::new(sync_channel(0).0, Arc::new(|_| {}));
        let dialer = StoreDialer { resolver: Rc::new(resolver), trust };
        let endpoint = Endpoint { tls: true, ..Endpoint::plain(Server::Tcp(host.into(), port)) };
        test(dialer.dial(&endpoint).await).await;
        readiness.stop();
        arrivals.await.unwrap();
    });
}

async fn read(read: &mut StoreRead, count: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < count {
        let (result, piece) = read.read(Vec::with_capacity(7000)).await;
        assert!(result.unwrap() > 0, "the end, after {} bytes", got.len());
        got.extend(piece);
    }
    got
}

#[test]
fn speaks_to_a_store_over_tls_and_ends_in_order() {
    let authority = Authority::new();
    let port = echo(authority.issue(&["127.0.0.1"]).serving(rustls::ALL_VERSIONS));
    dialled(&authority, ("127.0.0.1", port), |link| async {
        let Link { read: mut reader, write: mut writer, .. } = link.unwrap();
        for count in [1, 100, 30_000] {
            let question: Vec<u8> = (0..count).map(|place| (place % 251) as u8).collect();
            let (sent, question) = writer.write_all(question).await;
            assert_eq!(sent.unwrap(), count);
            assert!(read(&mut reader, count).await == question);
        }
        writer.shutdown().await.unwrap();
        assert_eq!(read(&mut reader, 3).await, b"bye");
        let (end, _) = reader.read(vec![0; 10]).await;
        assert_eq!(end.unwrap(), 0);
    });
}

#[test]
fn a_hang_up_ends_a_read_that_waits() {
    let authority = Authority::new();
    let port = echo(authority.issue(&["127.0.0.1"]).serving(rustls::ALL_VERSIONS));
    dialled(&authority, ("127.0.0.1", port), |link| async {
        let Link { read: mut reader, write: mut writer, hang_up } = link.unwrap();
        writer.write_all(b"once".to_vec()).await.0.unwrap();
        assert_eq!(read(&mut reader, 4).await, b"once");
        let waiting = monoio::spawn(async move { reader.read(vec![0; 10]).await.0 });
        hang_up();
        assert_eq!(waiting.await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_store_that_proves_nothing_is_not_spoken_to() {
    let authority = Authority::new();
    let port = echo(authority.issue(&["store.example"]).serving(rustls::ALL_VERSIONS));
    dialled(&authority, ("127.0.0.1", port), |link| async {
        let error = link.err().unwrap().to_string();
        assert_eq!(
            error,
            "TLS: the certificate is not for 127.0.0.1 but for store.example (redis.ca names a file with the \
             authorities of its certificate)"
        );
    });
}

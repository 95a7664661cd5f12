//! A plain TCP relay on one thread: bytes from each client to a connection of its own to the backend and back, whatever they
//! are. No proxy that reads them can cost less: the floor of the benchmarks. `relay PORT BACKEND_PORT`.

#[path = "runtime.rs"]
mod runtime;

use std::io;

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, Splitable};
use monoio::net::{TcpListener, TcpStream};

const BUFFER_BYTES: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let given: Vec<u16> =
        std::env::args().skip(1).map(|argument| argument.parse().expect("a port")).collect();
    let [port, backend] = given[..] else { panic!("a port and the backend's are wanted") };
    runtime::build()?.block_on(async move {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        loop {
            let (client, _) = listener.accept().await?;
            monoio::spawn(async move { drop(relay(client, backend).await) });
        }
    })
}

async fn relay(client: TcpStream, backend: u16) -> io::Result<()> {
    let backend = TcpStream::connect(("127.0.0.1", backend)).await?;
    client.set_nodelay(true)?;
    backend.set_nodelay(true)?;
    let ((from_client, to_client), (from_backend, to_backend)) = (client.into_split(), backend.into_split());
    let there = monoio::spawn(pass(from_client, to_backend));
    let back = pass(from_backend, to_client).await;
    there.await.and(back)
}

/// Passes on what comes until its end, and then ends the other side.
async fn pass(mut from: impl AsyncReadRent, mut to: impl AsyncWriteRent) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let (read, filled) = from.read(buffer).await;
        if read? == 0 {
            return to.shutdown().await;
        }
        let (written, mut sent) = to.write_all(filled).await;
        written?;
        sent.clear();
        buffer = sent;
    }
}

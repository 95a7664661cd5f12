//! WebSocket messages through a proxy: `websocket echo PORT` is the backend, which sends every frame back;
//! `websocket load PORT CONNECTIONS SECONDS BYTES` sends on each connection a frame when the last one is back, and prints
//! what it counted as lua/summary.lua does.
#![allow(clippy::disallowed_methods, reason = "a program that measures asks the clock")]

#[path = "runtime.rs"]
mod runtime;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};

const BUFFER_BYTES: usize = 64 * 1024;
const HOST: &str = "small.bench";
/// Key and answer of RFC 6455, section 1.3: nobody checks more than that they belong together.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize| arguments.get(place).and_then(|text| text.parse().ok()).expect("a number");
    let mut runtime = runtime::build()?;
    match arguments.first().map(String::as_str) {
        Some("echo") => runtime.block_on(echo(number(1) as u16)),
        Some("load") => runtime.block_on(load(number(1) as u16, number(2), number(3), number(4))),
        _ => panic!("echo or load"),
    }
}

async fn echo(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    loop {
        let (stream, _) = listener.accept().await?;
        monoio::spawn(async move { drop(send_back(stream).await) });
    }
}

/// A frame as it came, masked still, which only those care about who look inside.
async fn send_back(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    head(&mut stream).await?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    );
    stream.write_all(answer.into_bytes()).await.0?;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let (read, filled) = stream.read(buffer).await;
        if read? == 0 {
            return Ok(());
        }
        let (written, mut sent) = stream.write_all(filled).await;
        written?;
        sent.clear();
        buffer = sent;
    }
}

/// Reads to the end of a head, behind which nothing may lie yet.
async fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let (read, part) = stream.read(Vec::with_capacity(4096)).await;
        if read? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend(part);
    }
    Ok(head)
}

#[derive(Default)]
struct Counted {
    micros: RefCell<Vec<u32>>,
    failed: Cell<usize>,
}

async fn load(port: u16, connections: usize, seconds: usize, bytes: usize) -> io::Result<()> {
    let (counted, began) = (Rc::new(Counted::default()), Instant::now());
    let end = began + Duration::from_secs(seconds as u64);
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let counted = Rc::clone(&counted);
            monoio::spawn(async move {
                if talk(port, frame(bytes), end, &counted).await.is_err() {
                    counted.failed.set(counted.failed.get() + 1);
                }
            })
        })
        .collect();
    for client in clients {
        client.await;
    }
    let mut micros = counted.micros.take();
    micros.sort_unstable();
    let at = |share: usize| micros.get(micros.len() * share / 100).copied().unwrap_or_default();
    println!(
        "SUMMARY {{\"requests\": {}, \"micros\": {}, \"bytes\": {}, \"p50\": {}, \"p99\": {}, \"read\": {}}}",
        micros.len(),
        began.elapsed().as_micros(),
        micros.len() * bytes,
        at(50),
        at(99),
        counted.failed.get(),
    );
    Ok(())
}

/// A binary message of so many bytes, masked with zeros (RFC 6455 section 5.2).
fn frame(bytes: usize) -> Vec<u8> {
    assert!((126..65_536).contains(&bytes), "the length is written in two bytes");
    let mut frame = vec![0x82, 0x80 | 126];
    frame.extend((bytes as u16).to_be_bytes());
    frame.extend([0; 4]);
    frame.resize(frame.len() + bytes, b'm');
    frame
}

async fn talk(port: u16, mut frame: Vec<u8>, end: Instant, counted: &Counted) -> io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let ask = format!(
        "GET /socket HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    stream.write_all(ask.into_bytes()).await.0?;
    let answer = head(&mut stream).await?;
    if !answer.starts_with(b"HTTP/1.1 101 ") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    while Instant::now() < end {
        let sent = Instant::now();
        let (written, back) = stream.write_all(frame).await;
        written?;
        frame = back;
        let mut missing = frame.len();
        while missing > 0 {
            buffer.clear();
            let (read, filled) = stream.read(buffer).await;
            buffer = filled;
            match read? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count if count > missing || buffer[..count] != frame[frame.len() - missing..][..count] => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                count => missing -= count,
            }
        }
        counted.micros.borrow_mut().push(sent.elapsed().as_micros() as u32);
    }
    Ok(())
}

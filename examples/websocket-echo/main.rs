//! A backend that sends back every message of a WebSocket, and a client that says one. Knows nothing of the proxy.

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error as WebSocketError, Message, accept_with_config, client};

/// Where it listens unless it is told.
const ADDRESS: &str = "127.0.0.1:3001";
/// Connections served at once, each by a thread; others wait in the kernel's queue.
const CONNECTIONS: usize = 16;
/// Bytes of a message: what one connection may hold.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// How long the client waits for its message to come back.
const PATIENCE: Duration = Duration::from_secs(10);
/// What can be asked of it.
const USAGE: &str = "usage: websocket-echo [ADDRESS]\n       websocket-echo say ADDRESS HOST TEXT";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => serve(ADDRESS),
        ["say", address, host, text] => say(address, host, text),
        [address] if !address.starts_with('-') => serve(address),
        _ => Err(USAGE.into()),
    }
}

/// Serves until the process is ended.
fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address).map_err(|error| format!("{address}: {error}"))?;
    println!("listening on {}", listener.local_addr()?);
    thread::scope(|threads| {
        for _ in 0..CONNECTIONS {
            threads.spawn(|| serve_in_turn(&listener));
        }
    });
    Ok(())
}

/// Serves one connection after the other.
fn serve_in_turn(listener: &TcpListener) {
    for connection in listener.incoming() {
        match connection.map_err(WebSocketError::from).and_then(echo) {
            Ok(()) | Err(WebSocketError::ConnectionClosed) => {}
            Err(error) => eprintln!("a connection ended: {error}"),
        }
    }
}

/// Sends every message back until the client closes. Pings are answered by the library.
fn echo(connection: TcpStream) -> Result<(), WebSocketError> {
    let bounds =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES)).max_frame_size(Some(MESSAGE_BYTES));
    let mut socket = accept_with_config(connection, Some(bounds))
        .map_err(|failed| WebSocketError::Io(std::io::Error::other(failed.to_string())))?;
    loop {
        let message = socket.read()?;
        if message.is_text() || message.is_binary() {
            socket.send(message)?;
        }
    }
}

/// Says `text` to `host` by way of whoever listens on `address`, and prints what comes back.
fn say(address: &str, host: &str, text: &str) -> Result<(), Box<dyn Error>> {
    let connection = TcpStream::connect(address).map_err(|error| format!("{address}: {error}"))?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let (mut socket, _) = client(format!("ws://{host}/"), connection)?;
    socket.send(Message::text(text))?;
    println!("{}", socket.read()?);
    socket.close(None)?;
    // The other side's close ends the reading.
    while socket.read().is_ok() {}
    Ok(())
}

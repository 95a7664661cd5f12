//! Both ends of the wire: a backend that has one answer, and a client that asks once.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// A backend whose every answer is `answer`; its port.
pub(crate) fn backend(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let _ = client.read(&mut head).unwrap();
            let length = answer.len();
            let text =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{answer}");
            client.write_all(text.as_bytes()).unwrap();
        }
    });
    port
}

/// The whole answer of `host`.
pub(crate) fn ask(proxy: &str, host: &str) -> String {
    let mut client = TcpStream::connect(proxy).unwrap();
    let request = format!("GET /here?a=1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

//! HTTP/2 frame by frame (RFC 9113 section 4), for what no well-behaved client sends. Written independently of the proxy.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::wait::DEADLINE;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
/// Of SETTINGS and PING.
pub(crate) const ACK: u8 = 1;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One connection.
pub(crate) struct Frames {
    stream: TcpStream,
}

#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM and GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The status of response HEADERS, where it is one that the static table has (RFC 7541 appendix A).
    pub(crate) fn status(&self) -> Option<u16> {
        let statuses = [200, 204, 206, 304, 400, 404, 500];
        statuses.get(usize::from(self.payload[0].checked_sub(0x88)?)).copied()
    }

    pub(crate) fn ends_stream(&self) -> bool {
        self.flags & END_STREAM != 0
    }
}

impl Frames {
    /// Connects with these settings, each an identifier and a value.
    pub(crate) fn to(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let mut frames = Self { stream };
        frames.stream.write_all(PREFACE).unwrap();
        let mut payload = Vec::new();
        for (identifier, value) in settings {
            payload.extend(identifier.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        frames.send(SETTINGS, 0, 0, &payload);
        frames.send(SETTINGS, ACK, 0, &[]);
        frames
    }

    /// Sends a frame. That the proxy may have closed already is seen when its answer is read.
    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> &mut Self {
        let _ = self.try_send(&frame(kind, flags, stream, payload));
        self
    }

    /// Sends frames made before. `false`: the connection is over.
    pub(crate) fn try_send(&mut self, frames: &[u8]) -> bool {
        self.stream.write_all(frames).is_ok()
    }

    /// Sends a request's head.
    pub(crate) fn head(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> &mut Self {
        self.send(HEADERS, END_HEADERS | flags, stream, &block(fields))
    }

    /// Another handle on the connection, for a thread of its own.
    pub(crate) fn another(&self) -> Self {
        Self { stream: self.stream.try_clone().unwrap() }
    }

    /// The next frame; `None`: the connection has ended.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing came within {DEADLINE:?}"),
            Err(_) => return None,
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame of this kind, others left out.
    pub(crate) fn next_of(&mut self, kind: u8) -> Option<Frame> {
        std::iter::from_fn(|| self.next()).find(|frame| frame.kind == kind)
    }

    /// What becomes of a stream: its next HEADERS or RST_STREAM, or the GOAWAY of all.
    pub(crate) fn fate_of(&mut self, stream: u32) -> Option<Frame> {
        std::iter::from_fn(|| self.next()).find(|frame| {
            frame.kind == GOAWAY || (frame.stream == stream && matches!(frame.kind, HEADERS | RST_STREAM))
        })
    }
}

/// A frame as bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as a header block that uses no table (RFC 7541 section 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, 0, 7, text.len());
            block.extend(text.bytes());
        }
    }
    block
}

/// RFC 7541 section 5.1.
pub(crate) fn integer(out: &mut Vec<u8>, flags: u8, bits: u32, mut value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | most as u8);
    value -= most;
    while value >= 128 {
        out.push((value % 128) as u8 | 128);
        value /= 128;
    }
    out.push(value as u8);
}

/// The pseudo-fields of a request to the site.
pub(crate) fn asking<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "https"), (":path", path), (":authority", super::scene::SITE)]
}

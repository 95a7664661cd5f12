//! HTTP/1.1 messages read strictly off a stream, for both ends of the proxy. Written independently of the proxy.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use super::wait::DEADLINE;

/// The peer ended the connection before a message was whole.
#[derive(Debug)]
pub(crate) struct Cut {
    /// What of the message, or of its body, had come.
    pub(crate) got: Vec<u8>,
    pub(crate) by_reset: bool,
}

/// A start line and header fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) raw: String,
}

impl Head {
    pub(crate) fn start_line(&self) -> &str {
        self.raw.split("\r\n").next().unwrap()
    }

    pub(crate) fn lines(&self) -> Vec<&str> {
        self.raw.trim_end_matches("\r\n").split("\r\n").skip(1).collect()
    }

    /// Values of all fields of this name.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.lines().into_iter().filter_map(|line| line.split_once(':'));
        fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// Value of the only field of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} more than once in {}", self.raw);
        all.first().copied()
    }
}

/// Reads messages off a stream; every byte is also added to `record`.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    pub(crate) record: Arc<Mutex<Vec<u8>>>,
    unread: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream, record: Arc::default(), unread: Vec::new() }
    }

    /// Reads what there is. `Ok(false)`: the peer has ended its side.
    fn fill(&mut self) -> Result<bool, Cut> {
        let mut piece = [0; 65_536];
        match self.stream.read(&mut piece) {
            Ok(0) => Ok(false),
            Ok(read) => {
                self.unread.extend_from_slice(&piece[..read]);
                self.record.lock().unwrap().extend_from_slice(&piece[..read]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let so_far = String::from_utf8_lossy(&self.unread).into_owned();
                panic!("nothing came within {DEADLINE:?}; so far: {so_far:?}")
            }
            Err(_) => Err(Cut { got: std::mem::take(&mut self.unread), by_reset: true }),
        }
    }

    fn need_more(&mut self) -> Result<(), Cut> {
        match self.fill()? {
            true => Ok(()),
            false => Err(Cut { got: std::mem::take(&mut self.unread), by_reset: false }),
        }
    }

    /// The next head; a connection that ends before its first byte is a [`Cut`] with nothing in it.
    pub(crate) fn head(&mut self) -> Result<Head, Cut> {
        loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let raw: Vec<u8> = self.unread.drain(..at + 4).collect();
                return Ok(Head { raw: raw.iter().map(|&byte| char::from(byte)).collect() });
            }
            self.need_more()?;
        }
    }

    pub(crate) fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Cut> {
        while self.unread.len() < count {
            self.need_more()?;
        }
        Ok(self.unread.drain(..count).collect())
    }

    fn line(&mut self) -> Result<String, Cut> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).collect();
                return Ok(String::from_utf8(line[..at].to_vec()).unwrap());
            }
            self.need_more()?;
        }
    }

    /// A chunked body and its trailer lines.
    pub(crate) fn chunks(&mut self) -> Result<(Vec<u8>, Vec<String>), Cut> {
        let mut body = Vec::new();
        loop {
            match self.chunk() {
                Ok(chunk) if chunk.is_empty() => break,
                Ok(chunk) => body.extend(chunk),
                Err(cut) => return Err(Cut { got: [body, cut.got].concat(), ..cut }),
            }
        }
        let mut trailers = Vec::new();
        loop {
            match self.line()? {
                line if line.is_empty() => return Ok((body, trailers)),
                line => trailers.push(line),
            }
        }
    }

    fn chunk(&mut self) -> Result<Vec<u8>, Cut> {
        let line = self.line()?;
        let size = line.split(';').next().unwrap();
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("bad chunk size {line:?}"));
        let chunk = self.exactly(size)?;
        if size > 0 {
            assert_eq!(self.exactly(2)?, b"\r\n", "a chunk ends in CRLF");
        }
        Ok(chunk)
    }

    /// Everything up to the end of the connection, and whether that was a reset.
    pub(crate) fn rest(&mut self) -> Cut {
        loop {
            if let Err(cut) = self.need_more() {
                return cut;
            }
        }
    }

    /// Whatever comes next, at least one byte; empty at the end.
    pub(crate) fn some(&mut self) -> Vec<u8> {
        if self.unread.is_empty() {
            let _ = self.fill();
        }
        std::mem::take(&mut self.unread)
    }
}

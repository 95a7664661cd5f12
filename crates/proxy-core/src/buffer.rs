//! An owned byte buffer whose front is consumed and whose back grows: what every read fills and every write
//! empties. Knows no socket.

use crate::bounds::{BULK_BUFFERS_KEPT, BULK_BYTES, CHUNK_HEADROOM_BYTES};

/// Bytes `start..` of a vector that keeps its capacity. Whoever holds it owns it; I/O takes it and gives it back.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// The vector's bytes from `start` on. The bytes before it are headroom.
    pub(crate) fn from_vec(bytes: Vec<u8>, start: usize) -> Self {
        assert!(start <= bytes.len());
        Self { bytes, start }
    }

    /// The vector, headroom and consumed bytes included, and where the content starts.
    pub(crate) fn into_parts(self) -> (Vec<u8>, usize) {
        (self.bytes, self.start)
    }

    /// The vector, for appending to.
    pub(crate) fn vec(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that can be appended without growing.
    pub(crate) fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Drops `count` bytes from the front.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        assert!(self.start <= self.bytes.len(), "consumed beyond the content");
        if self.start == self.bytes.len() {
            self.clear();
        }
    }

    /// Keeps the first `length` bytes.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(self.start + length);
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Makes room for at least `room` more bytes, moving the content to the front before growing.
    pub(crate) fn reserve(&mut self, room: usize) {
        if self.room() >= room {
            return;
        }
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.reserve(room);
    }

    /// Wraps the content as one chunk (RFC 9112 section 7.1) in place. The content must not be empty: an empty
    /// chunk would end the body.
    pub(crate) fn wrap_as_chunk(&mut self) {
        assert!(!self.is_empty(), "an empty chunk ends a body");
        let mut line = [0u8; CHUNK_HEADROOM_BYTES];
        let line = chunk_size_line(self.len(), &mut line);
        if self.start >= line.len() {
            self.start -= line.len();
            self.bytes[self.start..self.start + line.len()].copy_from_slice(line);
        } else {
            self.bytes.splice(self.start..self.start, line.iter().copied());
        }
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// Writes `<hex>\r\n` for a chunk of `length` bytes into `line` and returns the part used.
pub(crate) fn chunk_size_line(length: usize, line: &mut [u8; CHUNK_HEADROOM_BYTES]) -> &[u8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut at = line.len() - 2;
    line[at..].copy_from_slice(b"\r\n");
    let mut rest = length;
    loop {
        at -= 1;
        line[at] = DIGITS[rest & 15];
        rest >>= 4;
        if rest == 0 {
            return &line[at..];
        }
    }
}

/// Bulk buffers of one core, lent for the length of one read and write.
#[derive(Debug, Default)]
pub(crate) struct BulkBuffers {
    free: std::cell::RefCell<Vec<Vec<u8>>>,
}

impl BulkBuffers {
    /// An empty buffer with headroom for a chunk's size line and room for [`BULK_BYTES`] and its CRLF.
    pub(crate) fn take(&self) -> Buffer {
        let mut bytes = self
            .free
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(CHUNK_HEADROOM_BYTES + BULK_BYTES + 2));
        bytes.clear();
        bytes.resize(CHUNK_HEADROOM_BYTES, 0);
        Buffer::from_vec(bytes, CHUNK_HEADROOM_BYTES)
    }

    /// Frees those that lie idle.
    pub(crate) fn clear(&self) {
        self.free.borrow_mut().clear();
    }

    /// Gives a buffer back. One that is not of bulk size, or one too many, is freed.
    pub(crate) fn put(&self, buffer: Buffer) {
        let (bytes, _) = buffer.into_parts();
        let mut free = self.free.borrow_mut();
        let fits = bytes.capacity() >= BULK_BYTES && bytes.capacity() <= 2 * BULK_BYTES;
        if fits && free.len() < BULK_BUFFERS_KEPT {
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumes_from_the_front_and_grows_at_the_back() {
        let mut buffer = Buffer::from_vec(b"abcd".to_vec(), 0);
        buffer.consume(3);
        assert_eq!(buffer.as_slice(), b"d");
        buffer.reserve(3);
        buffer.extend(b"efg");
        assert_eq!(buffer.as_slice(), b"defg");
        buffer.consume(4);
        assert!(buffer.is_empty() && buffer.room() >= 4);
    }

    #[test]
    fn wraps_a_chunk_with_and_without_headroom() {
        for headroom in [0, 1, CHUNK_HEADROOM_BYTES] {
            let mut bytes = vec![0; headroom];
            bytes.extend_from_slice(&[b'x'; 0x1f]);
            let mut buffer = Buffer::from_vec(bytes, headroom);
            buffer.wrap_as_chunk();
            assert_eq!(buffer.as_slice(), [&b"1f\r\n"[..], &[b'x'; 0x1f], b"\r\n"].concat());
        }
    }

    #[test]
    fn lends_the_same_bulk_buffer_again() {
        let bulk = BulkBuffers::default();
        let mut first = bulk.take();
        first.extend(b"payload");
        let at = first.as_slice().as_ptr();
        bulk.put(first);
        let second = bulk.take();
        assert!(second.is_empty() && second.room() >= BULK_BYTES);
        assert_eq!(second.as_slice().as_ptr(), at);
    }
}

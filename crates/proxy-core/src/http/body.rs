//! Message bodies, decoded in place as they stream by: a length counted down, chunks unwrapped, or everything
//! up to the end of the connection.

use super::fault::Fault;
use super::head::{HeadScan, Length};
use super::headers::Name;
use crate::bounds::{CHUNK_EXTENSION_BYTES, CHUNK_SIZE_DIGITS, HEADER_FIELDS_CEILING, TRAILER_BYTES};

/// Decodes one body.
///
/// ```text
/// Counted ──0 left──▶ Done        Everything (ends with the connection)
///
/// Size ──;──▶ Extension ──CR──┐
///  │ └───────────CR──────────▶ SizeEnd ──LF, size > 0──▶ Data ──▶ DataCr ──▶ DataLf ──▶ Size
///                                 └────LF, size 0──▶ Trailer ──empty line──▶ Done
/// ```
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// The trailer section as it arrives; empty for any other body.
    trailer: Vec<u8>,
    scan: HeadScan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Counted { left: u64 },
    Everything,
    Size { value: u64, digits: u8 },
    Extension { value: u64, seen: usize },
    SizeEnd { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailer,
    Done,
}

/// What one call of [`BodyDecoder::decode`] made of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Where the payload now lies in the bytes, in one piece.
    pub payload_start: usize,
    /// One past its last byte.
    pub payload_end: usize,
    /// Bytes that belong to this body. What follows belongs to the next message.
    pub consumed: usize,
}

impl BodyDecoder {
    /// A decoder for a body of this length.
    pub fn new(length: Length) -> Self {
        let state = match length {
            Length::None | Length::Bytes(0) => State::Done,
            Length::Bytes(left) => State::Counted { left },
            Length::UntilClose => State::Everything,
            Length::Chunked => State::Size { value: 0, digits: 0 },
        };
        Self { state, trailer: Vec::new(), scan: HeadScan::default() }
    }

    /// Whether the whole body, trailer included, has been seen.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the end of the connection is the end of this body.
    pub(crate) fn ends_with_connection(&self) -> bool {
        matches!(self.state, State::Everything | State::Done)
    }

    /// Most bytes worth reading next: never more than a counted body still has, so that the next message's bytes
    /// stay where they are.
    pub(crate) fn wanted(&self, most: usize) -> usize {
        match self.state {
            State::Counted { left } => usize::try_from(left).map_or(most, |left| left.min(most)),
            _ => most,
        }
    }

    /// Decodes as far as `bytes` go, moving the payload together in place.
    ///
    /// # Errors
    /// [`Fault::Chunk`] or [`Fault::Trailer`]. The body must then be taken for cut off.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<Decoded, Fault> {
        let mut decoded = Decoded { payload_start: 0, payload_end: 0, consumed: 0 };
        while decoded.consumed < bytes.len() && self.state != State::Done {
            let rest = &bytes[decoded.consumed..];
            self.state = match self.state {
                State::Counted { left } => counted(left - take(&mut decoded, bytes, left)),
                State::Everything => {
                    take(&mut decoded, bytes, u64::MAX);
                    State::Everything
                }
                State::Data { left } => data(left - take(&mut decoded, bytes, left)),
                State::Trailer => {
                    decoded.consumed += self.take_trailer(rest)?;
                    self.state
                }
                State::Size { value, digits } => size(value, digits, advance(&mut decoded, rest))?,
                State::Extension { value, seen } => extension(value, seen, advance(&mut decoded, rest))?,
                State::SizeEnd { value } => size_end(value, advance(&mut decoded, rest))?,
                State::DataCr => expect(b'\r', advance(&mut decoded, rest), State::DataLf)?,
                State::DataLf => {
                    expect(b'\n', advance(&mut decoded, rest), State::Size { value: 0, digits: 0 })?
                }
                State::Done => State::Done,
            };
        }
        Ok(decoded)
    }

    /// Gathers the trailer section and checks it at its end. Returns how many of `rest` belong to it.
    fn take_trailer(&mut self, rest: &[u8]) -> Result<usize, Fault> {
        let before = self.trailer.len();
        let most = rest.len().min(TRAILER_BYTES + 1 - before);
        self.trailer.extend_from_slice(&rest[..most]);
        let Some(end) = self.scan.advance(&self.trailer, TRAILER_BYTES).map_err(|_| Fault::Trailer)? else {
            return Ok(most);
        };
        self.trailer.truncate(end);
        keep_trailer_fields(&mut self.trailer)?;
        self.state = State::Done;
        Ok(end - before)
    }

    /// The trailer fields that may be passed on, as lines that end in CRLF; empty where there are none. To be
    /// asked once, when the body is done.
    pub(crate) fn take_trailer_lines(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.trailer)
    }
}

/// Moves up to `most` payload bytes to the end of the payload so far; the first piece stays where it lies.
fn take(decoded: &mut Decoded, bytes: &mut [u8], most: u64) -> u64 {
    let available = bytes.len() - decoded.consumed;
    let count = usize::try_from(most).map_or(available, |most| most.min(available));
    let from = decoded.consumed;
    if decoded.payload_end == 0 {
        decoded.payload_start = from;
        decoded.payload_end = from + count;
    } else {
        bytes.copy_within(from..from + count, decoded.payload_end);
        decoded.payload_end += count;
    }
    decoded.consumed += count;
    count as u64
}

fn counted(left: u64) -> State {
    if left == 0 { State::Done } else { State::Counted { left } }
}

fn data(left: u64) -> State {
    if left == 0 { State::DataCr } else { State::Data { left } }
}

fn advance(decoded: &mut Decoded, rest: &[u8]) -> u8 {
    decoded.consumed += 1;
    rest[0]
}

fn size(value: u64, digits: u8, byte: u8) -> Result<State, Fault> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b'\r' if digits > 0 => return Ok(State::SizeEnd { value }),
        b';' if digits > 0 => return Ok(State::Extension { value, seen: 0 }),
        _ => return Err(Fault::Chunk),
    };
    if digits == CHUNK_SIZE_DIGITS {
        return Err(Fault::Chunk);
    }
    Ok(State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 })
}

fn extension(value: u64, seen: usize, byte: u8) -> Result<State, Fault> {
    match byte {
        b'\r' => Ok(State::SizeEnd { value }),
        b'\t' | 0x20..=0x7e | 0x80.. if seen < CHUNK_EXTENSION_BYTES => {
            Ok(State::Extension { value, seen: seen + 1 })
        }
        _ => Err(Fault::Chunk),
    }
}

fn size_end(value: u64, byte: u8) -> Result<State, Fault> {
    expect(b'\n', byte, if value == 0 { State::Trailer } else { State::Data { left: value } })
}

fn expect(expected: u8, byte: u8, next: State) -> Result<State, Fault> {
    if byte == expected { Ok(next) } else { Err(Fault::Chunk) }
}

/// Leaves of a whole trailer section the lines of those fields that may be passed on: not those that would
/// change how the message is read (RFC 9110 section 6.5.1).
pub(super) fn keep_trailer_fields(section: &mut Vec<u8>) -> Result<(), Fault> {
    if section.len() == 2 {
        section.clear();
        return Ok(());
    }
    let mut table = [httparse::EMPTY_HEADER; HEADER_FIELDS_CEILING];
    let fields = match httparse::parse_headers(section, &mut table) {
        Ok(httparse::Status::Complete((_, fields))) => fields,
        _ => return Err(Fault::Trailer),
    };
    let mut kept = Vec::with_capacity(section.len());
    for field in fields {
        let known = Name::of(field.name.as_bytes());
        if known == Name::Other {
            kept.extend_from_slice(field.name.as_bytes());
            kept.extend_from_slice(b": ");
            kept.extend_from_slice(field.value);
            kept.extend_from_slice(b"\r\n");
        }
    }
    *section = kept;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = (Vec<u8>, Vec<u8>, Vec<u8>, bool);

    /// Decodes `pieces` one after the other; the payload, the trailer lines, and what was left over.
    fn run(length: Length, pieces: &[&[u8]]) -> Result<Outcome, Fault> {
        let mut decoder = BodyDecoder::new(length);
        let (mut payload, mut left) = (Vec::new(), Vec::new());
        for piece in pieces {
            let mut bytes = piece.to_vec();
            let decoded = decoder.decode(&mut bytes)?;
            payload.extend_from_slice(&bytes[decoded.payload_start..decoded.payload_end]);
            left.extend_from_slice(&bytes[decoded.consumed..]);
        }
        let done = decoder.is_done();
        Ok((payload, decoder.take_trailer_lines(), left, done))
    }

    #[test]
    fn counts_a_body_down() {
        let (payload, _, left, done) = run(Length::Bytes(5), &[b"abc", b"deGET"]).unwrap();
        assert_eq!((payload.as_slice(), left.as_slice(), done), (&b"abcde"[..], &b"GET"[..], true));
        assert!(!run(Length::Bytes(5), &[b"abcd"]).unwrap().3);
        assert!(run(Length::None, &[]).unwrap().3);
    }

    #[test]
    fn unwraps_chunks_split_at_every_byte() {
        let body = b"5;ext=\"x\"\r\nhello\r\nA\r\n, world!!!\r\n000\r\nX-Sum: 1\r\nHost: evil\r\n\r\nNEXT";
        for cut in 0..body.len() {
            let (payload, trailer, left, done) = run(Length::Chunked, &[&body[..cut], &body[cut..]]).unwrap();
            assert_eq!(payload, b"hello, world!!!", "cut at {cut}");
            assert_eq!(trailer, b"X-Sum: 1\r\n", "cut at {cut}");
            assert!(done && left == b"NEXT", "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(run(Length::Chunked, &bytes).unwrap().0, b"hello, world!!!");
    }

    #[test]
    fn refuses_bad_chunks() {
        let table: &[&[u8]] = &[
            b"\r\n",
            b"g\r\n",
            b" 5\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"-1\r\n",
            b"5\nhello\r\n",
            b"5\r\nhelloX\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello\r\r\n",
            b"11111111111111111\r\n",
            b"5;\x00\r\n",
            b"5;a\nb\r\n",
            b"5\rhello",
            b";\r\n",
            b"0\r\nbad\r\n\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\n A: b\r\n\r\n",
            b"0\r\nA : b\r\n\r\n",
            b"0\r\nA: b\r\n\tc\r\n\r\n",
        ];
        for bytes in table {
            assert!(run(Length::Chunked, &[bytes]).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
        let long = [b"5;".as_slice(), &[b'x'; CHUNK_EXTENSION_BYTES + 1], b"\r\n"].concat();
        assert!(run(Length::Chunked, &[&long]).is_err());
        let long = [b"0\r\nX: ".as_slice(), &vec![b'x'; TRAILER_BYTES], b"\r\n\r\n"].concat();
        assert!(run(Length::Chunked, &[&long]).is_err());
    }

    #[test]
    fn a_cut_chunked_body_is_never_done() {
        let body = b"5\r\nhello\r\n0\r\n\r\n";
        for cut in 0..body.len() {
            assert!(!run(Length::Chunked, &[&body[..cut]]).unwrap().3, "cut at {cut}");
        }
    }

    proptest::proptest! {
        /// Any payload, in any chunks, in any pieces, comes out as it went in.
        #[test]
        fn round_trips(payload in proptest::collection::vec(0u8.., 0..2000), chunk in 1usize..300, piece in 1usize..97) {
            let mut body = Vec::new();
            for part in payload.chunks(chunk) {
                let mut buffer = crate::buffer::Buffer::from_vec(part.to_vec(), 0);
                buffer.wrap_as_chunk();
                body.extend_from_slice(buffer.as_slice());
            }
            body.extend_from_slice(b"0\r\n\r\nrest");
            let pieces: Vec<&[u8]> = body.chunks(piece).collect();
            let (out, _, left, done) = run(Length::Chunked, &pieces).unwrap();
            proptest::prop_assert!(done);
            proptest::prop_assert_eq!(out, payload);
            proptest::prop_assert_eq!(left, b"rest");
        }
    }
}

//! Bytes from the server -> RESP values, however the bytes are cut. Knows no connection.

use std::io::{self, Read};

use redis::{Parser, RedisError, Value};

use crate::bounds::REPLY_BYTES_MAX;

/// Resumable parser: `redis::Parser` keeps its state when its reader says `WouldBlock`.
pub(crate) struct Replies {
    parser: Parser,
    unfinished_bytes: usize,
    torn: Option<Torn>,
}

/// A list with pushes among its elements. Redis before 7.2 sends a PUBLISH to oneself within MULTI so: the push stands in
/// the answer to EXEC and counts as an element, and as many elements come after the list (redis/redis#12326).
struct Torn {
    elements: Vec<Value>,
    missing: usize,
}

/// Bytes that are no RESP, or one value of too many.
#[derive(Debug)]
pub(crate) enum ReplyError {
    Malformed(RedisError),
    TooLong,
}

impl std::fmt::Display for ReplyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReplyError::Malformed(error) => {
                write!(f, "its answer is no RESP ({error}); is it a Redis server?")
            }
            ReplyError::TooLong => write!(f, "one answer has more than {REPLY_BYTES_MAX} bytes"),
        }
    }
}

impl Replies {
    pub(crate) fn new() -> Replies {
        Replies { parser: Parser::new(), unfinished_bytes: 0, torn: None }
    }

    /// Takes in `bytes` and hands each value that is complete to `take`, in wire order.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(Value)) -> Result<(), ReplyError> {
        self.unfinished_bytes += bytes.len();
        let mut rest = Rest(bytes);
        loop {
            match self.parser.parse_value(&mut rest) {
                Ok(value) => {
                    self.unfinished_bytes = rest.0.len();
                    self.mend(without_attributes(value), &mut take);
                }
                Err(error) if error.is_timeout() => break,
                Err(error) => return Err(ReplyError::Malformed(error)),
            }
        }
        if self.unfinished_bytes > REPLY_BYTES_MAX { Err(ReplyError::TooLong) } else { Ok(()) }
    }

    /// Hands `value` on, pushes among the elements of a list before that list.
    fn mend(&mut self, value: Value, take: &mut impl FnMut(Value)) {
        match (self.torn.take(), value) {
            (None, Value::Array(elements)) if elements.iter().any(is_push) => {
                let (pushes, elements): (Vec<_>, Vec<_>) = elements.into_iter().partition(is_push);
                self.torn = Some(Torn { elements, missing: pushes.len() });
                pushes.into_iter().for_each(take);
            }
            (None, value) => take(value),
            (torn, push @ Value::Push { .. }) => {
                self.torn = torn;
                take(push);
            }
            (Some(Torn { mut elements, missing }), value) => {
                elements.push(value);
                match missing - 1 {
                    0 => take(Value::Array(elements)),
                    missing => self.torn = Some(Torn { elements, missing }),
                }
            }
        }
    }
}

fn is_push(value: &Value) -> bool {
    matches!(value, Value::Push { .. })
}

fn without_attributes(value: Value) -> Value {
    match value {
        Value::Attribute { data, .. } => *data,
        value => value,
    }
}

/// What is left of the bytes; their end is no end of input.
struct Rest<'a>(&'a [u8]);

impl Read for Rest<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use redis::{PushKind, Value};

    use super::Replies;

    const WIRE: &[u8] = b"+OK\r\n*3\r\n$3\r\napp\r\n$15\r\nhttp://a:80/\r\n\0\r\n$0\r\n\r\n:-2\r\n\
        >2\r\n$10\r\ninvalidate\r\n*2\r\n$10\r\nfrontend:a\r\n$10\r\nfrontend:b\r\n-WRONGTYPE Operation\r\n\
        >2\r\n$10\r\ninvalidate\r\n_\r\n%1\r\n+proto\r\n:3\r\n=7\r\ntxt:a=b\r\n*0\r\n$-1\r\n|1\r\n+k\r\n+v\r\n:7\r\n";

    fn parse(parts: &[&[u8]]) -> Vec<Value> {
        let mut replies = Replies::new();
        let mut values = Vec::new();
        for part in parts {
            replies.feed(part, |value| values.push(value)).unwrap();
        }
        values
    }

    #[test]
    fn split_at_every_byte() {
        let whole = parse(&[WIRE]);
        assert_eq!(whole.len(), 11, "{whole:?}");
        let text = |text: &str| Value::BulkString(text.into());
        assert_eq!(whole[1], Value::Array(vec![text("app"), text("http://a:80/\r\n\0"), text("")]));
        let data = vec![Value::Array(vec![text("frontend:a"), text("frontend:b")])];
        assert_eq!(whole[3], Value::Push { kind: PushKind::Invalidate, data });
        assert_eq!(whole[5], Value::Push { kind: PushKind::Invalidate, data: vec![Value::Nil] });
        assert_eq!(whole[10], Value::Int(7));
        for at in 0..=WIRE.len() {
            assert_eq!(parse(&[&WIRE[..at], &WIRE[at..]]), whole, "split at {at}");
        }
        let bytes: Vec<&[u8]> = WIRE.chunks(1).collect();
        assert_eq!(parse(&bytes), whole);
        let threes: Vec<&[u8]> = WIRE.chunks(3).collect();
        assert_eq!(parse(&threes), whole);
    }

    #[test]
    fn a_list_torn_by_pushes_is_mended() {
        let push = ">3\r\n$7\r\nmessage\r\n$4\r\ndead\r\n$1\r\nx\r\n";
        let told = || {
            let data = vec![Value::BulkString("dead".into()), Value::BulkString("x".into())];
            Value::Push { kind: PushKind::Message, data }
        };
        let list = |numbers: &[i64]| Value::Array(numbers.iter().map(|one| Value::Int(*one)).collect());
        let wire = format!("*3\r\n:1\r\n:2\r\n{push}:3\r\n*2\r\n{push}{push}{push}:4\r\n:5\r\n:6\r\n");
        let expected = [told(), list(&[1, 2, 3]), told(), told(), told(), list(&[4, 5]), Value::Int(6)];
        for at in 0..=wire.len() {
            assert_eq!(parse(&[&wire.as_bytes()[..at], &wire.as_bytes()[at..]]), expected, "split at {at}");
        }
    }

    #[test]
    fn a_long_value_in_parts() {
        let url = "x".repeat(100_000);
        let wire = format!("*2\r\n${}\r\n{url}\r\n:1\r\n", url.len());
        for size in [1_000, 8_191, 8_192, 8_193, 65_536] {
            let parts: Vec<&[u8]> = wire.as_bytes().chunks(size).collect();
            let expected = Value::Array(vec![Value::BulkString(url.clone().into()), Value::Int(1)]);
            assert_eq!(parse(&parts), [expected]);
        }
    }

    #[test]
    fn other_protocols_are_refused() {
        for wire in ["HTTP/1.1 400 Bad Request\r\n\r\n", "\r\n", ":x\r\n", "$x\r\n"] {
            assert!(Replies::new().feed(wire.as_bytes(), drop).is_err(), "{wire:?}");
        }
    }
}

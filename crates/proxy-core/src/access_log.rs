//! One line of the access log, in nginx's format with the fields Hipache added. Pure: times are arguments.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use crate::bounds::LOG_FIELD_BYTES;

/// What a line tells. Borrowed from the exchange; written once, when the response ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// The client: as a trusted proxy names it, else the peer.
    pub(crate) client: IpAddr,
    /// `dd/Mon/yyyy:HH:MM:SS +0000`.
    pub(crate) time: &'a str,
    /// Method, target and version as they were sent; `None` where no request line could be read.
    pub(crate) request: Option<RequestLine<'a>>,
    /// Status the client got; 499 where it left before there was one (as nginx writes it).
    pub(crate) status: u16,
    /// Bytes sent to the client.
    pub(crate) bytes: u64,
    /// Empty: none was sent.
    pub(crate) referer: &'a [u8],
    /// As `referer`.
    pub(crate) user_agent: &'a [u8],
    /// Identifier of the frontend; empty: none matched.
    pub(crate) vhost: &'a str,
    /// The Host that was asked for, as sent; empty: none was.
    pub(crate) host: &'a [u8],
    /// Key of the frontend; `None`: none matched.
    pub(crate) frontend: Option<&'a str>,
    /// URL of the backend that was asked last; `None`: none was.
    pub(crate) backend_url: Option<&'a str>,
    /// The id that the backend was told.
    pub(crate) request_id: RequestId<'a>,
    /// From the first byte of the request to the last of the response.
    pub(crate) total: Duration,
    /// From the choice of a backend to the end of its answer; zero: none was asked.
    pub(crate) backend: Duration,
}

/// The id of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RequestId<'a> {
    /// The client's.
    Given(&'a [u8]),
    /// Made here.
    Own(u128),
}

/// A request line for the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestLine<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) target: &'a [u8],
    pub(crate) version: &'a str,
}

/// Appends the line for `entry`. Quotes, backslashes and control bytes are written `\xHH`, so that a line is one
/// line and a field ends where it seems to.
pub(crate) fn write_line(out: &mut Vec<u8>, entry: &Entry<'_>) {
    match entry.client.to_canonical() {
        IpAddr::V4(address) => {
            out.extend_from_slice(b"::ffff:");
            push_ipv4(out, address);
        }
        IpAddr::V6(address) => {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{address}");
        }
    }
    out.extend_from_slice(b" - - [");
    out.extend_from_slice(entry.time.as_bytes());
    out.extend_from_slice(b"] \"");
    match entry.request {
        Some(line) => {
            push_escaped(out, line.method);
            out.push(b' ');
            push_escaped(out, line.target);
            out.push(b' ');
            out.extend_from_slice(line.version.as_bytes());
        }
        None => out.push(b'-'),
    }
    out.extend_from_slice(b"\" ");
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(entry.status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(digits.format(entry.bytes).as_bytes());
    for field in [entry.referer, entry.user_agent, entry.vhost.as_bytes()] {
        out.extend_from_slice(b" \"");
        push_escaped(out, field);
        out.push(b'"');
    }
    push_seconds(out, entry.total);
    push_seconds(out, entry.backend);
    out.push(b'\n');
}

fn push_ipv4(out: &mut Vec<u8>, address: std::net::Ipv4Addr) {
    let mut digits = itoa::Buffer::new();
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(digits.format(octet).as_bytes());
    }
}

/// A space, then seconds with three decimals.
fn push_seconds(out: &mut Vec<u8>, duration: Duration) {
    let millis = duration.subsec_millis();
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(duration.as_secs()).as_bytes());
    out.push(b'.');
    out.extend([millis / 100, millis / 10 % 10, millis % 10].map(|digit| b'0' + digit as u8));
}

fn push_escaped(out: &mut Vec<u8>, field: &[u8]) {
    let field = &field[..field.len().min(LOG_FIELD_BYTES)];
    let needs_escape = |byte: &u8| matches!(byte, 0..0x20 | 0x7f | b'"' | b'\\');
    // Without a stop at the first: many bytes are looked at together.
    if !field.iter().fold(false, |found, byte| found | needs_escape(byte)) {
        out.extend_from_slice(field);
        return;
    }
    for byte in field {
        if needs_escape(byte) {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            out.extend([b'\\', b'x', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        } else {
            out.push(*byte);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const ENTRY: Entry<'static> = Entry {
        client: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 255)),
        time: "22/Nov/2026:10:11:12 +0000",
        request: Some(RequestLine { method: b"GET", target: b"/a?b", version: "HTTP/1.1" }),
        status: 200,
        bytes: 1234,
        referer: b"http://r/",
        user_agent: b"curl",
        vhost: "mywebsite",
        host: b"www.example.tld",
        frontend: Some("*.example.tld"),
        backend_url: Some("http://10.0.0.7:8080"),
        request_id: RequestId::Own(0xabc),
        total: Duration::from_micros(1_002_900),
        backend: Duration::from_millis(40),
    };

    fn line(entry: Entry<'_>) -> String {
        let mut out = Vec::new();
        write_line(&mut out, &entry);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_the_line_to_the_letter() {
        assert_eq!(
            line(ENTRY),
            "::ffff:10.0.0.255 - - [22/Nov/2026:10:11:12 +0000] \"GET /a?b HTTP/1.1\" 200 1234 \"http://r/\" \
             \"curl\" \"mywebsite\" 1.002 0.040\n"
        );
        let ipv6 = line(Entry { client: "2001:db8::1".parse().unwrap(), ..ENTRY });
        assert!(ipv6.starts_with("2001:db8::1 - - ["), "{ipv6}");
        let unread =
            line(Entry { request: None, status: 400, referer: b"", user_agent: b"", vhost: "", ..ENTRY });
        assert!(unread.contains("] \"-\" 400 1234 \"\" \"\" \"\" "), "{unread}");
    }

    #[test]
    fn a_client_cannot_break_the_line() {
        let forged = line(Entry { user_agent: b"a\" 200 \\ \r\n\x7f\xc3\xa9", ..ENTRY });
        assert!(forged.contains("\"a\\x22 200 \\x5C \\x0D\\x0A\\x7F\u{e9}\""), "{forged}");
        assert_eq!(forged.matches('\n').count(), 1);
        let long = [b'x'; LOG_FIELD_BYTES + 10];
        assert!(line(Entry { user_agent: &long, ..ENTRY }).len() < LOG_FIELD_BYTES + 200);
    }

    #[test]
    fn the_examples_in_the_document_are_what_is_written() {
        let line_of = |method: &'static [u8], target: &'static [u8], version: &'static str| {
            Some(RequestLine { method, target, version })
        };
        let usual = Entry {
            client: "203.0.113.7".parse().unwrap(),
            request: line_of(b"GET", b"/a?b=c", "HTTP/1.1"),
            referer: b"",
            user_agent: b"curl/8.5.0",
            vhost: "my-app",
            ..ENTRY
        };
        let millis = Duration::from_millis;
        let lines = [
            line(Entry {
                referer: b"http://www.example.tld/",
                total: millis(11),
                backend: millis(9),
                ..usual
            }),
            line(Entry {
                client: "2001:db8::7".parse().unwrap(),
                request: line_of(b"HEAD", b"/", "HTTP/1.0"),
                status: 304,
                bytes: 180,
                user_agent: b"",
                total: millis(2),
                backend: millis(1),
                ..usual
            }),
            line(Entry {
                client: "198.51.100.9".parse().unwrap(),
                time: "22/Nov/2026:10:11:13 +0000",
                request: line_of(b"POST", b"/form", "HTTP/1.1"),
                status: 502,
                bytes: 421,
                user_agent: b"Mozilla/5.0 \"quoted\"",
                total: millis(5003),
                backend: millis(5002),
                ..usual
            }),
            line(Entry {
                time: "22/Nov/2026:10:11:14 +0000",
                request: line_of(b"GET", b"/", "HTTP/1.1"),
                status: 400,
                bytes: 398,
                vhost: "",
                total: millis(0),
                backend: millis(0),
                ..usual
            }),
            line(Entry {
                time: "22/Nov/2026:11:40:59 +0000",
                request: line_of(b"GET", b"/chat", "HTTP/1.1"),
                status: 101,
                bytes: 88_213,
                total: millis(5_398_250),
                backend: millis(5_398_247),
                ..usual
            }),
        ];
        let document = include_str!("../../../docs/ACCESS_LOG.md");
        let block = document.split("```\n").nth(1).expect("the document has a block of lines");
        assert_eq!(lines.concat(), block);
    }
}

//! The PROXY protocol's header, versions 1 and 2 (proxy-protocol.txt of HAProxy): what a proxy before this one says of
//! its client, in front of the connection's first byte. Pure; whose header is believed it does not know.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::bounds::{PROXY_BINARY_BYTES, PROXY_TEXT_BYTES};

/// How a header of version 1 begins.
const TEXT: &[u8] = b"PROXY ";
/// How a header of version 2 begins.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// That, version and command, family and transport, and the length of the rest.
const BINARY_FIXED_BYTES: usize = 16;

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Introduction {
    /// Bytes of the header; what follows is the client's.
    pub length: usize,
    /// `None`: it names no client over TCP, so that of the connection stays.
    pub client: Option<Introduced>,
}

/// The client that a header names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Introduced {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The port that it connected to.
    pub destination_port: u16,
}

/// Why what a connection begins with is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It begins as neither version does.
    NoHeader,
    /// A line that is longer than any of version 1.
    LongLine,
    /// A line that does not say what version 1 does.
    Line,
    /// A version, command, family or transport that version 2 does not have.
    Kind,
    /// It is shorter than the addresses it announces.
    Short,
    /// A header of version 2 of more bytes than are taken.
    TooLarge,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader => f.write_str("it does not begin with a PROXY header"),
            Self::LongLine => write!(f, "its PROXY line does not end within {PROXY_TEXT_BYTES} bytes"),
            Self::Line => f.write_str("its PROXY line is malformed"),
            Self::Kind => f.write_str("its PROXY v2 header is of an unknown version, command or family"),
            Self::Short => f.write_str("its PROXY v2 header is shorter than its addresses"),
            Self::TooLarge => write!(f, "its PROXY v2 header has more than {PROXY_BINARY_BYTES} bytes"),
        }
    }
}

/// The header that `bytes`, all that a connection has brought so far, begin with. `None`: there is more to come.
///
/// # Errors
/// They are not the beginning of any.
pub fn parse(bytes: &[u8]) -> Result<Option<Introduction>, Fault> {
    if begins_as(bytes, BINARY) {
        return parse_binary(bytes);
    }
    if begins_as(bytes, TEXT) { parse_text(bytes) } else { Err(Fault::NoHeader) }
}

/// Whether `bytes` begin with `start`, as far as they have come.
fn begins_as(bytes: &[u8], start: &[u8]) -> bool {
    let common = bytes.len().min(start.len());
    bytes[..common] == start[..common]
}

fn parse_text(bytes: &[u8]) -> Result<Option<Introduction>, Fault> {
    let line = &bytes[..bytes.len().min(PROXY_TEXT_BYTES)];
    let Some(end) = line.iter().position(|&byte| byte == b'\n') else {
        return if line.len() < PROXY_TEXT_BYTES { Ok(None) } else { Err(Fault::LongLine) };
    };
    let words = line[..end].strip_suffix(b"\r").and_then(|line| line.strip_prefix(TEXT));
    let words = words.and_then(|words| std::str::from_utf8(words).ok()).ok_or(Fault::Line)?;
    let (family, rest) = words.split_once(' ').unwrap_or((words, ""));
    let client = match family {
        // What else stands there is to be passed over.
        "UNKNOWN" => None,
        "TCP4" => Some(parse_addresses::<Ipv4Addr>(rest).ok_or(Fault::Line)?),
        "TCP6" => Some(parse_addresses::<Ipv6Addr>(rest).ok_or(Fault::Line)?),
        _ => return Err(Fault::Line),
    };
    Ok(Some(Introduction { length: end + 1, client }))
}

/// Both addresses, both ports, one space between two.
fn parse_addresses<A: FromStr + Into<IpAddr>>(words: &str) -> Option<Introduced> {
    let mut words = words.split(' ');
    let address: A = words.next()?.parse().ok()?;
    let _: A = words.next()?.parse().ok()?;
    let (port, destination_port) = (parse_port(words.next()?)?, parse_port(words.next()?)?);
    words.next().is_none().then(|| Introduced { address: address.into(), port, destination_port })
}

/// Digits alone, without zeros before them.
fn parse_port(digits: &str) -> Option<u16> {
    let is_plain =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| is_plain)
}

fn parse_binary(bytes: &[u8]) -> Result<Option<Introduction>, Fault> {
    let Some(&[command, family, high, low]) = bytes.get(BINARY.len()..BINARY_FIXED_BYTES) else {
        return Ok(None);
    };
    let length = BINARY_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > PROXY_BINARY_BYTES {
        return Err(Fault::TooLarge);
    }
    // Of the proxy's own connections, such as its checks, the family does not count.
    let names_client = match command {
        0x20 => false,
        0x21 => true,
        _ => return Err(Fault::Kind),
    };
    if names_client && (family >> 4 > 3 || family & 0x0f > 2) {
        return Err(Fault::Kind);
    }
    let Some(rest) = bytes.get(BINARY_FIXED_BYTES..length) else { return Ok(None) };
    let client = match family {
        0x11 if names_client => Some(binary_addresses::<4>(rest).ok_or(Fault::Short)?),
        0x21 if names_client => Some(binary_addresses::<16>(rest).ok_or(Fault::Short)?),
        _ => None,
    };
    Ok(Some(Introduction { length, client }))
}

/// Both addresses, then both ports; what follows are extensions (TLV), which are passed over.
fn binary_addresses<const BYTES: usize>(rest: &[u8]) -> Option<Introduced>
where
    IpAddr: From<[u8; BYTES]>,
{
    let (address, rest) = rest.split_first_chunk::<BYTES>()?;
    let (_, rest) = rest.split_first_chunk::<BYTES>()?;
    let (ports, _) = rest.split_first_chunk::<4>()?;
    let [high, low, destination_high, destination_low] = *ports;
    Some(Introduced {
        address: IpAddr::from(*address),
        port: u16::from_be_bytes([high, low]),
        destination_port: u16::from_be_bytes([destination_high, destination_low]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(address: &str, port: u16, destination_port: u16) -> Option<Introduced> {
        Some(Introduced { address: address.parse().unwrap(), port, destination_port })
    }

    /// A header of version 2.
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [BINARY, &[command, family], &length, rest].concat()
    }

    fn ipv4(more: &[u8]) -> Vec<u8> {
        [&[203, 0, 113, 9, 192, 0, 2, 1, 0x80, 0x01, 0x01, 0xbb], more].concat()
    }

    fn ipv6() -> Vec<u8> {
        let (client, proxy): (Ipv6Addr, Ipv6Addr) = ("2001:db8::9".parse().unwrap(), "::1".parse().unwrap());
        [&client.octets()[..], &proxy.octets(), &[0, 7, 0, 80]].concat()
    }

    fn good() -> Vec<(Vec<u8>, Option<Introduced>)> {
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(PROXY_TEXT_BYTES - 16));
        assert_eq!(longest.len(), PROXY_TEXT_BYTES);
        let text = |line: &str| line.as_bytes().to_vec();
        let most = PROXY_BINARY_BYTES - BINARY_FIXED_BYTES;
        vec![
            (text("PROXY TCP4 203.0.113.9 192.0.2.1 32769 443\r\n"), named("203.0.113.9", 32_769, 443)),
            (
                text("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
                named("255.255.255.255", 65_535, 65_535),
            ),
            (text("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"), named("0.0.0.0", 0, 0)),
            (text("PROXY TCP6 2001:db8::9 ::1 7 80\r\n"), named("2001:db8::9", 7, 80)),
            (text("PROXY TCP6 ::ffff:10.0.0.1 ::1 7 80\r\n"), named("::ffff:10.0.0.1", 7, 80)),
            (text("PROXY UNKNOWN\r\n"), None),
            (text("PROXY UNKNOWN ffff:f...f:ffff ffff 65535 65535\r\n"), None),
            (longest.into_bytes(), None),
            (binary(0x21, 0x11, &ipv4(&[])), named("203.0.113.9", 32_769, 443)),
            (binary(0x21, 0x11, &ipv4(&[0x03, 0, 4, 1, 2, 3, 4])), named("203.0.113.9", 32_769, 443)),
            (binary(0x21, 0x11, &ipv4(&[0xee; 100])), named("203.0.113.9", 32_769, 443)),
            (binary(0x21, 0x11, &ipv4(&vec![0; most - 12])), named("203.0.113.9", 32_769, 443)),
            (binary(0x21, 0x21, &ipv6()), named("2001:db8::9", 7, 80)),
            // Not over TCP, or not said.
            (binary(0x21, 0x00, &[]), None),
            (binary(0x21, 0x00, &[1, 2, 3]), None),
            (binary(0x21, 0x12, &ipv4(&[])), None),
            (binary(0x21, 0x31, &[b'/'; 216]), None),
            // The proxy's own connection.
            (binary(0x20, 0x00, &[]), None),
            (binary(0x20, 0x11, &[]), None),
            (binary(0x20, 0xff, &ipv4(&[])), None),
        ]
    }

    #[test]
    fn names_the_client_and_leaves_what_follows() {
        for (header, client) in good() {
            let expected = Ok(Some(Introduction { length: header.len(), client }));
            assert_eq!(parse(&header), expected, "{}", header.escape_ascii());
            for next in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01", b"\n", b"\r\n\r\n\0\r\nQUIT\n"] {
                assert_eq!(parse(&[&header, next].concat()), expected, "{}", header.escape_ascii());
            }
        }
    }

    #[test]
    fn waits_for_the_rest_wherever_it_is_split() {
        for (header, _) in good() {
            for length in 0..header.len() {
                assert_eq!(parse(&header[..length]), Ok(None), "{}", header[..length].escape_ascii());
            }
        }
    }

    #[test]
    fn refuses_other_lines() {
        let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(PROXY_TEXT_BYTES - 15));
        let endless = format!("PROXY TCP4 {}", "1".repeat(PROXY_TEXT_BYTES - 11));
        assert_eq!(endless.len(), PROXY_TEXT_BYTES);
        for (line, fault) in [
            ("GET / HTTP/1.1\r\n", Fault::NoHeader),
            ("G", Fault::NoHeader),
            ("PROXYTCP4 1.1.1.1 1.1.1.1 1 1\r\n", Fault::NoHeader),
            ("proxy UNKNOWN\r\n", Fault::NoHeader),
            ("\r\nG", Fault::NoHeader),
            (" PROXY UNKNOWN\r\n", Fault::NoHeader),
            (&long, Fault::LongLine),
            (&endless, Fault::LongLine),
            ("PROXY UNKNOWN\n", Fault::Line),
            ("PROXY \r\n", Fault::Line),
            ("PROXY\tUNKNOWN\r\n", Fault::NoHeader),
            ("PROXY UNKNOWNS\r\n", Fault::Line),
            ("PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n", Fault::Line),
            ("PROXY TCP4\r\n", Fault::Line),
            ("PROXY TCP4 \r\n", Fault::Line),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", Fault::Line),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n", Fault::Line),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n", Fault::Line),
            ("PROXY TCP4  1.1.1.1 1.1.1.1 1 1\r\n", Fault::Line),
            ("PROXY TCP4 ::1 ::1 1 1\r\n", Fault::Line),
            ("PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n", Fault::Line),
            ("PROXY TCP4 01.1.1.1 1.1.1.1 1 1\r\n", Fault::Line),
            ("PROXY TCP4 1.1.1 1.1.1.1 1 1\r\n", Fault::Line),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n", Fault::Line),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 -1 1\r\n", Fault::Line),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n", Fault::Line),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n", Fault::Line),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\r\n", Fault::Line),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 1 \u{b2}\r\n", Fault::Line),
            ("PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n", Fault::Line),
        ] {
            assert_eq!(parse(line.as_bytes()), Err(fault), "{line:?}");
        }
    }

    #[test]
    fn refuses_other_binaries() {
        let announcing = |length: u16| [BINARY, &[0x21, 0x11], &length.to_be_bytes()].concat();
        let most = u16::try_from(PROXY_BINARY_BYTES - BINARY_FIXED_BYTES).unwrap();
        for (bytes, fault) in [
            (binary(0x11, 0x11, &ipv4(&[])), Fault::Kind),
            (binary(0x31, 0x11, &ipv4(&[])), Fault::Kind),
            (binary(0x22, 0x11, &ipv4(&[])), Fault::Kind),
            (binary(0x21, 0x41, &ipv4(&[])), Fault::Kind),
            (binary(0x21, 0x13, &ipv4(&[])), Fault::Kind),
            (binary(0x21, 0x11, &[]), Fault::Short),
            (binary(0x21, 0x11, &ipv4(&[])[..11]), Fault::Short),
            (binary(0x21, 0x21, &ipv4(&[])), Fault::Short),
            (binary(0x21, 0x21, &ipv6()[..35]), Fault::Short),
            (announcing(most + 1), Fault::TooLarge),
            (announcing(u16::MAX), Fault::TooLarge),
            (b"\r\n\r\n\0\r\nQUIX".to_vec(), Fault::NoHeader),
        ] {
            assert_eq!(parse(&bytes), Err(fault), "{}", bytes.escape_ascii());
        }
        assert_eq!(parse(&announcing(most)), Ok(None));
    }
}

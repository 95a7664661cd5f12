//! The host a request is for, in the one spelling that routes are looked up by.

use super::fault::Fault;
use crate::bounds::HOST_BYTES;

/// Writes `value` (a Host field or the authority of a target) into `out` in lower case, without trailing dot and
/// without an empty port. What `out` held is replaced.
///
/// # Errors
/// [`Fault::Host`] for anything that is not a host name or address with an optional port. `*` is refused though
/// RFC 3986 allows it in names: a client must not name a wildcard key.
pub(crate) fn normalize(value: &[u8], out: &mut String) -> Result<(), Fault> {
    out.clear();
    if value.is_empty() || value.len() > HOST_BYTES {
        return Err(Fault::Host);
    }
    let name_end = match value[0] {
        b'[' => bracketed_end(value)?,
        _ => value.iter().position(|&byte| byte == b':').unwrap_or(value.len()),
    };
    let (name, port) = value.split_at(name_end);
    let name = name.strip_suffix(b".").unwrap_or(name);
    let is_literal = value[0] == b'[';
    if name.is_empty() || !(is_literal || name.iter().all(|&byte| NAME_BYTES[usize::from(byte)])) {
        return Err(Fault::Host);
    }
    out.push_str(std::str::from_utf8(name).map_err(|_| Fault::Host)?);
    out.make_ascii_lowercase();
    push_port(port, out)
}

/// A host in look-up spelling without its port.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The last colon of an IPv6 literal without a port stands within the brackets.
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

/// Where the bracket of an IPv6 literal closes; the inside must be an address.
fn bracketed_end(value: &[u8]) -> Result<usize, Fault> {
    let close = value.iter().position(|&byte| byte == b']').ok_or(Fault::Host)?;
    let inside = std::str::from_utf8(&value[1..close]).map_err(|_| Fault::Host)?;
    inside.parse::<std::net::Ipv6Addr>().map_err(|_| Fault::Host)?;
    Ok(close + 1)
}

fn push_port(port: &[u8], out: &mut String) -> Result<(), Fault> {
    match port {
        [] | [b':'] => Ok(()),
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            let digits = std::str::from_utf8(digits).map_err(|_| Fault::Host)?;
            let port: u16 = digits.parse().map_err(|_| Fault::Host)?;
            out.push(':');
            out.push_str(itoa::Buffer::new().format(port));
            Ok(())
        }
        _ => Err(Fault::Host),
    }
}

/// Which bytes a registered name may have (RFC 3986 section 3.2.2), but for `*`.
const NAME_BYTES: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < allowed.len() {
        allowed[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~!$&'()+,;=%";
    let mut place = 0;
    while place < others.len() {
        allowed[others[place] as usize] = true;
        place += 1;
    }
    allowed
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_each_host() {
        for (value, expected) in [
            ("Www.Example.TLD", "www.example.tld"),
            ("www.example.tld.", "www.example.tld"),
            ("www.example.tld.:8080", "www.example.tld:8080"),
            ("a:080", "a:80"),
            ("a:", "a"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]", "[::1]"),
            ("[2001:DB8::1]:81", "[2001:db8::1]:81"),
            ("__ping__", "__ping__"),
        ] {
            let mut out = String::from("old");
            assert_eq!(normalize(value.as_bytes(), &mut out), Ok(()), "{value}");
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn refuses_what_is_no_host() {
        let long = "a".repeat(300);
        for value in [
            "",
            ".",
            ":80",
            "a:65536",
            "a:x",
            "a:-1",
            "a:80:80",
            "a b",
            "a/b",
            "a@b",
            "*.example.tld",
            "*",
            "[::1",
            "[::1]x",
            "[zz]",
            "[127.0.0.1]",
            "a\tb",
            "a\u{e9}",
            "a\"b",
            &long,
        ] {
            assert_eq!(normalize(value.as_bytes(), &mut String::new()), Err(Fault::Host), "{value:?}");
        }
    }
}

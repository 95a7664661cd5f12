//! Who a certificate is for, as one line of text (RFC 4514).

use crate::der::{self, OBJECT, Reader, SEQUENCE, SET};

/// Short names of attribute types (RFC 4514 section 3, and `emailAddress` as OpenSSL prints it), by the contents of
/// their identifiers.
const SHORT_NAMES: [(&[u8], &str); 10] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 1, 25], "DC"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 1, 1], "UID"),
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 9, 1], "emailAddress"),
];

/// The text of a name, given the contents of its DER: the most specific part first. Printable ASCII whatever the name
/// holds, so that it can stand in a header field. `None`: it is no name.
pub(crate) fn text(name: &[u8]) -> Option<String> {
    let mut reader = Reader(name);
    let mut parts = Vec::new();
    while !reader.0.is_empty() {
        parts.push(relative_name(reader.expect(SET)?)?);
    }
    parts.reverse();
    Some(parts.join(","))
}

/// One level of the name; seldom of more than one attribute.
fn relative_name(set: &[u8]) -> Option<String> {
    let mut reader = Reader(set);
    let mut attributes = Vec::new();
    while !reader.0.is_empty() {
        attributes.push(attribute(reader.expect(SEQUENCE)?)?);
    }
    Some(attributes.join("+"))
}

fn attribute(sequence: &[u8]) -> Option<String> {
    let mut reader = Reader(sequence);
    let kind = reader.expect(OBJECT)?;
    let value = reader.next()?;
    let known = SHORT_NAMES.iter().find(|(identifier, _)| *identifier == kind);
    match (known, string(value)) {
        (Some((_, name)), Some(text)) => Some(format!("{name}={}", escaped(&text))),
        // RFC 4514 section 2.4: what has no text is written as its bytes.
        (Some((_, name)), None) => Some(format!("{name}=#{}", hex(value.whole))),
        (None, _) => Some(format!("{}=#{}", dotted(kind)?, hex(value.whole))),
    }
}

fn string(value: der::Value<'_>) -> Option<String> {
    match value.tag {
        der::UTF8 | der::PRINTABLE | der::IA5 | der::NUMERIC => {
            String::from_utf8(value.contents.to_vec()).ok()
        }
        der::BMP => {
            let pairs = value.contents.chunks_exact(2);
            let odd = !pairs.remainder().is_empty();
            let units: Vec<u16> = pairs.map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            String::from_utf16(&units).ok().filter(|_| !odd)
        }
        _ => None,
    }
}

/// The value with what would be taken for something else escaped (RFC 4514 section 2.4). Bytes that are not printable
/// ASCII become pairs of digits, which the RFC allows for any.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.len().saturating_sub(1);
    for (place, byte) in text.bytes().enumerate() {
        let at_an_edge = (place == 0 && matches!(byte, b' ' | b'#')) || (place == last && byte == b' ');
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => out.extend(['\\', char::from(byte)]),
            _ if at_an_edge => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\{byte:02X}")),
        }
    }
    out
}

/// An identifier as numbers with dots between them.
fn dotted(identifier: &[u8]) -> Option<String> {
    let mut numbers = Vec::new();
    let mut number: u64 = 0;
    for &byte in identifier {
        number = number.checked_mul(128)? | u64::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            numbers.push(number);
            number = 0;
        }
    }
    let (first, rest) = numbers.split_first()?;
    let top = (first / 40).min(2);
    let mut out = format!("{top}.{}", first - top * 40);
    for number in rest {
        out.push('.');
        out.push_str(&number.to_string());
    }
    Some(out)
}

/// Digits of some bytes, two each.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value of fewer than 128 bytes.
    fn value(tag: u8, contents: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(contents.len()).unwrap()], contents].concat()
    }

    fn part(kind: &[u8], tag: u8, contents: &[u8]) -> Vec<u8> {
        let attribute = [value(OBJECT, kind), value(tag, contents)].concat();
        value(SET, &value(SEQUENCE, &attribute))
    }

    #[test]
    fn the_most_specific_part_comes_first() {
        let name =
            [part(&[0x55, 4, 6], der::PRINTABLE, b"DE"), part(&[0x55, 4, 3], der::UTF8, b"Jo")].concat();
        assert_eq!(text(&name).unwrap(), "CN=Jo,C=DE");
        assert_eq!(text(&[]).unwrap(), "");
    }

    #[test]
    fn several_attributes_of_one_level() {
        let pair = |kind: &[u8], contents: &[u8]| {
            value(SEQUENCE, &[value(OBJECT, kind), value(der::UTF8, contents)].concat())
        };
        let name = value(SET, &[pair(&[0x55, 4, 3], b"a"), pair(&[0x55, 4, 11], b"b")].concat());
        assert_eq!(text(&name).unwrap(), "CN=a+OU=b");
    }

    #[test]
    fn nothing_in_a_value_can_be_taken_for_something_else() {
        let cases: [(&[u8], &str); 9] = [
            (b"a,CN=root", r"CN=a\,CN=root"),
            (b"a+b;c", r"CN=a\+b\;c"),
            (b"\"<>\\", r#"CN=\"\<\>\\"#),
            (b" a ", r"CN=\ a\ "),
            (b"#a #", r"CN=\#a #"),
            (b" ", r"CN=\ "),
            (b"a\r\nX-Admin: 1", r"CN=a\0D\0AX-Admin: 1"),
            (b"\0\x7f", r"CN=\00\7F"),
            ("é".as_bytes(), r"CN=\C3\A9"),
        ];
        for (contents, expected) in cases {
            assert_eq!(text(&part(&[0x55, 4, 3], der::UTF8, contents)).unwrap(), expected);
        }
    }

    #[test]
    fn other_kinds_of_text_and_unknown_types() {
        assert_eq!(text(&part(&[0x55, 4, 3], der::BMP, &[0, b'a', 0, b'b'])).unwrap(), "CN=ab");
        assert_eq!(text(&part(&[0x55, 4, 3], der::BMP, &[0])).unwrap(), "CN=#1e0100");
        assert_eq!(text(&part(&[0x55, 4, 3], der::UTF8, &[0xFF])).unwrap(), "CN=#0c01ff");
        assert_eq!(text(&part(&[0x55, 4, 5], der::PRINTABLE, b"7")).unwrap(), "2.5.4.5=#130137");
        assert_eq!(text(&part(&[0x2A, 0x86, 0x48], der::UTF8, b"x")).unwrap(), "1.2.840=#0c0178");
    }

    #[test]
    fn what_is_no_name_has_no_text() {
        let name = part(&[0x55, 4, 3], der::UTF8, b"somebody");
        for end in 1..name.len() {
            assert_eq!(text(&name[..end]), None, "cut at {end}");
        }
    }
}

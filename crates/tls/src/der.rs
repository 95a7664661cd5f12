//! As much DER as it takes to read what webpki has checked but does not tell: the times of a certificate, and the parts
//! of a subject. Reads, never allocates, and takes nothing for granted.

/// INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// OBJECT IDENTIFIER.
pub(crate) const OBJECT: u8 = 0x06;
/// UTF8String.
pub(crate) const UTF8: u8 = 0x0C;
/// NumericString.
pub(crate) const NUMERIC: u8 = 0x12;
/// PrintableString.
pub(crate) const PRINTABLE: u8 = 0x13;
/// IA5String.
pub(crate) const IA5: u8 = 0x16;
/// UTCTime.
pub(crate) const UTC_TIME: u8 = 0x17;
/// GeneralizedTime.
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
/// BMPString: UTF-16, big-endian.
pub(crate) const BMP: u8 = 0x1E;
/// SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;
/// SET.
pub(crate) const SET: u8 = 0x31;
/// The first explicitly tagged field, in a certificate its version.
pub(crate) const FIRST: u8 = 0xA0;

/// One value: its tag, its contents, and both with the length between them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    pub(crate) contents: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// Takes values off the front of some bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next value; `None` where there is none, or what is there is no DER.
    pub(crate) fn next(&mut self) -> Option<Value<'a>> {
        let bytes = self.0;
        let (&tag, rest) = bytes.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7F => (usize::from(first), rest),
            // More than four bytes of a length are more than anything here has.
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
                (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
            }
            _ => return None,
        };
        let (contents, left) = rest.split_at_checked(length)?;
        self.0 = left;
        Some(Value { tag, contents, whole: &bytes[..bytes.len() - left.len()] })
    }

    /// The contents of the next value, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|value| value.tag == tag).map(|value| value.contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_values_one_after_the_other() {
        let mut reader = Reader(&[INTEGER, 1, 5, UTF8, 0x81, 2, b'a', b'b', SEQUENCE, 0]);
        assert_eq!(reader.expect(INTEGER), Some(&[5][..]));
        let text = reader.next().unwrap();
        assert_eq!((text.tag, text.contents, text.whole.len()), (UTF8, &b"ab"[..], 5));
        assert_eq!(reader.expect(SET), None);
        assert!(reader.next().is_none());
    }

    #[test]
    fn what_is_cut_or_odd_is_nothing() {
        for bytes in [
            &[][..],
            &[2],
            &[2, 1],
            &[2, 0x80, 0, 0],
            &[2, 0x82, 1],
            &[2, 0x85, 0, 0, 0, 0, 0],
            &[2, 0x84, 255, 255, 255, 255],
        ] {
            assert!(Reader(bytes).next().is_none(), "{bytes:?}");
        }
    }
}

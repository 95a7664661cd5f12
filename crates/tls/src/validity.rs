//! When a certificate is good, which webpki checks for peers' and tells of none.

use crate::der::{FIRST, GENERALIZED_TIME, INTEGER, Reader, SEQUENCE, UTC_TIME, Value};

const DAY: u64 = 86_400;

/// From when to when, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    from: u64,
    until: u64,
}

impl Validity {
    /// That of a certificate (RFC 5280 section 4.1); `None`: it cannot be read.
    pub(crate) fn of(certificate: &[u8]) -> Option<Self> {
        let mut certificate = Reader(Reader(certificate).expect(SEQUENCE)?);
        let mut body = Reader(certificate.expect(SEQUENCE)?);
        let mut ahead = body;
        if ahead.next()?.tag == FIRST {
            body = ahead;
        }
        body.expect(INTEGER)?;
        // The algorithm of the signature, and the issuer.
        body.expect(SEQUENCE)?;
        body.expect(SEQUENCE)?;
        let mut times = Reader(body.expect(SEQUENCE)?);
        Some(Self { from: time(times.next()?)?, until: time(times.next()?)? })
    }

    /// What there is to say of it `now`.
    pub(crate) fn doubt(self, now: u64) -> Option<String> {
        if now < self.from {
            return Some(format!("it begins in {} days only", (self.from - now).div_ceil(DAY)));
        }
        (now > self.until).then(|| format!("it expired {} days ago", (now - self.until) / DAY))
    }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5).
fn time(value: Value<'_>) -> Option<u64> {
    let (year, rest) = match (value.tag, value.contents.len()) {
        (UTC_TIME, 13) => {
            let year = digits(&value.contents[..2])?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &value.contents[2..])
        }
        (GENERALIZED_TIME, 15) => (digits(&value.contents[..4])?, &value.contents[4..]),
        _ => return None,
    };
    let part = |place: usize| digits(&rest[place..place + 2]);
    let days = days_until(year, part(0)?, part(2)?)?;
    // What began before 1970 has begun.
    Some(days.saturating_mul(DAY) + part(4)? * 3600 + part(6)? * 60 + part(8)?)
}

fn digits(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// Days from 1970 to a date; 0 for any before.
fn days_until(year: u64, month: u64, day: u64) -> Option<u64> {
    let valid = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !valid {
        return None;
    }
    // Years that begin in March have their leap day last.
    let (year, month) = if month < 3 { (year.saturating_sub(1), month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    Some(days.saturating_sub(719_468))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(tag: u8, text: &str) -> Option<u64> {
        time(Value { tag, contents: text.as_bytes(), whole: text.as_bytes() })
    }

    #[test]
    fn times_in_both_forms() {
        assert_eq!(seconds(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(seconds(UTC_TIME, "000229000000Z"), Some(951_782_400));
        assert_eq!(seconds(UTC_TIME, "240310123456Z"), Some(1_710_074_096));
        assert_eq!(seconds(GENERALIZED_TIME, "21000101000000Z"), Some(4_102_444_800));
        assert_eq!(seconds(GENERALIZED_TIME, "19000101000000Z"), Some(0));
        for odd in ["2401010000Z", "24010100000aZ", "241301000000Z", "240100000000Z"] {
            assert_eq!(seconds(UTC_TIME, odd), None, "{odd}");
        }
    }

    #[test]
    fn what_is_over_or_has_not_begun_is_doubted() {
        let validity = Validity { from: 10 * DAY, until: 20 * DAY };
        assert_eq!(validity.doubt(15 * DAY), None);
        assert_eq!(validity.doubt(8 * DAY).unwrap(), "it begins in 2 days only");
        assert_eq!(validity.doubt(23 * DAY).unwrap(), "it expired 3 days ago");
    }
}

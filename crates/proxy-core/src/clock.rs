//! The only place that asks what time it is.
#![allow(clippy::disallowed_methods, reason = "this is the module the rule points to")]

use std::time::{Duration, Instant, SystemTime};

/// A point in monotonic time.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970 by the wall clock; 0 before that.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// Milliseconds since 1970 by the wall clock; 0 before that.
pub(crate) fn unix_millis() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

/// A wall-clock second as the access log writes it: `dd/Mon/yyyy:HH:MM:SS +0000`.
pub(crate) fn log_time(unix_seconds: u64) -> String {
    let seconds = i64::try_from(unix_seconds).unwrap_or(0);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.to_zoned(jiff::tz::TimeZone::UTC).strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn writes_the_time_as_nginx_does() {
        assert_eq!(super::log_time(0), "01/Jan/1970:00:00:00 +0000");
        assert_eq!(super::log_time(1_795_386_600), "22/Nov/2026:22:30:00 +0000");
    }
}

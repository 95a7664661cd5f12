//! One line of the access log as a JSON object. Pure: times are arguments.

use std::borrow::Cow;
use std::io::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::access_log::{Entry, RequestId};
use crate::bounds::LOG_FIELD_BYTES;
use crate::http::encode::hex;

/// The fields, in the order they are written. Bytes that are no UTF-8 are replaced.
#[derive(Serialize)]
struct Line<'a> {
    /// RFC 3339, UTC, milliseconds; when the response ended.
    time: String,
    client: std::net::IpAddr,
    method: Option<Cow<'a, str>>,
    target: Option<Cow<'a, str>>,
    version: Option<&'a str>,
    status: u16,
    bytes: u64,
    referer: Cow<'a, str>,
    user_agent: Cow<'a, str>,
    host: Cow<'a, str>,
    vhost: &'a str,
    frontend: Option<&'a str>,
    backend: Option<&'a str>,
    time_total: f64,
    time_backend: f64,
    request_id: Cow<'a, str>,
}

/// Appends the line for `entry`, whose response ended `unix_millis` after 1970.
pub(crate) fn write_line(out: &mut Vec<u8>, entry: &Entry<'_>, unix_millis: u64) {
    let time = jiff::Timestamp::from_millisecond(i64::try_from(unix_millis).unwrap_or(0));
    let line = Line {
        time: format!("{:.3}", time.unwrap_or(jiff::Timestamp::UNIX_EPOCH)),
        client: entry.client.to_canonical(),
        method: entry.request.map(|line| text(line.method)),
        target: entry.request.map(|line| text(line.target)),
        version: entry.request.map(|line| line.version),
        status: entry.status,
        bytes: entry.bytes,
        referer: text(entry.referer),
        user_agent: text(entry.user_agent),
        host: text(entry.host),
        vhost: entry.vhost,
        frontend: entry.frontend,
        backend: entry.backend_url,
        time_total: seconds(entry.total),
        time_backend: seconds(entry.backend),
        request_id: match entry.request_id {
            RequestId::Given(id) => text(id),
            RequestId::Own(id) => String::from_utf8_lossy(&hex(id)).into_owned().into(),
        },
    };
    // Neither writing to a Vec nor these fields can fail.
    let _ = serde_json::to_writer(&mut *out, &line);
    let _ = out.write(b"\n");
}

fn text(field: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(&field[..field.len().min(LOG_FIELD_BYTES)])
}

/// With the three decimals of the other format.
fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::tests::ENTRY;

    fn line(entry: Entry<'_>) -> String {
        let mut out = Vec::new();
        write_line(&mut out, &entry, 1_795_386_600_007);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_each_field_in_its_order() {
        assert_eq!(
            line(ENTRY),
            "{\"time\":\"2026-11-22T22:30:00.007Z\",\"client\":\"10.0.0.255\",\"method\":\"GET\",\"target\":\"/a?b\",\
             \"version\":\"HTTP/1.1\",\"status\":200,\"bytes\":1234,\"referer\":\"http://r/\",\"user_agent\":\"curl\",\
             \"host\":\"www.example.tld\",\"vhost\":\"mywebsite\",\"frontend\":\"*.example.tld\",\
             \"backend\":\"http://10.0.0.7:8080\",\"time_total\":1.002,\"time_backend\":0.04,\
             \"request_id\":\"00000000000000000000000000000abc\"}\n"
        );
    }

    #[test]
    fn a_client_cannot_break_the_line() {
        let forged =
            line(Entry { user_agent: b"a\"\\\r\n\0\xff", request: None, backend_url: None, ..ENTRY });
        assert_eq!(forged.matches('\n').count(), 1);
        let parsed: serde_json::Value = serde_json::from_str(&forged).unwrap();
        assert_eq!(parsed["user_agent"], "a\"\\\r\n\0\u{fffd}");
        assert!(parsed["method"].is_null() && parsed["backend"].is_null());
    }
}

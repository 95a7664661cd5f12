//! What a request with `X-Debug` is told in its answer, with Hipache's field names. Pure.

use std::fmt::Display;
use std::time::Duration;

use redis_router::{Backend, Route};

/// What there is to tell when the answer begins.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trace<'a> {
    pub(crate) route: Option<&'a Route>,
    pub(crate) backend: Option<&'a Backend>,
    /// Since the request's first byte.
    pub(crate) total: Duration,
    /// Since a backend was first asked; zero: none was.
    pub(crate) backend_time: Duration,
}

impl Trace<'_> {
    /// Appends the fields' lines; `error` says why the proxy itself answers.
    pub(crate) fn write(&self, out: &mut Vec<u8>, error: Option<&dyn Display>) {
        if let Some(backend) = self.backend {
            line(out, "x-debug-backend-url", &backend.url);
            line(out, "x-debug-backend-id", &backend.index);
        }
        if let Some(route) = self.route {
            line(out, "x-debug-vhost", &route.frontend.identifier);
            line(out, "x-debug-frontend-key", &route.frontend.key);
        }
        line(out, "x-debug-time-total", &self.total.as_millis());
        line(out, "x-debug-time-backend", &self.backend_time.as_millis());
        if let Some(error) = error {
            line(out, "x-debug-error", error);
        }
    }
}

/// What comes from Redis or the system may hold anything; a field may not (RFC 9110 section 5.5).
fn line(out: &mut Vec<u8>, name: &str, value: &dyn Display) {
    let value = value.to_string();
    let safe = value.bytes().map(|byte| if byte == b' ' || byte.is_ascii_graphic() { byte } else { b'?' });
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(safe);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_break_out_of_its_field() {
        let mut out = Vec::new();
        let trace = Trace { total: Duration::from_micros(12_900), ..Trace::default() };
        trace.write(&mut out, Some(&"a\r\nSet-Cookie: x\0é"));
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "x-debug-time-total: 12\r\nx-debug-time-backend: 0\r\nx-debug-error: a??Set-Cookie: x???\r\n"
        );
    }
}

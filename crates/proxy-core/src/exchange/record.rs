//! What is left of an exchange once it is over: its line in the access log.

use std::net::IpAddr;
use std::time::Duration;

use super::Exchange;
use crate::access_log::{Entry, RequestLine};
use crate::clock;
use crate::downstream::Downstream;
use crate::http::encode;
use crate::http::head::Version;

impl Exchange<'_> {
    pub(super) fn log(&self, downstream: &Downstream<'_>) {
        let (Some(log), Some(settings)) = (&self.core.log, &self.rules.settings.access_log) else { return };
        let request = self.request;
        let bytes = request.bytes.as_slice();
        let request_line = (!request.method.is_empty()).then(|| RequestLine {
            method: request.method.within(bytes),
            target: request.written_target.within(bytes),
            version: match request.version {
                Version::Http10 => "HTTP/1.0",
                Version::Http11 => "HTTP/1.1",
                Version::Http2 => "HTTP/2.0",
            },
        });
        // Where a backend answered, its answer's end is the exchange's end.
        let ended = self.backend_answered_at.unwrap_or_else(clock::now);
        let entry = Entry {
            client: self.logged_client(),
            time: &self.core.log_time.borrow(),
            request: request_line,
            status: self.status,
            bytes: downstream.out.bytes_sent(),
            referer: request.referer.within(bytes),
            user_agent: request.user_agent.within(bytes),
            vhost: self.route.as_ref().map_or("", |route| &route.frontend.identifier),
            host: request.host_value.within(bytes),
            frontend: self.route.as_ref().map(|route| &*route.frontend.key),
            backend_url: self.asked_backend().map(|backend| &*backend.url),
            request_id: encode::request_id(request, self.request_id),
            total: ended - self.started,
            backend: self.asked_backend_at.map_or(Duration::ZERO, |at| ended - at),
        };
        log.write(&entry, settings.format);
    }

    /// The client as a trusted proxy names it (by a PROXY header, else the last address of X-Forwarded-For), else the peer.
    fn logged_client(&self) -> IpAddr {
        if !self.client.trusted || self.client.introduced {
            return self.client.address;
        }
        let forwarded = self.request.forwarded_for.within(&self.request.bytes);
        let last = forwarded.rsplit(|&byte| byte == b',').next().unwrap_or_default();
        std::str::from_utf8(last.trim_ascii())
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(self.client.address)
    }
}

//! What is left of an exchange once it is over: what is counted of it, and its line in the access log.

use std::time::{Duration, Instant};

use super::Exchange;
use crate::access_log::{Entry, RequestLine};
use crate::clock;
use crate::downstream::Downstream;
use crate::http::encode;
use crate::http::head::Version;

impl Exchange<'_> {
    /// Counts and logs it.
    pub(super) fn record(&self, downstream: &Downstream<'_>) {
        // Where a backend answered, its answer's end is the exchange's end.
        let ended = self.backend_answered_at.unwrap_or_else(clock::now);
        let account = &self.core.account;
        let backend = self.asked_backend_at.map(|at| ended - at);
        account.count_request(self.status, ended - self.started, backend);
        account.bytes.add(downstream.out.bytes_sent());
        self.log(downstream, ended);
    }

    fn log(&self, downstream: &Downstream<'_>, ended: Instant) {
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
        let entry = Entry {
            client: self.client_address(),
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
}

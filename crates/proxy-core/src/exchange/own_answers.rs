//! The answers that the proxy gives itself within an exchange, and what it adds to a backend's.

use std::time::Duration;

use redis_router::Backend;

use super::{Ending, Exchange, ending_of};
use crate::answer::{Asked, PROBLEM};
use crate::debug_header::Trace;
use crate::downstream::Downstream;
use crate::error::Failure;
use crate::http::encode::Persistence;
use crate::http::host;
use crate::{answer, clock};

/// The port of HTTPS where none is written.
const HTTPS_PORT: u16 = 443;

impl Exchange<'_> {
    pub(super) async fn answer_ping(&mut self, downstream: &mut Downstream<'_>) -> Result<Ending, Failure> {
        self.status = 200;
        let persistence = self.own_persistence(downstream);
        let asked = Asked { more: &[], ..self.asked_for(downstream, persistence) };
        let sent = downstream.out.send_own(|out| answer::ping(out, asked)).await;
        sent.map_err(|_| Failure::ClientGone)?;
        Ok(ending_of(persistence))
    }

    /// Whether the operator wants HTTPS, for this host or for all.
    pub(super) fn wants_https(&self) -> bool {
        self.options.https_redirect || self.rules.settings.https.as_ref().is_some_and(|https| https.redirect)
    }

    /// Whether the client speaks HTTPS, to this proxy or to a trusted one before it.
    pub(super) fn came_by_https(&self) -> bool {
        self.client.secured.is_some() || self.a_trusted_proxy_says_https()
    }

    fn a_trusted_proxy_says_https(&self) -> bool {
        self.client.trusted
            && self.request.values_of("x-forwarded-proto").any(|scheme| scheme.eq_ignore_ascii_case(b"https"))
    }

    /// Sends the client to the same target over HTTPS: on the port that this proxy speaks it at, else on the one it has
    /// by default.
    pub(super) async fn redirect_to_https(
        &mut self,
        downstream: &mut Downstream<'_>,
    ) -> Result<Ending, Failure> {
        let request = self.request;
        let keeps_method = !matches!(request.method(), b"GET" | b"HEAD");
        self.status = answer::to_https_status(keeps_method);
        let persistence = self.own_persistence(downstream);
        let more = self.more_lines(None, false);
        let asked = Asked { more: &more, ..self.asked_for(downstream, persistence) };
        // The target was parsed as printable ASCII.
        let target = String::from_utf8_lossy(request.target.within(&request.bytes));
        let target = if target.starts_with('/') { &target } else { "/" };
        let name = host::without_port(&request.host);
        let host = match self.core.https_port.filter(|port| *port != HTTPS_PORT) {
            Some(port) => &format!("{name}:{port}"),
            None => name,
        };
        let sent =
            downstream.out.send_own(|out| answer::to_https(out, host, target, keeps_method, asked)).await;
        sent.map_err(|_| Failure::ClientGone)?;
        Ok(ending_of(persistence))
    }

    fn asked_for(&self, downstream: &Downstream<'_>, persistence: Persistence) -> Asked<'static> {
        Asked { client: downstream.out.client(persistence), to_head: self.request.is_head(), more: &[] }
    }

    /// Lines that the answer gets from the proxy: the cookie that keeps the client on its backend, and what it asked
    /// to be told; and, over HTTPS, that it is to come by HTTPS alone, unless the backend `says_how_to_come` itself. Most
    /// often empty.
    pub(super) fn more_lines(&self, error: Option<&Failure>, says_how_to_come: bool) -> Vec<u8> {
        let mut lines = Vec::new();
        let hsts = self.rules.settings.https.as_ref().and_then(|https| https.hsts);
        if let Some(seconds) = hsts.filter(|_| !says_how_to_come && self.came_by_https()) {
            lines.extend_from_slice(format!("Strict-Transport-Security: max-age={seconds}\r\n").as_bytes());
        }
        self.limit_lines(&mut lines, error);
        if let (Some(tag), None) = (self.to_keep_to, error) {
            lines.extend_from_slice(tag.set_cookie_line().as_bytes());
        }
        if self.rules.settings.debug_header && self.request.asks_for_debug {
            let trace = Trace {
                route: self.route.as_deref(),
                backend: self.asked_backend(),
                total: clock::now() - self.started,
                backend_time: self.asked_backend_at.map_or(Duration::ZERO, |at| clock::now() - at),
            };
            trace.write(&mut lines, error.map(|failure| failure as &dyn std::fmt::Display));
        }
        lines
    }

    /// The backend that was asked last.
    pub(super) fn asked_backend(&self) -> Option<&Backend> {
        let (backends, asked) = (&self.route.as_ref()?.frontend.backends, self.asked?);
        let place = backends.binary_search_by_key(&asked, |backend| backend.index).ok()?;
        backends.get(place)
    }

    /// Answers with the error page for `failure`, or ends a response that has begun so that nobody takes it for
    /// whole.
    pub(super) async fn refuse(&mut self, downstream: &mut Downstream<'_>, failure: &Failure) -> Ending {
        log::debug!("{} {}: {failure}", self.client.address_text, self.request.host);
        let Some(status) = failure.status().filter(|_| !downstream.out.has_begun()) else {
            downstream.out.abort();
            return Ending::Abort;
        };
        let persistence = match failure {
            Failure::Client(_) | Failure::ClientTimeout => Persistence::Close,
            _ => self.own_persistence(downstream),
        };
        self.status = status;
        let more = self.more_lines(Some(failure), false);
        let asked = Asked { more: &more, ..self.asked_for(downstream, persistence) };
        let pages = &self.rules.settings.pages;
        let problem = self.problem(failure);
        let sent = downstream.out.send_own(|out| match &problem {
            Some(problem) => answer::problem(out, status, problem, asked),
            None => answer::error(out, status, pages, asked),
        });
        let sent = sent.await;
        match (sent, persistence) {
            (Err(_), _) => Ending::Abort,
            (Ok(()), Persistence::KeepAlive) => Ending::Continue,
            (Ok(()), Persistence::Close) => Ending::Linger,
        }
    }

    /// What is answered for `failure` to a program that asks for it in JSON (RFC 9457); `None`: a page.
    fn problem(&self, failure: &Failure) -> Option<String> {
        let accepts = || self.request.values_of("accept").any(|value| is_listed(value, PROBLEM));
        match (failure, self.tier()) {
            (Failure::OverLimit { .. }, Some(tier)) if accepts() => Some(answer::quota_exceeded(tier)),
            _ => None,
        }
    }

    /// An answer of our own leaves the connection usable where nothing of the request is still to come.
    fn own_persistence(&self, downstream: &Downstream<'_>) -> Persistence {
        if self.request.persistent() && downstream.body.is_done() && !self.core.draining.get() {
            Persistence::KeepAlive
        } else {
            Persistence::Close
        }
    }
}

/// Whether a field of media types lists this one, and not with the weight 0 (RFC 9110 section 12.5.1).
fn is_listed(value: &[u8], media_type: &str) -> bool {
    value.split(|&byte| byte == b',').any(|range| {
        let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let is_it = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type.as_bytes()));
        let is_nothing = |part: &[u8]| {
            let weight = part.strip_prefix(b"q=").or(part.strip_prefix(b"Q="));
            weight.is_some_and(|weight| weight.iter().all(|byte| b"0.".contains(byte)))
        };
        is_it && !parts.any(is_nothing)
    })
}

#[cfg(test)]
mod tests {
    use super::is_listed;

    #[test]
    fn media_types_in_lists() {
        for (value, is_there) in [
            ("application/problem+json", true),
            ("text/html, Application/Problem+JSON;q=0.5, */*", true),
            ("application/problem+json ; q=0", false),
            ("application/problem+json;q=0.0, text/html", false),
            ("application/problem+json;q=0.01", true),
            ("application/json, */*", false),
            ("application/problem+jsonx", false),
            ("", false),
        ] {
            assert_eq!(is_listed(value.as_bytes(), "application/problem+json"), is_there, "{value}");
        }
    }
}

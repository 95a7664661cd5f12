//! The answers the proxy gives itself: error pages and `__ping__`. Where a fault becomes a status is
//! `error.rs`; what the client reads for it is here.

use crate::http::encode::{Persistence, own_response, reason};
use crate::http::head::Version;
use crate::settings::Pages;

/// Seconds a client is told to wait when it is not its fault.
const RETRY_AFTER: &str = "1";

/// What an answer of the proxy's own depends on beside its status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The client's version, and how its connection goes on.
    pub(crate) client: (Version, Persistence),
    /// To a HEAD request no body is sent.
    pub(crate) to_head: bool,
    /// Whole lines to go behind the other fields.
    pub(crate) more: &'a [u8],
}

/// Appends the whole answer for `status`.
pub(crate) fn error(out: &mut Vec<u8>, status: u16, pages: &Pages, asked: Asked<'_>) {
    let built_in;
    let page = match pages.by_status.get(&status).or(pages.default.as_ref()) {
        Some(page) => page.as_slice(),
        None => {
            built_in = built_in_page(status);
            built_in.as_bytes()
        }
    };
    let mut fields = vec![("content-type", "text/html"), ("cache-control", "no-cache")];
    match status {
        503 => fields.push(("retry-after", RETRY_AFTER)),
        405 => fields.push(("allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
        _ => {}
    }
    own_response(out, status, &fields, page.len(), asked.client, asked.more);
    if !asked.to_head {
        out.extend_from_slice(page);
    }
}

/// Media type of a problem in JSON (RFC 9457).
pub(crate) const PROBLEM: &str = "application/problem+json";

/// Appends an answer that says in JSON what the problem is.
pub(crate) fn problem(out: &mut Vec<u8>, status: u16, problem: &str, asked: Asked<'_>) {
    let fields = [("content-type", PROBLEM), ("cache-control", "no-cache")];
    own_response(out, status, &fields, problem.len(), asked.client, asked.more);
    if !asked.to_head {
        out.extend_from_slice(problem.as_bytes());
    }
}

/// The problem of a client that is over the limit of `tier` (draft-ietf-httpapi-ratelimit-headers-10, section 7.3).
pub(crate) fn quota_exceeded(tier: &str) -> String {
    // Names of tiers have nothing in them that JSON would have to escape.
    format!(
        "{{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\",\"title\":\"Request cannot be \
         satisfied as assigned quota has been exceeded\",\"status\":429,\"violated-policies\":[\"{tier}\"]}}"
    )
}

/// Appends the answer to a request for `__ping__` (Hipache's way for a load balancer to ask whether the proxy
/// lives).
pub(crate) fn ping(out: &mut Vec<u8>, asked: Asked<'_>) {
    const BODY: &str = "ok";
    own_response(out, 200, &[("content-type", "text/plain")], BODY.len(), asked.client, asked.more);
    if !asked.to_head {
        out.extend_from_slice(BODY.as_bytes());
    }
}

/// Appends a redirect to the same target over HTTPS at `host`: 301, or 308 for a method that a 301 would change
/// (RFC 9110 section 15.4.2).
pub(crate) fn to_https(out: &mut Vec<u8>, host: &str, target: &str, keeps_method: bool, asked: Asked<'_>) {
    let location = format!("https://{host}{target}");
    own_response(out, to_https_status(keeps_method), &[("location", &location)], 0, asked.client, asked.more);
}

/// The status of [`to_https`].
pub(crate) fn to_https_status(keeps_method: bool) -> u16 {
    if keeps_method { 308 } else { 301 }
}

fn built_in_page(status: u16) -> String {
    let reason = reason(status);
    let explanation = match status {
        400 => "The request was not understood, or nothing is served under this host name.",
        403 => "This server is not open to your address.",
        405 => "This method is not offered here.",
        408 => "The request took too long to arrive.",
        413 => "The request is larger than this server accepts.",
        414 => "The address of this request is longer than this server accepts.",
        421 => "This host is served over connections of its own, under another certificate.",
        429 => "There were more requests than this server accepts of one client. Please try again later.",
        431 => "The header of this request is larger than this server accepts.",
        502 => "The application did not give a valid answer.",
        503 => "The service is busy or being looked after. Please try again shortly.",
        504 => "The application took too long to answer.",
        505 => "This version of HTTP is not spoken here.",
        _ => "The request could not be served.",
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{status} {reason}</title></head>\n\
         <body><h1>{status} {reason}</h1><p>{explanation}</p></body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: (Version, Persistence) = (Version::Http11, Persistence::KeepAlive);

    fn text(status: u16, pages: &Pages, to_head: bool) -> String {
        let mut out = Vec::new();
        error(&mut out, status, pages, Asked { client: CLIENT, to_head, more: b"" });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_page_states_its_true_length() {
        for status in [400, 403, 405, 408, 413, 414, 421, 429, 431, 500, 502, 503, 504, 505] {
            let text = text(status, &Pages::default(), false);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status} {}\r\n", reason(status)))
                    && !head.contains("Unknown")
            );
            assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
            assert!(head.contains("content-type: text/html") && head.contains("cache-control: no-cache"));
            assert_eq!(head.contains("retry-after: 1"), status == 503);
        }
    }

    #[test]
    fn an_operators_page_replaces_ours_and_head_gets_no_body() {
        let mut pages = Pages { default: Some(b"any".to_vec()), ..Pages::default() };
        pages.by_status.insert(502, b"bad gateway page".to_vec());
        assert!(text(502, &pages, false).ends_with("\r\n\r\nbad gateway page"));
        assert!(text(400, &pages, false).ends_with("\r\n\r\nany"));
        let head = text(502, &pages, true);
        assert!(head.contains("content-length: 16\r\n") && head.ends_with("\r\n\r\n"));
    }
}

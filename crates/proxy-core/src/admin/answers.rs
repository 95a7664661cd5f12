//! What the admin listener answers to a request. Pure but for what it is shown; knows no sockets.

use httparse::{EMPTY_HEADER, Header, Request, Status};

use super::{Shown, json};
use crate::metrics;

/// Header fields of a request to the admin listener; a scraper sends a dozen.
const FIELDS: usize = 64;
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
    /// Further lines of the head.
    more: &'static str,
}

impl Answer {
    fn text(status: &'static str, body: impl Into<String>) -> Self {
        Self { status, kind: TEXT, body: body.into() + "\n", more: "" }
    }

    fn json(body: String) -> Self {
        Self { status: "200 OK", kind: JSON, body: body + "\n", more: "" }
    }
}

/// The whole answer to the request whose bytes have come so far; `None`: its head is not whole.
pub(super) fn answer(bytes: &[u8], shown: &Shown) -> Option<Vec<u8>> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut request = Request::new(&mut fields);
    let answer = match request.parse(bytes) {
        Ok(Status::Partial) => return None,
        Ok(Status::Complete(_)) => respond(&request, shown),
        Err(error) => Answer::text("400 Bad Request", error.to_string()),
    };
    let Answer { status, kind, body, more } = answer;
    let mut whole = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         {more}Connection: close\r\n\r\n",
        body.len()
    );
    if request.method != Some("HEAD") {
        whole.push_str(&body);
    }
    Some(whole.into_bytes())
}

fn respond(request: &Request<'_, '_>, shown: &Shown) -> Answer {
    let followed = shown.followed();
    if followed.token.as_deref().is_some_and(|token| !is_authorized(request.headers, token)) {
        let more = "WWW-Authenticate: Bearer\r\n";
        return Answer {
            more,
            ..Answer::text("401 Unauthorized", "a token is needed: Authorization: Bearer …")
        };
    }
    if !matches!(request.method, Some("GET" | "HEAD")) {
        let more = "Allow: GET, HEAD\r\n";
        return Answer { more, ..Answer::text("405 Method Not Allowed", "only GET and HEAD") };
    }
    let target = request.path.unwrap_or_default();
    match target.split('?').next().unwrap_or_default() {
        "/healthz" => Answer::text("200 OK", "ok"),
        "/readyz" => match shown.board.view().readiness() {
            Ok(()) => Answer::text("200 OK", "ok"),
            Err(why) => Answer::text("503 Service Unavailable", why),
        },
        "/metrics" => {
            let tiers = followed.limits.as_ref().map_or(&[][..], |rules| &rules.tiers);
            let body = metrics::write(&shown.board.view(), shown.build, tiers);
            Answer { status: "200 OK", kind: METRICS, body, more: "" }
        }
        "/api/v1/cores" => Answer::json(json::cores(&shown.board.view())),
        "/api/v1/limits" => Answer::json(json::limits(&shown.board.view(), followed.limits.as_ref())),
        _ => Answer::text(
            "404 Not Found",
            "there are /healthz, /readyz, /metrics, /api/v1/cores and /api/v1/limits",
        ),
    }
}

/// Whether one field, and no second, brings the token (RFC 6750 section 2.1).
fn is_authorized(fields: &[Header<'_>], token: &str) -> bool {
    let mut fields = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("authorization"));
    let (Some(field), None) = (fields.next(), fields.next()) else { return false };
    let Some((scheme, given)) = field.value.split_at_checked("Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && is_same(given.trim_ascii(), token.as_bytes())
}

/// Takes as long whatever the first difference is, so that a token cannot be guessed byte by byte. Its length shows.
fn is_same(given: &[u8], expected: &[u8]) -> bool {
    let differences = given.iter().zip(expected).fold(0, |found, (one, other)| found | (one ^ other));
    given.len() == expected.len() && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Followed;
    use crate::board::Board;
    use crate::settings::Build;

    fn shown(token: Option<&str>) -> Shown {
        let build = Build { version: "1", commit: "c" };
        let followed = Followed { token: token.map(str::to_owned), limits: None };
        Shown::new(Board::new(1), build, followed)
    }

    fn ask(request: &str, token: Option<&str>) -> String {
        String::from_utf8(answer(request.as_bytes(), &shown(token)).unwrap()).unwrap()
    }

    #[test]
    fn each_path_has_its_answer() {
        for (line, start) in [
            ("GET /healthz HTTP/1.1", "HTTP/1.1 200 OK\r\n"),
            ("GET /healthz?x HTTP/1.0", "HTTP/1.1 200 OK\r\n"),
            ("GET /readyz HTTP/1.1", "HTTP/1.1 503 Service Unavailable\r\n"),
            ("GET /metrics HTTP/1.1", "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"),
            ("GET /api/v1/cores HTTP/1.1", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"),
            ("GET /api/v1/limits HTTP/1.1", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"),
            ("GET / HTTP/1.1", "HTTP/1.1 404 Not Found\r\n"),
            ("GET /metrics/ HTTP/1.1", "HTTP/1.1 404 Not Found\r\n"),
            ("POST /metrics HTTP/1.1", "HTTP/1.1 405 Method Not Allowed\r\n"),
            ("GET /metrics HTTP/3.1", "HTTP/1.1 400 Bad Request\r\n"),
            ("\0", "HTTP/1.1 400 Bad Request\r\n"),
        ] {
            let answer = ask(&format!("{line}\r\n\r\n"), None);
            assert!(answer.starts_with(start), "{line}: {answer}");
        }
        assert!(ask("HEAD /healthz HTTP/1.1\r\n\r\n", None).ends_with("Connection: close\r\n\r\n"));
    }

    #[test]
    fn no_token_but_the_right_one_opens() {
        let status = |fields: &str| {
            ask(&format!("GET /healthz HTTP/1.1\r\n{fields}\r\n"), Some("s3cret"))[9..12].to_owned()
        };
        for good in ["Authorization: Bearer s3cret\r\n", "authorization: bearer s3cret \r\n"] {
            assert_eq!(status(good), "200", "{good}");
        }
        for bad in [
            "",
            "Authorization: Bearer s3creT\r\n",
            "Authorization: Bearer s3cre\r\n",
            "Authorization: Bearer s3crets\r\n",
            "Authorization: Bearer \r\n",
            "Authorization: Bearer\r\n",
            "Authorization: Basic s3cret\r\n",
            "Authorization: s3cret\r\n",
            "Proxy-Authorization: Bearer s3cret\r\n",
            "Authorization: Bearer s3cret\r\nAuthorization: Bearer s3cret\r\n",
        ] {
            assert_eq!(status(bad), "401", "{bad}");
        }
    }

    #[test]
    fn no_part_of_a_head_is_answered() {
        let request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
        for end in 0..request.len() {
            assert!(answer(&request[..end], &shown(None)).is_none(), "{end}");
        }
        assert!(answer(request, &shown(None)).is_some());
    }
}

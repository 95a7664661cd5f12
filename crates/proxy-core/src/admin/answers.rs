//! What the admin listener answers to a request. Pure but for what it is shown; knows no sockets.

use form_urlencoded::parse;
use httparse::{EMPTY_HEADER, Header, Request, Status};

use super::gathering::Gathered;
use super::{Shown, json};
use crate::bounds::{SURVEY_LIMIT, SURVEY_LIMIT_MAX};
use crate::metrics;
use crate::survey::{Of, Query, State};

/// Header fields of a request to the admin listener; a scraper sends a dozen.
const FIELDS: usize = 64;
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The status page: whole in one file, as its policy lets it load nothing.
const PAGE: &str = include_str!("page.html");
/// Fields of the page's head. Its style and its script run by their hashes, and no others.
const PAGE_FIELDS: &str = concat!(
    "Content-Security-Policy: default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; ",
    "frame-ancestors 'none'; style-src 'sha256-FYBK5zA+LYXgpYr17L0NX4kSE6OXOOpOTAFP4HMFH84='; ",
    "script-src 'sha256-LqNs7xA/paTHissqXd3y6IUF9EUHMkXR1+b+OK0d+rU='\r\n",
    "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n",
);

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

    fn written(self, form: Form) -> Vec<u8> {
        let Self { status, kind, body, more } = self;
        let mut whole = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
             {more}Connection: close\r\n\r\n",
            body.len()
        );
        if form == Form::Whole {
            whole.push_str(&body);
        }
        whole.into_bytes()
    }
}

/// What becomes of a request.
pub(super) enum Reply {
    /// The whole answer.
    Whole(Vec<u8>),
    /// The cores have to be asked; then [`of_survey`].
    Survey(Query, Form),
}

/// What of an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    HeadOnly,
}

/// The reply to the request whose bytes have come so far; `None`: its head is not whole.
pub(super) fn reply(bytes: &[u8], shown: &Shown) -> Option<Reply> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut request = Request::new(&mut fields);
    let said = match request.parse(bytes) {
        Ok(Status::Partial) => return None,
        Ok(Status::Complete(_)) => respond(&request, shown),
        Err(error) => Said::Answer(Answer::text("400 Bad Request", error.to_string())),
    };
    let form = if request.method == Some("HEAD") { Form::HeadOnly } else { Form::Whole };
    Some(match said {
        Said::Answer(answer) => Reply::Whole(answer.written(form)),
        Said::Survey(query) => Reply::Survey(query, form),
    })
}

/// The answer once the cores were asked.
pub(super) fn of_survey(gathered: &Gathered, of: Of, form: Form, shown: &Shown) -> Vec<u8> {
    Answer::json(json::survey(gathered, of, &shown.routes)).written(form)
}

/// The answer where too many ask the cores at once.
pub(super) fn busy(form: Form) -> Vec<u8> {
    let more = "Retry-After: 1\r\n";
    let answer = Answer::text("503 Service Unavailable", "the cores are being asked by others; ask again");
    Answer { more, ..answer }.written(form)
}

/// What is asked behind the path.
///
/// # Errors
/// How it is wrong, and what is accepted.
fn query(of: Of, asked: &str) -> Result<Query, String> {
    let mut query = Query { of, search: String::new(), state: None, limit: SURVEY_LIMIT };
    for (name, value) in parse(asked.as_bytes()) {
        match &*name {
            "search" => query.search = value.to_lowercase(),
            "state" => {
                let state = State::ALL.into_iter().find(|state| state.name() == value);
                query.state = Some(state.ok_or("state is one of alive, unproven, dead")?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|&limit| limit <= SURVEY_LIMIT_MAX);
                query.limit = limit.ok_or(format!("limit is a number up to {SURVEY_LIMIT_MAX}"))?;
            }
            _ => return Err(format!("there is no {name:?}; there are search, state and limit")),
        }
    }
    Ok(query)
}

/// What is said to a request.
enum Said {
    Answer(Answer),
    /// The cores have to be asked.
    Survey(Query),
}

fn respond(request: &Request<'_, '_>, shown: &Shown) -> Said {
    if let Some(refusal) = refusal(request, shown) {
        return Said::Answer(refusal);
    }
    let target = request.path.unwrap_or_default();
    let (path, asked) = target.split_once('?').unwrap_or((target, ""));
    let of = match path {
        "/api/v1/frontends" => Of::Frontends,
        "/api/v1/backends" => Of::Backends,
        _ => return Said::Answer(at_once(path, shown)),
    };
    match query(of, asked) {
        Ok(query) => Said::Survey(query),
        Err(why) => Said::Answer(Answer::text("400 Bad Request", why)),
    }
}

/// What is said to a request that is not answered; `None`: it is.
fn refusal(request: &Request<'_, '_>, shown: &Shown) -> Option<Answer> {
    let followed = shown.followed();
    // It holds no data, and asks for the token itself.
    let is_page = request.path.is_some_and(|target| target == "/" || target.starts_with("/?"));
    if !is_page && followed.token.as_deref().is_some_and(|token| !is_authorized(request.headers, token)) {
        let more = "WWW-Authenticate: Bearer\r\n";
        let answer = Answer::text("401 Unauthorized", "a token is needed: Authorization: Bearer …");
        return Some(Answer { more, ..answer });
    }
    if !matches!(request.method, Some("GET" | "HEAD")) {
        let more = "Allow: GET, HEAD\r\n";
        return Some(Answer { more, ..Answer::text("405 Method Not Allowed", "only GET and HEAD") });
    }
    None
}

fn at_once(path: &str, shown: &Shown) -> Answer {
    match path {
        "/" => Answer {
            status: "200 OK",
            kind: "text/html; charset=utf-8",
            body: PAGE.into(),
            more: PAGE_FIELDS,
        },
        "/healthz" => Answer::text("200 OK", "ok"),
        "/readyz" => match shown.board.view().readiness() {
            Ok(()) => Answer::text("200 OK", "ok"),
            Err(why) => Answer::text("503 Service Unavailable", why),
        },
        "/metrics" => {
            let followed = shown.followed();
            let tiers = followed.limits.as_ref().map_or(&[][..], |rules| &rules.tiers);
            let body = metrics::write(&shown.board.view(), shown.build, tiers);
            Answer { status: "200 OK", kind: METRICS, body, more: "" }
        }
        "/api/v1/cores" => Answer::json(json::cores(&shown.board.view())),
        "/api/v1/limits" => Answer::json(json::limits(&shown.board.view(), shown.followed().limits.as_ref())),
        _ => Answer::text(
            "404 Not Found",
            "there are /, /healthz, /readyz, /metrics and /api/v1/ with cores, limits, frontends and backends",
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
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use ring::digest::{SHA256, digest};

    use super::*;
    use crate::admin::Followed;
    use crate::board::Board;
    use crate::settings::Build;

    fn shown(token: Option<&str>) -> Shown {
        let build = Build { version: "1", commit: "c" };
        let followed = Followed { token: token.map(str::to_owned), limits: None };
        Shown::new(Board::new(1), build, String::new(), followed)
    }

    fn ask(request: &str, token: Option<&str>) -> String {
        match reply(request.as_bytes(), &shown(token)).unwrap() {
            Reply::Whole(answer) => String::from_utf8(answer).unwrap(),
            Reply::Survey(query, form) => format!("{form:?} {query:?}"),
        }
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
            ("GET /index.html HTTP/1.1", "HTTP/1.1 404 Not Found\r\n"),
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
    fn the_page_is_open_and_may_do_what_it_has_to() {
        for token in [None, Some("s3cret")] {
            let answer = ask("GET / HTTP/1.1\r\n\r\n", token);
            let (head, page) = answer.split_once("\r\n\r\n").unwrap();
            assert!(
                head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"),
                "{head}"
            );
            for (element, part) in [("style", "style-src"), ("script", "script-src")] {
                let inside = page.split(&format!("<{element}>")).nth(1).unwrap();
                let text = inside.split(&format!("</{element}>")).next().unwrap();
                let hash = STANDARD.encode(digest(&SHA256, text.as_bytes()));
                assert!(head.contains(&format!("{part} 'sha256-{hash}'")), "{part}: its hash is {hash} now");
            }
        }
        assert!(ask("GET /?a HTTP/1.1\r\n\r\n", Some("s3cret")).starts_with("HTTP/1.1 200"));
        assert!(ask("GET // HTTP/1.1\r\n\r\n", Some("s3cret")).starts_with("HTTP/1.1 401"));
        assert!(ask("POST / HTTP/1.1\r\n\r\n", Some("s3cret")).starts_with("HTTP/1.1 405"));
    }

    #[test]
    fn what_is_asked_of_the_cores() {
        let query =
            |asked: &str| query(Of::Frontends, asked).map(|query| (query.search, query.state, query.limit));
        for (asked, understood) in [
            ("", ("", None, SURVEY_LIMIT)),
            ("search=A.tld&state=dead&limit=0", ("a.tld", Some(State::Dead), 0)),
            ("search=%2F%C3%9C+x&limit=10000", ("/ü x", None, 10_000)),
            ("state=unproven&search=", ("", Some(State::Unproven), SURVEY_LIMIT)),
        ] {
            assert_eq!(query(asked), Ok((understood.0.to_owned(), understood.1, understood.2)), "{asked}");
        }
        for (asked, part) in [
            ("state=Dead", "alive, unproven, dead"),
            ("limit=10001", "up to 10000"),
            ("limit=-1", "up to 10000"),
            ("Search=a", "\"Search\""),
            ("x", "search, state and limit"),
        ] {
            assert!(query(asked).unwrap_err().contains(part), "{asked}");
        }
        let ask = |request: &str| ask(&format!("{request} HTTP/1.1\r\n\r\n"), None);
        assert!(ask("HEAD /api/v1/backends?limit=7").starts_with("HeadOnly Query { of: Backends"));
        assert!(ask("GET /api/v1/frontends").starts_with("Whole Query { of: Frontends"));
        assert!(ask("GET /api/v1/frontends?a=b").starts_with("HTTP/1.1 400"));
        assert!(ask("POST /api/v1/frontends").starts_with("HTTP/1.1 405"));
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
            assert!(reply(&request[..end], &shown(None)).is_none(), "{end}");
        }
        assert!(reply(request, &shown(None)).is_some());
    }
}

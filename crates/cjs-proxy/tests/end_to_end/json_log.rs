//! The access log as JSON, one object a line.

use serde_json::{Value, json};

use super::routing::for_host;
use crate::support::backend::Refusing;
use crate::support::mortal::mortal;
use crate::support::scene::{Scene, get, get_from, request};

const FIELDS: [&str; 16] = [
    "time",
    "client",
    "method",
    "target",
    "version",
    "status",
    "bytes",
    "referer",
    "user_agent",
    "host",
    "vhost",
    "frontend",
    "backend",
    "time_total",
    "time_backend",
    "request_id",
];

fn json_log() -> Value {
    json!({ "server": { "accessLogFormat": "json" } })
}

/// A line as an object that has every field and no other.
fn parse(line: &str) -> Value {
    let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let mut names: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = FIELDS.to_vec();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected, "{line}");
    object
}

#[test]
fn a_line_says_all_of_a_request() {
    let backend = mortal("hello");
    let scene = Scene::with(json_log(), &[]);
    scene.redis.route("*.wild.example", &["wild", &backend.url()]);
    let fields = "Referer: http://r/\r\nUser-Agent: curl/8\r\n";
    let asked = get_from("One.wild.example:8080", "/a?b=c").replace("\r\n\r\n", &format!("\r\n{fields}\r\n"));
    let mut client = scene.connect();
    let got = client.send(asked).finish().end().got.len();
    let line = parse(&scene.proxy.wait_for_access(1)[0]);
    for (name, value) in [
        ("client", "127.0.0.1"),
        ("method", "GET"),
        ("target", "/a?b=c"),
        ("version", "HTTP/1.1"),
        ("referer", "http://r/"),
        ("user_agent", "curl/8"),
        ("vhost", "wild"),
        ("frontend", "*.wild.example"),
        ("backend", backend.url().as_str()),
    ] {
        assert_eq!(line[name], value, "{line}");
    }
    assert!(line["host"].as_str().unwrap().eq_ignore_ascii_case("one.wild.example:8080"), "{line}");
    assert_eq!((line["status"].as_u64(), line["bytes"].as_u64()), (Some(200), Some(got as u64)));
    let (total, behind) = (line["time_total"].as_f64().unwrap(), line["time_backend"].as_f64().unwrap());
    assert!(total >= behind && behind >= 0.0 && total < 20.0, "{line}");
    let id = backend.request().head.get("x-request-id").map(str::to_owned);
    assert!(id.is_some() && line["request_id"].as_str() == id.as_deref(), "{line}");
}

#[test]
fn the_time_is_utc_to_the_millisecond() {
    let backend = mortal("a");
    let scene = Scene::with(json_log(), &[&backend.url()]);
    scene.ask(get("/"));
    let line = parse(&scene.proxy.wait_for_access(1)[0]);
    let time = line["time"].as_str().unwrap();
    let pattern: String = time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(pattern, "9999-99-99T99:99:99.999Z");
}

#[test]
fn requests_without_a_backend_have_their_lines_too() {
    let refusing = Refusing::new();
    let scene = Scene::with(json_log(), &[&refusing.url()]);
    for (request, status) in [
        (for_host("unknown.example"), 400),
        (get("/"), 502),
        (for_host("__ping__"), 200),
        ("GET /bad HTTP/1.1\r\nHost: a b\r\n\r\n".into(), 400),
        ("\x16\x03\x01\r\n\r\n".into(), 400),
    ] {
        assert_eq!(scene.ask(request).status, status);
    }
    let lines: Vec<Value> = scene.proxy.wait_for_access(5).iter().map(|line| parse(line)).collect();
    let mut statuses: Vec<u64> = lines.iter().map(|line| line["status"].as_u64().unwrap()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400, 400, 400, 502]);
    let unasked = lines.iter().filter(|line| line["status"] == 400);
    assert!(unasked.into_iter().all(|line| line["time_backend"] == 0.0 && line["vhost"] == ""), "{lines:?}");
}

#[test]
fn no_client_can_break_a_line() {
    let backend = mortal("a");
    let scene = Scene::with(json_log(), &[&backend.url()]);
    let mut client = scene.connect();
    let nasty = ["\"", "\\", "\\\"", "{\"a\":1}", "a\tb", "</script>", "\u{2028}\u{e9}\u{1f600}", "%00", "'"];
    for text in nasty {
        client.ask(request("GET", "/", &format!("User-Agent: {text}\r\nReferer: {text}\r\n")));
    }
    client.ask(b"GET /\"\\ HTTP/1.1\r\nHost: site.example\r\nUser-Agent: \xff\xc3\x28\r\n\r\n");
    let lines = scene.proxy.wait_for_access(nasty.len() + 1);
    for (line, text) in lines.iter().zip(nasty) {
        let line = parse(line);
        assert_eq!((&line["user_agent"], &line["referer"]), (&json!(text), &json!(text)));
    }
    assert_eq!(parse(&lines[nasty.len()])["target"], "/\"\\");
}

#[test]
fn it_may_go_to_stdout() {
    let backend = mortal("a");
    let config = json!({ "server": { "accessLogFormat": "json", "accessLog": "stdout" } });
    let scene = Scene::with(config, &[&backend.url()]);
    scene.ask(get("/here"));
    assert_eq!(parse(&scene.proxy.wait_for_output("/here"))["target"], "/here");
    assert!(!scene.proxy.access_log().exists());
}

#[test]
fn every_line_of_many_at_once_is_whole() {
    let backend = mortal("a");
    let scene = Scene::with(json_log(), &[&backend.url()]);
    std::thread::scope(|scope| {
        for client in 0..4 {
            let scene = &scene;
            scope.spawn(move || {
                let mut connection = scene.connect();
                (0..100).for_each(|number| drop(connection.ask(get(&format!("/{client}/{number}")))));
            });
        }
    });
    let mut targets: Vec<String> =
        scene.proxy.wait_for_access(400).iter().map(|line| parse(line)["target"].to_string()).collect();
    targets.sort_unstable();
    targets.dedup();
    assert_eq!(targets.len(), 400);
}

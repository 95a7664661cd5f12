//! `demo`: sample routes and sample backends on loopback; no Redis, no config file.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::thread;

use redis_router::Source;
use serde_json::json;
use tiny_http::{Request, Response, Server};

use proxy_core::supervisor::Program;

use crate::config::{self, Machine};
use crate::error::Failure;
use crate::error_log::ErrorLog;

use super::run;

/// Where the demo listens unless something else does.
const PORT: u16 = 8080;
/// Sample backends.
const BACKENDS: usize = 2;

/// Serves the samples until Ctrl-C.
///
/// # Errors
/// No loopback address could be had, or the proxy did not start.
pub(crate) fn demo() -> Result<(), Failure> {
    let mut backends = Vec::with_capacity(BACKENDS);
    for number in 1..=BACKENDS {
        backends.push(start_backend(number)?);
    }
    let port = free_port()?;
    let text = json!({ "server": { "bind": "127.0.0.1", "port": port, "accessLog": "stdout" } }).to_string();
    let config = config::parse(Path::new("demo"), &text, Machine::here()).map_err(Failure::Config)?;
    let mut settings = config.settings;
    settings.routes = Source::Embedded(routes(&backends));
    ErrorLog::start(&config.levels)?;
    super::print(&invitation(port));
    let reload = || Err("demo has no config file to read again".into());
    run::serve(settings, Program { reload: &reload, control: None, build: crate::version::BUILD })
}

/// The route table, as a file of it would say.
fn routes(backends: &[SocketAddr]) -> String {
    let urls: Vec<String> = backends.iter().map(|address| format!("http://{address}")).collect();
    let mut both = vec!["demo".to_owned()];
    both.extend(urls.iter().cloned());
    let wildcard: Vec<&str> = std::iter::once("wildcard").chain(urls.last().map(String::as_str)).collect();
    json!({ "demo.example": both, "*.demo.example": wildcard }).to_string()
}

/// What to try.
fn invitation(port: u16) -> String {
    format!(
        "Try, in another terminal:\n\
         \n    curl -H 'Host: demo.example' http://127.0.0.1:{port}/        # one of two backends, at random\
         \n    curl -H 'Host: any.demo.example' http://127.0.0.1:{port}/    # the wildcard *.demo.example\
         \n    curl -i -H 'Host: elsewhere.example' http://127.0.0.1:{port}/    # no such frontend: 400\
         \n\nCtrl-C ends it. Access log:"
    )
}

/// The usual port, or any that is free.
fn free_port() -> Result<u16, Failure> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|socket| socket.local_addr());
    match bind(PORT).or_else(|_| bind(0)) {
        Ok(address) => Ok(address.port()),
        Err(error) => Err(Failure::Start(format!("127.0.0.1: no port to listen on: {error}"))),
    }
}

/// Starts a sample backend on a thread of its own, which ends with the process.
fn start_backend(number: usize) -> Result<SocketAddr, Failure> {
    let failed = |problem: String| Failure::Start(format!("sample backend {number}: {problem}"));
    let server = Server::http((Ipv4Addr::LOCALHOST, 0)).map_err(|error| failed(error.to_string()))?;
    let address = server.server_addr().to_ip().ok_or_else(|| failed("has no address".into()))?;
    let answer_all = move || {
        for request in server.incoming_requests() {
            let text = answer(number, &request);
            // A client that went away is not the sample's concern.
            let _ = request.respond(Response::from_string(text));
        }
    };
    let thread = thread::Builder::new().name(format!("sample-{number}"));
    thread.spawn(answer_all).map_err(|error| failed(error.to_string()))?;
    Ok(address)
}

/// Shows which backend answers and what the proxy sent it.
fn answer(number: usize, request: &Request) -> String {
    let mut text = format!("sample backend {number}\n\n{} {}\n", request.method(), request.url());
    for header in request.headers() {
        text.push_str(&format!("{}: {}\n", header.field, header.value));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_sample_backend_shows_the_request() {
        let address = start_backend(7).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let request = "GET /path?q HTTP/1.1\r\nHost: demo.example\r\nX-Mine: 1\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        for part in ["sample backend 7\n", "GET /path?q\n", "Host: demo.example\n", "X-Mine: 1\n"] {
            assert!(answer.contains(part), "{answer}");
        }
    }

    #[test]
    fn the_sample_routes_name_the_backends() {
        let backends = ["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()];
        let table: serde_json::Value = serde_json::from_str(&routes(&backends)).unwrap();
        let wanted = json!({
            "demo.example": ["demo", "http://127.0.0.1:1", "http://127.0.0.1:2"],
            "*.demo.example": ["wildcard", "http://127.0.0.1:2"],
        });
        assert_eq!(table, wanted);
    }
}

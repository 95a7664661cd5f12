//! The files of the example, on ports that are free here.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use serde_json::Value;

use super::process::proxy_of;

/// A file of the example.
fn shipped(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("static-table");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// A backend whose every answer is `answer`; its port.
fn backend(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let _ = client.read(&mut head).unwrap();
            let text = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{answer}",
                answer.len()
            );
            client.write_all(text.as_bytes()).unwrap();
        }
    });
    port
}

#[test]
fn the_table_routes_each_host() {
    let ports = [("3000", backend("of www")), ("3001", backend("of echo")), ("3002", backend("of www"))];
    let mut table = shipped("routes.json");
    for (written, free) in ports {
        table = table.replace(&format!("127.0.0.1:{written}"), &format!("127.0.0.1:{free}"));
    }
    let table: Value = serde_json::from_str(&table).unwrap();
    let mut config: Value = serde_json::from_str(&shipped("config.json")).unwrap();
    config["server"]["port"] = 0.into();
    let (proxy, _folder) = proxy_of(&config, &table);
    let answers = [
        ("www.example", "of www"),
        ("shop.www.example", "of www"),
        ("echo.example", "of echo"),
        ("spread.example", "of www"),
    ];
    for (host, answer) in answers {
        assert!(ask(&proxy.address(), host).ends_with(answer), "{host}");
    }
    assert!(ask(&proxy.address(), "elsewhere.example").starts_with("HTTP/1.1 400 "));
}

/// The whole answer of `host`.
pub(crate) fn ask(proxy: &str, host: &str) -> String {
    let mut client = TcpStream::connect(proxy).unwrap();
    let request = format!("GET /here?a=1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

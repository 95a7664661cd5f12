//! Takes COUNT requests through the pure steps of the proxy, for a count of instructions: `pure_path COUNT`.

use std::hint::black_box;
use std::sync::Arc;

use proxy_core::pure_path::PurePath;
use redis_router::{Router, Table};

/// As a browser asks for a small thing, and what a backend answers.
const REQUEST: &[u8] = b"GET /styles/site.css?v=12 HTTP/1.1\r\nHost: www.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
    Accept: text/css,*/*;q=0.1\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Referer: http://www.example/\r\nCookie: session=0123456789abcdef\r\nConnection: keep-alive\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 22 Nov 2026 22:30:00 GMT\r\nContent-Type: text/css\r\n\
    Content-Length: 1024\r\nConnection: keep-alive\r\nETag: \"5f3a-400\"\r\nCache-Control: max-age=3600\r\n\r\n";

fn main() {
    let count: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    let table = Table::parse(r#"{"www.example": ["site", "http://10.0.0.1:8080", "http://10.0.0.2:8080"]}"#);
    let mut path = PurePath::new(Router::table(Arc::new(table.expect("a table"))));
    for number in 0..count {
        // Spread over all that a random number can be, and the same in each run.
        let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        black_box(path.turn(black_box(REQUEST), black_box(ANSWER), random)).expect("both are accepted");
    }
}

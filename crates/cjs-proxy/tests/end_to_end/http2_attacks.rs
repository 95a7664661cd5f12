//! What HTTP/2 lets a hostile client try: each costs it its stream or its connection, the proxy next to nothing, and
//! others are served all the while.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::http2::scene;
use crate::support::backend::{Backend, ok};
use crate::support::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, Frames, GOAWAY,
    HEADERS, PING, PROTOCOL_ERROR, RST_STREAM, SETTINGS, WINDOW_UPDATE, asking, block, frame, integer,
};
use crate::support::scene::{SITE, Scene};
use crate::support::streams;
use crate::support::wait::{self, Gate};

const MEGABYTE: usize = 1024;

/// A proxy under attack.
struct Besieged {
    backend: Backend,
    scene: Scene,
}

impl Besieged {
    fn new(config: Value) -> Self {
        let backend = Backend::saying("fine");
        let scene = scene(config, &[&backend.url()]);
        let besieged = Self { backend, scene };
        besieged.serves(100);
        besieged
    }

    fn connect(&self) -> Frames {
        Frames::to(self.scene.proxy.address(), &[])
    }

    /// Others are served.
    fn serves(&self, requests: usize) {
        streams::over(self.scene.proxy.address(), 65_535, async |client| {
            for _ in 0..requests {
                assert_eq!(client.get("/").await.text(), "fine");
            }
        });
    }

    /// `attack` goes on until it has had enough, while a thousand requests of another client are answered; the proxy
    /// grows by less than 20 MB.
    fn withstands(&self, attack: impl FnOnce() + Send) {
        let before = self.scene.proxy.resident_kilobytes();
        std::thread::scope(|scope| {
            let attack = scope.spawn(attack);
            self.serves(1000);
            attack.join().unwrap();
        });
        let grown = self.scene.proxy.resident_kilobytes().saturating_sub(before);
        assert!(grown < 20 * MEGABYTE, "grew by {grown} KB");
        self.serves(1);
    }

    /// Sends `flood` over and over until the connection ends; why it did. `None`: its reset overtook the reason.
    fn flood(&self, flood: &[u8]) -> Option<u32> {
        let mut client = self.connect();
        // What comes is read, or the proxy would stop reading.
        let mut reader = client.another();
        std::thread::scope(|scope| {
            let ended = scope.spawn(move || reader.next_of(GOAWAY).map(|frame| frame.code()));
            // Small ones are still taken for as long as the proxy lingers.
            wait::until("the connection ends", || !client.try_send(flood));
            ended.join().unwrap()
        })
    }
}

#[test]
fn a_hundred_thousand_rapid_resets() {
    let besieged = Besieged::new(json!({}));
    let head = block(&asking("GET", "/"));
    let pair = |stream| {
        let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head);
        [head, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    // The same fifty thousand streams on each connection, as far as it lasts.
    let bursts: Vec<Vec<u8>> = (0..1000)
        .map(|burst| (0..50).flat_map(|place| pair(1 + 2 * (50 * burst + place))).collect())
        .collect();
    besieged.withstands(|| {
        let mut left = 2000_usize;
        while left > 0 {
            let mut client = besieged.connect();
            let sent = bursts.iter().take(left).take_while(|burst| client.try_send(burst)).count();
            left = left.saturating_sub(sent.max(1));
        }
    });
}

#[test]
fn requests_that_are_taken_back_again_and_again_end_the_connection() {
    let backend = Backend::silent();
    let scene = scene(json!({}), &[&backend.url()]);
    let mut client = Frames::to(scene.proxy.address(), &[]);
    let mut stream = 1;
    let goaway = loop {
        // One at a time, so that each has reached the exchange before it is taken back.
        client.head(stream, END_STREAM, &asking("GET", "/"));
        client.send(PING, 0, 0, b"here yet");
        client.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        stream += 2;
        match client.next() {
            Some(frame) if frame.kind == GOAWAY => break frame,
            Some(_) => assert!(stream < 100_000, "it goes on for ever"),
            None => panic!("ended without a word"),
        }
    };
    assert_eq!(goaway.code(), ENHANCE_YOUR_CALM);
}

#[test]
fn requests_that_were_taken_back_keep_nobody_from_a_backend() {
    let gate = Gate::default();
    let backend = Backend::gated(&gate);
    let scene = scene(json!({ "server": { "workers": 1, "maxSockets": 1 } }), &[&backend.url()]);
    let mut first = Frames::to(scene.proxy.address(), &[]);
    first.head(1, END_STREAM, &asking("GET", "/"));
    backend.wait_for_requests(1);
    // More than may wait for the one place.
    for _ in 0..3 {
        let mut client = Frames::to(scene.proxy.address(), &[]);
        for stream in (1..).step_by(2).take(400) {
            client.head(stream, END_STREAM, &asking("GET", "/"));
            client.send(PING, 0, 0, b"here yet");
            client.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            client.next_of(PING).unwrap();
        }
    }
    let mut last = Frames::to(scene.proxy.address(), &[]);
    last.head(1, END_STREAM, &asking("GET", "/")).send(PING, 0, 0, b"here yet");
    last.next_of(PING).unwrap();
    gate.open();
    for client in [&mut first, &mut last] {
        assert_eq!(client.fate_of(1).unwrap().status(), Some(200));
    }
}

#[test]
fn ten_thousand_continuations() {
    let besieged = Besieged::new(json!({}));
    for payload in [&b""[..], b"\0\x01a\x01b"] {
        besieged.withstands(|| {
            let mut client = besieged.connect();
            client.send(HEADERS, END_STREAM, 1, &block(&asking("GET", "/")));
            let flood = frame(CONTINUATION, 0, 1, payload).repeat(100);
            let sent = (0..100).take_while(|_| client.try_send(&flood)).count();
            let ended = client.next_of(GOAWAY);
            assert!(sent < 100 || ended.is_some(), "{payload:?}");
        });
    }
}

#[test]
fn pings_and_settings_without_end() {
    let besieged = Besieged::new(json!({}));
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]).repeat(500);
    let flood = [frame(PING, 0, 0, b"12345678").repeat(1000), settings];
    besieged.withstands(|| {
        for flood in &flood {
            assert!(matches!(besieged.flood(flood), None | Some(ENHANCE_YOUR_CALM)));
        }
    });
    // Answers to what was never asked.
    let mut client = besieged.connect();
    client.send(SETTINGS, ACK, 0, &[]);
    assert_eq!(client.next_of(GOAWAY).unwrap().code(), PROTOCOL_ERROR);
}

#[test]
fn heads_that_unpack_to_much_while_no_window_opens() {
    let besieged = Besieged::new(json!({}));
    besieged.withstands(|| {
        let mut client = Frames::to(besieged.scene.proxy.address(), &[(4, 0)]);
        // One long field goes into the table, then it is named two thousand times: a few bytes become 6 MB.
        let mut bomb = block(&asking("GET", "/"));
        bomb.push(0x40);
        integer(&mut bomb, 0, 7, 1);
        bomb.push(b'a');
        integer(&mut bomb, 0, 7, 3000);
        bomb.extend([b'x'; 3000]);
        bomb.extend([0x80 | 62; 2000]);
        for stream in (1..256).step_by(2) {
            client.send(HEADERS, END_HEADERS | END_STREAM, stream, &bomb);
        }
        assert!(matches!(client.fate_of(1), None | Some(_)));
    });
    assert!(besieged.backend.requests().iter().all(|request| request.head.raw.len() < 1000));
}

#[test]
fn long_answers_that_no_window_takes() {
    let backend = Backend::run(|peer| {
        while let Some(request) = peer.request() {
            let body = if request.target() == "/" { b"fine".to_vec() } else { vec![b'x'; 5_000_000] };
            peer.send(ok(body));
        }
    });
    let scene = scene(json!({}), &[&backend.url()]);
    let besieged = Besieged { backend, scene };
    besieged.serves(100);
    for window in [0, 1, 1 << 20] {
        besieged.withstands(|| {
            let mut client = Frames::to(besieged.scene.proxy.address(), &[(4, window)]);
            client.send(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes());
            // Nothing is read: windows alone do not make a client that takes anything.
            for stream in (1..201).step_by(2) {
                client.head(stream, END_STREAM, &asking("GET", "/long"));
            }
            besieged.backend.wait_for_requests(100);
        });
    }
}

#[test]
fn windows_that_overflow() {
    let besieged = Besieged::new(json!({}));
    let most = 0x7fff_ffff_u32.to_be_bytes();
    let mut client = besieged.connect();
    client.send(WINDOW_UPDATE, 0, 0, &most);
    assert_eq!(client.next_of(GOAWAY).unwrap().code(), FLOW_CONTROL_ERROR);
    let mut client = besieged.connect();
    client.head(1, 0, &asking("POST", "/")).send(WINDOW_UPDATE, 0, 1, &most);
    assert_eq!(client.fate_of(1).unwrap().code(), FLOW_CONTROL_ERROR);
}

#[test]
fn more_than_the_window_of_a_stream() {
    // Takes connections and reads nothing: what a backend takes makes room in the window again.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let scene = scene(json!({}), &[&format!("http://{}", deaf.local_addr().unwrap())]);
    let mut client = Frames::to(scene.proxy.address(), &[]);
    client.head(1, 0, &asking("POST", "/"));
    let mut reader = client.another();
    let flood = frame(DATA, 0, 1, &[b'x'; 16_384]);
    std::thread::scope(|scope| {
        let fate = scope.spawn(move || reader.fate_of(1));
        wait::until("the stream or its connection ends", || fate.is_finished() || !client.try_send(&flood));
        let fate = fate.join().unwrap();
        assert!(fate.as_ref().is_none_or(|frame| frame.code() == FLOW_CONTROL_ERROR), "{fate:?}");
    });
}

/// `fields` behind, or in the place of, the pseudo-fields of a good request; never answered with success.
fn refused(besieged: &Besieged, fields: &[(&str, &str)]) {
    let before = besieged.backend.requests().len();
    let mut client = besieged.connect();
    client.head(1, END_STREAM, fields);
    let fate = client.fate_of(1);
    let is_refused = fate.as_ref().is_none_or(|frame| frame.kind != HEADERS || frame.status() == Some(400));
    assert!(is_refused, "{fields:?}: {fate:?}");
    assert_eq!(besieged.backend.requests().len(), before, "the backend saw {fields:?}");
}

#[test]
fn requests_that_the_next_hop_could_read_otherwise() {
    let besieged = Besieged::new(json!({}));
    for field in [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("keep-alive", "1"),
        ("proxy-connection", "x"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("X-Upper", "a"),
        ("x space", "a"),
        ("x:colon", "a"),
        ("", "a"),
        ("x", "a\r\nhost: evil"),
        ("x", "a\rb"),
        ("x", "a\nb"),
        ("x", "a\0b"),
        ("x", " a"),
        ("x", "a\t"),
        ("content-length", "1"),
        ("content-length", "+0"),
        ("content-length", "0, 0"),
        ("host", "evil.example"),
        (":path", "/again"),
        (":status", "200"),
        (":unknown", "x"),
    ] {
        refused(&besieged, &[asking("GET", "/"), vec![field]].concat());
    }
    let twice = [("content-length", "0"), ("content-length", "0")];
    refused(&besieged, &[asking("GET", "/"), twice.to_vec()].concat());
    besieged.serves(1);
}

#[test]
fn requests_without_what_each_must_have() {
    let besieged = Besieged::new(json!({}));
    for target in ["", "x", "http://evil.example/", "*", "/a b", "/a\r\nb", "/\u{7f}"] {
        refused(&besieged, &asking("GET", target));
    }
    for authority in ["", "a b", "evil@site.example", "site.example/x", "*.example", "a\r\nb"] {
        let mut fields = asking("GET", "/");
        fields[3].1 = authority;
        refused(&besieged, &fields);
    }
    for missing in 0..4 {
        let mut fields = asking("GET", "/");
        fields.remove(missing);
        refused(&besieged, &fields);
    }
    for method in ["G T", "GET\r\n", ""] {
        refused(&besieged, &asking(method, "/"));
    }
    let behind = [("x", "y"), (":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", SITE)];
    refused(&besieged, &behind);
    besieged.serves(1);
}

#[test]
fn a_body_of_another_length_than_its_head_says() {
    let besieged = Besieged::new(json!({}));
    for (length, body) in [("5", "abcd"), ("5", "abcdef"), ("0", "a")] {
        let before = besieged.backend.requests().len();
        let mut client = besieged.connect();
        // In one piece: a request without a body is whole, and under way, before what belongs to none is there.
        let head = block(&[asking("POST", "/"), vec![("content-length", length)]].concat());
        let frames = [frame(HEADERS, END_HEADERS, 1, &head), frame(DATA, END_STREAM, 1, body.as_bytes())];
        assert!(client.try_send(&frames.concat()));
        let fate = client.fate_of(1).unwrap();
        assert_eq!((fate.kind, fate.code()), (RST_STREAM, PROTOCOL_ERROR), "{length}: {body}");
        assert_eq!(besieged.backend.requests().len(), before, "{length}: {body}");
    }
    besieged.serves(1);
}

//! A socket announces what has arrived once. Whatever a read leaves behind must be told of, or nobody comes back for it.

use std::io::Write as _;

use ::tls::{Trust, Verification};
use rustls::ServerConnection;
use rustls::version::{TLS12, TLS13};

use super::*;
use crate::authority::Authority;

/// A connection that is open, and what its server's end has sent.
struct Scene {
    tls: Tls,
    server: ServerConnection,
    socket: RefCell<Socket>,
}

#[derive(Default)]
struct Socket {
    bytes: Vec<u8>,
    ended: bool,
    /// Something has arrived since the last receive.
    announced: bool,
}

fn each_version(mut test: impl FnMut(Scene)) {
    let authority = Authority::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    authority.write(file.path());
    let clients = Trust::file(file.path()).unwrap().clients();
    for version in [&TLS12, &TLS13] {
        let serving = authority.issue(&["a.example"]).serving(&[version]);
        let mut server = ServerConnection::new(serving).unwrap();
        server.set_buffer_limit(None);
        let mut client = Session::client(&clients, Verification::Full, "a.example").unwrap();
        loop {
            let progress = client.handshake().unwrap();
            let pending = client.take_pending();
            server.read_tls(&mut &pending[..]).unwrap();
            server.process_new_packets().unwrap();
            if progress == Handshake::Done {
                break;
            }
            server.write_tls(client.incoming()).unwrap();
        }
        client.take_back();
        let tls = Tls::new(client, Rc::default(), (Read::Drained, Received::Nothing));
        test(Scene { tls, server, socket: RefCell::default() });
    }
}

impl Scene {
    /// What the server has to send arrives, tickets and all.
    fn arrive(&mut self) {
        let socket = &mut *self.socket.borrow_mut();
        while self.server.wants_write() {
            self.server.write_tls(&mut socket.bytes).unwrap();
        }
        socket.announced = true;
    }

    fn send(&mut self, bytes: &[u8]) {
        self.server.writer().write_all(bytes).unwrap();
        self.arrive();
    }

    fn receive(&self, into: &mut Vec<u8>, most: usize) -> Result<Option<usize>, StreamError> {
        let socket = &mut *self.socket.borrow_mut();
        socket.announced = false;
        let count = most.min(socket.bytes.len());
        into.extend(socket.bytes.drain(..count));
        Ok((count > 0 || socket.ended).then_some(count))
    }

    /// Reads as one that waits where it is not told to come back; what there was, and whether it ended.
    fn read_all(&self, most: usize) -> Result<(Vec<u8>, bool), StreamError> {
        let mut got = Vec::new();
        while self.tls.has_more() || self.socket.borrow().announced {
            let read = self.tls.read(&mut got, most, |into, most| self.receive(into, most))?;
            assert!(read.is_none_or(|count| count <= most));
            if read == Some(0) {
                return Ok((got, true));
            }
        }
        Ok((got, false))
    }

    fn is_quiet(&self) -> bool {
        self.tls.is_quiet(|into, most| self.receive(into, most))
    }

    /// Bytes of memory that wait for what is received.
    fn held(&self) -> usize {
        self.tls.session.borrow_mut().incoming().capacity()
    }
}

fn pattern(count: usize) -> Vec<u8> {
    (0..count as u64).map(|place| (place.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

#[test]
fn whatever_is_left_behind_is_come_back_for() {
    each_version(|mut scene| {
        for count in [1, 16_384, 100_000, 400_000] {
            for most in [1000, 8192, 16_384, BULK_BYTES] {
                scene.send(&pattern(count));
                let (got, ended) = scene.read_all(most).unwrap();
                assert!(got == pattern(count) && !ended, "{count} bytes, {most} at a time: {}", got.len());
                assert!(scene.tls.has_seen_all() && scene.held() == 0, "an idle connection holds nothing");
            }
        }
    });
}

#[test]
fn part_of_a_record_is_held_in_a_buffer_of_its_size() {
    each_version(|mut scene| {
        scene.send(&pattern(10_000));
        let rest = scene.socket.borrow_mut().bytes.split_off(5000);
        assert_eq!(scene.read_all(BULK_BYTES).unwrap(), (Vec::new(), false));
        assert!((1..=5000).contains(&scene.held()) && !scene.tls.has_more());
        assert!(!scene.tls.has_seen_all(), "something has come that nobody has read");
        scene.socket.borrow_mut().bytes = rest;
        scene.arrive();
        assert_eq!(scene.read_all(BULK_BYTES).unwrap(), (pattern(10_000), false));
    });
}

#[test]
fn what_was_read_leaves_its_room_to_what_comes() {
    each_version(|mut scene| {
        // Buffers that records were made in have room for somewhat more than a read asks for.
        let (_, grown) = scene.tls.encrypt(&pattern(BULK_BYTES)).unwrap();
        scene.tls.put_back(grown);
        scene.send(&pattern(1_000_000));
        // Behind part of a record such a buffer gets full, of as many whole records as one read takes and a bit.
        let rest = scene.socket.borrow_mut().bytes.split_off(5000);
        assert_eq!(scene.read_all(BULK_BYTES).unwrap(), (Vec::new(), false));
        scene.socket.borrow_mut().bytes = rest;
        scene.arrive();
        let (got, ended) = scene.read_all(BULK_BYTES).unwrap();
        assert!(got == pattern(1_000_000) && !ended, "{} bytes", got.len());
    });
}

#[test]
fn tickets_and_keys_leave_it_quiet_and_data_does_not() {
    each_version(|mut scene| {
        scene.arrive();
        assert!(scene.is_quiet() && !scene.tls.has_more(), "tickets, where the version has them");
        if scene.server.protocol_version() == Some(TLS13.version) {
            scene.server.refresh_traffic_keys().unwrap();
            scene.arrive();
            assert!(scene.is_quiet() && !scene.tls.has_more());
        }
        scene.send(b"unasked");
        assert!(!scene.is_quiet() && scene.tls.has_more());
        assert_eq!(scene.read_all(100).unwrap().0, b"unasked", "and nothing is lost");
        scene.send(&pattern(100));
        scene.socket.borrow_mut().bytes.truncate(50);
        assert!(!scene.is_quiet(), "part of something");
    });
}

#[test]
fn an_end_is_an_end_with_a_farewell_only() {
    each_version(|mut scene| {
        scene.server.send_close_notify();
        scene.arrive();
        assert!(!scene.is_quiet());
        assert_eq!(scene.read_all(100).unwrap(), (Vec::new(), true));
        assert_eq!(scene.read_all(100).unwrap(), (Vec::new(), true), "and stays one");
    });
    each_version(|mut scene| {
        scene.send(b"half");
        scene.socket.borrow_mut().ended = true;
        assert_eq!(
            scene.tls.read(&mut Vec::new(), 10, |into, most| scene.receive(into, most)).unwrap(),
            Some(4)
        );
        scene.socket.borrow_mut().announced = true;
        assert!(!scene.is_quiet());
        assert!(matches!(scene.read_all(100), Err(StreamError::Closed)));
    });
}

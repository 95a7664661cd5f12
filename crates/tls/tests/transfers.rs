//! Bytes both ways: in pieces of every size, in bulk, around new keys, and to the end or not.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod scene;

use rustls::version::{TLS12, TLS13};
use scene::{Authority, Pair, clients, pattern};
use tls::{Error, Read};

/// A connection that is open, for each version.
fn each_version(mut test: impl FnMut(Pair)) {
    let authority = Authority::new();
    let identity = authority.issue(&["a.example"]);
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::new(&clients(&authority), "a.example", &identity.serving(&[version]));
        pair.shake_hands().unwrap();
        test(pair);
    }
}

#[test]
fn any_split_of_the_bytes_reads_the_same() {
    let authority = Authority::new();
    let identity = authority.issue(&["a.example"]);
    for version in [&TLS12, &TLS13] {
        let serving = identity.serving(&[version]);
        for piece in [1, 2, 3, 5, 7, 64, 1000] {
            let mut pair = Pair::new(&clients(&authority), "a.example", &serving);
            pair.piece = piece;
            pair.shake_hands().unwrap();
            assert_eq!(pair.up(b"question"), b"question");
            assert_eq!(pair.down(&pattern(3000), usize::MAX >> 1), pattern(3000), "pieces of {piece}");
        }
    }
}

#[test]
fn a_record_split_at_every_byte_reads_the_same() {
    each_version(|mut pair| {
        pair.down(b"tickets come with the first data", 100);
        for split in 0..200 {
            std::io::Write::write_all(&mut pair.server.writer(), &pattern(120)).unwrap();
            let mut sent = Vec::new();
            pair.server.write_tls(&mut sent).unwrap();
            let (first, rest) = sent.split_at(split.min(sent.len()));
            let mut got = Vec::new();
            for part in [first, rest] {
                pair.client.incoming().extend(part);
                assert_eq!(pair.read_all(&mut got, 1000).unwrap(), Read::Drained);
            }
            assert_eq!(got, pattern(120));
            assert!(!pair.client.holds_incoming());
        }
    });
}

#[test]
fn gives_no_more_than_is_asked_for_and_says_that_there_is_more() {
    each_version(|mut pair| {
        for most in [1, 7, 1000, 16_384, 20_000] {
            assert_eq!(pair.down(&pattern(40_000), most), pattern(40_000), "{most} at a time");
            assert!(!pair.client.holds_incoming());
        }
    });
}

#[test]
fn large_transfers_both_ways() {
    each_version(|mut pair| {
        let bytes = pattern(3_000_000);
        assert!(pair.up(&bytes) == bytes && pair.down(&bytes, 131_072) == bytes);
    });
}

#[test]
fn finds_out_whether_there_is_plaintext_without_taking_it() {
    each_version(|mut pair| {
        // Of TLS 1.3 the tickets, of TLS 1.2 nothing.
        pair.receive();
        assert_eq!(pair.client.read(&mut Vec::new(), 0).unwrap(), Read::Drained);
        std::io::Write::write_all(&mut pair.server.writer(), b"late").unwrap();
        pair.receive();
        let mut got = Vec::new();
        assert_eq!(pair.client.read(&mut got, 0).unwrap(), Read::More);
        assert!(got.is_empty() && pair.client.holds_incoming());
        assert_eq!(pair.read_all(&mut got, 100).unwrap(), Read::Drained);
        assert_eq!(got, b"late");
    });
}

#[test]
fn sends_while_whole_records_wait_to_be_read() {
    each_version(|mut pair| {
        std::io::Write::write_all(&mut pair.server.writer(), &pattern(60_000)).unwrap();
        pair.receive();
        let mut got = Vec::new();
        assert_eq!(pair.client.read(&mut got, 10).unwrap(), Read::More);
        assert_eq!(pair.up(b"meanwhile"), b"meanwhile");
        pair.read_all(&mut got, 1000).unwrap();
        assert_eq!(got, pattern(60_000));
    });
}

#[test]
fn goes_on_with_new_keys() {
    let authority = Authority::new();
    let serving = authority.issue(&["a.example"]).serving(&[&TLS13]);
    let mut pair = Pair::new(&clients(&authority), "a.example", &serving);
    pair.shake_hands().unwrap();
    for _ in 0..3 {
        assert_eq!(pair.down(b"before", 100), b"before");
        pair.server.refresh_traffic_keys().unwrap();
        assert_eq!(pair.down(b"after", 100), b"after");
        assert_eq!(pair.up(b"so do I"), b"so do I");
    }
}

#[test]
fn an_end_is_told_from_a_cut() {
    each_version(|mut pair| {
        assert_eq!(pair.down(b"some", 100), b"some");
        assert!(matches!(pair.client.end_of_input(), Err(Error::Truncated)));
        std::io::Write::write_all(&mut pair.server.writer(), b"rest").unwrap();
        pair.server.send_close_notify();
        pair.receive();
        let mut got = Vec::new();
        assert_eq!(pair.client.read(&mut got, 4).unwrap(), Read::More);
        assert_eq!(pair.read_all(&mut got, 100).unwrap(), Read::Ended);
        assert_eq!(got, b"rest");
        assert!(pair.client.end_of_input().is_ok());
        assert_eq!(pair.up(b"half closed"), b"half closed", "our side is still open");
    });
}

#[test]
fn ends_its_own_side_and_still_reads() {
    each_version(|mut pair| {
        let mut out = Vec::new();
        pair.client.encrypt(b"last", &mut out).unwrap();
        pair.client.close(&mut out);
        let length = out.len();
        pair.client.close(&mut out);
        assert_eq!(out.len(), length, "it ends once");
        assert!(matches!(pair.client.encrypt(b"more", &mut out), Err(Error::NotOpen)));
        let mut sent = &out[..];
        pair.server.read_tls(&mut sent).unwrap();
        assert!(pair.server.process_new_packets().unwrap().peer_has_closed());
        assert_eq!(pair.down(b"answer", 100), b"answer");
    });
}

#[test]
fn bytes_changed_on_the_way_are_an_error() {
    each_version(|mut pair| {
        std::io::Write::write_all(&mut pair.server.writer(), b"some").unwrap();
        pair.receive();
        *pair.client.incoming().last_mut().unwrap() ^= 1;
        let error = pair.read_all(&mut Vec::new(), 100).unwrap_err().to_string();
        assert_eq!(error, "TLS: cannot decrypt peer's message");
        assert!(!pair.client.take_pending().is_empty(), "an alert");
    });
}

#[test]
fn lent_vectors_come_back_and_nothing_is_lost() {
    each_version(|mut pair| {
        std::io::Write::write_all(&mut pair.server.writer(), &pattern(50_000)).unwrap();
        while pair.server.wants_write() {
            pair.server.write_tls(&mut pair.wire).unwrap();
        }
        let (mut got, mut vector) = (Vec::new(), Vec::with_capacity(100_000));
        for part in std::mem::take(&mut pair.wire).chunks(9_999) {
            pair.client.lend(vector);
            pair.client.incoming().extend(part);
            assert_eq!(pair.read_all(&mut got, 100_000).unwrap(), Read::Drained);
            vector = pair.client.take_back();
            assert!(vector.is_empty() && vector.capacity() >= 100_000);
        }
        assert_eq!(got, pattern(50_000));
    });
}

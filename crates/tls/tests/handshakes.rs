//! Whom a client believes, and what it says where it does not.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod scene;

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use scene::{Authority, Pair, clients};
use tls::{Session, Verification};

#[test]
fn believes_a_certificate_for_its_name_from_its_authority() {
    let authority = Authority::new();
    let identity = authority.issue(&["a.example", "*.b.example", "127.0.0.1", "::1"]);
    for version in [&TLS12, &TLS13] {
        for host in ["a.example", "A.Example", "a.example.", "x.b.example", "127.0.0.1", "::1"] {
            let mut pair = Pair::new(&clients(&authority), host, &identity.serving(&[version]));
            pair.shake_hands().unwrap_or_else(|error| panic!("{host}: {error}"));
            assert_eq!(pair.up(b"ping"), b"ping");
            assert_eq!(pair.server.protocol_version(), Some(version.version));
        }
    }
}

#[test]
fn prefers_the_newer_version_and_names_the_server() {
    let authority = Authority::new();
    let serving = authority.issue(&["a.example", "127.0.0.1"]).serving(&[&TLS12, &TLS13]);
    for (host, named) in [("a.example", Some("a.example")), ("127.0.0.1", None)] {
        let mut pair = Pair::new(&clients(&authority), host, &serving);
        pair.shake_hands().unwrap();
        assert_eq!(pair.server.protocol_version(), Some(TLS13.version));
        assert_eq!(pair.server.server_name(), named, "an address is no server name (RFC 6066)");
    }
}

#[test]
fn says_what_is_wrong_with_a_certificate() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let cases = [
        (authority.issue(&["b.example", "10.0.0.1"]), "is not for a.example but for b.example, 10.0.0.1"),
        (authority.issue(&["*.example"]), "is not for a.example but for *.example"),
        (authority.issue_until(&["a.example"], 2001), "expired "),
        (stranger.issue(&["a.example"]), "was issued by nobody who is trusted"),
    ];
    for (identity, expected) in cases {
        let mut pair = Pair::new(&clients(&authority), "a.example", &identity.serving(&[&TLS13, &TLS12]));
        let error = pair.shake_hands().unwrap_err().to_string();
        assert!(error.starts_with(&format!("TLS: the certificate {expected}")), "{error}");
        let again = pair.client.read(&mut Vec::new(), 1).unwrap_err();
        assert_eq!(again.to_string(), error, "it stays broken");
        assert!(pair.client.encrypt(b"secret", &mut Vec::new()).is_err());
    }
}

#[test]
fn tells_the_server_why_it_leaves() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let serving = stranger.issue(&["a.example"]).serving(&[&TLS12, &TLS13]);
    let mut pair = Pair::new(&clients(&authority), "a.example", &serving);
    let first = pair.client.handshake().map(|_| pair.client.take_pending()).unwrap();
    assert!(pair.deliver(&first).is_none());
    pair.receive();
    pair.client.handshake().unwrap_err();
    let alert = pair.client.take_pending();
    assert_eq!(pair.deliver(&alert).unwrap(), "received fatal alert: UnknownCA");
}

#[test]
fn believes_anybody_where_it_is_told_so() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for version in [&TLS12, &TLS13] {
        let serving = stranger.issue_until(&["b.example"], 2001).serving(&[version]);
        let client = Session::client(&clients(&authority), Verification::None, "a.example").unwrap();
        let mut pair = Pair::between(client, &serving);
        pair.shake_hands().unwrap();
        assert_eq!(pair.up(b"ping"), b"ping");
    }
}

#[test]
fn no_certificate_can_be_for_some_hosts() {
    for host in ["", "a..b", "a b", "-", "[::1]"] {
        let error = Session::client(&clients(&Authority::new()), Verification::Full, host).unwrap_err();
        assert!(error.to_string().contains("cannot stand in a certificate"), "{host}: {error}");
    }
}

#[test]
fn resumes_sessions_of_the_same_clients_only() {
    let authority = Authority::new();
    for version in [&TLS12, &TLS13] {
        let serving = authority.issue(&["a.example"]).serving(&[version]);
        let (own, others) = (clients(&authority), clients(&authority));
        let kind = |clients, verification| {
            let client = Session::client(clients, verification, "a.example").unwrap();
            let mut pair = Pair::between(client, &serving);
            pair.shake_hands().unwrap();
            assert_eq!(pair.down(b"a", 1), b"a", "tickets come with it");
            assert_eq!(pair.up(b"b"), b"b");
            pair.server.handshake_kind().unwrap()
        };
        assert_eq!(kind(&own, Verification::None), HandshakeKind::Full);
        assert_eq!(kind(&own, Verification::Full), HandshakeKind::Full, "it was not verified before");
        assert_eq!(kind(&own, Verification::Full), HandshakeKind::Resumed);
        assert_eq!(kind(&others, Verification::Full), HandshakeKind::Full, "of another core");
    }
}

#[test]
fn says_what_speaks_no_tls_or_leaves() {
    let authority = Authority::new();
    let start = || Session::client(&clients(&authority), Verification::Full, "a.example").unwrap();
    let mut plain = start();
    plain.handshake().unwrap();
    plain.incoming().extend(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let error = plain.handshake().unwrap_err().to_string();
    assert!(error.ends_with("does it speak TLS on this port?"), "{error}");
    let error = start().end_of_input().unwrap_err().to_string();
    assert!(error.contains("closed the connection in the handshake"), "{error}");
    let mut refused = start();
    refused.handshake().unwrap();
    refused.incoming().extend([21, 3, 3, 0, 2, 2, 70]);
    let error = refused.handshake().unwrap_err().to_string();
    assert_eq!(error, "TLS: the peer refuses: it speaks neither TLS 1.2 nor TLS 1.3");
}

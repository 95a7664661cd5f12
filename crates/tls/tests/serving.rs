//! The server's end: which certificate is chosen, what it takes to be served, and that tickets outlive both a
//! connection and a certificate.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "scene/authority.rs"]
mod authority;

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore};
use tls::{
    Certificate, Error, Files, Handshake, Listener, Member, Pair, Pem, Place, Protocol, Read, Served,
    Session, Terms,
};

use authority::{Authority, Identity};

const TERMS: Terms = Terms { tls12: true, http2: false, members: None };

fn at() -> SocketAddr {
    "127.0.0.1:443".parse().unwrap()
}

fn certificate(identity: &Identity) -> Arc<Certificate> {
    let [certificate, key] = identity.pem();
    let pem = |origin, text: &'static str| Pem { origin, text: text.as_bytes() };
    let (certificate, key) = (certificate.to_owned().leak(), key.to_owned().leak());
    Arc::new(Certificate::parse(&[pem("crt", certificate)], pem("key", key)).unwrap())
}

fn served(entries: Vec<(Place, &Identity)>) -> Served {
    let entries = entries.into_iter().map(|(place, identity)| (place, Some(certificate(identity))));
    Served::new(TERMS, entries.collect()).unwrap()
}

fn host(name: &str) -> Place {
    Place::Host(name.into())
}

/// A client of rustls's own that trusts `authority`.
fn client(authority: &Authority, member: Option<&Identity>) -> Arc<ClientConfig> {
    client_of(authority, member, &[&TLS13, &TLS12])
}

fn client_of(
    authority: &Authority,
    member: Option<&Identity>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(
        rustls::pki_types::pem::PemObject::pem_slice_iter(authority.pem.as_bytes()).flatten(),
    );
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
    Arc::new(match member {
        Some(member) => {
            let (chain, key) = member.as_client();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    })
}

/// Both ends, after the handshake.
struct Ends {
    client: ClientConnection,
    server: Session,
}

impl Ends {
    /// As the proxy goes about it: hear, choose, begin with what was heard. The server receives `piece` bytes at a time.
    fn meet(
        served: &Served,
        client: &Arc<ClientConfig>,
        name: &'static str,
        piece: usize,
    ) -> Result<Self, Error> {
        let mut client =
            ClientConnection::new(Arc::clone(client), ServerName::try_from(name).unwrap()).unwrap();
        let mut sent = Vec::new();
        client.write_tls(&mut sent).unwrap();
        let (mut listener, mut sent) = (Listener::default(), sent.as_slice());
        let hello = loop {
            let (now, later) = sent.split_at(piece.min(sent.len()));
            assert!(!now.is_empty(), "the whole message was not enough");
            sent = later;
            listener.incoming().extend_from_slice(now);
            if let Some(hello) = listener.hear().unwrap() {
                break hello;
            }
        };
        let offer = served.choose(hello.name.as_deref(), &at()).expect("there is a certificate");
        assert_eq!(offer.protocol(&hello), Protocol::Http1);
        let mut server = Session::server(offer.config(), hello.bytes)?;
        server.incoming().extend_from_slice(sent);
        loop {
            let progress = server.handshake();
            let pending = server.take_pending();
            read(&mut client, &pending, &mut Vec::new()).map_err(Error::Protocol)?;
            let mut answer = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut answer).unwrap();
            }
            if progress? == Handshake::Done {
                return Ok(Self { client, server });
            }
            server.incoming().extend_from_slice(&answer);
        }
    }

    /// Sends both ways; tickets arrive with it.
    fn talk(&mut self, text: &[u8]) {
        self.client.writer().write_all(text).unwrap();
        let mut got = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(self.server.incoming()).unwrap();
            assert_eq!(self.server.read(&mut got, usize::MAX / 2).unwrap(), Read::Drained);
        }
        assert_eq!(got, text);
        let (mut out, mut back) = (Vec::new(), Vec::new());
        self.server.encrypt(text, &mut out).unwrap();
        read(&mut self.client, &out, &mut back).unwrap();
        assert_eq!(back, text);
    }

    fn kind(&self) -> HandshakeKind {
        self.client.handshake_kind().unwrap()
    }

    fn shown(&self) -> &[u8] {
        &self.client.peer_certificates().unwrap()[0]
    }
}

fn read(client: &mut ClientConnection, mut sent: &[u8], got: &mut Vec<u8>) -> Result<(), rustls::Error> {
    while !sent.is_empty() {
        client.read_tls(&mut sent).unwrap();
        let state = client.process_new_packets()?;
        let before = got.len();
        got.resize(before + state.plaintext_bytes_to_read(), 0);
        client.reader().read_exact(&mut got[before..]).unwrap();
    }
    Ok(())
}

#[test]
fn exact_comes_before_wildcard_before_default() {
    let authority = Authority::new();
    let [default, exact, wildcard, several] =
        [&["default.example"][..], &["a.w.example"], &["*.w.example", "w.example"], &["one.tld", "two.tld"]]
            .map(|names| authority.issue(names));
    let served = served(vec![
        (host("*.w.example"), &wildcard),
        (host("a.w.example"), &exact),
        (host("one.tld"), &several),
        (Place::Default, &default),
    ]);
    let client = client(&authority, None);
    for (name, identity) in [
        ("a.w.example", &exact),
        ("A.W.EXAMPLE", &exact),
        ("b.w.example", &wildcard),
        ("w.example", &wildcard),
        ("two.tld", &several),
        ("default.example", &default),
    ] {
        let pair = Ends::meet(&served, &client, name, usize::MAX).unwrap();
        assert_eq!(pair.shown(), &**identity.certificate(), "{name}");
    }
    let chosen = |name: Option<&str>| served.choose(name, &at()).unwrap();
    for name in
        [None, Some("x.b.w.example"), Some("example"), Some("three.tld"), Some("tld"), Some(""), Some(".")]
    {
        assert!(chosen(name).covers("default.example"), "{name:?}");
    }
}

#[test]
fn an_address_may_have_a_default_of_its_own() {
    let authority = Authority::new();
    let [general, own] = ["general.example", "own.example"].map(|name| authority.issue(&[name]));
    let served = served(vec![(Place::Default, &general), (Place::At(at()), &own)]);
    let other = "127.0.0.1:444".parse().unwrap();
    let covers =
        |name: Option<&str>, at: &SocketAddr, host: &str| served.choose(name, at).unwrap().covers(host);
    assert!(covers(None, &at(), "own.example") && covers(None, &other, "general.example"));
    assert!(covers(Some("own.example"), &at(), "own.example"));
    assert!(covers(Some("general.example"), &at(), "general.example"));
    assert!(covers(Some("own.example"), &other, "general.example"), "elsewhere it is nobody's");
}

#[test]
fn without_a_default_an_unknown_name_gets_nothing() {
    let authority = Authority::new();
    let served = served(vec![(host("a.example"), &authority.issue(&["a.example"]))]);
    assert!(served.choose(None, &at()).is_none() && served.choose(Some("b.example"), &at()).is_none());
    assert!(served.choose(Some("a.example"), &at()).is_some());
}

#[test]
fn covers_names_wildcards_and_addresses() {
    let authority = Authority::new();
    let certificate = certificate(&authority.issue(&["a.example", "*.w.example", "127.0.0.1", "::1"]));
    for (name, is_covered) in [
        ("a.example", true),
        ("b.a.example", false),
        ("x.w.example", true),
        ("x.y.w.example", false),
        ("w.example", false),
        ("127.0.0.1", true),
        ("127.0.0.2", false),
        ("[::1]", true),
        ("::1", true),
        ("", false),
        ("bad name", false),
    ] {
        assert_eq!(certificate.covers(name), is_covered, "{name}");
    }
}

#[test]
fn serves_both_versions_and_both_kinds_of_keys_however_bytes_arrive() {
    let authority = Authority::new();
    for identity in [authority.issue(&["a.example"]), authority.issue_ed25519(&["a.example"])] {
        let served = served(vec![(Place::Default, &identity)]);
        for (version, piece) in [(&TLS12, usize::MAX), (&TLS13, usize::MAX), (&TLS12, 1), (&TLS13, 7)] {
            let client = client_of(&authority, None, &[version]);
            let mut pair = Ends::meet(&served, &client, "a.example", piece).unwrap();
            assert_eq!(pair.client.protocol_version(), Some(version.version));
            (0..5).for_each(|_| pair.talk(&[7; 40_000]));
        }
    }
}

#[test]
fn the_older_version_can_be_ruled_out() {
    let authority = Authority::new();
    let entry = (Place::Default, Some(certificate(&authority.issue(&["a.example"]))));
    let served = Served::new(Terms { tls12: false, ..TERMS }, vec![entry]).unwrap();
    let old = client_of(&authority, None, &[&TLS12]);
    assert!(Ends::meet(&served, &old, "a.example", usize::MAX).is_err());
    let pair = Ends::meet(&served, &client(&authority, None), "a.example", usize::MAX).unwrap();
    assert_eq!(pair.client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
}

#[test]
fn tickets_are_good_after_the_certificate_was_replaced() {
    let authority = Authority::new();
    let before = served(vec![(Place::Default, &authority.issue(&["a.example"]))]);
    let after = served(vec![(Place::Default, &authority.issue(&["a.example"]))]);
    for version in [&TLS12, &TLS13] {
        let client = client_of(&authority, None, &[version]);
        let mut first = Ends::meet(&before, &client, "a.example", usize::MAX).unwrap();
        assert_eq!(first.kind(), HandshakeKind::Full);
        first.talk(b"x");
        let mut second = Ends::meet(&after.after(&before), &client, "a.example", usize::MAX).unwrap();
        assert_eq!(second.kind(), HandshakeKind::Resumed);
        second.talk(b"x");
        // Another process gave it none.
        let other = Ends::meet(&after, &client, "a.example", usize::MAX).unwrap();
        assert_eq!(other.kind(), HandshakeKind::Full);
    }
}

#[test]
fn what_is_of_no_use_stays_as_it_was() {
    let authority = Authority::new();
    let (old, new) = (authority.issue(&["a.example"]), authority.issue(&["b.example"]));
    let before = served(vec![(host("a.example"), &old), (host("gone.example"), &old)]);
    let entries = vec![(host("a.example"), None), (host("b.example"), Some(certificate(&new)))];
    let after = Served::new(TERMS, entries).unwrap().after(&before);
    assert!(after.choose(Some("a.example"), &at()).unwrap().covers("a.example"));
    assert!(after.choose(Some("b.example"), &at()).unwrap().covers("b.example"));
    assert!(after.choose(Some("gone.example"), &at()).is_none(), "what is no longer meant to be is not");
    assert_eq!((before.len(), after.len()), (2, 2));
}

/// Files of a default pair with the authorities of clients.
struct Scene {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap(), authority: Authority::new() };
        scene.authority.issue(&["a.example"]).write(&scene.path("crt"), &scene.path("key"));
        scene.authority.write(&scene.path("ca"));
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, members: Option<bool>) -> Served {
        let pair = Pair { certificate: self.path("crt"), key: self.path("key"), chain: Vec::new() };
        let files = Files {
            named: vec![(Place::Default, pair)],
            folder: None,
            members: members.map(|_| self.path("ca")),
            members_required: members == Some(true),
            tls12: true,
            http2: false,
        };
        files.read(0).served.unwrap()
    }

    fn meet(&self, served: &Served, client: &Arc<ClientConfig>) -> Result<Ends, Error> {
        Ends::meet(served, client, "a.example", usize::MAX)
    }
}

#[test]
fn clients_prove_who_they_are() {
    let (scene, stranger) = (Scene::new(), Authority::new());
    let member = scene.authority.issue(&["member.example"]);
    let foreign = stranger.issue(&["member.example"]);
    for version in [&TLS12, &TLS13] {
        let of = |member| client_of(&scene.authority, member, &[version]);
        for required in [true, false] {
            let served = scene.read(Some(required));
            let mut pair = scene.meet(&served, &of(Some(&member))).unwrap();
            let Member { subject, fingerprint } = pair.server.member().unwrap();
            assert_eq!(subject, r"O=Of tests\, and others,CN=rcgen self signed cert");
            assert_eq!(fingerprint.len(), 64);
            pair.talk(b"x");
            // A resumed session is still that client's.
            let again = scene.meet(&served, &of(Some(&member))).unwrap();
            assert_eq!(again.server.member().unwrap().fingerprint, fingerprint);
            assert!(scene.meet(&served, &of(Some(&foreign))).is_err(), "an authority of its own");
            let nobody = scene.meet(&served, &of(None));
            assert_eq!(nobody.is_err(), required);
            assert!(nobody.ok().is_none_or(|pair| pair.server.member().is_none()));
        }
    }
}

#[test]
fn a_ticket_from_before_clients_were_asked_opens_nothing() {
    let scene = Scene::new();
    let open = scene.read(None);
    for version in [&TLS12, &TLS13] {
        let client = client_of(&scene.authority, None, &[version]);
        scene.meet(&open, &client).unwrap().talk(b"x");
        let closed = scene.read(Some(true)).after(&open);
        assert!(scene.meet(&closed, &client).is_err());
    }
}

#[test]
fn what_is_no_first_message_is_told_so() {
    let hear = |bytes: &[u8]| {
        let mut listener = Listener::default();
        listener.incoming().extend_from_slice(bytes);
        listener.hear().map(|hello| hello.is_some())
    };
    assert!(matches!(hear(b""), Ok(false)));
    assert!(matches!(hear(&[22, 3, 1, 0]), Ok(false)));
    for (bytes, has_alert) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], true),
        (&[22, 3, 1, 0xFF, 0xFF, 1, 0, 0, 0], true),
        (&[22, 3, 1, 0, 4, 1, 0, 0, 0], true),
        (&[23, 3, 3, 0, 1, 0], false),
    ] {
        let misheard = hear(bytes).unwrap_err();
        assert_eq!(!misheard.alert.is_empty(), has_alert, "{bytes:?}: {}", misheard.error);
    }
    // A message that says it is long and never ends.
    let mut endless = vec![22, 3, 1, 0x40, 0, 1, 0, 0xFF, 0xFF];
    endless.resize(5 + 0x4000, 0);
    let more = [&[22, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
    (0..4).for_each(|_| endless.extend_from_slice(&more));
    assert!(hear(&endless).is_err());
}

#[test]
fn a_chain_is_sent_whole() {
    let root = Authority::new();
    let middle = root.below();
    let leaf = middle.issue(&["a.example"]);
    let [certificate, key] = leaf.pem();
    let pem = |origin, text: &'static str| Pem { origin, text: text.as_bytes() };
    let key = pem("key", key.to_owned().leak());
    let (own, above): (&str, &str) = (certificate.to_owned().leak(), middle.pem.clone().leak());
    let chain = Certificate::parse(&[pem("crt", own), pem("ca", above)], key).unwrap();
    assert_eq!(chain.doubts(1_700_000_000), Vec::<String>::new());
    let served = Served::new(TERMS, vec![(Place::Default, Some(Arc::new(chain)))]).unwrap();
    let pair = Ends::meet(&served, &client(&root, None), "a.example", usize::MAX).unwrap();
    assert_eq!(pair.client.peer_certificates().unwrap().len(), 2);
    let turned = Certificate::parse(&[pem("ca", above), pem("crt", own)], key).unwrap_err().to_string();
    assert_eq!(
        turned,
        "ca: the key in key is that of certificate 2 in the chain; the server's own must stand first"
    );
}

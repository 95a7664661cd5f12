//! Where trust comes from, and what is said of a file that gives none.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod scene;

use rustls::version::TLS13;
use scene::{Authority, Pair, trust};
use tls::{Session, Trust, Verification};

fn refused(text: impl AsRef<[u8]>) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let error = Trust::file(file.path()).unwrap_err().to_string();
    let named = format!("{}: ", file.path().display());
    assert!(
        error.ends_with("accepted: a PEM file with the certificates of one or more authorities"),
        "{error}"
    );
    error.strip_prefix(&named).unwrap_or_else(|| panic!("{error} does not name the file")).to_owned()
}

#[test]
fn a_file_may_hold_several_authorities_and_words() {
    let (one, two) = (Authority::new(), Authority::new());
    let clients = trust(&format!("# ours\n{}\nand theirs\n{}", one.pem, two.pem)).clients();
    for authority in [one, two] {
        let serving = authority.issue(&["a.example"]).serving(&[&TLS13]);
        Pair::new(&clients, "a.example", &serving).shake_hands().unwrap();
    }
}

#[test]
fn a_file_without_an_authority_is_refused() {
    for nothing in ["", "\n", "certificate\n"] {
        assert!(refused(nothing).starts_with("no certificate in it"));
    }
    let pem = Authority::new().pem;
    assert!(refused(pem.replace("-----END", "-----UND")).starts_with("bad PEM: "));
    assert!(refused(pem.replacen("MII", "!!!", 1)).starts_with("bad PEM: "));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(refused([&pem, broken].concat()).starts_with("certificate 2 in it is bad: "));
    assert!(refused(vec![b'\n'; 5 * 1024 * 1024]).starts_with("it has more than 4194304 bytes"));
    let error = Trust::file("/nowhere/ca.pem".as_ref()).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/ca.pem: No such file"), "{error}");
}

#[test]
fn trust_is_compared_by_its_authorities() {
    let (one, two) = (Authority::new(), Authority::new());
    assert_eq!(trust(&one.pem), trust(&one.pem));
    assert_ne!(trust(&one.pem), trust(&two.pem));
    assert_ne!(trust(&one.pem), Trust::system());
    assert_eq!(Trust::system(), Trust::system());
}

#[test]
fn the_system_does_not_trust_an_authority_made_here() {
    let system = Trust::system();
    system.load();
    let serving = Authority::new().issue(&["a.example"]).serving(&[&TLS13]);
    match Session::client(&system.clients(), Verification::Full, "a.example") {
        Ok(client) => {
            let error = Pair::between(client, &serving).shake_hands().unwrap_err().to_string();
            assert_eq!(error, "TLS: the certificate was issued by nobody who is trusted");
        }
        // A machine without a store says so, and only where it is asked.
        Err(error) => assert!(error.to_string().contains("ca-certificates"), "{error}"),
    }
    let client = Session::client(&system.clients(), Verification::None, "a.example").unwrap();
    Pair::between(client, &serving).shake_hands().unwrap();
}

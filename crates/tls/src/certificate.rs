//! A server's certificate and its key, read from PEM and checked once: whatever is one of these can be served.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SigningKey};
use webpki::EndEntityCert;

use crate::bounds::CHAIN_CERTIFICATES;
use crate::error::Error;
use crate::validity::Validity;

const KEY_KINDS: &str = "accepted: RSA of 2048 to 8192 bits, ECDSA on P-256 or P-384, Ed25519";

/// Some PEM, and what it is called in messages: the file it was read from, or the key of a store.
#[derive(Debug, Clone, Copy)]
pub struct Pem<'a> {
    /// Where it is from.
    pub origin: &'a str,
    /// The text; may hold a private key, so it is never printed.
    pub text: &'a [u8],
}

/// A certificate with its chain and its key.
pub struct Certificate {
    key: Arc<CertifiedKey>,
    /// The DNS names it is for, in lower case, `*.` before those that stand for one more label.
    names: Vec<String>,
    validity: Option<Validity>,
    /// Something is odd about the chain.
    disorder: Option<String>,
}

impl Certificate {
    /// Reads the certificates of `chain`, the server's own first, and its `key`, and checks that they belong together.
    ///
    /// # Errors
    /// [`Error::Pair`], naming the origin and what is wrong there; nothing of the key shows in it.
    pub fn parse(chain: &[Pem<'_>], key: Pem<'_>) -> Result<Self, Error> {
        let certificates = read_chain(chain)?;
        let own = chain.first().map_or("", |part| part.origin);
        if certificates.is_empty() {
            return Err(pair_fault(own, "no certificate in it; accepted: PEM".into()));
        }
        let signing = read_key(key)?;
        let key = Arc::new(fitting(certificates, signing, own, key.origin)?);
        let leaf = leaf_of(&key).map_err(|problem| pair_fault(own, problem))?;
        let names = leaf.valid_dns_names().map(str::to_ascii_lowercase).collect();
        let (validity, disorder) = (Validity::of(&key.cert[0]), disorder(&key.cert));
        Ok(Self { key, names, validity, disorder })
    }

    /// What an operator should know of it though it can be served. `now` is in seconds since 1970.
    pub fn doubts(&self, now: u64) -> Vec<String> {
        let mut doubts: Vec<String> = self.disorder.iter().cloned().collect();
        doubts.extend(self.validity.and_then(|validity| validity.doubt(now)));
        doubts
    }

    /// The DNS names it is for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether a client that asks for `host`, a name or an address without a port, would take it for that host's.
    pub fn covers(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = match bare.parse::<IpAddr>() {
            Ok(address) => ServerName::IpAddress(address.into()),
            Err(_) => match ServerName::try_from(bare) {
                Ok(name) => name,
                Err(_) => return false,
            },
        };
        leaf_of(&self.key).is_ok_and(|leaf| leaf.verify_is_valid_for_subject_name(&name).is_ok())
    }

    /// What rustls signs with.
    pub(crate) fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }
}

/// Equal: the same chain, and so the same key, which fits it.
impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.chain() == other.chain()
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("names", &self.names).finish_non_exhaustive()
    }
}

fn pair_fault(origin: &str, problem: String) -> Error {
    Error::Pair { origin: origin.to_owned(), problem }
}

/// In words of our own: those of the parser show what stands in the file, which may be a key.
pub(crate) fn bad_pem(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "bad PEM: a section does not end".into(),
        pem::Error::IllegalSectionStart { .. } => "bad PEM: a section does not begin as one must".into(),
        pem::Error::Base64Decode(_) => "bad PEM: not base64".into(),
        pem::Error::NoItemsFound => "nothing of the kind in it; accepted: PEM".into(),
        _ => "bad PEM".into(),
    }
}

fn read_chain(chain: &[Pem<'_>]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut certificates: Vec<CertificateDer<'static>> = Vec::new();
    for part in chain {
        let fault = |problem: String| pair_fault(part.origin, problem);
        for certificate in CertificateDer::pem_slice_iter(part.text).take(CHAIN_CERTIFICATES + 1) {
            certificates.push(certificate.map_err(|error| fault(bad_pem(&error)))?);
        }
        // A file of the chain may begin with what the other ended with.
        certificates.dedup();
        if certificates.len() > CHAIN_CERTIFICATES {
            return Err(fault(format!("more than {CHAIN_CERTIFICATES} certificates in the chain")));
        }
    }
    Ok(certificates)
}

fn read_key(key: Pem<'_>) -> Result<Arc<dyn SigningKey>, Error> {
    let der = match PrivateKeyDer::from_pem_slice(key.text) {
        Ok(der) => der,
        Err(pem::Error::NoItemsFound) => {
            let mark = b"BEGIN ENCRYPTED PRIVATE KEY";
            let problem = if key.text.windows(mark.len()).any(|window| window == mark) {
                "the key has a passphrase; take it off: openssl pkey -in FILE -out FILE".to_owned()
            } else {
                "no private key in it; accepted: PEM (PKCS#8, PKCS#1 or SEC1)".to_owned()
            };
            return Err(pair_fault(key.origin, problem));
        }
        Err(error) => return Err(pair_fault(key.origin, bad_pem(&error))),
    };
    any_supported_type(&der).map_err(|_| {
        pair_fault(key.origin, format!("the key is broken or of a kind that is not supported; {KEY_KINDS}"))
    })
}

/// Puts certificates and key together if the key is that of the first.
fn fitting(
    certificates: Vec<CertificateDer<'static>>,
    signing: Arc<dyn SigningKey>,
    own: &str,
    key_origin: &str,
) -> Result<CertifiedKey, Error> {
    let key = CertifiedKey::new(certificates, signing);
    match key.keys_match() {
        Ok(()) => return Ok(key),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {}
        Err(_) => {
            let problem = leaf_of(&key).err();
            return Err(pair_fault(own, problem.unwrap_or_else(|| "the certificate cannot be used".into())));
        }
    }
    let is_others = |place: &usize| {
        let other = CertifiedKey::new(vec![key.cert[*place].clone()], Arc::clone(&key.key));
        other.keys_match().is_ok()
    };
    let problem = match (1..key.cert.len()).find(is_others) {
        Some(place) => format!(
            "the key in {key_origin} is that of certificate {} in the chain; the server's own must stand first",
            place + 1
        ),
        None => format!("the key in {key_origin} is not that of this certificate"),
    };
    Err(pair_fault(own, problem))
}

fn leaf_of(key: &CertifiedKey) -> Result<EndEntityCert<'_>, String> {
    EndEntityCert::try_from(&key.cert[0]).map_err(|error| match error {
        webpki::Error::UnsupportedCertVersion => {
            "a certificate of X.509 version 1 is not supported; make one with subjectAltName".to_owned()
        }
        _ => format!("the first certificate in it cannot be read: {error}"),
    })
}

/// Where each certificate is not issued by the next: most clients manage, some do not.
fn disorder(chain: &[CertificateDer<'_>]) -> Option<String> {
    let parsed: Result<Vec<_>, _> = chain.iter().map(EndEntityCert::try_from).collect();
    let Ok(parsed) = parsed else { return Some("a certificate of the chain cannot be read".into()) };
    let place = parsed.windows(2).position(|pair| pair[0].issuer() != pair[1].subject())?;
    Some(format!("certificate {} of the chain is not the issuer of the one before it", place + 2))
}

//! Whom a client believes: the authorities of this machine, those of a file, or, where it is told so, anybody.
//! Read once and shared by all cores; what each core makes of it is its own.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::bounds::{AUTHORITIES_BYTES, RESUMABLE_SESSIONS};
use crate::certificate::bad_pem;
use crate::error::Error;

/// The authorities that servers' certificates are verified against. Clones share them.
#[derive(Debug, Clone)]
pub struct Trust(Arc<Source>);

#[derive(Debug)]
enum Source {
    File(Arc<RootCertStore>),
    /// Read when first asked for.
    System(OnceLock<Result<Arc<RootCertStore>, Error>>),
}

/// Whether a server must prove who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// By a certificate for its name, from a trusted authority.
    Full,
    /// Not at all: whoever answers is spoken to.
    None,
}

impl Trust {
    /// Trusts the authorities of this machine. They are read by [`Self::load`].
    pub fn system() -> Self {
        Self(Arc::new(Source::System(OnceLock::new())))
    }

    /// Trusts the authorities of a PEM file and nobody else.
    ///
    /// # Errors
    /// The file cannot be read, holds no certificate, or a bad one.
    pub fn file(path: &Path) -> Result<Self, Error> {
        Ok(Self(Arc::new(Source::File(read_roots(path)?))))
    }

    /// Reads what was not read yet, so that no later call does: a system's store is some 150 files or one large one.
    pub fn load(&self) {
        // Where there is none, whoever connects is told.
        let _ = self.roots();
    }

    /// What one core connects with; it shares no lock and no session with another's.
    pub fn clients(&self) -> Clients {
        let provider = Arc::new(ring::default_provider());
        let nobody = Arc::new(Nobody(Arc::clone(&provider)));
        let verified = self.roots().and_then(|roots| {
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
            let problem = |error: rustls::client::VerifierBuilderError| Error::NoSystemStore {
                problem: error.to_string(),
            };
            Ok(config(&provider, verifier.map_err(problem)?))
        });
        Clients { verified, insecure: config(&provider, nobody) }
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, Error> {
        match &*self.0 {
            Source::File(roots) => Ok(Arc::clone(roots)),
            Source::System(roots) => roots.get_or_init(read_system).clone(),
        }
    }
}

/// Equal: they trust the same authorities.
impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        match (self.roots(), other.roots()) {
            (Ok(one), Ok(other)) => one.roots == other.roots,
            (one, other) => one.is_err() && other.is_err(),
        }
    }
}

impl Eq for Trust {}

/// How connections begin: what one core needs for them.
#[derive(Debug, Clone)]
pub struct Clients {
    verified: Result<Arc<ClientConfig>, Error>,
    /// Apart also because a session that nobody verified must not be resumed where it is to be.
    insecure: Arc<ClientConfig>,
}

impl Clients {
    /// The configuration for a connection.
    ///
    /// # Errors
    /// The system's authorities are wanted, and this machine has none.
    pub(crate) fn config(&self, verification: Verification) -> Result<Arc<ClientConfig>, Error> {
        match verification {
            Verification::Full => self.verified.clone(),
            Verification::None => Ok(Arc::clone(&self.insecure)),
        }
    }
}

/// TLS 1.2 and 1.3, without a protocol name (ALPN): what is spoken inside is agreed upon beforehand, and a server that
/// offers only another name would refuse.
fn config(provider: &Arc<CryptoProvider>, verifier: Arc<dyn ServerCertVerifier>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider));
    let mut config = builder
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for both versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(RESUMABLE_SESSIONS);
    Arc::new(config)
}

/// The authorities of a PEM file.
///
/// # Errors
/// The file cannot be read, holds no certificate, or a bad one.
pub(crate) fn read_roots(path: &Path) -> Result<Arc<RootCertStore>, Error> {
    let wrong = |problem: String| Error::Authorities { file: path.to_owned(), problem };
    let text = read_bounded(path).map_err(wrong)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| wrong(bad_pem(&error)))?;
        let number = roots.len() + 1;
        let added = roots.add(certificate);
        added.map_err(|error| wrong(format!("certificate {number} in it is bad: {error}")))?;
    }
    if roots.is_empty() {
        return Err(wrong("no certificate in it".into()));
    }
    Ok(Arc::new(roots))
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(AUTHORITIES_BYTES + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > AUTHORITIES_BYTES {
        return Err(format!("it has more than {AUTHORITIES_BYTES} bytes"));
    }
    Ok(text)
}

/// A single bad certificate in a system's store costs itself alone.
fn read_system() -> Result<Arc<RootCertStore>, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(Arc::new(roots));
    }
    let problem = found.errors.first().map_or("none found".into(), ToString::to_string);
    Err(Error::NoSystemStore { problem })
}

/// Verifies nothing: the connection is safe from listeners and from nobody else.
#[derive(Debug)]
struct Nobody(Arc<CryptoProvider>);

impl ServerCertVerifier for Nobody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    // That somebody holds the key of a certificate that anybody can make proves nothing, and certificates too old or
    // too odd to be parsed are what this is for.
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

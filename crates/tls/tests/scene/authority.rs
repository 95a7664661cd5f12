//! Certificates made for a test. Tests of other crates use them too.
#![allow(dead_code, reason = "each test uses its part of it")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// An authority and what it has to sign with.
pub(crate) struct Authority {
    pub(crate) pem: String,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A server's certificate and key.
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// The certificate and the key once more.
    pem: [String; 2],
}

impl Authority {
    pub(crate) fn new() -> Self {
        let (params, key) = Self::params();
        let made = params.self_signed(&key).unwrap();
        let (pem, certificate) = (made.pem(), made.der().clone());
        Self { pem, certificate, issuer: Issuer::new(params, key) }
    }

    /// Another authority, by the word of this one.
    pub(crate) fn below(&self) -> Self {
        let (params, key) = Self::params();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        let (pem, certificate) = (made.pem(), made.der().clone());
        Self { pem, certificate, issuer: Issuer::new(params, key) }
    }

    fn params() -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::new([]).unwrap();
        // Authorities of one name would be taken for one another.
        let name = format!("authority {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Strict clients, as Python from 3.13 on, want both this and whose key has signed (RFC 5280 section 4.2.1).
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        (params, KeyPair::generate().unwrap())
    }

    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_until(names, 2100)
    }

    /// A certificate that ends with the beginning of a year.
    pub(crate) fn issue_until(&self, names: &[&str], year: i32) -> Identity {
        self.make(names, year, &PKCS_ECDSA_P256_SHA256)
    }

    /// A certificate whose key is of Ed25519.
    pub(crate) fn issue_ed25519(&self, names: &[&str]) -> Identity {
        self.make(names, 2100, &PKCS_ED25519)
    }

    fn make(&self, names: &[&str], year: i32, algorithm: &'static SignatureAlgorithm) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name.push(DnType::OrganizationName, "Of tests, and others");
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let pem = [certificate.pem(), key.serialize_pem()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Identity { chain: vec![certificate.der().clone()], key, pem }
    }

    /// Writes the authority where a program is to read it.
    pub(crate) fn write(&self, file: &Path) {
        std::fs::write(file, &self.pem).unwrap();
    }
}

impl Identity {
    /// The certificate and the key.
    pub(crate) fn pem(&self) -> [&str; 2] {
        [&self.pem[0], &self.pem[1]]
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// What it shows and proves where it is a client.
    pub(crate) fn as_client(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain.clone(), self.key.clone_key())
    }

    /// Writes certificate and key where a program is to read them.
    pub(crate) fn write(&self, certificate: &Path, key: &Path) {
        std::fs::write(certificate, &self.pem[0]).unwrap();
        std::fs::write(key, &self.pem[1]).unwrap();
    }

    pub(crate) fn serving(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
        self.serving_to(versions, WebPkiClientVerifier::no_client_auth())
    }

    /// Serves only those who show a certificate of `authority`.
    pub(crate) fn serving_members(&self, authority: &Authority) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.clone()).unwrap();
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        self.serving_to(rustls::ALL_VERSIONS, builder.build().unwrap())
    }

    fn serving_to(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        clients: Arc<dyn ClientCertVerifier>,
    ) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions);
        let builder = builder.unwrap().with_client_cert_verifier(clients);
        let mut config = builder.with_single_cert(self.chain.clone(), self.key.clone_key()).unwrap();
        // Two tickets, as servers send them.
        config.send_tls13_tickets = 2;
        Arc::new(config)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

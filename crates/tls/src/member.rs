//! Who a client is by the certificate it has shown.

use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::bounds::SUBJECT_BYTES;
use crate::subject::{self, hex};

/// A client that has proved to hold the key of a certificate which an authority of ours has issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Subject of the certificate (RFC 4514), printable ASCII; empty where it has none that can be written so.
    pub subject: String,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
}

impl Member {
    /// `None`: the certificate cannot be read, which the handshake has ruled out.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let parsed = EndEntityCert::try_from(certificate).ok()?;
        let subject = subject::text(parsed.subject()).filter(|text| text.len() <= SUBJECT_BYTES);
        let sha256 = TLS13_AES_128_GCM_SHA256.tls13()?.common.hash_provider;
        let fingerprint = hex(sha256.hash(certificate).as_ref());
        Some(Self { subject: subject.unwrap_or_default(), fingerprint })
    }
}

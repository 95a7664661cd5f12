//! What can go wrong, who is at fault, and what mends it.

use std::fmt;
use std::path::PathBuf;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

/// Why there is no trust, no connection, or no more of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// The operator's file of authorities is of no use.
    Authorities {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A server's certificate, its chain or its key is of no use.
    Pair {
        /// The file, or whatever else it was read from.
        origin: String,
        /// What is wrong with it; nothing of a key shows in it.
        problem: String,
    },
    /// A client's first message has no end within what is read of it.
    HelloTooLarge,
    /// This machine has no certificate authorities.
    NoSystemStore {
        /// What was found instead.
        problem: String,
    },
    /// The host cannot stand in a certificate.
    Name {
        /// The host.
        host: String,
    },
    /// The peer's certificate does not prove who it is.
    Certificate {
        /// What was found wrong.
        problem: CertificateError,
    },
    /// The peer ended the connection with an alert: it is not content with us.
    Refused(AlertDescription),
    /// The peer broke the protocol, or what it can do and what we can do have nothing in common.
    Protocol(rustls::Error),
    /// The peer closed the connection before the handshake was over.
    Aborted,
    /// The peer's bytes ended where it had not said so: some may be missing.
    Truncated,
    /// More was to be sent after our own end, or before the handshake was over.
    NotOpen,
}

impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(problem) => Self::Certificate { problem },
            rustls::Error::AlertReceived(alert) => Self::Refused(alert),
            other => Self::Protocol(other),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authorities { file, problem } => write!(
                f,
                "{}: {problem}; accepted: a PEM file with the certificates of one or more authorities",
                file.display()
            ),
            Self::Pair { origin, problem } => write!(f, "{origin}: {problem}"),
            Self::HelloTooLarge => f.write_str("TLS: the first message is too large"),
            Self::NoSystemStore { problem } => write!(
                f,
                "no certificate authorities on this machine ({problem}); install the package ca-certificates, or name a \
                 file of authorities in the configuration"
            ),
            Self::Name { host } => write!(f, "TLS: {host:?} cannot stand in a certificate"),
            Self::Certificate { problem } => {
                f.write_str("TLS: the certificate ")?;
                certificate(problem, f)
            }
            Self::Refused(alert) => write!(f, "TLS: the peer refuses: {}", words(*alert)),
            Self::Protocol(error) => write!(f, "TLS: {error}{}", hint(error)),
            Self::Aborted => f.write_str(
                "TLS: the peer closed the connection in the handshake; does it speak TLS on this port?",
            ),
            Self::Truncated => f.write_str("TLS: the connection was cut, not ended"),
            Self::NotOpen => f.write_str("TLS: the connection takes no more data"),
        }
    }
}

/// What is wrong with a certificate, continuing "the certificate …".
fn certificate(problem: &CertificateError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match problem {
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().map(|name| plain(name)).collect();
            let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
            write!(f, "is not for {} but for {names}", expected.to_str())
        }
        CertificateError::ExpiredContext { time, not_after } => {
            write!(f, "expired {} ago", span(*not_after, *time))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            write!(f, "begins in {} only", span(*time, *not_before))
        }
        CertificateError::UnknownIssuer => f.write_str("was issued by nobody who is trusted"),
        CertificateError::BadSignature => f.write_str("was not signed by the authority it names"),
        other => write!(f, "is not acceptable: {other}"),
    }
}

/// A name as rustls gives it, such as `DnsName("a.example")`, without what stands around it.
fn plain(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

fn span(from: UnixTime, to: UnixTime) -> String {
    let seconds = to.as_secs().saturating_sub(from.as_secs());
    match seconds {
        172_800.. => format!("{} days", seconds / 86_400),
        7_200.. => format!("{} hours", seconds / 3600),
        _ => format!("{seconds} seconds"),
    }
}

fn words(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => "it wants a certificate of us, and we have none".into(),
        AlertDescription::UnrecognisedName => "it does not know the name it was asked for".into(),
        AlertDescription::ProtocolVersion => "it speaks neither TLS 1.2 nor TLS 1.3".into(),
        AlertDescription::HandshakeFailure => "it finds no common ground (handshake_failure)".into(),
        other => format!("{other:?}"),
    }
}

/// What most often lies behind an error that names only the symptom.
fn hint(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidMessage(_) => "; does it speak TLS on this port?",
        _ => "",
    }
}

//! The header fields this proxy acts on, and which fields go to the next hop.

use super::span::Span;

/// One header field, by place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: Span,
    pub(crate) value: Span,
    pub(crate) known: Name,
}

/// A field name the proxy knows, or any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Connection,
    ContentLength,
    Expect,
    Host,
    KeepAlive,
    ProxyConnection,
    Referer,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    ForwardedFor,
    ForwardedHost,
    ForwardedPort,
    ForwardedProto,
    ForwardedProtocol,
    RealIp,
    ClientCertificate,
    RequestId,
    Debug,
    Other,
}

impl Name {
    /// The name of a field as a client or backend wrote it. Names that say who the client is are known with
    /// underscores too: CGI gateways cannot tell `X_Forwarded_For` from `X-Forwarded-For`.
    pub(crate) fn of(name: &[u8]) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            2 if is("te") => Self::Te,
            4 if is("host") => Self::Host,
            6 if is("expect") => Self::Expect,
            7 if is("x-debug") => Self::Debug,
            7 if is("referer") => Self::Referer,
            7 if is("trailer") => Self::Trailer,
            7 if is("upgrade") => Self::Upgrade,
            9 if like(name, "x-real-ip") => Self::RealIp,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::KeepAlive,
            10 if is("user-agent") => Self::UserAgent,
            12 if is("x-request-id") => Self::RequestId,
            14 if is("content-length") => Self::ContentLength,
            15 if like(name, "x-forwarded-for") => Self::ForwardedFor,
            16 if like(name, "x-forwarded-host") => Self::ForwardedHost,
            16 if like(name, "x-forwarded-port") => Self::ForwardedPort,
            16 if is("proxy-connection") => Self::ProxyConnection,
            17 if like(name, "x-forwarded-proto") => Self::ForwardedProto,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            20 if like(name, "x-forwarded-protocol") => Self::ForwardedProtocol,
            21 if like(name, "x-client-cert-subject") => Self::ClientCertificate,
            25 if like(name, "x-client-cert-fingerprint") => Self::ClientCertificate,
            _ => Self::Other,
        }
    }

    /// Whether the field is for one connection only (RFC 9110 section 7.6.1).
    pub(crate) fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }

    /// Whether the field tells who the client is: set by this proxy, never by an untrusted client.
    pub(crate) fn is_forwarding(self) -> bool {
        matches!(
            self,
            Self::ForwardedFor
                | Self::ForwardedHost
                | Self::ForwardedPort
                | Self::ForwardedProto
                | Self::ForwardedProtocol
                | Self::RealIp
        )
    }

    /// Whether `Connection` may not take the field away: without it the message would mean something else.
    fn is_needed(self) -> bool {
        matches!(self, Self::Host | Self::ContentLength | Self::TransferEncoding | Self::RequestId)
    }
}

/// Whether a `Connection` field among `fields` names this one as for one hop only.
pub(crate) fn is_nominated(field: &Field, fields: &[Field], bytes: &[u8]) -> bool {
    let name = field.name.within(bytes);
    !field.known.is_needed()
        && fields
            .iter()
            .filter(|other| other.known == Name::Connection)
            .any(|other| tokens(other.value.within(bytes)).any(|token| token.eq_ignore_ascii_case(name)))
}

/// The elements of a comma-separated field value, without white space, empty ones left out.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Equal but for case and for underscores in the place of dashes. `known` is lower-case with dashes.
fn like(name: &[u8], known: &str) -> bool {
    name.len() == known.len()
        && name
            .iter()
            .zip(known.bytes())
            .all(|(&byte, known)| byte.to_ascii_lowercase() == known || (known == b'-' && byte == b'_'))
}

/// Appends the lines of those `fields` that `keep` wants, byte for byte, runs of kept lines in one copy.
/// `end` is where the last field's line ends in `bytes`.
pub(crate) fn copy_fields(
    out: &mut Vec<u8>,
    bytes: &[u8],
    fields: &[Field],
    end: usize,
    keep: impl Fn(&Field) -> bool,
) {
    let mut run = None;
    for field in fields {
        if keep(field) {
            run.get_or_insert(field.name.start as usize);
        } else if let Some(start) = run.take() {
            out.extend_from_slice(&bytes[start..field.name.start as usize]);
        }
    }
    if let Some(start) = run {
        out.extend_from_slice(&bytes[start..end]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_names_in_any_case() {
        for (name, known) in [
            ("Host", Name::Host),
            ("CONTENT-LENGTH", Name::ContentLength),
            ("transfer-Encoding", Name::TransferEncoding),
            ("X-Forwarded-For", Name::ForwardedFor),
            ("X_Forwarded_For", Name::ForwardedFor),
            ("x_real-ip", Name::RealIp),
            ("X-Forwarded-Protocol", Name::ForwardedProtocol),
            ("X-Client_Cert-Subject", Name::ClientCertificate),
            ("x-client-cert-FINGERPRINT", Name::ClientCertificate),
            ("Content_Length", Name::Other),
            ("Hosts", Name::Other),
            ("", Name::Other),
        ] {
            assert_eq!(Name::of(name.as_bytes()), known, "{name}");
        }
    }
}

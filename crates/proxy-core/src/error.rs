//! What can go wrong, who is at fault, and what the client is told.

use std::io;
use std::net::SocketAddr;

use crate::http::fault::Fault;

/// Why the proxy could not start. Each prints as one line: what, where, how to mend.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// An address of the admin listener cannot be listened on.
    Admin(SocketAddr, io::Error),
    /// None of the default addresses exists on this machine.
    NoAddress,
    /// The access log cannot be opened.
    AccessLog(std::path::PathBuf, io::Error),
    /// The route table cannot be read or is wrong.
    RouteTable(String),
    /// A thread or runtime cannot be made.
    Core(io::Error),
    /// A core ended though it was not told to.
    CoreDied(usize),
    /// The process before this one did not hand over its sockets.
    Handover(io::Error),
    /// The process cannot become this user.
    Identity(String, io::Error),
    /// Signals cannot be waited for.
    Signals(io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listen(address, error) => {
                write!(f, "cannot listen on {address}: {error}")?;
                f.write_str(match error.kind() {
                    io::ErrorKind::AddrInUse => "; another program has this port, choose another server.port",
                    io::ErrorKind::PermissionDenied => "; ports below 1024 need root or CAP_NET_BIND_SERVICE",
                    io::ErrorKind::AddrNotAvailable => {
                        "; this machine has no such address, correct server.bind"
                    }
                    _ => "",
                })
            }
            Self::Admin(address, error) => {
                write!(
                    f,
                    "cannot listen on {address} for admin: {error}; choose another admin.port or admin.bind"
                )
            }
            Self::NoAddress => f.write_str("no address to listen on: this machine has neither IPv4 nor IPv6"),
            Self::AccessLog(path, error) => write!(
                f,
                "cannot open the access log {}: {error}; create its folder or set server.accessLog",
                path.display()
            ),
            Self::RouteTable(message) => f.write_str(message),
            Self::Core(error) => write!(f, "cannot start a core: {error}"),
            Self::CoreDied(core) => write!(f, "core {core} ended unexpectedly; the panic above says why"),
            Self::Handover(error) => write!(
                f,
                "the listening sockets of the process before did not arrive: {error}; CJS_PROXY_HANDOVER is set only by \
                 an upgrade, do not set it yourself"
            ),
            Self::Identity(name, error) => {
                write!(f, "cannot become the user {name}: {error}; start as root, or leave user out")
            }
            Self::Signals(error) => write!(f, "cannot wait for signals: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Why an exchange did not get its answer from a backend.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The client's message is not acceptable.
    Client(Fault),
    /// The client was too slow with its request.
    ClientTimeout,
    /// The client left, or does not take its answer.
    ClientGone,
    /// Clients of this address are served nothing.
    Denied,
    /// The certificate of the connection is not for this host, and there is another that is.
    Misdirected,
    /// The client has used up its limit.
    OverLimit {
        /// Until it may ask again.
        seconds: u64,
    },
    /// The client's use cannot be counted, and is refused then.
    LimitsUnavailable,
    /// Nothing is served under this host.
    NoFrontend,
    /// The host is unknown here and the store cannot be asked.
    RoutesUnavailable(String),
    /// The frontend has no backend that could be asked.
    NoBackend,
    /// Every backend that could be asked is dead.
    AllDead,
    /// Every connection to the backend is in use and stays so, or too many requests wait for one.
    BackendBusy,
    /// No connection to the backend.
    BackendUnreachable(io::Error),
    /// This machine has no descriptor, port or memory for a connection to it.
    Shortage(io::Error),
    /// The backend took too long to accept or to answer.
    BackendTimeout,
    /// The backend closed or reset the connection before its answer.
    BackendClosed,
    /// The backend broke the connection before its answer, and TLS says why.
    BackendTls(Box<tls::Error>),
    /// The backend's answer is not acceptable.
    BackendInvalid(Fault),
}

impl Failure {
    /// The one place where a failure becomes a status. `None`: there is nobody to tell.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Client(fault) => Some(fault.client_status()),
            Self::ClientTimeout => Some(408),
            Self::ClientGone => None,
            Self::Denied => Some(403),
            Self::Misdirected => Some(421),
            Self::OverLimit { .. } => Some(429),
            Self::NoFrontend => Some(400),
            Self::LimitsUnavailable | Self::RoutesUnavailable(_) | Self::BackendBusy | Self::Shortage(_) => {
                Some(503)
            }
            Self::NoBackend
            | Self::AllDead
            | Self::BackendUnreachable(_)
            | Self::BackendClosed
            | Self::BackendTls(_)
            | Self::BackendInvalid(_) => Some(502),
            Self::BackendTimeout => Some(504),
        }
    }

    /// Whether the backend is at fault: it counts as dead, and another may do better. Only what happened before a
    /// response head.
    pub(crate) fn is_backends(&self) -> bool {
        matches!(
            self,
            Self::BackendUnreachable(_)
                | Self::BackendTimeout
                | Self::BackendClosed
                | Self::BackendTls(_)
                | Self::BackendInvalid(_)
        )
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client(fault) => write!(f, "bad request: {fault}"),
            Self::ClientTimeout => f.write_str("client too slow with its request"),
            Self::ClientGone => f.write_str("client left"),
            Self::Denied => f.write_str("the client's address is denied (deny:ip)"),
            Self::Misdirected => f.write_str("the host is not one of the certificate of this connection"),
            Self::OverLimit { seconds } => write!(f, "over the limit for {seconds} s"),
            Self::LimitsUnavailable => {
                f.write_str("the limits cannot be counted in Redis (rateLimit.onStoreError is deny)")
            }
            Self::NoFrontend => f.write_str("no frontend for this host"),
            Self::RoutesUnavailable(why) => write!(f, "routes unavailable: {why}"),
            Self::NoBackend => f.write_str("frontend has no usable backend"),
            Self::AllDead => f.write_str("every backend is marked dead"),
            Self::BackendBusy => f.write_str("no free connection to the backend (server.maxSockets)"),
            Self::BackendUnreachable(error) => write!(f, "backend unreachable: {error}"),
            Self::Shortage(error) => {
                write!(f, "no connection to the backend for want of resources here: {error}")
            }
            Self::BackendTimeout => f.write_str("backend timed out"),
            Self::BackendClosed => f.write_str("backend closed the connection before its answer"),
            Self::BackendTls(error) => write!(f, "backend broke the connection before its answer: {error}"),
            Self::BackendInvalid(fault) => write!(f, "invalid answer from the backend: {fault}"),
        }
    }
}

//! The listening sockets: one of each address for each core, kept for as long as the process lives, so that a core can
//! be replaced without a connection being refused.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::accept::{Door, Speech};
use crate::bounds::ADMIN_BACKLOG;
use crate::error::StartError;
use crate::settings::{ListenAddress, Settings};

/// Listening sockets, one of each address for each core.
pub(crate) struct Sockets {
    pub(crate) per_core: Vec<Vec<Door>>,
    /// As bound: a free port is taken. And what is spoken there.
    pub(crate) addresses: Vec<(SocketAddr, Speech)>,
}

/// A socket that this process was given.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) socket: TcpListener,
    /// What it was for before; `None`: it was for nobody.
    pub(crate) purpose: Option<Purpose>,
}

/// What a listening socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Plain,
    Tls,
    Admin,
}

impl Purpose {
    /// That of a core's socket.
    pub(crate) fn of(speech: Speech) -> Self {
        match speech {
            Speech::Plain => Self::Plain,
            Speech::Tls(_) => Self::Tls,
        }
    }
}

/// Has the addresses of the admin listener listened on, by `inherited` sockets as far as they are for them.
///
/// # Errors
/// [`StartError::Admin`] for an address that cannot be had.
pub(crate) fn bind_admin(
    settings: &Settings,
    inherited: &mut Vec<Given>,
) -> Result<Vec<TcpListener>, StartError> {
    let addresses = settings.admin.iter().flat_map(|admin| &admin.addresses);
    let bind = |address: &SocketAddr| {
        // Of a service manager's sockets, which are for nobody yet, only one that is named.
        let is_ours = |given: &Given| address.port() != 0 || given.purpose == Some(Purpose::Admin);
        let is_for = |given: &Given| is_ours(given) && is_for(given, address, Purpose::Admin);
        let given = inherited.iter().position(is_for);
        let socket = match given.map(|place| inherited.swap_remove(place).socket) {
            Some(socket) => Ok(socket),
            None => open(*address, false).map(TcpListener::from),
        };
        let backlog = i32::try_from(ADMIN_BACKLOG).unwrap_or(i32::MAX);
        let listened = socket.and_then(|socket| SockRef::from(&socket).listen(backlog).map(|()| socket));
        listened.map_err(|error| StartError::Admin(*address, error))
    };
    addresses.map(bind).collect()
}

/// Has all addresses listened on by `cores` cores: by the `inherited` sockets as far as they are for them, else by new
/// ones.
///
/// # Errors
/// [`StartError::Listen`] for an address that cannot be had and must.
pub(crate) fn bind(settings: &Settings, mut inherited: Vec<Given>) -> Result<Sockets, StartError> {
    let cores = settings.cores;
    let mut sockets = Sockets { per_core: (0..cores).map(|_| Vec::new()).collect(), addresses: Vec::new() };
    for (ListenAddress { address, optional }, speech) in wanted(settings) {
        let given = inherited.extract_if(.., |given| is_for(given, address, Purpose::of(speech)));
        let given = given.map(|given| given.socket).collect();
        match bind_all(*address, cores, settings.listen.backlog, given) {
            Ok(bound) => {
                let address = bound[0].local_addr().map_err(|error| StartError::Listen(*address, error))?;
                sockets.addresses.push((address, speech));
                // With fewer cores than before some get two: what has arrived on a socket is served.
                for (place, socket) in bound.into_iter().enumerate() {
                    sockets.per_core[place % cores].push(Door { socket, speech });
                }
            }
            Err(error) if *optional && is_family_missing(&error) => {
                log::info!("not listening on {address}: this machine does not have the address family");
            }
            Err(error) => return Err(StartError::Listen(*address, error)),
        }
    }
    for left in inherited.iter().filter_map(|given| given.socket.local_addr().ok()) {
        log::info!("no longer listening on {left}: the configuration does not name it");
    }
    if sockets.addresses.is_empty() { Err(StartError::NoAddress) } else { Ok(sockets) }
}

/// Every address of the settings, and what is to be spoken there.
fn wanted(settings: &Settings) -> impl Iterator<Item = (&ListenAddress, Speech)> {
    let plain = settings.listen.addresses.iter().map(|address| (address, Speech::Plain));
    let secured = settings.https.iter().flat_map(|https| &https.addresses);
    plain.chain(secured.map(|listen| (listen, Speech::Tls(listen.address))))
}

/// Whether a given socket is for this address. Where any port will do, it must have been for the same before.
fn is_for(given: &Given, address: &SocketAddr, purpose: Purpose) -> bool {
    let Ok(bound) = given.socket.local_addr() else { return false };
    let same = given.purpose.is_none_or(|before| before == purpose);
    bound == *address || (address.port() == 0 && bound.ip() == address.ip() && same)
}

/// One socket a core on the same address. SO_REUSEPORT would let a second proxy share the port unnoticed, so the
/// address is first bound without it.
fn bind_all(
    address: SocketAddr,
    cores: usize,
    backlog: u32,
    given: Vec<TcpListener>,
) -> io::Result<Vec<TcpListener>> {
    let mut sockets = given;
    if sockets.is_empty() {
        if address.port() != 0 {
            drop(open(address, false)?);
        }
        sockets.push(open(address, true)?.into());
    }
    let bound = sockets[0].local_addr()?;
    while sockets.len() < cores {
        // A service manager's socket is seldom one that others may stand beside: then the cores share it.
        let own = open(bound, true).map(TcpListener::from);
        sockets.push(own.or_else(|_| sockets[0].try_clone())?);
    }
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    for socket in &sockets {
        // Again for those given, whose settings may be others.
        SockRef::from(socket).set_tcp_nodelay(true)?;
        SockRef::from(socket).listen(backlog)?;
    }
    Ok(sockets)
}

fn open(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn is_family_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT)
}

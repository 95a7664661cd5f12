//! Who is at the other end of a client's connection, what TLS tells of it, and which hosts it may ask for.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tls::{Member, Offer};

use crate::census::Counted;
use crate::certificates;
use crate::context::Core;
use crate::http::host;

/// Who is at the other end of a client's connection.
pub(crate) struct Peer {
    /// That of the connection, or the one that a trusted proxy names in a PROXY header.
    pub(crate) address: SocketAddr,
    /// The port it connected to.
    pub(crate) port: u16,
    /// What TLS tells of it; `None`: it does not speak it.
    pub(crate) secured: Option<Rc<Secured>>,
    /// Its connection, as long as it counts.
    pub(crate) counted: Counted,
}

/// What TLS tells of a connection.
pub(crate) struct Secured {
    /// The certificate it was begun with.
    offer: Arc<Offer>,
    /// The listening address, as the settings name it.
    at: SocketAddr,
    /// Who the client has proved to be.
    pub(crate) member: Option<Member>,
    /// The host that was found to be the certificate's last: most often it is asked for again.
    confirmed: RefCell<String>,
}

impl Secured {
    pub(crate) fn new(offer: Arc<Offer>, at: SocketAddr, member: Option<Member>) -> Self {
        Self { offer, at, member, confirmed: RefCell::default() }
    }

    /// Whether `host`, in look-up spelling, may be asked for on this connection: the certificate covers it, or another
    /// connection would be no better, since no other certificate is for that host.
    pub(crate) async fn may_ask_for(&self, core: &Core, host: &str) -> bool {
        let name = host::without_port(host);
        if name.is_empty() || *self.confirmed.borrow() == name {
            return true;
        }
        let may = self.offer.covers(name)
            || certificates::choose(core, Some(name), &self.at)
                .await
                .is_none_or(|other| other.stands_for(&self.offer));
        if may {
            let mut confirmed = self.confirmed.borrow_mut();
            confirmed.clear();
            confirmed.push_str(name);
        }
        may
    }
}

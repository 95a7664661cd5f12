//! What a connection passes before its first request: the limits on connections, and the PROXY header of a trusted proxy,
//! where the settings ask for one. Then it is served by what is spoken where it came in.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use monoio::net::TcpStream;

use crate::accept::Speech;
use crate::bounds::HANDSHAKE_MAX;
use crate::census::Counted;
use crate::conn::{h1, https};
use crate::context::Core;
use crate::deadline::{Cut, Ticks};
use crate::secured::Peer;
use crate::stream::introduction::{Unintroduced, introduction};
use crate::stream::{self, ReadHalf, WriteHalf};

/// Counts a connection from `address` that was just accepted. `None`: there are too many, and it is to be closed.
pub(crate) fn admit(core: &Core, address: IpAddr) -> Option<Counted> {
    let rules = core.rules();
    let admission = &rules.settings.admission;
    let Some(mut counted) = core.roll.enter(admission.connections) else {
        core.refusals.count();
        core.account.refused.add(1);
        return None;
    };
    // Behind a proxy there are many clients. One that names them is counted once it has.
    if rules.trusts(address) || is_let_in(core, &mut counted, address) { Some(counted) } else { None }
}

/// Counts the connection among those of its client, at `address`. False: that one has too many.
fn is_let_in(core: &Core, counted: &mut Counted, address: IpAddr) -> bool {
    let is_let_in = counted.count_client(address, core.rules().settings.admission.connections_per_ip);
    if !is_let_in {
        core.refusals.count_of(address);
        core.account.refused.add(1);
    }
    is_let_in
}

/// Serves a connection that was admitted, until it ends.
pub(crate) async fn serve(
    core: Rc<Core>,
    (stream, mut counted): (TcpStream, Counted),
    mut peer: Peer,
    speech: Speech,
) {
    let halves = stream::split(stream, &core.connector.waits, Cut::Read);
    let rules = core.rules();
    if rules.settings.admission.proxy_protocol && rules.trusts(peer.address.ip()) {
        let Some(introduced) = be_introduced(&core, &halves, peer).await else { return };
        peer = introduced;
        if peer.introduced_by.is_some() && !is_let_in(&core, &mut counted, peer.address.ip()) {
            return;
        }
    }
    drop(rules);
    match speech {
        #[cfg(debug_assertions)]
        Speech::Plain if crate::hooks::begins_with_http_2() => {
            crate::conn::h2::serve(core, halves, peer).await;
        }
        Speech::Plain => h1::serve(core, halves, peer).await,
        Speech::Tls(at) => https::serve(core, halves, peer, at).await,
    }
}

/// The client that the proxy at the other end names. `None`: it did not introduce the connection, which is to be closed.
async fn be_introduced(core: &Core, (read, write): &(ReadHalf, WriteHalf), peer: Peer) -> Option<Peer> {
    // Idle, as registered: a drain does not wait for what may never come.
    let _registration = core.connections.register(write.fd());
    if core.idle_ended.get() {
        write.cut_reads();
    }
    let deadline = read.deadline();
    deadline.arm(core.rules().client_patience.head.min(Ticks::of(Some(HANDSHAKE_MAX))));
    match introduction(read).await {
        Ok(introduction) => {
            deadline.disarm();
            let Some(client) = introduction.client else { return Some(peer) };
            Some(Peer {
                address: SocketAddr::new(client.address, client.port),
                introduced_by: Some(peer.address.ip()),
                port: client.destination_port,
                ..peer
            })
        }
        Err(Unintroduced::Silent) => None,
        Err(why) => {
            core.complaints.log(format_args!(
                "{}: {why}: closed. Have it send one (send-proxy), or take it off server.trustedProxies or \
                 server.proxyProtocol off",
                peer.address
            ));
            None
        }
    }
}

//! What a connection passes before its first request: the limits on connections, and the PROXY header of a trusted proxy,
//! where the settings ask for one. Then it is served by what is spoken where it came in.

use std::net::SocketAddr;
use std::rc::Rc;

use monoio::net::TcpStream;

use crate::accept::Speech;
use crate::bounds::HANDSHAKE_MAX;
use crate::conn::{contain_panic, h1, https};
use crate::context::Core;
use crate::deadline::{Cut, Ticks};
use crate::proxy_header::Introduction;
use crate::secured::Peer;
use crate::stream::introduction::{Unintroduced, introduction};
use crate::stream::{self, ReadHalf, WriteHalf};

/// Takes in a connection from `address` that was just accepted at `port`. One too many is closed.
pub(crate) fn begin(core: &Rc<Core>, stream: TcpStream, (address, port): (SocketAddr, u16), speech: Speech) {
    let rules = core.rules();
    let Some(counted) = core.roll.enter(rules.settings.admission.connections) else {
        core.refusals.count();
        core.account.refused.add(1);
        return;
    };
    let mut peer = Peer { address, port, secured: None, counted };
    let is_trusted = rules.settings.trusts(address.ip());
    // Behind a trusted proxy are many clients. One that names them is counted once it has.
    if !is_trusted && !is_let_in(core, &mut peer) {
        return;
    }
    core.account.connections.add(1);
    let halves = stream::split(stream, &core.connector.waits, Cut::Read);
    if is_trusted && rules.settings.admission.proxy_protocol {
        let core = Rc::clone(core);
        monoio::spawn(contain_panic(async move {
            if let Some(peer) = be_introduced(&core, &halves, peer).await {
                serve(core, halves, peer, speech);
            }
        }));
    } else {
        serve(Rc::clone(core), halves, peer, speech);
    }
}

/// Counts the connection among those of its client. False: that one has too many.
fn is_let_in(core: &Core, peer: &mut Peer) -> bool {
    let limit = core.rules.borrow().settings.admission.connections_per_ip;
    let is_let_in = peer.counted.count_client(peer.address.ip(), limit);
    if !is_let_in {
        core.refusals.count_of(peer.address.ip());
        core.account.refused.add(1);
    }
    is_let_in
}

/// Has the connection served, in a task no longer than what is spoken needs.
fn serve(core: Rc<Core>, halves: (ReadHalf, WriteHalf), peer: Peer, speech: Speech) {
    match speech {
        #[cfg(debug_assertions)]
        Speech::Plain if crate::hooks::begins_with_http_2() => {
            monoio::spawn(contain_panic(crate::conn::h2::serve(core, halves, peer)))
        }
        Speech::Plain => monoio::spawn(contain_panic(h1::serve(core, halves, peer))),
        Speech::Tls(at) => monoio::spawn(contain_panic(https::serve(core, halves, peer, at))),
    };
}

/// The client that the proxy at the other end names. `None`: there is none, or it has too many connections; this one is to
/// be closed.
async fn be_introduced(core: &Core, (read, write): &(ReadHalf, WriteHalf), mut peer: Peer) -> Option<Peer> {
    // Idle, as registered: a drain does not wait for what may never come.
    let _registration = core.connections.register(write.fd());
    if core.idle_ended.get() {
        write.cut_reads();
    }
    let deadline = read.deadline();
    deadline.arm(core.rules().client_patience.head.min(Ticks::of(Some(HANDSHAKE_MAX))));
    let introduced = introduction(read).await;
    deadline.disarm();
    match introduced {
        Ok(Introduction { client: None, .. }) => return Some(peer),
        Ok(Introduction { client: Some(client), .. }) => {
            peer.address = SocketAddr::new(client.address, client.port);
            peer.port = client.destination_port;
            return is_let_in(core, &mut peer).then_some(peer);
        }
        Err(Unintroduced::Silent) => {}
        Err(why) => core.complaints.log(format_args!(
            "{}: {why}: closed. Have it send one (send-proxy), or take it off server.trustedProxies or \
             server.proxyProtocol off",
            peer.address
        )),
    }
    None
}

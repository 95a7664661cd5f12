//! A connection over TLS, from its first byte to the protocol that is spoken inside. The only place that knows this
//! order, in which nothing is answered before it is known who is asked for:
//!
//! ```text
//!   accepted ──▶ first message ──▶ certificate ──▶ protocol ──▶ handshake ──▶ HTTP/1.1
//!                name, protocols   by the name     by ALPN             └────▶ HTTP/2
//! ```

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tls::{Hello, Offer, Protocol, Session, UNRECOGNIZED_NAME};

use crate::bounds::{FAREWELL, HANDSHAKE_MAX};
use crate::buffer::Buffer;
use crate::certificates;
use crate::conn::{h1, h2};
use crate::context::Core;
use crate::deadline::Ticks;
use crate::secured::{Peer, Secured};
use crate::stream::{self, ReadHalf, Unheard, WriteHalf};

/// What is answered to a client that does not speak TLS, as far as it speaks HTTP.
const PLAIN_ANSWER: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 56\r\n\
                            Connection: close\r\n\r\nThis port speaks HTTPS: begin the address with https://\n";

/// A client that has said what it wants, and what it gets.
struct Greeting {
    hello: Hello,
    offer: Arc<Offer>,
}

/// Serves a connection that was accepted at the address that the settings call `at`, until it ends.
pub(crate) async fn serve(core: Rc<Core>, mut halves: (ReadHalf, WriteHalf), peer: Peer, at: SocketAddr) {
    let Some(place) = core.handshakes.begin() else { return };
    // Declared last, dropped first: before the socket is closed.
    let registration = core.connections.register(halves.1.fd());
    registration.set_idle(false);
    let patience = core.rules().client_patience.head.min(Ticks::of(Some(HANDSHAKE_MAX)));
    halves.0.deadline().arm(patience);
    let Some(greeting) = greet(&core, &mut halves, (at, patience)).await else {
        core.account.failed_handshakes.add(1);
        return;
    };
    let protocol = greeting.offer.protocol(&greeting.hello);
    let secured = shake_hands(&core, &mut halves, greeting, (at, patience)).await;
    let Some(secured) = secured else {
        core.account.failed_handshakes.add(1);
        return;
    };
    core.account.handshakes.add(1);
    drop((registration, place));
    let peer = Peer { secured: Some(Rc::new(secured)), ..peer };
    match protocol {
        Protocol::Http1 => h1::serve(core, halves, peer).await,
        Protocol::Http2 => h2::serve(core, halves, peer).await,
    }
}

/// Hears what the client wants and finds a certificate for it. `None`: it was turned away.
async fn greet(
    core: &Core,
    halves: &mut (ReadHalf, WriteHalf),
    (at, patience): (SocketAddr, Ticks),
) -> Option<Greeting> {
    let hello = match stream::hear(&halves.0).await {
        Ok(hello) => hello,
        Err(unheard) => {
            log::debug!("no handshake: {unheard}");
            turn_away(halves, parting_words(unheard), patience).await;
            return None;
        }
    };
    let Some(offer) = certificates::choose(core, hello.name.as_deref(), &at).await else {
        log::debug!("no handshake: there is no certificate for {:?}, and no default", hello.name);
        turn_away(halves, UNRECOGNIZED_NAME.to_vec(), patience).await;
        return None;
    };
    Some(Greeting { hello, offer })
}

/// Completes the handshake, after which both halves speak TLS. `None`: there was none.
async fn shake_hands(
    core: &Core,
    halves: &mut (ReadHalf, WriteHalf),
    Greeting { hello, offer }: Greeting,
    (at, patience): (SocketAddr, Ticks),
) -> Option<Secured> {
    let welcomed = match Session::server(offer.config(), hello.bytes) {
        Ok(session) => {
            let (read, write) = &mut *halves;
            stream::welcome((read, write), session, Rc::clone(&core.connector.bulk), patience).await
        }
        Err(error) => Err(error.to_string()),
    };
    match welcomed {
        Ok(member) => Some(Secured::new(offer, at, member)),
        Err(why) => {
            log::debug!("no handshake: {why}");
            turn_away(halves, Vec::new(), patience).await;
            None
        }
    }
}

fn parting_words(unheard: Unheard) -> Vec<u8> {
    match unheard {
        Unheard::Gone => Vec::new(),
        Unheard::PlainHttp => PLAIN_ANSWER.into(),
        Unheard::Misheard(misheard) => misheard.alert,
    }
}

/// Says what there is to be said and ends the connection in order: a reset because of unread bytes would take the words
/// away from the client.
async fn turn_away((read, write): &mut (ReadHalf, WriteHalf), words: Vec<u8>, patience: Ticks) {
    if !words.is_empty() {
        // As far as the client still takes it.
        let _ = write.write_all(Buffer::from_vec(words, 0), patience).await;
    }
    write.finish();
    read.deadline().arm(Ticks::of(Some(FAREWELL)));
    stream::drain(read).await;
}

//! One HTTP/1.x connection: its requests one after the other, then an orderly end.

use std::rc::Rc;

use crate::bounds::{CLIENT_HEAD_BYTES, LINGER, LINGER_BYTES, LINGER_DRAINING};
use crate::clock;
use crate::conn::describe;
use crate::context::Core;
use crate::deadline::Ticks;
use crate::downstream::h1::{Arrival, H1Reader, H1Writer};
use crate::downstream::{Downstream, RequestBody, ResponseOut};
use crate::exchange::{self, Ending};
use crate::http::request::RequestHead;
use crate::message_reader::MessageReader;
use crate::secured::Peer;
use crate::stream::{ReadHalf, WriteHalf};

/// Serves the connection until it ends.
pub(crate) async fn serve(core: Rc<Core>, (read, write): (ReadHalf, WriteHalf), peer: Peer) {
    let mut rules = core.rules();
    let mut client = describe(&rules, &peer);
    let messages = MessageReader::new(read, CLIENT_HEAD_BYTES, Rc::clone(&core.connector.bulk));
    let mut reader = H1Reader::new(messages, rules.client_patience);
    let mut writer = H1Writer::new(write, rules.client_patience.body);
    // Declared last, dropped first: before the socket is closed.
    let registration = core.connections.register(writer.io.fd());
    let mut request = RequestHead::default();
    loop {
        registration.set_idle(true);
        if core.idle_ended.get() && reader.messages.buffered().is_empty() {
            writer.io.cut_reads();
        }
        if reader.arrival().await == Arrival::Gone {
            return;
        }
        registration.set_idle(false);
        let started = clock::now();
        if !Rc::ptr_eq(&rules, &core.rules.borrow()) {
            rules = core.rules();
            client = describe(&rules, &peer);
            reader.patience = rules.client_patience;
            writer.patience = rules.client_patience.body;
        }
        let read = reader.head(&mut request, rules.limits).await;
        writer.begin(request.version);
        let downstream = Downstream { body: RequestBody::H1(&mut reader), out: ResponseOut::H1(&mut writer) };
        let ending =
            exchange::run((&core, &rules), &client, &registration, (&request, started), read, downstream)
                .await;
        reader.messages.recycle(std::mem::take(&mut request.bytes));
        match ending {
            Ending::Continue => {}
            // Unread bytes behind the request, even an empty line, would make closing a reset.
            Ending::Close if reader.messages.is_spent() && writer.io.peer_is_quiet() => return,
            Ending::Close | Ending::Linger => break,
            Ending::Abort => return,
        }
    }
    writer.io.finish();
    linger(&mut reader, core.draining.get()).await;
}

/// Reads on for a while after our side has ended: closing a socket with unread bytes in it resets the connection,
/// and the reset may overtake the answer (RFC 9112 section 9.6).
async fn linger(reader: &mut H1Reader, draining: bool) {
    let patience = if draining { LINGER_DRAINING } else { LINGER };
    reader.messages.deadline().arm(Ticks::of(Some(patience)));
    let mut left = LINGER_BYTES;
    while let Ok(true) = reader.messages.fill().await {
        let read = reader.messages.buffered().len();
        reader.messages.consume(read);
        match left.checked_sub(read) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

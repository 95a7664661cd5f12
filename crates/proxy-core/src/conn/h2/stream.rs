//! One stream: a request and its answer, in a task that no other stream has meanwhile.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;

use ::h2::server::SendResponse;
use ::h2::{RecvStream, ext::Protocol};
use ::http::Request;
use ::http::request::Parts;

use super::shared::{Life, Shared};
use crate::bounds::{H2_HEAD_BYTES, H2_HEAD_BYTES_KEPT};
use crate::context::Rules;
use crate::downstream::h2::link::Link;
use crate::downstream::h2::outflow::Payload;
use crate::downstream::h2::reader::H2Reader;
use crate::downstream::h2::writer::H2Writer;
use crate::downstream::{Downstream, RequestBody, ResponseOut};
use crate::error::Failure;
use crate::http::h2_request::{self, Asked};
use crate::http::head::Version;
use crate::http::request::RequestHead;
use crate::workers::Workers;
use crate::{clock, exchange};

/// A request to be answered.
struct Stream {
    shared: Rc<Shared>,
    request: Request<RecvStream>,
    respond: SendResponse<Payload>,
    life: Life,
}

thread_local! {
    /// Those of this core.
    static WORKERS: Rc<Workers<Stream>> = Rc::new(Workers::new());
}

/// Has the request answered.
pub(super) fn begin(shared: &Rc<Shared>, request: Request<RecvStream>, respond: SendResponse<Payload>) {
    let (shared, life) = (Rc::clone(shared), Life::of(shared));
    WORKERS.with(|workers| workers.give(Stream { shared, request, respond, life }, answer));
}

/// Frees what this core keeps for the streams to come.
pub(crate) fn release() {
    WORKERS.with(|workers| workers.dismiss());
}

/// Answers the request. The head's memory serves the worker's next stream.
async fn answer(Stream { shared, request, respond, life }: Stream, mut head: RequestHead) -> RequestHead {
    let started = clock::now();
    let core = &shared.core;
    let (rules, client) = shared.client();
    let registration = core.connections.register_stream(shared.fd);
    let link = Rc::new(Link::new(respond, Rc::clone(&shared.outflow)));
    let (parts, body) = request.into_parts();
    let read = parse(&mut head, &parts, !body.is_end_stream(), &rules);
    shared.outflow.count(head.bytes.len());
    drop(parts);
    let (wheel, patience) = (&core.connector.waits.wheel, rules.client_patience.body);
    let mut reader = H2Reader::new(body, wheel.timer(), patience, &shared.outflow);
    let mut writer = H2Writer::new(Rc::clone(&link), wheel.timer(), patience);
    let downstream = Downstream { body: RequestBody::H2(&mut reader), out: ResponseOut::H2(&mut writer) };
    let mut is_gone = false;
    {
        let request = (&head, started);
        let mut exchange =
            pin!(exchange::run((core, &rules), &client, &registration, request, read, downstream));
        poll_fn(|context| {
            // What a backend still does for a request that was taken back is ended.
            if !is_gone && link.poll_gone(context).is_ready() {
                is_gone = true;
                registration.client_left();
            }
            exchange.as_mut().poll(context)
        })
        .await;
    }
    if !link.has_ended() {
        link.abort();
    }
    shared.count_ended(is_gone);
    drop(life);
    if head.bytes.capacity() > H2_HEAD_BYTES_KEPT {
        head.bytes = Vec::new();
    }
    head
}

/// Has the parser of HTTP/1.1 decide on the request. What it refuses is there for the log.
fn parse(head: &mut RequestHead, parts: &Parts, has_body: bool, rules: &Rules) -> Result<(), Failure> {
    let protocol = parts.extensions.get::<Protocol>();
    let asked = Asked { protocol: protocol.map(Protocol::as_str), has_body, key: fastrand::u128(..) };
    let mut bytes = std::mem::take(&mut head.bytes);
    bytes.clear();
    bytes.reserve(H2_HEAD_BYTES);
    let written = h2_request::write_head(&mut bytes, parts, asked);
    let length = bytes.len();
    let parsed = head.parse(bytes, length, rules.limits);
    head.version = Version::Http2;
    written.and(parsed).map_err(Failure::Client)
}

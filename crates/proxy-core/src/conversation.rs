//! The steps of talking with one backend: the rest of the request sent, the response's head awaited, the response
//! relayed. In which order and with whom, `exchange` says.

use crate::bounds::{BODY_RATE_GRACE, BODY_RATE_WINDOW, INTERIM_RESPONSES, UNREAD_BODY_BYTES};
use crate::context::{Core, Rules};
use crate::deadline::{Deadline, Ticks};
use crate::downstream::{OutgoingHead, RequestBody, ResponseOut};
use crate::error::Failure;
use crate::http::body::Decoded;
use crate::http::encode::Persistence;
use crate::http::fault::Fault;
use crate::http::head::Length;
use crate::http::request::RequestHead;
use crate::http::response::ResponseHead;
use crate::message_reader::{MessageReader, ReadFault};
use crate::pace::Pace;
use crate::relay::{self, Broken, HeldBody, Progress, Upload};
use crate::stream::WriteHalf;

/// Reads heads until the final one, passing interim ones on.
pub(crate) async fn final_head(
    rules: &Rules,
    request: &RequestHead,
    (messages, out): (&mut MessageReader, &mut ResponseOut<'_>),
    (client_deadline, progress): (&Deadline, &Progress),
    head: &mut ResponseHead,
) -> Result<(), Failure> {
    for _ in 0..INTERIM_RESPONSES {
        let length = messages.head(rules.limits.bytes).await.map_err(ReadFault::of_backend)?;
        let bytes = &messages.buffered()[..length];
        head.parse(bytes, request.is_head(), rules.limits).map_err(Failure::BackendInvalid)?;
        if head.status == 101 && !request.wants_upgrade() {
            return Err(Failure::BackendInvalid(Fault::Status));
        }
        if !head.is_interim() {
            return Ok(());
        }
        let outgoing = OutgoingHead { head, bytes, persistence: Persistence::KeepAlive, more: &[] };
        out.send_interim(outgoing).await.map_err(|_| Failure::ClientGone)?;
        messages.consume(length);
        if head.status == 100 && !progress.uploaded.get() {
            // Now it is the client's turn.
            messages.deadline().disarm();
            let silence = pace(rules).map_or(Ticks::NONE, |pace| Ticks::whole(pace.patience()));
            client_deadline.arm(rules.client_patience.body.min(silence));
        }
    }
    Err(Failure::BackendInvalid(Fault::Status))
}

/// Sends the response to the client: the head with what has arrived of the body in one write, then the rest.
pub(crate) async fn relay_response(
    (core, patience): (&Core, Ticks),
    messages: &mut MessageReader,
    out: &mut ResponseOut<'_>,
    (head, first): (&ResponseHead, Decoded),
    (persistence, more): (Persistence, &[u8]),
) -> Result<(), Broken> {
    out.put_head(OutgoingHead { head, bytes: &messages.buffered()[..head.length], persistence, more });
    messages.consume(head.length);
    out.put_payload(messages.payload(first));
    messages.consume(first.consumed);
    let is_whole = messages.body_is_done();
    if is_whole {
        out.put_end(&messages.take_trailers());
    }
    out.flush().await.map_err(|_| Broken::Client)?;
    if is_whole {
        return Ok(());
    }
    relay::download(messages, out, &core.connector.bulk, patience).await
}

/// Sends what is not held of the request's body.
pub(crate) async fn upload(
    (core, rules): (&Core, &Rules),
    request: &RequestHead,
    held: &mut HeldBody,
    (deadline, progress): (&Deadline, &Progress),
    (body, write): (&mut RequestBody<'_>, &mut WriteHalf),
) -> Result<(), Failure> {
    if held.is_whole() {
        return Ok(());
    }
    let client_patience = body.patience();
    let upload = Upload {
        held,
        bulk: &core.connector.bulk,
        keep: request.is_idempotent(),
        chunked: request.body == Length::Chunked,
        client_patience,
        awaits_continue: request.expects_continue,
        pace: pace(rules),
        backend_patience: rules.backend_patience.body,
        answer_deadline: deadline,
        answer_patience: rules.backend_patience.header,
        progress,
    };
    upload.run(body, write).await
}

/// What is asked of a client that sends a body.
fn pace(rules: &Rules) -> Option<Pace> {
    let rate = rules.settings.limits.body_rate?;
    #[cfg(debug_assertions)]
    if let Some(time) = crate::hooks::body_rate_window() {
        return Some(Pace::new(rate, time, time));
    }
    Some(Pace::new(rate, BODY_RATE_GRACE, BODY_RATE_WINDOW))
}

/// Whether what may still come of the request's body is short and sure to come, so that the connection can go on
/// even though the response is first.
pub(crate) fn is_soon_read(request: &RequestHead) -> bool {
    matches!(request.body, Length::Bytes(bytes) if bytes <= UNREAD_BODY_BYTES) && !request.expects_continue
}

/// The failure of an upload that made its response pointless.
pub(crate) fn failure_of(outcome: Option<Result<(), Failure>>) -> Failure {
    match outcome {
        Some(Err(failure)) => failure,
        _ => Failure::ClientGone,
    }
}

//! One check: a request of its own to a backend, and what its answer says.

use std::time::{Duration, Instant};

use redis_router::Backend;

use crate::bounds::{HEADER_FIELDS_CEILING, INTERIM_RESPONSES, UPSTREAM_HEAD_BYTES};
use crate::buffer::Buffer;
use crate::clock;
use crate::deadline::Ticks;
use crate::error::Failure;
use crate::http::head::HeadLimits;
use crate::http::response::ResponseHead;
use crate::message_reader::ReadFault;
use crate::settings::HealthCheck;
use crate::upstream::connect::Connector;
use crate::upstream::pool::Leased;

/// What a backend may answer with.
const LIMITS: HeadLimits =
    HeadLimits { bytes: 8 * UPSTREAM_HEAD_BYTES, fields: HEADER_FIELDS_CEILING, target: UPSTREAM_HEAD_BYTES };

/// What a check has found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Good,
    /// No answer, or none that is one; in words.
    Bad(String),
    /// The backend answers, with a bad status.
    BadStatus(String),
    /// Nothing was found out: the fault is on this side.
    Unknown(String),
}

/// Asks `backend` as `check` says. A status from 500 on is bad, apart from 503, which is maintenance (hipache-hchecker).
pub(crate) async fn probe(connector: &Connector, backend: &Backend, check: &HealthCheck) -> Outcome {
    let started = clock::now();
    match answer(connector, backend, check, started).await {
        Ok(status) if (500..600).contains(&status) && status != 503 => {
            Outcome::BadStatus(format!("health check: it answered with status {status}"))
        }
        Ok(_) => Outcome::Good,
        Err(failure) if failure.is_backends() => Outcome::Bad(format!("health check: {failure}")),
        Err(failure) => Outcome::Unknown(failure.to_string()),
    }
}

/// The status of the final answer.
async fn answer(
    connector: &Connector,
    backend: &Backend,
    check: &HealthCheck,
    started: Instant,
) -> Result<u16, Failure> {
    let Leased { mut upstream, permit: _permit } = connector.connection(backend, true).await?;
    let left = |check: &HealthCheck| {
        let left = check.timeout.saturating_sub(clock::now() - started);
        Ticks::of(Some(left.max(Duration::from_millis(1))))
    };
    let request = Buffer::from_vec(request(backend, check), 0);
    let (sent, _) = upstream.write.write_all(request, left(check)).await;
    sent.map_err(|_| Failure::BackendClosed)?;
    upstream.messages.deadline().arm(left(check));
    let mut head = ResponseHead::default();
    for _ in 0..INTERIM_RESPONSES {
        let length = upstream.messages.head(LIMITS.bytes).await.map_err(ReadFault::of_backend)?;
        let bytes = &upstream.messages.buffered()[..length];
        head.parse(bytes, true, LIMITS).map_err(Failure::BackendInvalid)?;
        if head.status >= 200 {
            break;
        }
        upstream.messages.consume(length);
    }
    Ok(head.status)
}

fn request(backend: &Backend, check: &HealthCheck) -> Vec<u8> {
    let HealthCheck { method, path, host, .. } = check;
    let prefix = &backend.path_prefix;
    format!(
        "{method} {prefix}{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: cjs-proxy-check\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

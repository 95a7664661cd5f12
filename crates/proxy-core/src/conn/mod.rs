//! A client's connection, by protocol.

pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod https;

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use crate::context::Rules;
use crate::exchange::Client;
use crate::secured::Peer;

/// A panic while serving one connection costs that connection alone, one while answering a stream that stream.
/// It is boxed at once: what is spawned is copied a few times, and a task that serves is long.
pub(crate) fn contain_panic(task: impl Future<Output = ()>) -> impl Future<Output = ()> {
    let mut task = Box::pin(task);
    async move {
        let ended = poll_fn(move |context| {
            let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context)));
            polled.map_or_else(|panic| Poll::Ready(Err(panic)), |poll| poll.map(Ok))
        })
        .await;
        if ended.is_err() {
            log::error!("a connection was given up: serving it panicked (the message above says where)");
        }
    }
}

fn describe(rules: &Rules, peer: &Peer) -> Client {
    let address = peer.address.ip().to_canonical();
    let trusted = rules.settings.trusted_proxies.iter().any(|network| network.contains(&address));
    Client {
        address,
        address_text: address.to_string(),
        trusted,
        port: peer.port,
        secured: peer.secured.clone(),
    }
}

//! A client's connection, by protocol.

pub(crate) mod entry;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod https;

use std::future::Future;

use crate::context::Rules;
use crate::exchange::Client;
use crate::secured::Peer;
use crate::workers;

/// A panic while serving one connection costs that connection alone. It is boxed at once: what is spawned is copied a
/// few times, and a task that serves is long.
pub(crate) fn contain_panic(task: impl Future<Output = ()>) -> impl Future<Output = ()> {
    let mut task = Box::pin(task);
    async move {
        workers::contain_panic(task.as_mut()).await;
    }
}

fn describe(rules: &Rules, peer: &Peer) -> Client {
    let address = peer.address.ip().to_canonical();
    Client {
        address,
        address_text: address.to_string(),
        trusted: rules.settings.trusts(address),
        port: peer.port,
        secured: peer.secured.clone(),
    }
}

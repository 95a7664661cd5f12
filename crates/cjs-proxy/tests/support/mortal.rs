//! Backends that fail on command, and waiting until a proxy uses or avoids one.

use super::backend::{Backend, Peer, ok};
use super::client::Response;
use super::proxy::Proxy;
use super::wait;

/// So many requests in a row that pass over one of two backends are no chance.
const AVOIDED: usize = 40;

/// Answers with its name; asked for `/die/<its name>` it resets, asked for `/<status>` it answers that,
/// `/<status>/later` with Retry-After.
pub(crate) fn mortal(name: &'static str) -> Backend {
    Backend::run(move |peer| live(peer, name))
}

/// What [`mortal`] does with a connection.
pub(crate) fn live(peer: &mut Peer, name: &str) {
    while let Some(request) = peer.request() {
        let target = request.target();
        if target.strip_prefix("/die/") == Some(name) {
            return peer.reset();
        }
        let status = target[1..].split('/').next().unwrap().parse::<u16>();
        let later = if target.ends_with("/later") { "Retry-After: 9\r\n" } else { "" };
        match status {
            Ok(status) => peer.send(format!(
                "HTTP/1.1 {status} Told\r\n{later}Content-Length: {}\r\n\r\n{name}",
                name.len()
            )),
            Err(_) => peer.send(ok(name)),
        }
    }
}

/// A backend that resets every request.
pub(crate) fn dead() -> Backend {
    Backend::run(|peer| {
        peer.request();
        peer.reset();
    })
}

/// Sends `request` until it has reached `backend` once; what the client was answered then.
pub(crate) fn ask_until_reached(proxy: &Proxy, backend: &Backend, request: &str) -> Response {
    wait::until_some(&format!("a request reaches {}", backend.url()), || {
        let before = backend.requests().len();
        let response = proxy.connect().ask(request);
        (backend.requests().len() > before).then_some(response)
    })
}

/// Waits until requests, over connections of their own, pass over `backend`.
pub(crate) fn wait_until_avoided(proxy: &Proxy, backend: &Backend, request: &str) {
    wait::until(&format!("{} is avoided", backend.url()), || {
        let before = backend.requests().len();
        (0..AVOIDED).all(|_| {
            proxy.connect().ask(request);
            backend.requests().len() == before
        })
    });
}

//! Clients that go on asking while something is done to the proxy.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::client::Client;
use super::proxy::Proxy;
use super::scene::get;

/// Six clients ask for the site of [`super::mortal`] `a` during `meanwhile`, half of them on a new connection each time, the
/// others on one as long as it lasts. Returns how often they were answered; any failure panics.
pub(crate) fn asking_meanwhile(proxy: &Proxy, meanwhile: impl FnOnce()) -> usize {
    asking(|| proxy.connect(), meanwhile)
}

/// The same, over connections of any kind.
pub(crate) fn asking(connect: impl Fn() -> Client + Sync, meanwhile: impl FnOnce()) -> usize {
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for client in 0..6 {
            let (stop, answered, connect) = (&stop, &answered, &connect);
            scope.spawn(move || {
                let count = keep_asking(connect, client % 2 == 0, stop);
                answered.fetch_add(count, Ordering::Relaxed);
            });
        }
        // Also where `meanwhile` panics: the scope waits for the clients.
        let _stop = Stop(&stop);
        meanwhile();
    });
    answered.into_inner()
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn keep_asking(connect: impl Fn() -> Client, keep_alive: bool, stop: &AtomicBool) -> usize {
    let mut answered = 0;
    let mut client: Option<Client> = None;
    while !stop.load(Ordering::Relaxed) {
        let mut asking = client.take().unwrap_or_else(&connect);
        let response = asking.ask(get("/"));
        assert_eq!((response.status, response.text()), (200, "a".into()));
        answered += 1;
        client = Some(asking).filter(|_| keep_alive && !response.says_close());
    }
    answered
}

//! A Redis that is written to in the midst of a read, full, or slow.

#![allow(clippy::unwrap_used, reason = "test support: a failure is to stop the test")]

mod scene;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use redis_router::{Endpoint, Health, Router, Server, StoreState};
use scene::{RedisServer, TcpDialer, eventually, known, scene, served, serves, single, tracking};

/// A link to a server that can halt in the midst of a pipeline.
struct Link {
    port: u16,
    orders: Sender<Halt>,
}

/// Halt behind the first command that holds this text, say so, and go on when told.
struct Halt {
    behind: &'static str,
    halted: Sender<()>,
    go_on: Receiver<()>,
}

impl Link {
    fn to(server: &RedisServer) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, to) = (listener.local_addr().unwrap().port(), server.port);
        let (orders, orders_to) = channel();
        std::thread::spawn(move || {
            let (here, _) = listener.accept().unwrap();
            let there = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let (mut back_from, mut back_to) = (there.try_clone().unwrap(), here.try_clone().unwrap());
            std::thread::spawn(move || {
                // Either side may be gone: then the other is told.
                let _ = std::io::copy(&mut back_from, &mut back_to);
                let _ = back_to.shutdown(Shutdown::Both);
            });
            forward(here, there, &orders_to);
        });
        Link { port, orders }
    }

    /// Halts behind the first command that holds `behind`; the first end of what is returned tells when, the second lets it
    /// go on.
    fn halt_behind(&self, behind: &'static str) -> (Receiver<()>, Sender<()>) {
        let ((halted, is_halted), (goes_on, go_on)) = (channel(), channel());
        self.orders.send(Halt { behind, halted, go_on }).unwrap();
        (is_halted, goes_on)
    }
}

fn forward(mut here: TcpStream, mut there: TcpStream, orders: &Receiver<Halt>) {
    let (mut bytes, mut order) = ([0; 65_536], None);
    while let Ok(count @ 1..) = here.read(&mut bytes) {
        let mut rest = &bytes[..count];
        order = order.or_else(|| orders.try_recv().ok());
        if let Some(end) = order.as_ref().and_then(|order: &Halt| end_of_command(rest, order.behind)) {
            let Halt { halted, go_on, .. } = order.take().unwrap();
            there.write_all(&rest[..end]).unwrap();
            rest = &rest[end..];
            halted.send(()).unwrap();
            go_on.recv().unwrap();
        }
        there.write_all(rest).unwrap();
    }
    // The router may have hung up first.
    let _ = there.shutdown(Shutdown::Both);
}

/// Where the command ends that holds `text`: the next one begins with `*`.
fn end_of_command(bytes: &[u8], text: &str) -> Option<usize> {
    let found = bytes.windows(text.len()).position(|window| window == text.as_bytes())?;
    let next = bytes[found..].windows(3).position(|window| window.starts_with(b"\r\n*"))?;
    Some(found + next + 2)
}

#[test]
fn a_write_between_the_reads_of_one_pipeline_is_not_missed() {
    let server = RedisServer::start();
    let link = Link::to(&server);
    let endpoint = Endpoint::plain(Server::Tcp("127.0.0.1".into(), link.port));
    scene(single(endpoint), TcpDialer, async |router| {
        tracking(&router).await;
        let mut admin = server.admin();
        for (host, behind) in [("a.tld", "$14\r\nfrontend:a.tld"), ("b.tld", "$14\r\nfrontend:b.tld")] {
            admin.run("DEL frontend:*.tld");
            let (is_halted, go_on) = link.halt_behind(behind);
            let asking = router.clone();
            let asked = monoio::spawn(async move { served(&asking, host).await });
            eventually("the first key was read", async || is_halted.try_recv().is_ok()).await;
            // The exact key is read already, and found empty; the wildcard is not.
            admin.run(&format!("RPUSH frontend:{host} exact http://10.0.0.1"));
            admin.run("RPUSH frontend:*.tld wildcard http://10.0.0.1");
            go_on.send(()).unwrap();
            assert_eq!(asked.await, "exact", "what was read is no state that there ever was");
            assert_eq!(known(&router, host), "exact");
        }
    });
}

async fn first_dies(router: &Router, host: &str) -> Health {
    let route = router.find(host).await.unwrap().unwrap();
    router.backend_died(&route, &route.frontend.backends[0], "refused");
    route.health(&route.frontend.backends[0])
}

#[test]
fn a_server_out_of_memory_is_read_and_passes_deaths_on() {
    let server = RedisServer::start();
    let (mut admin, mut listener) = (server.admin(), server.admin());
    admin.run("RPUSH frontend:a.tld app http://10.0.0.1 http://10.0.0.2");
    admin.run("CONFIG SET maxmemory-policy noeviction");
    admin.run("CONFIG SET maxmemory 1");
    let mut heard = listener.0.as_pubsub();
    heard.subscribe("dead").unwrap();
    heard.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let (one, other) = (server.settings(), server.settings());
    scene(one, TcpDialer, async |router| {
        tracking(&router).await;
        assert_eq!(served(&router, "a.tld").await, "app");
        assert_eq!(served(&router, "none.tld").await, "-");
        assert_eq!(first_dies(&router, "a.tld").await, Health::Dead);
        eventually("others hear of it", async || heard.get_message().is_ok()).await;
        assert_eq!(admin.run("EXISTS dead:a.tld"), redis::Value::Int(0));
        admin.run("DEL frontend:a.tld");
        serves(&router, "a.tld", "-").await;
        admin.run("CONFIG SET maxmemory 0");
    });
    scene(other, TcpDialer, async |router| serves(&router, "a.tld", "-").await);
}

#[test]
fn a_slow_server_is_waited_for_and_known_hosts_are_not_lost() {
    let server = RedisServer::start();
    scene(server.settings(), TcpDialer, async |router| {
        tracking(&router).await;
        let mut admin = server.admin();
        admin.run("RPUSH frontend:a.tld app http://10.0.0.1");
        serves(&router, "a.tld", "app").await;
        let asleep = |seconds: &'static str| {
            let mut sleeper = server.admin();
            std::thread::spawn(move || sleeper.run(&format!("DEBUG SLEEP {seconds}")))
        };
        // Within its patience a look-up waits; the host known meanwhile costs no question.
        let sleeping = asleep("0.3");
        assert_eq!(known(&router, "a.tld"), "app");
        assert_eq!(served(&router, "new.tld").await, "-");
        sleeping.join().unwrap();
        // Beyond it the connection is given up; what is known is served, what is not is told of.
        admin.run("RPUSH frontend:b.tld other http://10.0.0.1");
        let sleeping = asleep("5");
        let away = async || matches!(router.state(), StoreState::Away { .. } | StoreState::Connecting);
        eventually("it is given up", away).await;
        assert_eq!(served(&router, "a.tld").await, "app");
        assert!(served(&router, "b.tld").await.starts_with("unavailable"));
        sleeping.join().unwrap();
        serves(&router, "b.tld", "other").await;
    });
}

//! A TCP link that can fall silent: what comes is held back, and nothing is closed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use socket2::SockRef;

use super::wait::{DEADLINE, Gate};

/// A port whose connections are passed on to another port of this machine.
pub(crate) struct Relay(Arc<Exchange>);

struct Exchange {
    listener: TcpListener,
    links: Mutex<Vec<Link>>,
    /// Whether connections to come pass anything.
    takes_new: AtomicBool,
}

struct Link {
    ends: [TcpStream; 2],
    flow: Gate,
}

impl Relay {
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let exchange =
            Arc::new(Exchange { listener, links: Mutex::default(), takes_new: AtomicBool::new(true) });
        let relay = Self(Arc::clone(&exchange));
        std::thread::spawn(move || {
            while let Ok((near, _)) = exchange.listener.accept() {
                exchange.connect(near, port);
            }
        });
        relay
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.listener.local_addr().unwrap().port()
    }

    /// Connections so far.
    pub(crate) fn links(&self) -> usize {
        self.0.links.lock().unwrap().len()
    }

    /// Lets all connections fall silent in both directions, and those to come.
    pub(crate) fn silence(&self) {
        self.0.takes_new.store(false, Ordering::SeqCst);
        self.silence_present();
    }

    /// Lets the connections there are fall silent, and not the ones to come.
    pub(crate) fn silence_present(&self) {
        self.0.links.lock().unwrap().iter().for_each(|link| link.flow.shut());
    }

    /// Lets all connections pass again; what was held back comes first.
    pub(crate) fn resume(&self) {
        self.0.takes_new.store(true, Ordering::SeqCst);
        self.0.links.lock().unwrap().iter().for_each(|link| link.flow.open());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = SockRef::from(&self.0.listener).shutdown(Shutdown::Both);
        for link in self.0.links.lock().unwrap().iter() {
            link.flow.open();
            link.ends.iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
        }
    }
}

impl Exchange {
    fn connect(&self, near: TcpStream, port: u16) {
        let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { return };
        let mut links = self.links.lock().unwrap();
        links.push(Link::open(near, far, self.takes_new.load(Ordering::SeqCst)));
    }
}

impl Link {
    fn open(near: TcpStream, far: TcpStream, passes: bool) -> Self {
        let flow = Gate::default();
        if passes {
            flow.open();
        }
        for (from, to) in [(&near, &far), (&far, &near)] {
            to.set_nodelay(true).unwrap();
            let (from, to, flow) = (from.try_clone().unwrap(), to.try_clone().unwrap(), flow.clone());
            std::thread::spawn(move || pass(from, to, &flow));
        }
        Self { ends: [near, far], flow }
    }
}

/// Passes on what comes until one side ends; the end is passed on too.
fn pass(mut from: TcpStream, mut to: TcpStream, flow: &Gate) {
    let mut piece = [0; 16_384];
    while let Ok(read) = from.read(&mut piece) {
        while !flow.opens_within(DEADLINE) {}
        if read == 0 || to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

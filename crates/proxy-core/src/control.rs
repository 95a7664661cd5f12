//! The socket by which commands reach a running proxy: an abstract Unix socket named after its config file, so that it
//! leaves no file behind and is found by the same `-c`. Only root and the user of the process are heard.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::Builder;
use std::time::Duration;

use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{Shutdown, getsockopt, shutdown};
use nix::unistd::geteuid;

use crate::event::Event;

const UPGRADE: &str = "upgrade";
const DONE: &str = "done: ";
/// Longest wait for what a client has to say.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than any command has: a line without end is not taken in.
const LINE_MAX: u64 = 64;
/// Between two tries to have or to reach the name.
const RETRY: Duration = Duration::from_millis(100);
const CONNECTS: usize = 10;

fn address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("cjs-proxy:{name}"))
}

/// The control socket of this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Control(Arc<Mutex<State>>);

#[derive(Debug, Default)]
enum State {
    /// The process before this one still has the name.
    #[default]
    Waiting,
    Listening(UnixListener),
    /// The process after this one has it.
    Released,
}

impl Control {
    /// Listens for commands to the proxy called `name`. During an upgrade the process before this one has the name until it
    /// drains: it is tried again and again.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub(crate) fn listen(name: String, tell: Sender<Event>) -> io::Result<Self> {
        let control = Self::default();
        let own = control.clone();
        Builder::new().name("control".into()).spawn(move || own.serve(&name, &tell))?;
        Ok(control)
    }

    fn serve(&self, name: &str, tell: &Sender<Event>) {
        while let Some(listener) = self.bind(name) {
            // Ends with an error once the name is released.
            for client in listener.incoming().map_while(Result::ok) {
                take(client, tell.clone());
            }
        }
    }

    /// The listener, once the name is to be had; `None`: it was released.
    fn bind(&self, name: &str) -> Option<UnixListener> {
        loop {
            let mut state = self.0.lock().ok()?;
            if matches!(*state, State::Released) {
                return None;
            }
            // One that failed would keep the name.
            *state = State::Waiting;
            let bound = address(name).and_then(|address| UnixListener::bind_addr(&address));
            if let Ok(listener) = bound.and_then(|listener| listener.try_clone().map(|own| (listener, own))) {
                *state = State::Listening(listener.0);
                return Some(listener.1);
            }
            drop(state);
            std::thread::sleep(RETRY);
        }
    }

    /// Leaves the name to the process that takes over.
    pub(crate) fn release(&self) {
        let Ok(mut state) = self.0.lock() else { return };
        if let State::Listening(listener) = std::mem::replace(&mut *state, State::Released) {
            // Wakes the thread, which closes the socket for good. The only error is that it is not open.
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        }
    }
}

/// Answers on a thread of its own: one that says nothing keeps nobody waiting.
fn take(client: UnixStream, tell: Sender<Event>) {
    // Whoever cannot be answered has gone.
    let answering = Builder::new().name("command".into()).spawn(move || drop(answer(client, &tell)));
    if let Err(error) = answering {
        log::error!("a command was not taken: {error}");
    }
}

fn answer(mut client: UnixStream, tell: &Sender<Event>) -> io::Result<()> {
    let asks = getsockopt(&client, PeerCredentials)?.uid();
    if asks != 0 && asks != geteuid().as_raw() {
        return writeln!(client, "only root and the user of the proxy may ask for this");
    }
    client.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new((&client).take(LINE_MAX)).read_line(&mut line)?;
    if line.trim_end() != UPGRADE {
        return writeln!(client, "the running proxy does not know the command {:?}", line.trim_end());
    }
    let (reply, outcome) = channel();
    if tell.send(Event::Upgrade(reply)).is_err() {
        return writeln!(client, "the proxy is stopping");
    }
    match outcome.recv() {
        Ok(Ok(process)) => writeln!(client, "{DONE}{process}"),
        Ok(Err(why)) => writeln!(client, "{why}"),
        Err(_) => writeln!(client, "the proxy is stopping"),
    }
}

/// Asks the running proxy called `name` to replace its executable. Returns the new process's id.
///
/// # Errors
/// In words: no such proxy runs, or why it was not replaced.
pub fn ask_for_upgrade(name: &str) -> Result<u32, String> {
    let gone = |error: io::Error| format!("no running proxy answers for {name}: {error}");
    let mut proxy = connect(name).map_err(gone)?;
    writeln!(proxy, "{UPGRADE}").map_err(gone)?;
    let mut said = String::new();
    BufReader::new(proxy).read_line(&mut said).map_err(gone)?;
    let said = said.trim_end();
    match said.strip_prefix(DONE).map(str::parse) {
        Some(Ok(process)) => Ok(process),
        _ if said.is_empty() => Err(format!("the proxy of {name} ended before it answered")),
        _ => Err(said.to_owned()),
    }
}

/// Tries for a while: between two processes of one proxy nobody has the name.
fn connect(name: &str) -> io::Result<UnixStream> {
    let address = address(name)?;
    let mut connected = UnixStream::connect_addr(&address);
    for _ in 0..CONNECTS {
        match &connected {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::thread::sleep(RETRY),
            _ => break,
        }
        connected = UnixStream::connect_addr(&address);
    }
    connected
}

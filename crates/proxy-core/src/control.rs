//! The socket by which commands reach a running proxy: an abstract Unix socket named after its config file, so that it
//! leaves no file behind and is found by the same `-c`. Only root and the user of the process are heard.

use std::io::{self, BufRead, BufReader, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::mpsc::{Sender, channel};
use std::thread::Builder;
use std::time::Duration;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::geteuid;

use crate::event::Event;

const UPGRADE: &str = "upgrade";
const DONE: &str = "done: ";
/// Longest wait for what a client has to say.
const PATIENCE: Duration = Duration::from_secs(5);

/// How an upgrade came out: the new process's id, or why there is none.
pub(crate) type Outcome = Result<u32, String>;

fn address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("cjs-proxy:{name}"))
}

/// Listens for commands to the proxy called `name`. During an upgrade the old process has the name until it ends: then it
/// is tried again and again.
///
/// # Errors
/// The thread cannot be made.
pub(crate) fn listen(name: String, tell: Sender<Event>) -> io::Result<()> {
    let serve = move || {
        let mut said = false;
        let listener = loop {
            match address(&name).and_then(|address| UnixListener::bind_addr(&address)) {
                Ok(listener) => break listener,
                Err(error) if !said => {
                    log::debug!("the control socket is not to be had yet: {error}");
                    said = true;
                }
                Err(_) => {}
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        for client in listener.incoming().flatten() {
            // Whoever cannot be answered has gone.
            let _ = answer(client, &tell);
        }
    };
    Builder::new().name("control".into()).spawn(serve).map(drop)
}

fn answer(mut client: UnixStream, tell: &Sender<Event>) -> io::Result<()> {
    let asks = getsockopt(&client, PeerCredentials)?.uid();
    if asks != 0 && asks != geteuid().as_raw() {
        return writeln!(client, "only root and the user of the proxy may ask for this");
    }
    client.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(&client).read_line(&mut line)?;
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
    let mut proxy = address(name).and_then(|address| UnixStream::connect_addr(&address)).map_err(gone)?;
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

//! Replaces the running executable without losing a connection. The old process starts the new one and gives it the
//! listening sockets over a socket pair; the new one answers once it accepts; then the old one drains.
//!
//! ```text
//!   old: start the new one ──sockets──▶ new: configure, bind what is missing, start the cores
//!   old: drain             ◀──"ready"── new: accepting
//!   old: go on as before   ◀──end────── new: could not start (its own log says why)
//! ```

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use crate::bounds::HANDOVER_WAIT;
use crate::listening::{Given, Purpose};

/// Set for a process whose standard input is the socket pair.
const MARK: &str = "CJS_PROXY_HANDOVER";
/// What the new process says.
const READY: &str = "ready";
/// The byte that descriptors come with, by what they are for.
const PLAIN: u8 = b'+';
const TLS: u8 = b's';
const ADMIN: u8 = b'a';
/// Descriptors in one message; the kernel takes 253 at most (unix(7)).
const FDS_PER_MESSAGE: usize = 128;

/// How this process was started, taken down before its executable is replaced.
#[derive(Debug)]
pub(crate) struct Origin {
    executable: PathBuf,
    arguments: Vec<OsString>,
}

impl Origin {
    /// # Errors
    /// The system does not say which file this process runs.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        Ok(Self { executable: std::env::current_exe()?, arguments: std::env::args_os().skip(1).collect() })
    }

    /// Starts the executable that stands there now, hands it `sockets`, and waits until it accepts. Returns its process
    /// id.
    ///
    /// # Errors
    /// In words, for the operator: why the new process does not serve. It has been ended.
    pub(crate) fn succeed(&self, sockets: &[Given]) -> Result<u32, String> {
        let executable = self.executable.display();
        let cannot = |error: io::Error| format!("cannot start {executable}: {error}");
        let (ours, theirs) = UnixStream::pair().map_err(cannot)?;
        let mut child = Command::new(&self.executable)
            .args(&self.arguments)
            .env(MARK, "1")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .map_err(cannot)?;
        let settled = give(&ours, sockets).and_then(|()| wait_until_ready(ours));
        match settled {
            Ok(()) => Ok(child.id()),
            Err(error) => Err(format!("{executable} does not serve: {}", reason(&mut child, &error))),
        }
    }
}

/// Ends a process that did not make it, and says what became of it.
fn reason(child: &mut Child, error: &io::Error) -> String {
    // One that ended by itself has said why; there is nothing to kill then.
    let by_itself = matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe);
    if !by_itself {
        let _ = child.kill();
    }
    match child.wait() {
        Ok(status) if by_itself => format!("it ended with {status}; its messages stand above"),
        _ => format!("{error}; it was ended"),
    }
}

fn give(mut to: &UnixStream, sockets: &[Given]) -> io::Result<()> {
    to.write_all(&(sockets.len() as u32).to_be_bytes())?;
    for (kind, purpose) in [(PLAIN, Purpose::Plain), (TLS, Purpose::Tls), (ADMIN, Purpose::Admin)] {
        let of_kind = sockets.iter().filter(|given| given.purpose == Some(purpose));
        let fds: Vec<RawFd> = of_kind.map(|given| given.socket.as_raw_fd()).collect();
        for some in fds.chunks(FDS_PER_MESSAGE) {
            let rights = [ControlMessage::ScmRights(some)];
            sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(&[kind])], &rights, MsgFlags::empty(), None)?;
        }
    }
    Ok(())
}

fn wait_until_ready(from: UnixStream) -> io::Result<()> {
    from.set_read_timeout(Some(HANDOVER_WAIT))?;
    let mut line = String::new();
    match BufReader::new(from).read_line(&mut line) {
        Ok(_) if line.trim_end() == READY => Ok(()),
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::other(format!("it did not accept within {} s", HANDOVER_WAIT.as_secs())))
        }
        // It was killed before it read what it was given.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
        Err(error) => Err(error),
    }
}

/// What a process takes over from the one before it.
#[derive(Debug)]
pub(crate) struct Inheritance {
    from: UnixStream,
    sockets: Vec<Given>,
}

impl Inheritance {
    /// What this process was given; `None`: it was started by hand.
    ///
    /// # Errors
    /// The other process went away, or it is no cjs-proxy.
    pub(crate) fn take() -> io::Result<Option<Self>> {
        if std::env::var_os(MARK).is_none() {
            return Ok(None);
        }
        let from = UnixStream::from(std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned()?);
        from.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut count = [0; 4];
        (&from).read_exact(&mut count)?;
        let count = u32::from_be_bytes(count) as usize;
        let mut sockets = Vec::new();
        while sockets.len() < count {
            let before = sockets.len();
            receive(&from, &mut sockets)?;
            if sockets.len() == before {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Some(Self { from, sockets }))
    }

    /// The sockets, and who is to be told once they are served.
    pub(crate) fn split(self) -> (Vec<Given>, Option<Predecessor>) {
        (self.sockets, Some(Predecessor(self.from)))
    }
}

/// The process that this one takes over from.
#[derive(Debug)]
pub(crate) struct Predecessor(UnixStream);

impl Predecessor {
    /// Tells it that this one accepts.
    pub(crate) fn accepted(mut self) {
        // One that has gone away needs no telling.
        let _ = writeln!(self.0, "{READY}");
    }
}

#[allow(unsafe_code, reason = "descriptors arrive as numbers")]
fn receive(from: &UnixStream, sockets: &mut Vec<Given>) -> io::Result<()> {
    let mut byte = [0];
    let mut space = nix::cmsg_space!([RawFd; FDS_PER_MESSAGE]);
    let mut bytes = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(from.as_raw_fd(), &mut bytes, Some(&mut space), flags)?;
    let mut fds = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(some) = part {
            fds.extend(some);
        }
    }
    let purpose = Some(match byte[0] {
        TLS => Purpose::Tls,
        ADMIN => Purpose::Admin,
        _ => Purpose::Plain,
    });
    // SAFETY: the kernel has just made these descriptors for this process; nobody else owns them.
    let socket = |fd| unsafe { TcpListener::from_raw_fd(fd) };
    sockets.extend(fds.into_iter().map(|fd| Given { socket: socket(fd), purpose }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_arrive_with_their_addresses() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let bequest = |number: usize| {
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            let purpose = [Purpose::Tls, Purpose::Admin].get(number).copied().unwrap_or(Purpose::Plain);
            Given { socket, purpose: Some(purpose) }
        };
        let sockets: Vec<_> = (0..FDS_PER_MESSAGE + 5).map(bequest).collect();
        give(&ours, &sockets).unwrap();
        let mut count = [0; 4];
        (&theirs).read_exact(&mut count).unwrap();
        assert_eq!(u32::from_be_bytes(count) as usize, sockets.len());
        let mut taken = Vec::new();
        while taken.len() < sockets.len() {
            receive(&theirs, &mut taken).unwrap();
        }
        let address = |socket: &TcpListener| socket.local_addr().unwrap();
        for Given { socket, purpose } in &sockets {
            let found = taken.iter().find(|given| address(&given.socket) == address(socket));
            assert_eq!(found.unwrap().purpose, *purpose);
        }
    }

    #[test]
    fn only_the_word_counts_as_ready() {
        for (said, is_ready) in
            [("ready\n", true), ("ready", true), ("rea", false), ("", false), ("x\n", false)]
        {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(said.as_bytes()).unwrap();
            drop(theirs);
            assert_eq!(wait_until_ready(ours).is_ok(), is_ready, "{said:?}");
        }
    }
}

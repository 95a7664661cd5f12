//! Owns what outlives a core: the listening sockets, the signals, the threads beside the cores. Starts the cores
//! and ends when they have.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::Builder;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use redis_router::{Source, Table};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use socket2::{Domain, Protocol, Socket, Type};

use crate::bounds::{RESOLVE_QUEUE, RESOLVER_THREADS};
use crate::core;
use crate::error::StartError;
use crate::inbox::{Message, Outbox, inbox};
use crate::log_writer::LogWriter;
use crate::reload;
use crate::runtime::Driver;
use crate::settings::{Listen, ListenAddress, Settings};
use crate::upstream::resolve::{self, Question};
use crate::watch;

/// Exit code of a process that is told to stop while it stops.
const STOPPED_TWICE: i32 = 1;

/// What the supervisor waits for.
enum Event {
    Signal(i32),
    CoreEnded(usize, io::Result<()>),
}

/// Reads the configuration anew; the error says, for the operator, why the old one stays.
pub type Reload = dyn Fn() -> Result<Settings, String>;

/// Serves until SIGTERM or SIGINT has been answered by a drain.
///
/// # Errors
/// What kept it from starting, or that a core ended unexpectedly.
pub fn run(settings: Settings, reload: &Reload) -> Result<(), StartError> {
    raise_descriptor_limit();
    let settings = Arc::new(settings);
    let sockets = bind(&settings.listen, settings.cores)?;
    let table = read_table(&settings.routes)?;
    let log = settings.access_log.as_ref().map(|log| LogWriter::start(log, settings.cores)).transpose()?;
    let (tell, events) = channel();
    catch_signals(tell.clone())?;
    let questions = start_resolvers()?;
    let (ready, accepting) = sync_channel(settings.cores);
    let mut outboxes = Vec::new();
    for (index, sockets) in sockets.per_core.iter().enumerate() {
        let sockets = sockets.iter().map(TcpListener::try_clone).collect::<io::Result<_>>();
        let (outbox, inbox) = inbox().map_err(StartError::Core)?;
        outboxes.push(outbox.clone());
        let start = core::Start {
            settings: Arc::clone(&settings),
            sockets: sockets.map_err(StartError::Core)?,
            inbox,
            outbox,
            questions: questions.clone(),
            log: log.as_ref().map(LogWriter::sink),
            table: table.clone(),
            ready: ready.clone(),
        };
        start_core(index, start, tell.clone())?;
    }
    drop((ready, questions, tell));
    let watcher = watch_table(&settings.routes, &outboxes)?;
    announce(&accepting, &sockets.addresses, &settings);
    let cores = Cores { running: outboxes.len(), outboxes, sockets: Some(sockets), settings };
    let ended = supervise(&events, cores, log.as_ref(), reload);
    drop(watcher);
    if let Some(log) = log {
        log.end();
    }
    ended
}

/// The running cores, and what the supervisor keeps for them.
struct Cores {
    outboxes: Vec<Outbox>,
    running: usize,
    /// Those in force.
    settings: Arc<Settings>,
    /// `None` once they drain: while anyone holds a listening socket, the kernel goes on queueing connections.
    sockets: Option<Sockets>,
}

impl Cores {
    fn is_draining(&self) -> bool {
        self.sockets.is_none()
    }

    /// Goes by the configuration as it stands now, as far as it can change while cores run.
    fn reload(&mut self, reload: &Reload, log: Option<&LogWriter>) {
        let new = match reload() {
            Ok(new) => new,
            Err(why) => {
                for line in why.lines() {
                    log::error!("{line}");
                }
                log::error!("SIGHUP: the configuration was not read anew; the old one stays in force");
                return;
            }
        };
        let (merged, waiting) = reload::merge(&self.settings, new);
        if let (Some(log), Some(settings)) = (log, &merged.access_log)
            && self.settings.access_log.as_ref().map(|old| &old.target) != Some(&settings.target)
        {
            log.retarget(&settings.target);
        }
        self.settings = Arc::new(merged);
        self.outboxes.iter().for_each(|core| core.send(Message::Settings(Arc::clone(&self.settings))));
        log::info!("SIGHUP: the configuration was read anew and is in force");
        for keys in waiting {
            log::warn!("SIGHUP: the new value of {keys} takes a restart");
        }
    }

    fn drain(&mut self) {
        if self.sockets.take().is_some() {
            self.outboxes.iter().for_each(|core| core.send(Message::Drain));
        }
    }
}

/// Waits for signals and cores until every core has ended.
fn supervise(
    events: &Receiver<Event>,
    mut cores: Cores,
    log: Option<&LogWriter>,
    reload: &Reload,
) -> Result<(), StartError> {
    let mut outcome = Ok(());
    while cores.running > 0 {
        match events.recv() {
            Ok(Event::Signal(SIGTERM | SIGINT)) if cores.is_draining() => {
                log::warn!("told to stop a second time: stopping at once");
                std::process::exit(STOPPED_TWICE);
            }
            Ok(Event::Signal(SIGTERM | SIGINT)) => {
                log::info!("draining: no new connections, requests in flight are answered");
                cores.drain();
            }
            Ok(Event::Signal(SIGUSR1)) => log.into_iter().for_each(LogWriter::reopen),
            Ok(Event::Signal(_)) if cores.is_draining() => {}
            Ok(Event::Signal(_)) => cores.reload(reload, log),
            Ok(Event::CoreEnded(index, ended)) => {
                cores.running -= 1;
                outcome = outcome.and(core_outcome(index, ended, cores.is_draining()));
                if outcome.is_err() {
                    cores.drain();
                }
            }
            Err(_) => break,
        }
    }
    outcome
}

fn core_outcome(index: usize, ended: io::Result<()>, stopping: bool) -> Result<(), StartError> {
    match ended {
        Ok(()) if stopping => Ok(()),
        Ok(()) => Err(StartError::CoreDied(index)),
        Err(error) => Err(StartError::Core(error)),
    }
}

/// Listening sockets, one of each address for each core.
struct Sockets {
    per_core: Vec<Vec<TcpListener>>,
    addresses: Vec<SocketAddr>,
}

fn bind(listen: &Listen, cores: usize) -> Result<Sockets, StartError> {
    let mut sockets = Sockets { per_core: (0..cores).map(|_| Vec::new()).collect(), addresses: Vec::new() };
    for ListenAddress { address, optional } in &listen.addresses {
        match bind_all(*address, cores, listen.backlog) {
            Ok(bound) => {
                let address = bound[0].local_addr().map_err(|error| StartError::Listen(*address, error))?;
                sockets.addresses.push(address);
                sockets.per_core.iter_mut().zip(bound).for_each(|(core, socket)| core.push(socket));
            }
            Err(error) if *optional && is_family_missing(&error) => {
                log::info!("not listening on {address}: this machine does not have the address family");
            }
            Err(error) => return Err(StartError::Listen(*address, error)),
        }
    }
    if sockets.addresses.is_empty() { Err(StartError::NoAddress) } else { Ok(sockets) }
}

/// One socket a core on the same address. SO_REUSEPORT would let a second proxy share the port unnoticed, so the
/// address is first bound without it.
fn bind_all(address: SocketAddr, cores: usize, backlog: u32) -> io::Result<Vec<TcpListener>> {
    if address.port() != 0 {
        drop(open(address, false)?);
    }
    let first = open(address, true)?;
    let bound = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..cores {
        sockets.push(open(bound, true)?);
    }
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    for socket in &sockets {
        socket.listen(backlog)?;
    }
    Ok(sockets.into_iter().map(TcpListener::from).collect())
}

fn open(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn is_family_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT)
}

fn read_table(routes: &Source) -> Result<Option<Arc<Table>>, StartError> {
    match routes {
        Source::Redis(_) => Ok(None),
        Source::File(path) => watch::read(path).map(Some),
        Source::Embedded(text) => watch::parse(text, "(embedded)").map(Some),
    }
}

fn watch_table(
    routes: &Source,
    outboxes: &[Outbox],
) -> Result<Option<notify::RecommendedWatcher>, StartError> {
    let Source::File(path) = routes else { return Ok(None) };
    let outboxes = outboxes.to_vec();
    let tell_all = move |table: Arc<Table>| {
        outboxes.iter().for_each(|core| core.send(Message::Table(Arc::clone(&table))));
    };
    watch::watch(path, tell_all).map(Some)
}

/// Signals become events, so that one loop sees everything.
fn catch_signals(tell: Sender<Event>) -> Result<(), StartError> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGHUP]).map_err(StartError::Signals)?;
    let forward = move || {
        for signal in signals.forever() {
            if tell.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    };
    Builder::new().name("signals".into()).spawn(forward).map_err(StartError::Signals)?;
    Ok(())
}

fn start_resolvers() -> Result<SyncSender<Question>, StartError> {
    let (ask, questions) = sync_channel(RESOLVE_QUEUE);
    let questions = Arc::new(Mutex::new(questions));
    for _ in 0..RESOLVER_THREADS {
        let questions = Arc::clone(&questions);
        let answer = move || resolve::answer_questions(&questions);
        Builder::new().name("resolver".into()).spawn(answer).map_err(StartError::Core)?;
    }
    Ok(ask)
}

fn start_core(index: usize, start: core::Start, tell: Sender<Event>) -> Result<(), StartError> {
    let serve = move || {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| core::run(start)));
        let ended = ended.unwrap_or_else(|_| Err(io::Error::other("it panicked")));
        // A supervisor that is gone has stopped the process.
        let _ = tell.send(Event::CoreEnded(index, ended));
    };
    Builder::new().name(format!("core-{index}")).spawn(serve).map_err(StartError::Core)?;
    Ok(())
}

/// Says where clients can connect, once they can.
fn announce(accepting: &Receiver<Driver>, addresses: &[SocketAddr], settings: &Settings) {
    let drivers: Vec<Driver> = accepting.iter().take(settings.cores).collect();
    for address in addresses {
        log::info!("listening on {address}");
    }
    let routes = match &settings.routes {
        Source::Redis(redis) => format!("Redis at {}", redis.server),
        Source::File(path) => path.display().to_string(),
        Source::Embedded(_) => "a built-in table".into(),
    };
    let driver = drivers.first().map_or("no driver", |driver| driver.name());
    let plural = if drivers.len() == 1 { "" } else { "s" };
    log::info!("serving on {} core{plural} with {driver}; routes from {routes}", drivers.len());
}

/// A proxy needs two descriptors a connection; the soft limit is often 1024.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) }
    });
    if let Err(error) = raised {
        log::warn!("cannot raise the limit of open files (ulimit -n): {error}");
    }
}

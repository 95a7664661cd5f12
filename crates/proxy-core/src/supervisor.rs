//! Owns what outlives a core: the listening sockets, the signals, the threads beside the cores. Starts the process and
//! ends it; what becomes of each core is `fleet.rs`'s.

use std::ffi::CString;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::Builder;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, initgroups, setgid, setuid};
use redis_router::{Source, Table};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use tls::{Files, Reading};

use crate::accept::Speech;
use crate::admin::{Admin, Followed, Shown};
use crate::bounds::{LOOK_INTERVAL, RESOLVE_QUEUE, RESOLVER_THREADS, SHRINK_WAIT};
use crate::certificate_watch::CertificateWatch;
use crate::checking::Checking;
use crate::control::Control;
use crate::error::StartError;
use crate::event::Event;
use crate::file_watch::FileWatch;
use crate::fleet::{Fleet, Supplies};
use crate::handover::{Inheritance, Origin};
use crate::inbox::Message;
use crate::log_writer::LogWriter;
use crate::runtime::Driver;
use crate::service::{self, Watchdog};
use crate::settings::{Build, Https, Identity, Settings};
use crate::upgrades::Upgrades;
use crate::upstream::resolve::{self, Question};
use crate::{clock, listening, reload, watch};

/// Exit code of a process that is told to stop while it stops.
const STOPPED_TWICE: i32 = 1;

/// Reads the configuration anew; the error says, for the operator, why the old one stays.
pub type Reload = dyn Fn() -> Result<Settings, String>;

/// What the program brings along beside the settings.
pub struct Program<'a> {
    /// Called on SIGHUP.
    pub reload: &'a Reload,
    /// Name of the control socket; `None`: there is none, and commands do not reach this process.
    pub control: Option<String>,
    /// What the admin listener says runs.
    pub build: Build,
}

/// What the supervisor has beside the cores.
struct Companions<'a> {
    reload: &'a Reload,
    upgrades: Upgrades,
    checking: Checking,
    certificates: Option<CertificateWatch>,
    /// `None`: there is none, or it is another process's by now.
    admin: Option<Admin>,
}

impl Companions<'_> {
    /// Has them do what the settings say now.
    fn follow(&mut self, supplies: &Supplies) {
        self.checking.follow(supplies);
        if let Some(admin) = &self.admin {
            admin.follow(Followed::of(&supplies.settings));
        }
        let https = supplies.settings.https.as_ref();
        if https.map(|https| &https.files) != self.certificates.as_ref().map(|watch| &watch.files) {
            let begin = |https: &Https| {
                CertificateWatch::begin(https.files.clone(), https.traces.clone(), supplies.tell.clone())
            };
            self.certificates = https.map(begin);
        }
    }
}

/// Serves until SIGTERM or SIGINT has been answered by a drain, or another process has taken over.
///
/// # Errors
/// What kept it from starting.
pub fn run(settings: Settings, program: Program<'_>) -> Result<(), StartError> {
    raise_descriptor_limit();
    let origin = Origin::of_this_process().map_err(StartError::Core)?;
    let inheritance = Inheritance::take().map_err(StartError::Handover)?;
    let (mut inherited, from) = inheritance.map_or_else(|| (service::sockets(), None), Inheritance::split);
    settings.upstream.trust.load();
    let settings = Arc::new(settings);
    let admin_sockets = listening::bind_admin(&settings, &mut inherited)?;
    let sockets = listening::bind(&settings, inherited)?;
    let table = read_table(&settings.routes)?;
    let log = settings.access_log.as_ref().map(|log| LogWriter::start(log, settings.cores)).transpose()?;
    if let Some(identity) = &settings.identity {
        become_user(identity, log.as_ref())?;
    }
    let (tell, events) = channel();
    catch_signals(tell.clone())?;
    let watcher = watch_table(&settings.routes, table.as_ref(), tell.clone())?;
    let control = program.control.map(|name| Control::listen(name, tell.clone())).transpose();
    let upgrades = Upgrades::new(origin, tell.clone(), control.map_err(StartError::Core)?);
    let supplies = Supplies { settings, table, log, questions: start_resolvers()?, tell };
    let mut fleet = Fleet::start(supplies, sockets.per_core)?;
    let supervised = start(&events, &mut fleet, &sockets.addresses).and_then(|()| {
        let admin = begin_admin(admin_sockets, &fleet, program.build)?;
        if let Some(from) = from.filter(|_| !fleet.is_stopping()) {
            from.accepted();
        }
        service::ready();
        let (reload, checking) = (program.reload, Checking::default());
        supervise(&events, &mut fleet, Companions { reload, upgrades, checking, certificates: None, admin });
        Ok(())
    });
    drop(watcher);
    if let Some(log) = fleet.supplies.log.take() {
        log.end();
    }
    supervised
}

/// Tells of the process on `sockets` from now on, where there are any.
fn begin_admin(sockets: Vec<TcpListener>, fleet: &Fleet, build: Build) -> Result<Option<Admin>, StartError> {
    if sockets.is_empty() {
        return Ok(None);
    }
    let settings = &fleet.supplies.settings;
    let followed = Followed::of(settings);
    let shown = Shown::new(Arc::clone(&fleet.board), build, name_of(&settings.routes), followed);
    let admin = Admin::begin(sockets, shown).map_err(StartError::Core)?;
    for address in admin.addresses() {
        log::info!("listening on {address} for admin");
    }
    Ok(Some(admin))
}

/// Waits until every core accepts, and says where clients can connect.
fn start(
    events: &Receiver<Event>,
    fleet: &mut Fleet,
    addresses: &[(SocketAddr, Speech)],
) -> Result<(), StartError> {
    loop {
        match events.recv() {
            Ok(Event::CoreReady(core, life, driver)) if fleet.ready(core, life, driver) => {
                announce(driver, addresses, fleet);
                return Ok(());
            }
            Ok(Event::CoreReady(..)) => {}
            Ok(Event::CoreEnded(core, life, ended)) => fleet.ended(core, life, ended)?,
            Ok(Event::Signal(SIGTERM | SIGINT)) => {
                fleet.stop(true);
                return Ok(());
            }
            Ok(Event::Signal(_)) => {}
            #[cfg(debug_assertions)]
            Ok(Event::Replace(_)) => {}
            Ok(Event::Table(table)) => change_table(fleet, table),
            // Whoever asks for an upgrade so early is told nothing, and that the proxy has ended.
            Ok(_) => {}
            Err(_) => return Ok(()),
        }
    }
}

/// Waits for signals and cores until every core has ended.
fn supervise(events: &Receiver<Event>, fleet: &mut Fleet, mut beside: Companions<'_>) {
    if !fleet.is_stopping() {
        beside.follow(&fleet.supplies);
    }
    let (mut weigh_at, mut looked) = (clock::now(), clock::now());
    let mut watchdog = Watchdog::new(clock::now());
    while !fleet.is_over() || beside.upgrades.is_under_way() {
        let now = clock::now();
        let interval = fleet.supplies.settings.memory.interval;
        if now >= weigh_at {
            let soon = fleet.weigh();
            weigh_at = now + if soon { interval.min(SHRINK_WAIT) } else { interval };
        }
        if now - looked >= LOOK_INTERVAL || fleet.next_restart().is_some_and(|at| at <= now) {
            looked = now;
            fleet.look();
            beside.checking.look(&fleet.supplies);
            beside.upgrades.consider_hangs(fleet, beside.admin.as_ref());
            watchdog.beat(now);
        }
        let restart = fleet.next_restart().map_or(LOOK_INTERVAL, |at| at.saturating_duration_since(now));
        let weigh = weigh_at.saturating_duration_since(now);
        match events.recv_timeout(restart.min(LOOK_INTERVAL).min(weigh)) {
            Ok(event) => act(event, fleet, &mut beside),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn act(event: Event, fleet: &mut Fleet, beside: &mut Companions<'_>) {
    match event {
        Event::Signal(SIGTERM | SIGINT) if fleet.is_stopping() => {
            log::warn!("told to stop a second time: stopping at once");
            log::logger().flush();
            std::process::exit(STOPPED_TWICE);
        }
        Event::Signal(SIGTERM | SIGINT) => {
            log::info!("draining: no new connections, requests in flight are answered");
            service::stopping();
            beside.checking.stop();
            fleet.stop(true);
        }
        Event::Signal(SIGUSR1) => fleet.supplies.log.iter().for_each(LogWriter::reopen),
        Event::Signal(SIGUSR2) => beside.upgrades.begin(fleet, beside.admin.as_ref(), None),
        Event::Signal(_) if fleet.is_stopping() => {}
        Event::Signal(_) => {
            service::reloading();
            go_by(fleet, (beside.reload)());
            beside.follow(&fleet.supplies);
            service::ready();
        }
        Event::CoreReady(core, life, driver) => drop(fleet.ready(core, life, driver)),
        // Only a core that never served fails for good, and all have.
        Event::CoreEnded(core, life, ended) => drop(fleet.ended(core, life, ended)),
        Event::Table(table) => change_table(fleet, table),
        Event::Certificates(read) => change_certificates(fleet, &read.0, read.1),
        Event::CheckerEnded(life, ended) => beside.checking.ended(life, ended),
        Event::Upgrade(asker) => beside.upgrades.begin(fleet, beside.admin.as_ref(), Some(asker)),
        Event::Succeeded(outcome, asker) => {
            if outcome.is_ok() {
                beside.admin = None;
            }
            beside.upgrades.came_out(fleet, outcome, asker);
            if fleet.is_stopping() {
                beside.checking.stop();
            }
        }
        #[cfg(debug_assertions)]
        Event::Replace(core) => fleet.replace(core, "asked for by a test"),
    }
}

/// Goes by the configuration as it was read anew, as far as it can change while cores run.
fn go_by(fleet: &mut Fleet, read: Result<Settings, String>) {
    let new = match read {
        Ok(new) => new,
        Err(why) => {
            why.lines().for_each(|line| log::error!("{line}"));
            log::error!("SIGHUP: the configuration was not read anew; the old one stays in force");
            return;
        }
    };
    let old = Arc::clone(&fleet.supplies.settings);
    let (merged, waiting) = reload::merge(&old, new);
    let target = |settings: &Settings| settings.access_log.as_ref().map(|log| log.target.clone());
    if let (Some(log), Some(new)) =
        (&fleet.supplies.log, target(&merged).filter(|_| target(&merged) != target(&old)))
    {
        log.retarget(new);
    }
    merged.upstream.trust.load();
    change_settings(fleet, merged);
    log::info!("SIGHUP: the configuration was read anew and is in force");
    for keys in waiting {
        log::warn!("SIGHUP: the new value of {keys} takes a restart");
    }
}

fn change_settings(fleet: &mut Fleet, settings: Settings) {
    let settings = Arc::new(settings);
    fleet.supplies.settings = Arc::clone(&settings);
    fleet.tell_all(|| Message::Settings(Arc::clone(&settings)));
}

/// Serves the certificates that were read from `files` from now on. One that is of no use stays as it was.
fn change_certificates(fleet: &mut Fleet, files: &Files, reading: Reading) {
    let mut settings = Settings::clone(&fleet.supplies.settings);
    let Some(https) = settings.https.as_mut().filter(|https| https.files == *files) else { return };
    for fault in reading.faults.iter().chain(&reading.broken) {
        log::error!("{fault}; what was served before stays");
    }
    reading.doubts.iter().for_each(|doubt| log::warn!("{doubt}"));
    let Some(served) = reading.served else { return };
    https.served = Arc::new(served.after(&https.served));
    log::info!("certificates were read anew: {} are served", https.served.len());
    change_settings(fleet, settings);
}

fn change_table(fleet: &mut Fleet, table: Arc<Table>) {
    fleet.supplies.table = Some(Arc::clone(&table));
    fleet.tell_all(|| Message::Table(Arc::clone(&table)));
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
    known: Option<&Arc<Table>>,
    tell: Sender<Event>,
) -> Result<Option<FileWatch>, StartError> {
    let (Source::File(path), Some(known)) = (routes, known) else { return Ok(None) };
    // A supervisor that has ended needs no telling.
    watch::watch(path, Arc::clone(known), move |table| drop(tell.send(Event::Table(table)))).map(Some)
}

/// Signals become events, so that one loop sees everything.
fn catch_signals(tell: Sender<Event>) -> Result<(), StartError> {
    let mut signals =
        Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGHUP]).map_err(StartError::Signals)?;
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

/// Gives up being root, for good: all threads, and the groups too. The log's file goes with it, so that it can be opened
/// anew; a folder that is to take a new file must be the user's.
fn become_user(identity: &Identity, log: Option<&LogWriter>) -> Result<(), StartError> {
    let (user, group) = (Uid::from_raw(identity.user), Gid::from_raw(identity.group));
    if let Some(Err(error)) = log.map(|log| log.give_to(user, group)) {
        log::warn!(
            "the access log cannot be given to {}: {error}; SIGUSR1 may not open it anew",
            identity.name
        );
    }
    let became = CString::new(identity.name.as_str())
        .map_err(io::Error::other)
        .and_then(|name| Ok(initgroups(&name, group)?))
        .and_then(|()| Ok(setgid(group)?))
        .and_then(|()| Ok(setuid(user)?));
    became.map_err(|error| StartError::Identity(identity.name.clone(), error))?;
    log::info!("running as {} ({user}:{group})", identity.name);
    Ok(())
}

/// Says where clients can connect, once they can.
fn announce(driver: Driver, addresses: &[(SocketAddr, Speech)], fleet: &Fleet) {
    for (address, speech) in addresses {
        let https = if *speech == Speech::Plain { "" } else { " for HTTPS" };
        log::info!("listening on {address}{https}");
    }
    let routes = name_of(&fleet.supplies.settings.routes);
    let plural = if fleet.len() == 1 { "" } else { "s" };
    log::info!("serving on {} core{plural} with {}; routes from {routes}", fleet.len(), driver.name());
}

/// Where routes come from, in words.
fn name_of(routes: &Source) -> String {
    match routes {
        Source::Redis(redis) => format!("Redis at {}", redis.deployment),
        Source::File(path) => path.display().to_string(),
        Source::Embedded(_) => "a built-in table".into(),
    }
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

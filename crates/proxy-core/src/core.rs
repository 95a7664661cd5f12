//! One core: a thread with its runtime, its listeners, and everything its connections need. Started and stopped
//! by the supervisor, shares nothing.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use redis_router::{Router, Source, Table};

use crate::accept::{Door, Listener, Speech};
use crate::account::Account;
use crate::bounds::TICK_MILLIS;
use crate::census::Roll;
use crate::context::{Complaints, Connections, Core, Rules};
use crate::deadline::Wheel;
use crate::dialer::StoreDialer;
use crate::handshakes::Handshakes;
use crate::inbox::{Inbox, Message, Outbox};
use crate::log_writer::LogSink;
use crate::readiness::Readiness;
use crate::refusals::Refusals;
use crate::runtime::{self, Driver};
use crate::settings::Settings;
use crate::stored_certificates::Stored;
use crate::stream::Waits;
use crate::upstream::connect::Connector;
use crate::upstream::resolve::{Question, Resolver};
use crate::{clock, conn, survey};

/// How long a drain in a hurry lets idle connections be: the next request of one may be on its way, and is answered.
const IDLE_GRACE: Duration = Duration::from_secs(1);
/// How long before the end of the grace what is left is cut, so that it can end in order.
const CUT_GRACE: Duration = Duration::from_millis(500);

/// What a core is given to start with.
pub(crate) struct Start {
    pub(crate) parts: Parts,
    /// Listening sockets of this core alone.
    pub(crate) sockets: Vec<Door>,
    pub(crate) inbox: Inbox,
    /// Called once the core accepts.
    pub(crate) ready: Box<dyn FnOnce(Driver) + Send>,
}

/// What a core keeps of it.
pub(crate) struct Parts {
    pub(crate) settings: Arc<Settings>,
    /// The outer end of the core's inbox, for answers from the resolver threads.
    pub(crate) outbox: Outbox,
    pub(crate) questions: SyncSender<Question>,
    pub(crate) log: Option<LogSink>,
    /// The embedded route table, where there is one.
    pub(crate) table: Option<Arc<Table>>,
    pub(crate) account: Arc<Account>,
    pub(crate) roll: Arc<Roll>,
    #[cfg(debug_assertions)]
    pub(crate) replace_me: Box<dyn Fn() + Send>,
}

/// Runs a core on this thread until it is drained.
///
/// # Errors
/// No runtime, or no more file descriptors.
pub(crate) fn run(start: Start) -> io::Result<()> {
    let (mut runtime, driver) = runtime::build()?;
    runtime.block_on(serve(start, driver))
}

async fn serve(start: Start, driver: Driver) -> io::Result<()> {
    let is_epoll = driver == Driver::Epoll;
    let waits = Waits { wheel: Wheel::new(), readiness: Readiness::new()? };
    let readiness = waits.readiness.clone();
    let https_port = https_port(&start.sockets)?;
    let core = build(start.parts, waits, https_port);
    let core = Rc::new(core);
    let router = core.router.clone();
    let dialer = StoreDialer::new(&core.rules().settings, &core.connector);
    let routes = monoio::spawn(async move { router.run(dialer).await });
    let arrivals = {
        let readiness = readiness.clone();
        monoio::spawn(async move { readiness.run().await })
    };
    let listeners = listen(start.sockets, &readiness, is_epoll)?;
    let accepting = Rc::new(Cell::new(listeners.len()));
    for listener in listeners.iter().map(Rc::clone) {
        let (core, accepting) = (Rc::clone(&core), Rc::clone(&accepting));
        let port = listener.port()?;
        monoio::spawn(async move {
            accept(&core, &listener, port).await;
            accepting.set(accepting.get() - 1);
        });
    }
    let inbox = Rc::new(start.inbox.open(&readiness)?);
    let messages = {
        let (core, inbox, listeners) = (Rc::clone(&core), Rc::clone(&inbox), RefCell::new(listeners));
        monoio::spawn(async move { inbox.run(|message| take_message(&core, &listeners, message)).await })
    };
    (start.ready)(driver);
    live(&core, &accepting).await;
    conn::h2::release();
    core.router.stop();
    routes.await;
    inbox.close();
    messages.await;
    readiness.stop();
    arrivals.await?;
    Ok(())
}

/// Wraps the sockets on this core.
fn listen(sockets: Vec<Door>, readiness: &Readiness, is_epoll: bool) -> io::Result<Vec<Rc<Listener>>> {
    let wrap = |socket| Listener::new(socket, readiness, is_epoll).map(Rc::new);
    sockets.into_iter().map(wrap).collect()
}

/// The port of the first socket that TLS is spoken at.
fn https_port(doors: &[Door]) -> io::Result<Option<u16>> {
    let first = doors.iter().find(|door| door.speech != Speech::Plain);
    first.map(|door| door.socket.local_addr().map(|address| address.port())).transpose()
}

fn build(parts: Parts, waits: Waits, https_port: Option<u16>) -> Core {
    let Parts { settings, outbox, questions, log, table, account, roll, .. } = parts;
    let router = match (&settings.routes, table) {
        (Source::Redis(redis), _) => Router::redis(redis.clone(), settings.route_cache),
        (Source::File(_) | Source::Embedded(_), table) => Router::table(table.unwrap_or_default()),
    };
    let router = match &settings.rate_limit {
        Some(limit) => router.limited(limit.rules.clone()),
        None => router,
    };
    router.set_dead_ttl(settings.deaths.ttl);
    let answer = Arc::new(move |resolved| outbox.send(Message::Resolved(resolved)));
    Core {
        router,
        connector: Connector::new(&settings, waits, Rc::new(Resolver::new(questions, answer))),
        log,
        log_time: RefCell::new(clock::log_time(clock::unix_seconds())),
        draining: Cell::new(false),
        hurries: Cell::new(false),
        idle_ended: Cell::new(false),
        connections: Connections::default(),
        handshakes: Handshakes::default(),
        roll,
        refusals: Refusals::default(),
        https_port,
        complaints: Complaints::default(),
        stored: Stored::default(),
        untrusted_mentioned: Cell::new(false),
        turns: RefCell::default(),
        account,
        #[cfg(debug_assertions)]
        replace_me: parts.replace_me,
        rules: RefCell::new(Rc::new(Rules::new(settings))),
    }
}

async fn accept(core: &Rc<Core>, listener: &Listener, port: u16) {
    let take_in = |stream, address| conn::entry::begin(core, stream, (address, port), listener.speech);
    listener.run(take_in).await;
}

/// Takes in what the supervisor says.
fn take_message(core: &Core, listeners: &RefCell<Vec<Rc<Listener>>>, message: Message) {
    match message {
        Message::Resolved(resolved) => core.connector.resolver.learn(resolved),
        Message::Table(table) => core.router.replace_table(table),
        Message::Shrink => {
            core.router.forget();
            core.connector.pool.clear_idle();
            core.connector.bulk.clear();
            core.turns.take();
            core.stored.clear();
            conn::h2::release();
        }
        Message::Settings(settings) => core.change_rules(settings),
        Message::Survey(query, asker) => {
            let of = (asker.core, asker.until);
            let survey = survey::carry_out(core.router.clone(), query, of, move |part| asker.tell(part));
            monoio::spawn(conn::contain_panic(survey));
        }
        Message::Drain { hurry } => {
            core.draining.set(true);
            core.hurries.set(hurry);
            // The socket closes once its last connection is taken.
            listeners.take().iter().for_each(|listener| listener.stop());
            core.connector.pool.clear_idle();
            core.connections.tell_of_drain();
        }
    }
}

/// The core's pulse: time-outs, log, upkeep. Ends when the core is drained.
async fn live(core: &Core, accepting: &Cell<usize>) {
    let started = clock::now();
    let mut second = 0;
    let mut draining_since: Option<Instant> = None;
    loop {
        monoio::time::sleep(Duration::from_millis(TICK_MILLIS)).await;
        let now = clock::now();
        let uptime = now - started;
        core.account.beat(core.connections.len());
        core.account.set_routes(core.router.is_usable());
        core.router.limits().iter().for_each(|limits| limits.tick());
        core.connector.waits.wheel.advance(uptime.as_millis() as u64 / TICK_MILLIS);
        if second != uptime.as_secs() {
            second = uptime.as_secs();
            each_second(core, second);
        }
        *core.log_time.borrow_mut() = clock::log_time(clock::unix_seconds());
        flush_log(core);
        if core.draining.get() {
            let since = *draining_since.get_or_insert(now);
            if is_drained(core, accepting, now - since) {
                break;
            }
        }
    }
    flush_log(core);
}

fn flush_log(core: &Core) {
    if let Some(log) = &core.log {
        core.account.lost_lines.add(log.flush());
    }
}

fn each_second(core: &Core, second: u64) {
    core.connector.pool.sweep(second);
    core.connector.resolver.tick(second);
    core.complaints.tick();
    core.handshakes.tick();
    core.refusals.tick(&core.rules().settings.admission);
    core.connections.cut_awaited_for_nobody();
}

/// Whether nothing is left to wait for, `waited` after the drain began. What outlives the grace is cut.
fn is_drained(core: &Core, accepting: &Cell<usize>, waited: Duration) -> bool {
    let grace = core.rules().settings.graceful_wait;
    core.connector.pool.clear_idle();
    if accepting.get() == 0 && core.connections.len() == 0 {
        return true;
    }
    let idle_grace = if core.hurries.get() { IDLE_GRACE.min(grace / 4) } else { grace / 2 };
    if waited >= idle_grace {
        core.idle_ended.set(true);
        core.connections.end_idle();
    }
    if waited >= grace - CUT_GRACE.min(grace / 4) && core.connections.len() > 0 {
        log::warn!("cutting {} connections that outlive server.gracefulWait", core.connections.len());
        core.connections.cut_all();
    }
    waited >= grace
}

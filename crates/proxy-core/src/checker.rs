//! The built-in active health checker: a thread of its own that asks marked backends (or all) whether they live, and
//! writes what it finds into the dead sets, which every core of every proxy follows. One checker a backend over all
//! proxies on the store, by a lock with expiry. While a foreign checker (hipache-hchecker) is at work it rests.

pub(crate) mod course;
mod probe;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use redis_router::{CacheSettings, CheckError, Checks, Finding, RedisSettings, Router, StoreState};

use crate::bounds::{
    CHECK_CACHE_ROWS, CHECK_PART, CHECK_RESCAN, CHECKED_BACKENDS, CHECKS_AT_ONCE, TICK_MILLIS,
};
use crate::checker::course::{Checked, Course, Verdict, Watch};
use crate::checker::probe::{Outcome, probe};
use crate::clock;
use crate::context::Complaints;
use crate::deadline::Wheel;
use crate::dialer::StoreDialer;
use crate::inbox::{Inbox, Message, Outbox};
use crate::readiness::Readiness;
use crate::runtime;
use crate::settings::{HealthCheck, Scope, Settings};
use crate::stream::Waits;
use crate::upstream::connect::Connector;
use crate::upstream::resolve::{Question, Resolver};

/// How often the sign is given that a checker is at work, and how long each lasts.
const SIGN_EVERY: Duration = Duration::from_secs(1);
const SIGN_LIVES: Duration = Duration::from_secs(3);

/// What a checker is given to start with.
pub(crate) struct Start {
    pub(crate) settings: Arc<Settings>,
    pub(crate) check: HealthCheck,
    pub(crate) redis: RedisSettings,
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Inbox,
    pub(crate) questions: SyncSender<Question>,
}

/// Runs the checker on this thread until it is told to drain.
///
/// # Errors
/// No runtime, or no more file descriptors.
pub(crate) fn run(start: Start) -> io::Result<()> {
    let (mut runtime, _) = runtime::build()?;
    runtime.block_on(serve(start))
}

async fn serve(start: Start) -> io::Result<()> {
    let Start { settings, check, redis, outbox, inbox, questions } = start;
    let waits = Waits { wheel: Wheel::new(), readiness: Readiness::new()? };
    let readiness = waits.readiness.clone();
    let answer = Arc::new(move |resolved| outbox.send(Message::Resolved(resolved)));
    let connector = Connector::new(&settings, waits, Rc::new(Resolver::new(questions, answer)));
    connector.patience.set(Some(check.timeout));
    let router = Router::redis(redis, CacheSettings { rows: CHECK_CACHE_ROWS, max_age: None });
    let checks = Checks::of(&router).ok_or_else(|| io::Error::other("the routes are not in Redis"))?;
    let checker = Rc::new(Checker {
        mark_ttl: mark_ttl(&settings, &check),
        check,
        router: router.clone(),
        checks,
        connector,
        watch: RefCell::default(),
        under_way: Cell::new(0),
        complaints: Complaints::default(),
        refusals: Refusals::default(),
        stopped: Cell::new(false),
        started: clock::now(),
    });
    let dialer = StoreDialer::new(&settings, &checker.connector);
    let following = router.clone();
    let routes = monoio::spawn(async move { following.run(dialer).await });
    let arrivals = {
        let readiness = readiness.clone();
        monoio::spawn(async move { readiness.run().await })
    };
    let inbox = Rc::new(inbox.open(&readiness)?);
    let messages = {
        let (checker, inbox) = (Rc::clone(&checker), Rc::clone(&inbox));
        monoio::spawn(async move { inbox.run(|message| checker.take_message(message)).await })
    };
    let pulse = monoio::spawn(Rc::clone(&checker).beat());
    let signs = monoio::spawn(Rc::clone(&checker).give_signs());
    checker.work().await;
    signs.await;
    pulse.await;
    router.stop();
    routes.await;
    inbox.close();
    messages.await;
    readiness.stop();
    arrivals.await
}

/// A mark outlasts some checks: one that is late does not free a dead backend.
fn mark_ttl(settings: &Settings, check: &HealthCheck) -> Duration {
    settings.deaths.ttl.max(3 * (check.interval + check.timeout))
}

struct Checker {
    check: HealthCheck,
    mark_ttl: Duration,
    router: Router,
    checks: Checks,
    connector: Connector,
    watch: RefCell<Watch>,
    /// Checks under way.
    under_way: Cell<usize>,
    complaints: Complaints,
    refusals: Refusals,
    stopped: Cell<bool>,
    started: Instant,
}

impl Checker {
    fn take_message(&self, message: Message) {
        match message {
            Message::Resolved(resolved) => self.connector.resolver.learn(resolved),
            Message::Drain { .. } => self.stopped.set(true),
            // Of cores. Other settings bring another checker.
            Message::Shrink | Message::Settings(_) | Message::Table(_) | Message::Survey(..) => {}
        }
    }

    fn now_ms(&self) -> u64 {
        (clock::now() - self.started).as_millis() as u64
    }

    /// Time-outs of connections, and the age of names, until every check has ended.
    async fn beat(self: Rc<Self>) {
        let mut second = 0;
        while !(self.stopped.get() && self.under_way.get() == 0) {
            monoio::time::sleep(Duration::from_millis(TICK_MILLIS)).await;
            let now_ms = self.now_ms();
            self.connector.waits.wheel.advance(now_ms / TICK_MILLIS);
            self.connector.resolver.tick(now_ms / 1_000);
            if std::mem::replace(&mut second, now_ms / 1_000) != now_ms / 1_000 {
                self.complaints.tick();
            }
        }
    }

    /// Shows that a checker is at work, whatever it is busy with.
    async fn give_signs(self: Rc<Self>) {
        while !self.stopped.get() {
            if self.is_usable() && !self.router.checker_is_active() {
                self.said(self.checks.sign(SIGN_LIVES).await);
            }
            monoio::time::sleep(SIGN_EVERY).await;
        }
    }

    fn is_usable(&self) -> bool {
        use StoreState::{Keyspace, Polling, Tracking};
        matches!(self.router.state(), Tracking | Keyspace { .. } | Polling { .. })
    }

    /// Checks until told to stop.
    async fn work(self: &Rc<Self>) {
        let (mut rests, mut scanned) = (false, None);
        while !self.stopped.get() {
            monoio::time::sleep(Duration::from_millis(TICK_MILLIS)).await;
            if !self.is_usable() {
                continue;
            }
            if self.router.checker_is_active() {
                self.rest(&mut rests);
                scanned = None;
                continue;
            }
            if std::mem::take(&mut rests) {
                log::info!("health check: the external checker is gone; the built-in one goes on");
            }
            if self.look_around(&mut scanned, clock::now()).await.is_none() {
                // What was not taken in is looked at anew, with everything else.
                scanned = None;
            }
            self.begin_checks();
        }
    }

    /// A foreign checker is at work, and owns the sets.
    fn rest(&self, rests: &mut bool) {
        self.watch.take();
        if !std::mem::replace(rests, true) {
            log::info!(
                "health check: an external checker is at work (hchecker_ping); the built-in one rests"
            );
        }
    }

    /// Takes in what has changed in the store; everything at first, and now and then where nothing is pushed. `None`: the
    /// store could not be asked.
    async fn look_around(&self, scanned: &mut Option<Instant>, now: Instant) -> Option<()> {
        let is_polled = matches!(self.router.state(), StoreState::Polling { .. });
        let is_old = scanned.is_none_or(|at| is_polled && now - at >= CHECK_RESCAN);
        let changed = self.checks.changed_names().filter(|_| !is_old);
        let names = match changed {
            Some(names) => names,
            None => {
                let mut names = self.said(self.checks.all_names(self.check.scope == Scope::All).await)?;
                names.extend(self.watch.borrow().names());
                *scanned = Some(now);
                names
            }
        };
        // A part at a time: no more is held of the lists than is looked at.
        for names in names.chunks(CHECK_PART) {
            let standings = self.said(self.checks.standings(names).await)?;
            let (mut watch, now) = (self.watch.borrow_mut(), (self.checks.now(), self.now_ms()));
            names.iter().for_each(|name| watch.leaves(name));
            standings.iter().for_each(|standing| watch.stands(standing, self.check.scope, now));
            watch.settle(now.0);
        }
        let mut watch = self.watch.borrow_mut();
        if watch.was_full() {
            self.complaints.log(format_args!(
                "health check: there are more backends than the {CHECKED_BACKENDS} that are checked; {} are",
                watch.len()
            ));
        }
        Some(())
    }

    /// The value; an error is said (the router says when the store is gone).
    fn said<T>(&self, outcome: Result<T, CheckError>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(CheckError::Away) => None,
            Err(refused) => {
                self.refusals.say(&refused.to_string(), self.now_ms());
                None
            }
        }
    }

    fn begin_checks(self: &Rc<Self>) {
        let free = CHECKS_AT_ONCE - self.under_way.get();
        if self.stopped.get() || free == 0 {
            return;
        }
        for url in self.watch.borrow_mut().begin_due(self.now_ms(), free) {
            self.under_way.set(self.under_way.get() + 1);
            let checker = Rc::clone(self);
            monoio::spawn(async move {
                checker.check(&url).await;
                let interval_ms = checker.check.interval.as_millis() as u64;
                // A little apart, so that backends found together are not asked together for ever.
                let due_ms = checker.now_ms() + interval_ms - fastrand::u64(0..=interval_ms / 10);
                checker.watch.borrow_mut().ended(&url, due_ms);
                checker.under_way.set(checker.under_way.get() - 1);
                checker.begin_checks();
            });
        }
    }

    /// Checks one backend, unless another proxy does.
    async fn check(&self, url: &Rc<str>) {
        let lives = 2 * self.check.interval + self.check.timeout + SIGN_EVERY;
        if self.said(self.checks.lock(url, lives).await) != Some(true) {
            return;
        }
        let Some(backend) = self.watch.borrow_mut().get_mut(url).map(|checked| checked.backend.clone())
        else {
            return;
        };
        match probe(&self.connector, &backend, &self.check).await {
            // Whoever checks after this one is to find things as they were.
            _ if self.stopped.get() => {}
            Outcome::Good => self.judge(url, None, false).await,
            Outcome::Bad(why) => self.judge(url, Some(why), false).await,
            Outcome::BadStatus(why) => self.judge(url, Some(why), true).await,
            Outcome::Unknown(why) => {
                self.refusals.say(&format!("backend {url} is not checked: {why}"), self.now_ms())
            }
        }
    }

    /// Goes by the outcome of a check: what was bad, if anything, and whether it was an answer all the same.
    async fn judge(&self, url: &Rc<str>, bad: Option<String>, answers: bool) {
        let (now, now_ms) = (self.checks.now(), self.now_ms());
        let (verdict, names, is_to_renew) = {
            let mut watch = self.watch.borrow_mut();
            let Some(checked) = watch.get_mut(url) else { return };
            let verdict = checked.course.judge(bad.is_none(), now, &self.check);
            checked.why = bad.unwrap_or_else(|| std::mem::take(&mut checked.why));
            let renewal_ms = self.mark_ttl.as_millis() as u64 / 3;
            let is_to_renew = checked.written_ms.is_none_or(|at_ms| now_ms - at_ms >= renewal_ms);
            (verdict, checked.names(), is_to_renew)
        };
        match verdict {
            Verdict::Died => self.write_death(url, &names, (true, answers)).await,
            Verdict::StillDead if is_to_renew => self.write_death(url, &names, (false, answers)).await,
            Verdict::Lives => self.write_life(url, &names).await,
            Verdict::Alive | Verdict::StillDead => {}
        }
    }

    /// Marks `url` dead, or dead for longer.
    async fn write_death(&self, url: &Rc<str>, names: &[Rc<str>], (is_news, answers): (bool, bool)) {
        let (why, since) = match self.watch.borrow_mut().get_mut(url) {
            Some(Checked { why, course: Course::Dead { since, .. }, .. }) => (why.clone(), *since),
            _ => return,
        };
        if is_news {
            let whose = joined(names);
            self.complaints.log(format_args!("health check: backend {url} is dead ({whose}): {why}"));
        }
        let finding = Finding { why: &why, since, mark_ttl: self.mark_ttl, is_news, spares_last: answers };
        let written = self.said(self.checks.found_dead(url, names, finding).await);
        if let Some(checked) = self.watch.borrow_mut().get_mut(url) {
            checked.written_ms = written.map(|_| self.now_ms());
        }
    }

    /// Takes the marks of `url` away; where that does not go through it is tried again with the next check.
    async fn write_life(&self, url: &Rc<str>, names: &[Rc<str>]) {
        if self.said(self.checks.found_alive(url, names).await).is_some() {
            let whose = joined(names);
            self.complaints.log(format_args!("health check: backend {url} lives again ({whose})"));
        } else if let Some(checked) = self.watch.borrow_mut().get_mut(url) {
            checked.course.is_not_told(self.checks.now(), &self.check);
        }
    }
}

/// What went wrong on this side: each said once a minute, and not too many.
#[derive(Default)]
struct Refusals(RefCell<HashMap<String, u64>>);

impl Refusals {
    const PAUSE_MS: u64 = 60_000;
    const KEPT: usize = 64;

    fn say(&self, what: &str, now_ms: u64) {
        let mut said = self.0.borrow_mut();
        said.retain(|_, at_ms| now_ms < *at_ms + Self::PAUSE_MS);
        if said.len() < Self::KEPT && said.insert(what.to_owned(), now_ms).is_none() {
            log::warn!("health check: {what}");
        }
    }
}

/// Some frontends by name, and how many more there are.
fn joined(names: &[Rc<str>]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).map(|name| &**name).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => format!("frontend {shown}"),
        more => format!("frontend {shown} and {more} more"),
    }
}

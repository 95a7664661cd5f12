//! The admin listener: metrics, health and readiness over plain HTTP, on one thread of its own that no core waits for.
//! Knows sockets and time-outs; what is answered is `admin/answers.rs`'s.
//!
//! ```text
//!   accepted ──head whole──▶ answering ──sent──▶ closed
//!      │  └─▶ asking the cores ───▲                  ▲
//!      └─────── too long, or too slow ───────────────┘
//! ```

mod answers;
mod gathering;
mod json;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use redis_router::LimitRules;

use self::answers::{Form, Reply};
use self::gathering::Gathering;
use crate::board::Board;
use crate::bounds::{ADMIN_CONNECTIONS, ADMIN_HEAD_BYTES, ADMIN_PATIENCE, SURVEY_PATIENCE, SURVEYS};
use crate::clock;
use crate::settings::{Build, Settings};
use crate::survey::Query;

/// The listener as the supervisor sees it. Dropped, it lets go of its sockets and answers who is there.
pub(crate) struct Admin {
    sockets: Vec<TcpListener>,
    /// Its end tells the thread to end.
    _stop: UnixStream,
    shown: Arc<Shown>,
}

/// What is shown, and to whom.
pub(crate) struct Shown {
    pub(crate) board: Arc<Board>,
    pub(crate) build: Build,
    /// Where routes come from, in words.
    pub(crate) routes: String,
    followed: Mutex<Followed>,
}

/// What a reload changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Followed {
    /// What those who ask have to bring; `None`: nothing.
    pub(crate) token: Option<String>,
    /// The rate limit in force; `None`: there is none.
    pub(crate) limits: Option<LimitRules>,
}

impl Followed {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            token: settings.admin.as_ref().and_then(|admin| admin.token.clone()),
            limits: settings.rate_limit.as_ref().map(|limit| limit.rules.clone()),
        }
    }
}

impl Shown {
    pub(crate) fn new(board: Arc<Board>, build: Build, routes: String, followed: Followed) -> Self {
        Self { board, build, routes, followed: Mutex::new(followed) }
    }

    fn followed(&self) -> Followed {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Admin {
    /// Answers on `sockets` from now on.
    ///
    /// # Errors
    /// No more threads or file descriptors.
    pub(crate) fn begin(sockets: Vec<TcpListener>, shown: Shown) -> io::Result<Self> {
        let (stop, stopped) = UnixStream::pair()?;
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let shown = Arc::new(shown);
        let listeners = sockets.iter().map(TcpListener::try_clone).collect::<io::Result<Vec<_>>>()?;
        listeners.iter().try_for_each(|listener| listener.set_nonblocking(true))?;
        let server = Server {
            listeners,
            stopped: Some(stopped),
            visitors: Vec::new(),
            rests: false,
            woken,
            inside: Inside { shown: Arc::clone(&shown), wake: Arc::new(wake), surveys: 0, left: Vec::new() },
        };
        Builder::new().name("admin".into()).spawn(move || server.run())?;
        Ok(Self { sockets, _stop: stop, shown })
    }

    /// Goes by this from now on.
    pub(crate) fn follow(&self, followed: Followed) {
        *self.shown.followed.lock().unwrap_or_else(PoisonError::into_inner) = followed;
    }

    /// Duplicates of its sockets.
    ///
    /// # Errors
    /// No more file descriptors.
    pub(crate) fn sockets(&self) -> io::Result<Vec<TcpListener>> {
        self.sockets.iter().map(TcpListener::try_clone).collect()
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok())
    }
}

struct Server {
    listeners: Vec<TcpListener>,
    /// The other end of the supervisor's; `None`: nobody is let in any more.
    stopped: Option<UnixStream>,
    visitors: Vec<Visitor>,
    /// The last accept failed: it is not tried again at once.
    rests: bool,
    /// Written to whenever a core has answered.
    woken: UnixStream,
    inside: Inside,
}

/// What visitors are answered from.
struct Inside {
    shown: Arc<Shown>,
    /// The other end of `Server::woken`.
    wake: Arc<UnixStream>,
    /// Surveys under way, of visitors that have left too.
    surveys: usize,
    /// What is asked for those, and until when it is waited for.
    left: Vec<(Gathering, Instant)>,
}

/// Somebody who asks.
struct Visitor {
    stream: TcpStream,
    deadline: Instant,
    state: State,
}

enum State {
    /// What has come of the head.
    Asking(Vec<u8>),
    /// The cores are being asked.
    Gathering(Gathering, Arc<Query>, Form),
    /// The answer, and how much of it was sent.
    Answering(Vec<u8>, usize),
    Over,
}

impl Inside {
    /// Takes down how many surveys are under way: the cores go on with one although its visitor has left.
    fn count_surveys(&mut self, visitors: &[Visitor], now: Instant) {
        self.left.retain_mut(|(gathering, deadline)| now < *deadline && !gathering.is_over());
        let waiting = visitors.iter().filter(|visitor| matches!(visitor.state, State::Gathering(..)));
        self.surveys = self.left.len() + waiting.count();
    }
}

impl Server {
    fn run(mut self) {
        while self.stopped.is_some() || !self.visitors.is_empty() {
            let Some(ready) = self.wait() else { return };
            if ready.is_told_to_stop {
                self.stopped = None;
                self.listeners.clear();
            }
            let now = clock::now();
            self.inside.count_surveys(&self.visitors, now);
            for (visitor, is_ready) in self.visitors.iter_mut().zip(ready.visitors) {
                visitor.go_on(is_ready, now, &mut self.inside);
            }
            self.visitors.retain(|visitor| !matches!(visitor.state, State::Over));
            self.rests = false;
            for index in ready.listeners.into_iter().take(self.listeners.len()) {
                self.take_in(index, now);
            }
        }
    }

    /// Waits until there is something to do; `None`: that cannot be known any more.
    fn wait(&self) -> Option<Ready> {
        let takes_in = self.visitors.len() < ADMIN_CONNECTIONS && !self.rests;
        let listeners = if takes_in { &self.listeners[..] } else { &[] };
        let stops = self.stopped.iter().map(|stopped| PollFd::new(stopped.as_fd(), PollFlags::POLLIN));
        let mut polled: Vec<_> = stops.collect();
        polled.extend(listeners.iter().map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)));
        polled.push(PollFd::new(self.woken.as_fd(), PollFlags::POLLIN));
        polled.extend(self.visitors.iter().map(|visitor| {
            let events = match visitor.state {
                State::Asking(_) => PollFlags::POLLIN,
                // A reset is told in any case. Who only ends its own side waits for the answer.
                State::Gathering(..) => PollFlags::empty(),
                State::Answering(..) | State::Over => PollFlags::POLLOUT,
            };
            PollFd::new(visitor.stream.as_fd(), events)
        }));
        if let Err(error) = poll(&mut polled, self.longest_wait())
            && error != nix::errno::Errno::EINTR
        {
            log::error!("the admin listener has ended: {error}");
            return None;
        }
        let is_ready = |polled: &PollFd<'_>| polled.any().unwrap_or(true);
        let (stops, rest) = polled.split_at(self.stopped.iter().len());
        let (of_listeners, rest) = rest.split_at(listeners.len());
        let (woken, of_visitors) = rest.split_at(1);
        if woken.iter().any(is_ready) {
            // What it says is only that there is something.
            let _ = (&self.woken).read(&mut [0; 256]);
        }
        Some(Ready {
            is_told_to_stop: stops.iter().any(is_ready),
            listeners: (0..listeners.len()).filter(|&index| is_ready(&of_listeners[index])).collect(),
            visitors: of_visitors.iter().map(is_ready).collect(),
        })
    }

    /// Until the first visitor is out of time.
    fn longest_wait(&self) -> PollTimeout {
        let first = self.visitors.iter().map(|visitor| visitor.deadline).min();
        let left = first.map(|deadline| deadline.saturating_duration_since(clock::now()));
        let pause = self.rests.then_some(PAUSE);
        // Rounded up: a wait that ends too early is followed by many of no time.
        left.into_iter().chain(pause).min().map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        })
    }

    fn take_in(&mut self, listener: usize, now: Instant) {
        if self.visitors.len() >= ADMIN_CONNECTIONS {
            return;
        }
        match self.listeners[listener].accept() {
            Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => {
                let state = State::Asking(Vec::new());
                self.visitors.push(Visitor { stream, deadline: now + ADMIN_PATIENCE, state });
            }
            Ok(_) => {}
            Err(error) => self.rests = error.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// Pause after an accept that failed, as for want of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// What need not be waited for.
struct Ready {
    is_told_to_stop: bool,
    listeners: Vec<usize>,
    visitors: Vec<bool>,
}

impl Visitor {
    fn go_on(&mut self, is_ready: bool, now: Instant, inside: &mut Inside) {
        let is_late = now >= self.deadline;
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Gathering(gathering, query, form) => {
                self.gather((gathering, query, form), (is_ready, is_late), now, inside)
            }
            _ if is_late => State::Over,
            State::Asking(head) if is_ready => self.hear(head, now, inside),
            State::Answering(answer, sent) if is_ready => self.tell(answer, sent),
            waiting => waiting,
        };
    }

    /// Answers once all cores have, or with what has come when time is up.
    fn gather(
        &mut self,
        (mut gathering, query, form): (Gathering, Arc<Query>, Form),
        (has_left, is_late): (bool, bool),
        now: Instant,
        inside: &mut Inside,
    ) -> State {
        if has_left {
            inside.left.push((gathering, self.deadline));
            return State::Over;
        }
        if !gathering.is_over() && !is_late {
            return State::Gathering(gathering, query, form);
        }
        let answer = answers::of_survey(&gathering.end(query.limit), query.of, form, &inside.shown);
        self.deadline = now + ADMIN_PATIENCE;
        self.tell(answer, 0)
    }

    /// Reads on; an answer to a whole head is begun at once, or the cores are asked.
    fn hear(&mut self, mut head: Vec<u8>, now: Instant, inside: &mut Inside) -> State {
        let mut part = [0; 4096];
        match self.stream.read(&mut part) {
            Ok(0) => return State::Over,
            Ok(count) => head.extend_from_slice(&part[..count]),
            Err(error) if is_for_later(&error) => {}
            Err(_) => return State::Over,
        }
        match answers::reply(&head, &inside.shown) {
            Some(Reply::Whole(answer)) => {
                self.deadline = now + ADMIN_PATIENCE;
                self.tell(answer, 0)
            }
            Some(Reply::Survey(_, form)) if inside.surveys >= SURVEYS => {
                self.deadline = now + ADMIN_PATIENCE;
                self.tell(answers::busy(form), 0)
            }
            Some(Reply::Survey(query, form)) => {
                inside.surveys += 1;
                self.deadline = now + SURVEY_PATIENCE;
                let query = Arc::new(query);
                let asked = (&*inside.shown.board, &inside.wake);
                let gathering = Gathering::begin(asked, &query, self.deadline);
                State::Gathering(gathering, query, form)
            }
            None if head.len() > ADMIN_HEAD_BYTES => State::Over,
            None => State::Asking(head),
        }
    }

    fn tell(&mut self, answer: Vec<u8>, mut sent: usize) -> State {
        match self.stream.write(&answer[sent..]) {
            Ok(count) => sent += count,
            Err(error) if is_for_later(&error) => {}
            Err(_) => return State::Over,
        }
        if sent < answer.len() {
            return State::Answering(answer, sent);
        }
        // One that has gone away needs no end.
        let _ = self.stream.shutdown(Shutdown::Write);
        State::Over
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

//! Which sockets of a core have something to read. Each is registered once, edge-triggered, for as long as it
//! lives. A wait handed to the ring costs an operation and its completion for every read; this one costs a share of
//! one `epoll_wait` over all that has arrived in a turn of the core.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use monoio::net::UnixStream;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use slab::Slab;

use crate::bounds::READINESS_EVENTS;

/// The key of the event that ends [`Readiness::run`]; no socket has it.
const STOP: u64 = u64::MAX;

/// The sockets of one core. Clones share them.
#[derive(Clone)]
pub(crate) struct Readiness(Rc<Inner>);

struct Inner {
    epoll: Epoll,
    stop: EventFd,
    sockets: RefCell<Slab<Socket>>,
    /// Told apart: an event that was on its way to a socket's predecessor in the slab.
    generation: Cell<u32>,
}

struct Socket {
    generation: u32,
    /// Something has arrived since the last [`Interest::forget`].
    arrived: bool,
    /// The peer's end or an error has: it stays to be read, and is announced only once.
    ended: bool,
    waker: Option<Waker>,
    /// Who waits for room to write; announced only after [`Interest::watch_room`].
    room_waker: Option<Waker>,
}

/// What tells that there is something to read.
fn arrivals() -> EpollFlags {
    EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP
}

/// What tells that the connection is over.
fn endings() -> EpollFlags {
    EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR
}

impl Readiness {
    /// # Errors
    /// No more file descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&stop, EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
        Ok(Self(Rc::new(Inner { epoll, stop, sockets: RefCell::default(), generation: Cell::new(0) })))
    }

    /// Registers a socket, which must be open and stay so as long as the interest lives.
    ///
    /// # Errors
    /// The kernel's limit of watches (`fs.epoll.max_user_watches`) or memory.
    pub(crate) fn register(&self, fd: RawFd) -> Result<Interest, Errno> {
        let inner = &self.0;
        let generation = inner.generation.get();
        inner.generation.set(generation.wrapping_add(1) & (u32::MAX >> 1));
        let socket = Socket { generation, arrived: false, ended: false, waker: None, room_waker: None };
        let key = inner.sockets.borrow_mut().insert(socket);
        let interest = Interest { readiness: self.clone(), key };
        let events = EpollEvent::new(arrivals() | EpollFlags::EPOLLET, name(generation, key));
        crate::socket::watch(&inner.epoll, fd, events)?;
        Ok(interest)
    }

    /// Takes in what arrives until [`Self::stop`]. To be run once, on the core.
    ///
    /// # Errors
    /// No more file descriptors.
    pub(crate) async fn run(&self) -> io::Result<()> {
        // A duplicate that monoio can wait on; it has no type of its own for a descriptor that is only waited on.
        let waited = StdUnixStream::from(self.0.epoll.0.try_clone()?);
        let waited = UnixStream::from_std(waited)?;
        let mut events = vec![EpollEvent::empty(); READINESS_EVENTS];
        loop {
            waited.readable(false).await?;
            let count = match self.0.epoll.wait(&mut events, EpollTimeout::ZERO) {
                Err(Errno::EINTR) => 0,
                count => count?,
            };
            if events[..count].iter().any(|event| event.data() == STOP) {
                return Ok(());
            }
            events[..count].iter().for_each(|event| self.take(event));
        }
    }

    fn take(&self, event: &EpollEvent) {
        let (generation, key) = ((event.data() >> 32) as u32, event.data() as u32 as usize);
        let mut sockets = self.0.sockets.borrow_mut();
        let Some(socket) = sockets.get_mut(key).filter(|socket| socket.generation == generation) else {
            return;
        };
        let (mut reader, mut writer) = (None, None);
        if event.events().intersects(arrivals() | endings()) {
            socket.ended |= event.events().intersects(endings());
            socket.arrived = true;
            reader = socket.waker.take();
        }
        if event.events().intersects(EpollFlags::EPOLLOUT | endings()) {
            writer = socket.room_waker.take();
        }
        drop(sockets);
        reader.into_iter().chain(writer).for_each(Waker::wake);
    }

    /// Ends [`Self::run`].
    pub(crate) fn stop(&self) {
        // A counter that is full has woken it already.
        let _ = self.0.stop.write(1);
    }
}

/// What the kernel calls a socket's events by.
fn name(generation: u32, key: usize) -> u64 {
    u64::from(generation) << 32 | key as u64
}

/// One socket's registration. It ends with the socket.
pub(crate) struct Interest {
    readiness: Readiness,
    key: usize,
}

impl Interest {
    /// Whether something may have arrived that was not read.
    pub(crate) fn has_arrived(&self) -> bool {
        self.readiness.0.sockets.borrow()[self.key].arrived
    }

    /// Waits until [`Self::has_arrived`]. One wait at a time; giving it up loses nothing.
    pub(crate) async fn arrived(&self) {
        poll_fn(|context| self.poll_arrived(context)).await;
    }

    /// As [`Self::arrived`].
    pub(crate) fn poll_arrived(&self, context: &Context<'_>) -> Poll<()> {
        let socket = &mut self.readiness.0.sockets.borrow_mut()[self.key];
        if socket.arrived {
            return Poll::Ready(());
        }
        socket.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Has room to write announced too, from now on and edge-triggered: it costs nothing until a write was refused.
    /// `fd` is the registered socket.
    ///
    /// # Errors
    /// The kernel's memory.
    pub(crate) fn watch_room(&self, fd: RawFd) -> Result<(), Errno> {
        let inner = &self.readiness.0;
        let generation = inner.sockets.borrow()[self.key].generation;
        let events = arrivals() | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        crate::socket::watch_anew(&inner.epoll, fd, EpollEvent::new(events, name(generation, self.key)))
    }

    /// Has `context` woken once a socket that has just refused a write takes more.
    pub(crate) fn wake_with_room(&self, context: &Context<'_>) {
        self.readiness.0.sockets.borrow_mut()[self.key].room_waker = Some(context.waker().clone());
    }

    /// Ends the wait for something to arrive as if it had.
    pub(crate) fn announce(&self) {
        let mut sockets = self.readiness.0.sockets.borrow_mut();
        let socket = &mut sockets[self.key];
        socket.arrived = true;
        let waker = socket.waker.take();
        drop(sockets);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// To be called before each read: what arrives from now on is announced anew.
    pub(crate) fn forget(&self) {
        let socket = &mut self.readiness.0.sockets.borrow_mut()[self.key];
        socket.arrived = socket.ended;
    }

    /// To be called when a read found nothing: an error that was announced is past, and the next wait waits.
    pub(crate) fn settle(&self) {
        let socket = &mut self.readiness.0.sockets.borrow_mut()[self.key];
        (socket.arrived, socket.ended) = (false, false);
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.readiness.0.sockets.borrow_mut().remove(self.key);
    }
}

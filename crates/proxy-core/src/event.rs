//! What the supervisor waits for: one channel, so that one loop sees everything in its order.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use redis_router::Table;
use tls::{Files, Reading};

use crate::runtime::Driver;

/// How an upgrade came out: the new process's id, or why there is none.
pub(crate) type Outcome = Result<u32, String>;

/// Something the supervisor acts on.
pub(crate) enum Event {
    Signal(i32),
    /// The core accepts, in this life of it.
    CoreReady(usize, u64, Driver),
    /// That life has ended.
    CoreEnded(usize, u64, io::Result<()>),
    /// The health checker of this number has ended.
    CheckerEnded(u64, io::Result<()>),
    /// The executable is to be replaced; who asked is told how it came out.
    Upgrade(Sender<Outcome>),
    /// The replacement of the executable has come out so.
    Succeeded(Outcome, Option<Sender<Outcome>>),
    /// A test wants the core replaced.
    #[cfg(debug_assertions)]
    Replace(usize),
    /// The files of certificates have changed, and were read.
    Certificates(Box<(Files, Reading)>),
    /// The embedded route table has changed.
    Table(Arc<Table>),
}

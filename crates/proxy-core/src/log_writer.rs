//! The access log off the cores: each core fills a buffer of its own and hands it over whole; one thread writes.
//! A core never waits for the disk. Where the writer is too slow, lines are dropped and counted.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use nix::unistd::{Gid, Uid, chown};

use crate::access_log::{Entry, write_line};
use crate::bounds::{LOG_BATCH_BYTES, LOG_BATCHES};
use crate::error::StartError;
use crate::settings::{AccessLog, AccessLogFormat, AccessLogTarget};
use crate::{clock, json_log};

enum Message {
    /// Lines of one core. The buffer goes back to it, so that its memory accounts stay true.
    Lines(Vec<u8>, SyncSender<Vec<u8>>),
    /// The file was moved away: open it anew.
    Reopen,
    /// Lines go elsewhere from now on.
    Retarget(AccessLogTarget),
    /// Write what came before, and end.
    End,
}

/// The writer, as the supervisor sees it.
pub(crate) struct LogWriter {
    messages: SyncSender<Message>,
    thread: JoinHandle<()>,
    /// Where lines went at the start; `None`: to standard output.
    file: Option<PathBuf>,
}

impl LogWriter {
    /// Opens the log and starts the thread.
    ///
    /// # Errors
    /// [`StartError::AccessLog`] where the file cannot be opened.
    pub(crate) fn start(settings: &AccessLog, cores: usize) -> Result<Self, StartError> {
        let mut output = Output::open(&settings.target)?;
        let (messages, receiver) = sync_channel(LOG_BATCHES * cores);
        let thread = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || output.write_all_of(&receiver))
            .map_err(StartError::Core)?;
        let file = match &settings.target {
            AccessLogTarget::File(path) => Some(path.clone()),
            AccessLogTarget::Stdout => None,
        };
        Ok(Self { messages, thread, file })
    }

    /// An end for one core.
    pub(crate) fn sink(&self) -> LogSink {
        let (give_back, spare) = sync_channel(LOG_BATCHES);
        LogSink {
            lines: RefCell::new(Vec::with_capacity(LOG_BATCH_BYTES)),
            messages: self.messages.clone(),
            give_back,
            spare,
            dropped: Cell::new(0),
        }
    }

    /// Has the file opened anew.
    pub(crate) fn reopen(&self) {
        // Only a writer that has ended cannot be told.
        let _ = self.messages.send(Message::Reopen);
    }

    /// Makes the file theirs.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn give_to(&self, user: Uid, group: Gid) -> io::Result<()> {
        match &self.file {
            Some(path) => Ok(chown(path, Some(user), Some(group))?),
            None => Ok(()),
        }
    }

    /// Sends lines to `target` from now on; where that cannot be opened they stay where they are.
    pub(crate) fn retarget(&self, target: AccessLogTarget) {
        // As in `reopen`.
        let _ = self.messages.send(Message::Retarget(target));
    }

    /// Waits until everything is written.
    pub(crate) fn end(self) {
        // As in `reopen`.
        let _ = self.messages.send(Message::End);
        if self.thread.join().is_err() {
            log::error!("the access log's thread has panicked; its last lines are lost");
        }
    }
}

enum Output {
    File(PathBuf, File),
    Stdout,
}

impl Output {
    fn open(target: &AccessLogTarget) -> Result<Self, StartError> {
        match target {
            AccessLogTarget::Stdout => Ok(Self::Stdout),
            AccessLogTarget::File(path) => match append_to(path) {
                Ok(file) => Ok(Self::File(path.clone(), file)),
                Err(error) => Err(StartError::AccessLog(path.clone(), error)),
            },
        }
    }

    fn write_all_of(&mut self, messages: &Receiver<Message>) {
        let mut failing = false;
        for message in messages {
            match message {
                Message::End => return,
                Message::Reopen => self.reopen(),
                Message::Retarget(target) => self.retarget(&target),
                Message::Lines(mut lines, give_back) => {
                    failing = self.write_batch(&lines, failing);
                    lines.clear();
                    // A core that has ended wants nothing back.
                    let _ = give_back.try_send(lines);
                }
            }
        }
    }

    /// Writes a batch; says so where it cannot and could before. Returns whether it failed.
    fn write_batch(&mut self, lines: &[u8], was_failing: bool) -> bool {
        let written = self.write(lines);
        if let (Err(error), false) = (&written, was_failing) {
            log::error!("cannot write the access log: {error}; lines are lost until it can");
        }
        written.is_err()
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::File(_, file) => file.write_all(lines),
            Self::Stdout => io::stdout().lock().write_all(lines).and_then(|()| io::stdout().flush()),
        }
    }

    fn retarget(&mut self, target: &AccessLogTarget) {
        match Self::open(target) {
            Ok(opened) => *self = opened,
            Err(error) => log::error!("{error}; lines stay where they were"),
        }
    }

    fn reopen(&mut self) {
        let Self::File(path, file) = self else { return };
        match append_to(path) {
            Ok(opened) => {
                *file = opened;
                log::info!("access log {} opened anew", path.display());
            }
            Err(error) => {
                log::error!(
                    "cannot open the access log {} anew: {error}; the old file stays",
                    path.display()
                );
            }
        }
    }
}

fn append_to(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// One core's end of the access log.
pub(crate) struct LogSink {
    lines: RefCell<Vec<u8>>,
    messages: SyncSender<Message>,
    give_back: SyncSender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
    dropped: Cell<u64>,
}

impl LogSink {
    /// Appends the line for `entry` to this core's buffer.
    pub(crate) fn write(&self, entry: &Entry<'_>, format: AccessLogFormat) {
        let mut lines = self.lines.borrow_mut();
        match format {
            AccessLogFormat::Nginx => write_line(&mut lines, entry),
            AccessLogFormat::Json => json_log::write_line(&mut lines, entry, clock::unix_millis()),
        }
        if lines.len() >= LOG_BATCH_BYTES / 2 {
            self.hand_over(&mut lines);
        }
    }

    /// Hands over what has gathered. To be called on each tick, so that a line is seldom older than that. Returns
    /// how many lines were dropped since the last time.
    pub(crate) fn flush(&self) -> u64 {
        let mut lines = self.lines.borrow_mut();
        if !lines.is_empty() {
            self.hand_over(&mut lines);
        }
        let dropped = self.dropped.take();
        if dropped > 0 {
            log::warn!("access log too slow: {dropped} lines dropped");
        }
        dropped
    }

    fn hand_over(&self, lines: &mut Vec<u8>) {
        let empty = self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(LOG_BATCH_BYTES));
        let full = std::mem::replace(lines, empty);
        if let Err(
            TrySendError::Full(Message::Lines(mut full, _))
            | TrySendError::Disconnected(Message::Lines(mut full, _)),
        ) = self.messages.try_send(Message::Lines(full, self.give_back.clone()))
        {
            let count = memchr::memchr_iter(b'\n', &full).count() as u64;
            self.dropped.set(self.dropped.get() + count);
            full.clear();
            *lines = full;
        }
    }
}

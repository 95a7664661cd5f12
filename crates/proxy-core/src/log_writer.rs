//! The access log off the cores: each core fills a buffer of its own and hands it over whole; one thread writes.
//! A core never waits for the disk. Lines that are dropped, as the writer is too slow, or cannot be written are counted.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    Lines { lines: Vec<u8>, give_back: SyncSender<Vec<u8>>, lost: Arc<AtomicU64> },
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
            lost: Arc::default(),
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

/// Where lines go.
struct Output {
    file: File,
    /// `None`: it is standard output.
    path: Option<PathBuf>,
    /// A line was written in part.
    torn: bool,
}

impl Output {
    fn open(target: &AccessLogTarget) -> Result<Self, StartError> {
        let (file, path) = match target {
            AccessLogTarget::Stdout => {
                let duplicate = io::stdout().as_fd().try_clone_to_owned().map_err(StartError::Core)?;
                (File::from(duplicate), None)
            }
            AccessLogTarget::File(path) => {
                let opened = append_to(path).map_err(|error| StartError::AccessLog(path.clone(), error))?;
                (opened, Some(path.clone()))
            }
        };
        Ok(Self { file, path, torn: false })
    }

    fn write_all_of(&mut self, messages: &Receiver<Message>) {
        let mut failing = false;
        for message in messages {
            match message {
                Message::End => return,
                Message::Reopen => {
                    failing = false;
                    self.reopen();
                }
                Message::Retarget(target) => {
                    failing = false;
                    self.retarget(&target);
                }
                Message::Lines { mut lines, give_back, lost } => {
                    failing = self.write_batch(&lines, &lost, failing);
                    lines.clear();
                    // A core that has ended wants nothing back.
                    let _ = give_back.try_send(lines);
                }
            }
        }
    }

    /// Writes a batch; says so where it cannot and could before, and counts lines that are not whole. Returns whether it
    /// failed.
    fn write_batch(&mut self, lines: &[u8], lost: &AtomicU64, was_failing: bool) -> bool {
        let (written, outcome) = self.write(lines);
        lost.fetch_add(lines_in(&lines[written..]), Ordering::Relaxed);
        if let (Err(error), false) = (&outcome, was_failing) {
            log::error!("cannot write the access log: {error}; lines are lost until it can");
        }
        outcome.is_err()
    }

    /// Writes as much as can be; returns how many bytes that were.
    fn write(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        if self.torn {
            if let Err(error) = self.file.write_all(b"\n") {
                return (0, Err(error));
            }
            self.torn = false;
        }
        let mut written = 0;
        while written < lines.len() {
            match self.file.write(&lines[written..]) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.torn = written > 0 && lines[written - 1] != b'\n';
                    return (written, Err(error));
                }
            }
        }
        (written, Ok(()))
    }

    fn retarget(&mut self, target: &AccessLogTarget) {
        match Self::open(target) {
            Ok(opened) => *self = opened,
            Err(error) => log::error!("{error}; lines stay where they were"),
        }
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match append_to(path) {
            Ok(opened) => {
                (self.file, self.torn) = (opened, false);
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

fn lines_in(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
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
    /// Lines of this core that could not be written.
    lost: Arc<AtomicU64>,
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
    /// how many lines were dropped, or could not be written, since the last time.
    pub(crate) fn flush(&self) -> u64 {
        let mut lines = self.lines.borrow_mut();
        if !lines.is_empty() {
            self.hand_over(&mut lines);
        }
        let dropped = self.dropped.take();
        if dropped > 0 {
            log::warn!("access log too slow: {dropped} lines dropped");
        }
        dropped + self.lost.swap(0, Ordering::Relaxed)
    }

    fn hand_over(&self, lines: &mut Vec<u8>) {
        let empty = self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(LOG_BATCH_BYTES));
        let full = std::mem::replace(lines, empty);
        let (give_back, lost) = (self.give_back.clone(), Arc::clone(&self.lost));
        let refused = self.messages.try_send(Message::Lines { lines: full, give_back, lost });
        if let Err(
            TrySendError::Full(Message::Lines { lines: mut full, .. })
            | TrySendError::Disconnected(Message::Lines { lines: mut full, .. }),
        ) = refused
        {
            self.dropped.set(self.dropped.get() + lines_in(&full));
            full.clear();
            *lines = full;
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::fcntl::OFlag;
    use nix::unistd::pipe2;

    use super::*;

    /// An output that takes a pipe's fill at once, and its other end.
    fn pipe() -> (Output, File) {
        let (read, write) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
        (Output { file: File::from(write), path: None, torn: false }, File::from(read))
    }

    fn all_of(mut file: &File) -> Vec<u8> {
        let (mut read, mut part) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = io::Read::read(&mut file, &mut part) {
            read.extend_from_slice(&part[..count]);
        }
        read
    }

    #[test]
    fn lines_that_are_not_whole_are_counted_and_ended() {
        let (mut output, other_end) = pipe();
        let (lost, line) =
            (AtomicU64::new(0), [b'x'; 99].iter().copied().chain([b'\n']).collect::<Vec<u8>>());
        let many = line.repeat(10_000);
        assert!(output.write_batch(&many, &lost, false));
        let lost_first = lost.load(Ordering::Relaxed);
        assert!(output.torn && output.write_batch(&line, &lost, true), "it is full still");
        assert_eq!(lost.load(Ordering::Relaxed), lost_first + 1);
        let first = all_of(&other_end);
        assert_eq!(lines_in(&first) + lost_first, 10_000);
        assert!(!output.write_batch(&line, &lost, true));
        assert_eq!(all_of(&other_end), [b"\n", &line[..]].concat());
        assert_eq!(lost.load(Ordering::Relaxed), lost_first + 1);
    }
}

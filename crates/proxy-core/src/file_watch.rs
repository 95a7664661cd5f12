//! Watches folders for files that change, on a thread of its own. Folders, because editors and deployments replace files
//! by renaming.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::Builder;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};

use crate::clock;

/// Quiet that is waited for after a change: what belongs together is seldom replaced at once.
const QUIET: Duration = Duration::from_millis(300);
/// How long it is waited for. Where changes go on, less quiet has to do, and after twice the time none.
const QUIET_WAIT: Duration = Duration::from_secs(1);
/// Time enough for a key and its certificate to be renamed one after the other.
const SHORT_QUIET: Duration = Duration::from_millis(20);

/// What a file's new content shows by. Not each write: somebody who appends to a log beside it would wake us all the time.
const WATCHED: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);
/// Those of them that are about one file. The others may be about a link that leads to many.
const OF_ONE_FILE: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE.union(AddWatchFlags::IN_ATTRIB);

/// As long as it lives, changes are told.
pub(crate) struct FileWatch {
    /// Closed when this is dropped, which ends the thread.
    _alive: UnixStream,
}

impl FileWatch {
    /// Calls `look` at once, as there may have been a change before, and then after each change in one of the folders:
    /// once a file whose name `concerns` us was written, or whatever file was created, removed or renamed. A folder that is
    /// itself replaced is watched no more.
    ///
    /// # Errors
    /// A folder cannot be watched, or there can be no thread: in words.
    pub(crate) fn begin(
        folders: impl IntoIterator<Item = PathBuf>,
        concerns: impl Fn(&OsStr) -> bool + Send + 'static,
        mut look: impl FnMut() + Send + 'static,
    ) -> Result<Self, String> {
        let inotify = watching(folders)?;
        let (alive, ended) = UnixStream::pair().map_err(|error| error.to_string())?;
        let follow = move || {
            look();
            while changes(&inotify, &ended, &concerns) {
                look();
            }
        };
        Builder::new().name("file-watch".into()).spawn(follow).map_err(|error| error.to_string())?;
        Ok(Self { _alive: alive })
    }
}

/// What hears of the folders; reading from it does not wait.
fn watching(folders: impl IntoIterator<Item = PathBuf>) -> Result<Inotify, String> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
    let inotify = inotify.map_err(|error| error.to_string())?;
    for folder in folders {
        let added = inotify.add_watch(&folder, WATCHED);
        added.map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    Ok(inotify)
}

/// The names by which a file may change: its own, and that of the file it leads to.
pub(crate) fn names_of(path: &Path) -> Vec<OsString> {
    let real = path.canonicalize().ok();
    let paths = [Some(path), real.as_deref()].into_iter().flatten();
    paths.filter_map(Path::file_name).map(OsStr::to_owned).collect()
}

/// The folder that a file stands in.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Waits until something has changed and there is quiet again. `false`: nobody wants to know any more.
fn changes(inotify: &Inotify, ended: &UnixStream, concerns: &impl Fn(&OsStr) -> bool) -> bool {
    let mut since: Option<Instant> = None;
    loop {
        let waited = since.map(|since| clock::now() - since);
        if waited.is_some_and(|waited| waited >= 2 * QUIET_WAIT) {
            return true;
        }
        let mut waits =
            [PollFd::new(inotify.as_fd(), PollFlags::POLLIN), PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waits, patience(waited)) {
            Ok(0) => return true,
            Ok(_) if waits[1].any() == Some(true) => return false,
            Ok(_) => {
                let events = inotify.read_events().unwrap_or_default();
                if events.iter().any(|event| is_change(event, concerns)) && since.is_none() {
                    since = Some(clock::now());
                }
            }
            Err(Errno::EINTR) => {}
            // Without a wait there would be no rest.
            Err(_) => return false,
        }
    }
}

/// How long the next change is waited for, where the first was `waited` ago.
fn patience(waited: Option<Duration>) -> PollTimeout {
    let Some(waited) = waited else { return PollTimeout::NONE };
    let quiet = if waited < QUIET_WAIT { QUIET } else { SHORT_QUIET };
    // Both fit.
    PollTimeout::try_from(quiet).unwrap_or(PollTimeout::ZERO)
}

fn is_change(event: &InotifyEvent, concerns: &impl Fn(&OsStr) -> bool) -> bool {
    match &event.name {
        Some(name) if event.mask.intersects(OF_ONE_FILE) => concerns(name),
        // Without a name it is about the folder itself, or more has happened than there was room for.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Watches for `ours`; each look is told. The first one is over.
    fn watch(folder: &Path) -> (FileWatch, Receiver<()>) {
        let (tell, looks) = channel();
        // The watch that is dropped looks no more.
        let look = move || tell.send(()).unwrap_or_default();
        let watch = FileWatch::begin([folder.to_owned()], |name| name == "ours", look).unwrap();
        looks.recv_timeout(PATIENCE).unwrap();
        (watch, looks)
    }

    #[test]
    fn each_way_of_replacing_a_file_is_noticed() {
        let ways: [&dyn Fn(&Path); 6] = [
            &|ours| fs::write(ours, "in place").unwrap(),
            &|ours| {
                fs::write(ours.with_extension("new"), "renamed").unwrap();
                fs::rename(ours.with_extension("new"), ours).unwrap();
            },
            &|ours| fs::remove_file(ours).unwrap(),
            &|ours| symlink("elsewhere", ours.with_file_name("link")).unwrap(),
            // As a mounted ConfigMap is replaced: what our link leads through is another.
            &|ours| {
                symlink("later", ours.with_file_name("..data_tmp")).unwrap();
                fs::rename(ours.with_file_name("..data_tmp"), ours.with_file_name("..data")).unwrap();
            },
            &|ours| fs::set_permissions(ours, PermissionsExt::from_mode(0o600)).unwrap(),
        ];
        for way in ways {
            let folder = tempfile::tempdir().unwrap();
            let ours = folder.path().join("ours");
            fs::write(&ours, "before").unwrap();
            let (_watch, looks) = watch(folder.path());
            way(&ours);
            looks.recv_timeout(PATIENCE).unwrap();
        }
    }

    #[test]
    fn others_that_are_written_wake_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.log");
        fs::write(&log, "").unwrap();
        let inotify = watching([folder.path().to_owned()]).unwrap();
        let mut appended = OpenOptions::new().append(true).open(&log).unwrap();
        for _ in 0..1000 {
            appended.write_all(b"line\n").unwrap();
        }
        assert_eq!(inotify.read_events().unwrap_err(), Errno::EAGAIN, "nothing to wake for");
        drop(appended);
        let is_ours = |name: &OsStr| name == "ours";
        let closed = inotify.read_events().unwrap();
        assert!(!closed.is_empty() && !closed.iter().any(|event| is_change(event, &is_ours)), "{closed:?}");
        fs::write(folder.path().join("ours"), "").unwrap();
        assert!(inotify.read_events().unwrap().iter().any(|event| is_change(event, &is_ours)));
    }

    #[test]
    fn changes_without_end_are_looked_at_too() {
        let folder = tempfile::tempdir().unwrap();
        let (_watch, looks) = watch(folder.path());
        let began = clock::now();
        // There is never as much quiet as is waited for.
        while looks.recv_timeout(QUIET / 4).is_err() {
            assert!(clock::now() - began < PATIENCE, "nobody looks");
            fs::write(folder.path().join("ours"), "").unwrap();
        }
    }

    #[test]
    fn the_thread_ends_with_the_watch() {
        let folder = tempfile::tempdir().unwrap();
        let (watch, looks) = watch(folder.path());
        drop(watch);
        // The end that tells is dropped with the thread.
        assert!(
            looks
                .recv_timeout(PATIENCE)
                .is_err_and(|ended| ended == std::sync::mpsc::RecvTimeoutError::Disconnected)
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = FileWatch::begin(["/no/such/folder".into()], |_| true, || {}).err().unwrap();
        assert!(error.contains("/no/such/folder"), "{error}");
    }
}

//! Watches the files that certificates are in, and reads them anew when they have changed: on a thread of its own, as
//! there may be thousands.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tls::Files;

use crate::clock;
use crate::event::Event;

/// Quiet that is waited for: a certificate and its key are seldom replaced at once.
const QUIET: Duration = Duration::from_millis(300);
/// Changes that are waited out at most, where there is never quiet.
const CHANGES: u32 = 100;

/// As long as it lives, changed files become [`Event::Certificates`].
pub(crate) struct CertificateWatch {
    /// What is watched.
    pub(crate) files: Files,
    _watcher: Option<RecommendedWatcher>,
}

impl CertificateWatch {
    /// Begins to watch. Where that cannot be, the log says so, and SIGHUP remains.
    pub(crate) fn begin(files: Files, tell: Sender<Event>) -> Self {
        let watcher = watch(&files, tell)
            .map_err(|error| {
                log::warn!("certificates are not watched for changes ({error}); SIGHUP has them read anew");
            })
            .ok();
        Self { files, _watcher: watcher }
    }
}

fn watch(files: &Files, tell: Sender<Event>) -> Result<RecommendedWatcher, String> {
    let (touched, touches) = channel();
    // A thread that has ended needs no telling.
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = touched.send(());
        }
    })
    .map_err(|error| error.to_string())?;
    for folder in folders(files) {
        let watched = watcher.watch(&folder, RecursiveMode::NonRecursive);
        watched.map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let files = files.clone();
    let run = move || follow(&files, &touches, &tell);
    Builder::new().name("certificates".into()).spawn(run).map_err(|error| error.to_string())?;
    Ok(watcher)
}

/// The folders that files stand in, since tools replace files by renaming.
fn folders(files: &Files) -> BTreeSet<PathBuf> {
    let folder = |path: &Path| match path.parent() {
        _ if files.folder.as_deref() == Some(path) => path.to_owned(),
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    files.paths().map(folder).collect()
}

/// Reads the files after each change of theirs, until the watcher is dropped.
fn follow(files: &Files, touches: &Receiver<()>, tell: &Sender<Event>) {
    let mut known = traces(files);
    while touches.recv().is_ok() {
        wait_for_quiet(touches);
        let found = traces(files);
        if found == known {
            // Something else in the same folder.
            continue;
        }
        known = found;
        let reading = files.read(clock::unix_seconds());
        if tell.send(Event::Certificates(Box::new((files.clone(), reading)))).is_err() {
            return;
        }
    }
}

fn wait_for_quiet(touches: &Receiver<()>) {
    for _ in 0..CHANGES {
        if let Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) = touches.recv_timeout(QUIET) {
            return;
        }
    }
}

/// What tells a file from the one that stood there before: links are followed.
type Trace = (PathBuf, Option<(u64, i64, i64, u64)>);

fn traces(files: &Files) -> Vec<Trace> {
    let trace = |path: PathBuf| {
        let about = |about: Metadata| (about.ino(), about.mtime(), about.mtime_nsec(), about.len());
        let found = path.metadata().ok().map(about);
        (path, found)
    };
    let mut paths: BTreeSet<PathBuf> = files.paths().map(Path::to_owned).collect();
    let listed = files.folder.as_ref().and_then(|folder| folder.read_dir().ok());
    paths.extend(listed.into_iter().flatten().flatten().map(|entry| entry.path()));
    paths.into_iter().map(trace).collect()
}

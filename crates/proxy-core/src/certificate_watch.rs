//! Watches the files that certificates are in, and reads them anew when they have changed: on a thread of its own, as
//! there may be thousands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tls::{Files, Traces};

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
    /// Begins to watch files that had these traces when they were read. Where that cannot be, the log says so, and SIGHUP
    /// remains.
    pub(crate) fn begin(files: Files, known: Traces, tell: Sender<Event>) -> Self {
        let watcher = watch(&files, known, tell)
            .map_err(|error| {
                log::warn!("certificates are not watched for changes ({error}); SIGHUP has them read anew");
            })
            .ok();
        Self { files, _watcher: watcher }
    }
}

fn watch(files: &Files, known: Traces, tell: Sender<Event>) -> Result<RecommendedWatcher, String> {
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
    let run = move || follow(&files, known, (&touches, &tell));
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

/// Reads the files after each change of theirs, until the watcher is dropped. What has changed before it was there is
/// found at once.
fn follow(files: &Files, mut known: Traces, (touches, tell): (&Receiver<()>, &Sender<Event>)) {
    loop {
        // Something else in the same folder changes nothing.
        if files.traces() != known {
            let reading = files.read(clock::unix_seconds());
            known = reading.traces.clone();
            if tell.send(Event::Certificates(Box::new((files.clone(), reading)))).is_err() {
                return;
            }
        }
        if touches.recv().is_err() {
            return;
        }
        wait_for_quiet(touches);
    }
}

fn wait_for_quiet(touches: &Receiver<()>) {
    for _ in 0..CHANGES {
        if let Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) = touches.recv_timeout(QUIET) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_before_anybody_watched_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files {
            named: Vec::new(),
            folder: Some(folder.path().to_owned()),
            members: None,
            members_required: false,
            tls12: true,
            http2: false,
        };
        let known = files.traces();
        let found_by = |known: Traces| {
            let ((_, touches), (tell, events)) = (channel(), channel());
            follow(&files, known, (&touches, &tell));
            events.try_iter().count()
        };
        assert_eq!(found_by(known.clone()), 0);
        std::fs::write(folder.path().join("a.example.crt"), "").unwrap();
        assert_eq!(found_by(known), 1);
        assert_eq!(found_by(files.traces()), 0);
    }
}

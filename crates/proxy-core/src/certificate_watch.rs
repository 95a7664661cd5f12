//! Watches the files that certificates are in, and reads them anew when they have changed: on a thread of its own, as
//! there may be thousands.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

use tls::{Files, Traces};

use crate::clock;
use crate::event::Event;
use crate::file_watch::{self, FileWatch};

/// As long as it lives, changed files become [`Event::Certificates`].
pub(crate) struct CertificateWatch {
    /// What is watched.
    pub(crate) files: Files,
    _watch: Option<FileWatch>,
}

impl CertificateWatch {
    /// Begins to watch files that had these traces when they were read. Where that cannot be, the log says so, and SIGHUP
    /// remains.
    pub(crate) fn begin(files: Files, known: Traces, tell: Sender<Event>) -> Self {
        let (concerns, look) = (named_in(&files), looking(files.clone(), known, tell));
        let watch = FileWatch::begin(folders(&files), concerns, look)
            .map_err(|error| {
                log::warn!("certificates are not watched for changes ({error}); SIGHUP has them read anew");
            })
            .ok();
        Self { files, _watch: watch }
    }
}

/// The folders that files stand in, and the one of pairs.
fn folders(files: &Files) -> BTreeSet<PathBuf> {
    let is_folder = |path: &Path| files.folder.as_deref() == Some(path);
    let folder = |path: &Path| if is_folder(path) { path.to_owned() } else { file_watch::folder_of(path) };
    files.paths().map(folder).collect()
}

/// Tells the names of files that may be of interest.
fn named_in(files: &Files) -> impl Fn(&OsStr) -> bool + Send + use<> {
    let names: BTreeSet<OsString> = files.paths().flat_map(file_watch::names_of).collect();
    let has_folder = files.folder.is_some();
    move |name| names.contains(name) || has_folder && tls::is_of_pair(name)
}

/// Reads the files where they are others than at the last look.
fn looking(files: Files, mut known: Traces, tell: Sender<Event>) -> impl FnMut() + Send {
    move || {
        // Something else in the same folder changes nothing.
        if files.traces() != known {
            let reading = files.read(clock::unix_seconds());
            known = reading.traces.clone();
            // A supervisor that has ended needs no telling.
            let _ = tell.send(Event::Certificates(Box::new((files.clone(), reading))));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

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
            let (tell, events) = channel();
            looking(files.clone(), known, tell)();
            events.try_iter().count()
        };
        assert_eq!(found_by(known.clone()), 0);
        std::fs::write(folder.path().join("a.example.crt"), "").unwrap();
        assert_eq!(found_by(known), 1);
        assert_eq!(found_by(files.traces()), 0);
    }
}

//! The file of a route table: read, and replaced as a whole by one editor at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

/// Pauses while another editor has the folder.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// Times the lock is tried: 10 s. An editor needs it for milliseconds.
const LOCK_TRIES: usize = 1_000;

/// A route table file that nobody else edits while this lives.
pub(super) struct TableFile {
    /// As the config names it.
    named: PathBuf,
    /// Where it stands, links followed.
    path: PathBuf,
    folder: File,
}

impl TableFile {
    /// Waits for other editors of files in this folder.
    ///
    /// # Errors
    /// What failed, with the path.
    pub(super) fn lock(named: &Path) -> Result<TableFile, String> {
        let at = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
        let path = fs::canonicalize(named).map_err(|error| at(named, error))?;
        let folder_path = path.parent().unwrap_or(Path::new("/"));
        let folder = File::open(folder_path).map_err(|error| at(folder_path, error))?;
        for _ in 0..LOCK_TRIES {
            match folder.try_lock() {
                Ok(()) => return Ok(TableFile { named: named.to_owned(), path, folder }),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => return Err(at(folder_path, error)),
            }
        }
        Err(format!("{}: another program has it locked; end that and try again", folder_path.display()))
    }

    /// Its text.
    ///
    /// # Errors
    /// What failed, with the path.
    pub(super) fn read(named: &Path) -> Result<String, String> {
        fs::read_to_string(named).map_err(|error| format!("{}: {error}", named.display()))
    }

    /// Puts `text` in its place: who reads it has the old or the new one whole, also after a crash.
    ///
    /// # Errors
    /// What failed, with the path; then the old text stands.
    pub(super) fn replace(&self, text: &str) -> Result<(), String> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let beside = self.path.with_file_name(format!(".{name}.new"));
        let replaced = self.write_beside(&beside, text).and_then(|()| fs::rename(&beside, &self.path));
        if let Err(error) = replaced {
            // What is left of it is in nobody's way; the next editor writes over it.
            let _ = fs::remove_file(&beside);
            return Err(format!("{}: {error}; nothing was changed", beside.display()));
        }
        self.folder.sync_all().map_err(|error| format!("{}: {error}", self.path.display()))?;
        self.touch_link();
        Ok(())
    }

    /// A new file with the owner and the permissions of the old one.
    fn write_beside(&self, beside: &Path, text: &str) -> io::Result<()> {
        let old = fs::metadata(&self.path)?;
        match fs::remove_file(beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
        file.write_all(text.as_bytes())?;
        // Only root may give files away; anybody else becomes the owner, as with any editor.
        let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
        file.set_permissions(old.permissions())?;
        file.sync_all()
    }

    /// A proxy watches the folder of the link, where nothing has happened yet.
    fn touch_link(&self) {
        let is_link = fs::symlink_metadata(&self.named).is_ok_and(|named| named.is_symlink());
        if is_link {
            // Both times: the kernel takes the one of changes alone for a write, which a proxy does not wait for.
            let now = TimeSpec::UTIME_NOW;
            // A link of somebody else's is not ours to touch; the proxy then reads the table at its next start.
            let _ = utimensat(AT_FDCWD, &self.named, &now, &now, UtimensatFlags::NoFollowSymlink);
        }
    }
}

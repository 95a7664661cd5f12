//! Clients in Python, from `tests/clients`, with the packages they are made of in an environment of their own: what
//! the system's Python has of them differs from one distribution to the next, and another Python may come first.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::programs;

/// Where the clients stand, with the list of their packages.
const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

/// The client in the file `name`; what it asserts holds where it succeeds.
pub(crate) fn client(name: &str) -> Command {
    let mut command = Command::new(python());
    // -B: nothing is written beside the sources. -I would leave out the modules beside the client.
    command.arg("-B").arg(Path::new(CLIENTS).join(name)).env_remove("PYTHONPATH").env_remove("PYTHONHOME");
    command
}

/// The interpreter that has the packages.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Another run of the tests may be at it too. The lock goes with the file.
        let turn = File::create(folder.join("python-clients.lock")).unwrap();
        turn.lock().unwrap();
        environment(&folder.join("python-clients"))
    })
}

/// Makes the environment unless it is there. Its interpreter.
fn environment(folder: &Path) -> PathBuf {
    let list = Path::new(CLIENTS).join("requirements.txt");
    // A copy of the list is put there last: an environment without it is half made, one with another is old.
    let (python, made_of) = (folder.join("bin/python"), folder.join("requirements.txt"));
    let is_made = fs::read(&made_of).ok() == fs::read(&list).ok();
    if is_made
        && Command::new(&python)
            .args(["-c", "import h2, httpx, prometheus_client, selenium"])
            .output()
            .is_ok_and(|run| run.status.success())
    {
        return python;
    }
    let _ = fs::remove_dir_all(folder);
    let made = programs::output(Command::new("python3").args(["-m", "venv"]).arg(folder));
    assert!(
        made.status.success(),
        "python3 cannot make an environment; `just test` installs what it lacks, as does `.ci/packages python3-venv`: {}",
        String::from_utf8_lossy(&[made.stdout, made.stderr].concat())
    );
    let pip =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "-r"];
    programs::stdout(Command::new(&python).args(pip).arg(&list));
    fs::copy(&list, &made_of).unwrap();
    python
}

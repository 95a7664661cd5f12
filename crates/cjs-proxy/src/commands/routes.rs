//! `routes`: looks at the routes of the configured store and changes them. What is found goes to stdout, what there is
//! to say about it to stderr.

pub(super) mod link;
mod near;
mod print;
mod table_file;

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use redis_router::Source;
use redis_router::edit::{self, HeldTable, Listed, Purpose, RouteStore, Session, TableText, Told};
use tls::Trust;

use crate::cli::{Action, Import, RoutesCommand};
use crate::config::{self, Machine};
use crate::error::Failure;

use table_file::TableFile;

/// Longest wait for one answer of a server.
const PATIENCE: Duration = Duration::from_secs(5);
/// Characters of a host beyond which the columns behind it move to the right.
const HOST_WIDTH_MAX: usize = 60;

/// Does what was asked.
///
/// # Errors
/// A bad config file, a store that is away, an unknown host, or something invalid.
pub(super) fn routes(command: RoutesCommand) -> Result<(), Failure> {
    let path = super::locate(command.config.as_deref())?;
    let settings = config::load(&path, Machine::here()).map_err(Failure::Config)?.settings;
    let age_max = settings.route_cache.max_age;
    let store = (&settings.routes, &settings.store_trust);
    let json = command.json;
    match command.action {
        Action::List => list(&mut Opened::to(store, Purpose::Read)?.store, json),
        Action::Show { host } => show(&mut Opened::to(store, Purpose::Watch)?.store, &host, age_max, json),
        Action::Add { host, id, backends } => {
            add(Opened::to(store, Purpose::Write)?, &host, (id.as_deref(), &backends), json)
        }
        Action::Remove { host, backend } => {
            remove(Opened::to(store, Purpose::Write)?, &host, backend.as_deref(), json)
        }
        Action::Import(import) => {
            let table = read_table(&import)?;
            let mut opened = Opened::to(store, Purpose::Write)?;
            let counts = opened.store.import(&table, import.prune).map_err(told)?;
            opened.keep()?;
            result(json, || print::counts(&counts), || print::counts_json(&counts))
        }
        Action::Export => export(&mut Opened::to(store, Purpose::Read)?.store),
    }
}

/// The store, and where a table is kept.
struct Opened {
    store: RouteStore,
    file: Option<TableFile>,
    name: PathBuf,
}

impl Opened {
    /// `trust`: whom to believe where Redis is spoken to over TLS.
    fn to((source, trust): (&Source, &Trust), purpose: Purpose) -> Result<Opened, Failure> {
        let (path, text, file) = match source {
            Source::Redis(settings) => {
                let dial = |endpoint: &_| link::dial(endpoint, trust, PATIENCE);
                let session = Session::open(settings, purpose, &dial).map_err(told)?;
                return Ok(Opened { store: RouteStore::Redis(session), file: None, name: PathBuf::new() });
            }
            Source::File(path) => {
                let write = purpose == Purpose::Write;
                let file = if write { Some(TableFile::lock(path).map_err(Failure::Routes)?) } else { None };
                (path.clone(), TableFile::read(path).map_err(Failure::Routes)?, file)
            }
            Source::Embedded(text) => (PathBuf::from("demo"), text.clone(), None),
        };
        let parsed = TableText::parse(&text).map_err(|error| table_failure(&path, &error))?;
        Ok(Opened { store: RouteStore::Table(parsed), file, name: path })
    }

    /// Writes a table that has changed.
    fn keep(&self) -> Result<(), Failure> {
        let RouteStore::Table(table) = &self.store else { return Ok(()) };
        let changed = table.changed_text().map_err(|error| table_failure(&self.name, &error))?;
        match (changed, &self.file) {
            (Some(text), Some(file)) => file.replace(&text).map_err(Failure::Routes),
            _ => Ok(()),
        }
    }
}

fn list(store: &mut RouteStore, json: bool) -> Result<(), Failure> {
    let width = match store {
        // A table is at hand; for Redis the hosts would have to be read twice.
        RouteStore::Table(_) => store.hosts().map_err(told)?.iter().map(|host| host.chars().count()).max(),
        RouteStore::Redis(_) => None,
    };
    let width = width.unwrap_or(30).clamp(4, HOST_WIDTH_MAX);
    let (mut out, mut count, mut has_marks) = (BufWriter::new(io::stdout().lock()), 0, true);
    let walked = store.list(&mut |told: Told<Listed>| {
        let listed = match told {
            Told::Entry(listed) => listed,
            Told::Note(text) => {
                note(&text);
                return Ok(());
            }
        };
        has_marks &= listed.dead.is_some();
        count += 1;
        match (json, count) {
            (true, 1) => write!(out, "[\n{}", print::list_json(&listed)),
            (true, _) => write!(out, ",\n{}", print::list_json(&listed)),
            (false, 1) => writeln!(out, "{}\n{}", print::list_head(width), print::list_line(&listed, width)),
            (false, _) => writeln!(out, "{}", print::list_line(&listed, width)),
        }
    });
    let walked = walked.and_then(|()| {
        let end = match (json, count) {
            (true, 0) => "[]\n",
            (true, _) => "\n]\n",
            (false, _) => "",
        };
        out.write_all(end.as_bytes()).and_then(|()| out.flush()).map_err(edit::Failure::Output)
    });
    ended(walked)?;
    match (count, has_marks) {
        (0, _) => note("there is no frontend"),
        (_, false) => note("the marks of a table file are known to the running proxy alone"),
        (_, true) => {}
    }
    Ok(())
}

fn show(store: &mut RouteStore, asked: &str, age_max: Option<Duration>, json: bool) -> Result<(), Failure> {
    // What no client can ask for is a key as it stands in the store.
    let exact = || format!("{}{asked}", redis_router::EXACT);
    let host = proxy_core::look_up_spelling(asked).unwrap_or_else(exact);
    let mut shown = store.show(&host, age_max).map_err(told)?;
    shown.host = shown.host.trim_start_matches(redis_router::EXACT).to_owned();
    shown.notes.iter().for_each(|text| note(text));
    match &shown.frontend {
        Some(frontend) => result(json, || print::shown(&shown, frontend), || print::shown_json(&shown)),
        None => {
            if json {
                result(true, String::new, || print::shown_json(&shown))?;
            }
            let looked_for = print::plain(&shown.looked_for.join(", "));
            let near = near::question(&shown.host, &store_hosts(store));
            Err(Failure::Routes(format!("nothing serves {asked:?}: looked for {looked_for}{near}")))
        }
    }
}

/// Only to help: where they cannot be had, nothing is suggested.
fn store_hosts(store: &mut RouteStore) -> Vec<String> {
    store.hosts().unwrap_or_default()
}

fn add(
    mut opened: Opened,
    host: &str,
    (id, backends): (Option<&str>, &[String]),
    json: bool,
) -> Result<(), Failure> {
    let added = opened.store.add(host, id, backends).map_err(told)?;
    opened.keep()?;
    for (new, old) in &added.similar {
        note(&format!("{new:?} is the same place as {old:?} with other options; both are listed now"));
    }
    if added.added.is_empty() {
        note("nothing was to be done");
    }
    result(json, || print::added(host, &added), || print::added_json(host, &added))
}

fn remove(mut opened: Opened, host: &str, backend: Option<&str>, json: bool) -> Result<(), Failure> {
    let removed = opened.store.remove(host, backend).map_err(told)?;
    opened.keep()?;
    if removed.has_options {
        note(&format!("options:{host} stays; take it away as well if no other frontend is to have it"));
    }
    if removed.left == Some(0) {
        note(&format!(
            "no backend is left: requests for {host} get 502; routes remove {host} takes the frontend away"
        ));
    }
    result(json, || print::removed(host, &removed), || print::removed_json(host, &removed))
}

fn read_table(import: &Import) -> Result<HeldTable, Failure> {
    let text = TableFile::read(&import.file).map_err(Failure::Routes)?;
    let table = HeldTable::parse(&text).map_err(|error| table_failure(&import.file, &error))?;
    let mistakes = table.mistakes();
    if import.as_is || mistakes.is_empty() {
        return Ok(table);
    }
    let lines: Vec<String> =
        mistakes.iter().map(|mistake| format!("{}: {mistake}", import.file.display())).collect();
    Err(Failure::Routes(format!(
        "{}\nnothing was written; mend the file, or take it with --as-is (Redis only)",
        lines.join("\n")
    )))
}

fn export(store: &mut RouteStore) -> Result<(), Failure> {
    let (mut out, mut is_first, mut odd) = (BufWriter::new(io::stdout().lock()), true, 0);
    let walked = store.export(&mut |told| {
        let (host, held) = match told {
            Told::Entry(entry) => entry,
            Told::Note(text) => {
                note(&text);
                return Ok(());
            }
        };
        for mistake in held.mistakes(&host) {
            note(&mistake.to_string());
            odd += 1;
        }
        for member in held.members(&host) {
            write!(out, "{}\n  {member}", if is_first { "{" } else { "," })?;
            is_first = false;
        }
        Ok(())
    });
    let walked = walked.and_then(|()| {
        let end: &[u8] = if is_first { b"{}\n" } else { b"\n}\n" };
        out.write_all(end).and_then(|()| out.flush()).map_err(edit::Failure::Output)
    });
    ended(walked)?;
    if odd > 0 {
        note("a table file would refuse what is named above; routes import takes it with --as-is");
    }
    Ok(())
}

/// A reader that went away has what it wanted.
fn ended(walked: Result<(), edit::Failure>) -> Result<(), Failure> {
    match walked {
        Err(edit::Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        walked => walked.map_err(told),
    }
}

fn told(failure: edit::Failure) -> Failure {
    let near = match &failure {
        edit::Failure::UnknownHost { host, known } => near::question(host, known),
        edit::Failure::UnknownBackend { backend, known, .. } => near::question(backend, known),
        _ => String::new(),
    };
    Failure::Routes(format!("{failure}{near}"))
}

fn table_failure(path: &Path, error: &redis_router::TableError) -> Failure {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    Failure::Routes(format!("{}: {error}{cause}", path.display()))
}

/// Prints the result of a command.
fn result(
    json: bool,
    text: impl Fn() -> String,
    value: impl Fn() -> serde_json::Value,
) -> Result<(), Failure> {
    let printed = if json { format!("{:#}", value()) } else { text() };
    ended(writeln!(io::stdout(), "{printed}").map_err(edit::Failure::Output))
}

/// Tells what is beside the result.
fn note(text: &str) {
    // A closed stderr leaves the exit code to tell.
    let _ = writeln!(io::stderr(), "note: {}", print::plain(text));
}

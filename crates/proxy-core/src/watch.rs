//! The route table in a file, watched: a change is in force without a restart, a broken one changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use redis_router::Table;

use crate::error::StartError;

/// Reads the table at `path`.
///
/// # Errors
/// [`StartError::RouteTable`], naming the file and what is wrong in it.
pub(crate) fn read(path: &Path) -> Result<Arc<Table>, StartError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        StartError::RouteTable(format!("cannot read the route table {}: {error}", path.display()))
    })?;
    parse(&text, &path.display().to_string())
}

/// Parses a table; `name` stands for it in errors.
///
/// # Errors
/// As [`read`].
pub(crate) fn parse(text: &str, name: &str) -> Result<Arc<Table>, StartError> {
    let table =
        Table::parse(text).map_err(|error| StartError::RouteTable(format!("route table {name}: {error}")))?;
    Ok(Arc::new(table))
}

/// Calls `changed` with each new table that is found at `path`, until the watcher is dropped. The folder is
/// watched, not the file: editors and deployments replace files by renaming.
///
/// # Errors
/// [`StartError::RouteTable`] where the folder cannot be watched.
pub(crate) fn watch(
    path: &Path,
    changed: impl Fn(Arc<Table>) + Send + 'static,
) -> Result<RecommendedWatcher, StartError> {
    let cannot = |error: notify::Error| {
        StartError::RouteTable(format!("cannot watch the route table {}: {error}", path.display()))
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let (path, name) = (path.to_path_buf(), path.file_name().map(ToOwned::to_owned));
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        let is_ours = event.paths.iter().any(|touched| touched.file_name() == name.as_deref());
        if event.kind.is_access() || !is_ours {
            return;
        }
        match read(&path) {
            Ok(table) => {
                log::info!("route table {} read anew", path.display());
                changed(table);
            }
            Err(error) => log::error!("{error}; the old routes stay"),
        }
    })
    .map_err(cannot)?;
    watcher.watch(&folder, RecursiveMode::NonRecursive).map_err(cannot)?;
    Ok(watcher)
}

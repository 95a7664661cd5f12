//! The route table in a file, watched: a change is in force without a restart, a broken one changes nothing.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use redis_router::Table;

use crate::error::StartError;
use crate::file_watch::{self, FileWatch};

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

/// Calls `changed` with each other table than `known` that is found at `path`, until the watch is dropped.
///
/// # Errors
/// [`StartError::RouteTable`] where its folder cannot be watched.
pub(crate) fn watch(
    path: &Path,
    mut known: Arc<Table>,
    changed: impl Fn(Arc<Table>) + Send + 'static,
) -> Result<FileWatch, StartError> {
    let (file, names) = (path.to_owned(), file_watch::names_of(path));
    let look = move || match read(&file) {
        Ok(table) if table == known => {}
        Ok(table) => {
            log::info!("route table {} read anew", file.display());
            known = Arc::clone(&table);
            changed(table);
        }
        Err(error) => log::error!("{error}; the old routes stay"),
    };
    let concerns = move |touched: &OsStr| names.iter().any(|name| name == touched);
    FileWatch::begin([file_watch::folder_of(path)], concerns, look).map_err(|error| {
        StartError::RouteTable(format!("cannot watch the route table {}: {error}", path.display()))
    })
}

//! Reads a config file into text.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Largest config file, in bytes: far beyond any real one.
const FILE_MAX: u64 = 1024 * 1024;

/// The text of a file.
///
/// # Errors
/// Why it cannot be had, in words that follow the file's name.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!("too large; accepted: at most {FILE_MAX} bytes"));
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("not UTF-8 after byte {}", error.utf8_error().valid_up_to()))
}

//! Which config file is meant when none is named.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The variable that chooses between files.
pub(crate) const FLAVOR: &str = "SETTINGS_FLAVOR";
/// Where files are looked for after the working directory.
const SYSTEM_FOLDER: &str = "/etc/cjs-proxy";

/// The first file that is there; one that is there but unreadable counts, so that it is reported.
///
/// # Errors
/// Every path tried, if none is there.
pub(crate) fn find(flavor: Option<&OsStr>) -> Result<PathBuf, Vec<PathBuf>> {
    let candidates = candidates(flavor);
    let there = |path: &&PathBuf| !matches!(path.metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound);
    match candidates.iter().find(there) {
        Some(path) => Ok(path.clone()),
        None => Err(candidates),
    }
}

/// The paths in the order they are tried. A flavor replaces the plain name, as in Hipache.
fn candidates(flavor: Option<&OsStr>) -> Vec<PathBuf> {
    let mut name = std::ffi::OsString::from("config");
    if let Some(flavor) = flavor.filter(|flavor| !flavor.is_empty()) {
        name.push("_");
        name.push(flavor);
    }
    name.push(".json");
    let system = Path::new(SYSTEM_FOLDER);
    vec![Path::new("config").join(&name), system.join(&name), system.join("config").join(&name)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flavor_names_the_file() {
        let plain = candidates(None);
        assert_eq!(plain[0], Path::new("config/config.json"));
        assert_eq!(plain[1], Path::new("/etc/cjs-proxy/config.json"));
        assert_eq!(candidates(Some(OsStr::new(""))), plain);
        let prod = candidates(Some(OsStr::new("prod")));
        assert_eq!(prod[0], Path::new("config/config_prod.json"));
        assert_eq!(prod[1], Path::new("/etc/cjs-proxy/config_prod.json"));
    }
}

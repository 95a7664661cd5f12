//! Reads the operator's error pages.

use std::fs;
use std::path::Path;

use proxy_core::settings::Pages;

/// Largest error page, in bytes: all are held in memory.
const PAGE_MAX: u64 = 1024 * 1024;

/// Reads `error_<code>.html` and `error_default.html` of a folder; other files are none of its business.
/// Problems are handed to `fault`, one each.
pub(crate) fn read(folder: &Path, fault: &mut dyn FnMut(String)) -> Pages {
    let mut pages = Pages::default();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            fault(format!("{}: {error}; accepted: a readable directory", folder.display()));
            return pages;
        }
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(which) = name.to_str().and_then(page) else { continue };
        let path = entry.path();
        let text = match read_bounded(&path) {
            Ok(text) => text,
            Err(problem) => {
                fault(format!("{}: {problem}", path.display()));
                continue;
            }
        };
        match which {
            Page::Default => pages.default = Some(text),
            Page::Status(status) => drop(pages.by_status.insert(status, text)),
        }
    }
    pages
}

enum Page {
    Default,
    Status(u16),
}

fn page(name: &str) -> Option<Page> {
    let code = name.strip_prefix("error_")?.strip_suffix(".html")?;
    if code == "default" {
        return Some(Page::Default);
    }
    let digits = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
    let status = code.parse().ok().filter(|status| digits && (300..600).contains(status))?;
    Some(Page::Status(status))
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > PAGE_MAX {
        return Err(format!("{length} bytes are too many; accepted: at most {PAGE_MAX}"));
    }
    fs::read(path).map_err(|error| error.to_string())
}

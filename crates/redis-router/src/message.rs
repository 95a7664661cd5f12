//! What is said on the channel `dead` when a backend died: `<frontend>;<backend url>;<index>;<number of backends>`
//! (Hipache `lib/cache.js`, `markDeadBackend`). Pure.

use std::fmt;

use crate::bounds::{BACKENDS_MAX, HOST_BYTES_MAX, URL_BYTES_MAX};

/// The channel. Hipache puts no prefix before it, whatever stands before the keys.
pub(crate) const CHANNEL: &str = "dead";

/// One death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Death<'a> {
    /// What stands behind `frontend:` in the key of the list, or (Hipache) the host that was asked for.
    pub(crate) frontend: &'a str,
    /// The backend as it stands in the list, or (Hipache) as Node prints it.
    pub(crate) url: &'a str,
    /// Its index.
    pub(crate) index: usize,
    /// Backends in the list.
    pub(crate) backends: usize,
}

impl<'a> Death<'a> {
    /// Reads a message; the URL may hold `;`. `None`: no such message (ConcussionJS proxy says `undefined;undefined;…`).
    pub(crate) fn parse(message: &'a str) -> Option<Death<'a>> {
        let (frontend, rest) = message.split_once(';')?;
        let (rest, backends) = rest.rsplit_once(';')?;
        let (url, index) = rest.rsplit_once(';')?;
        let death = Death { frontend, url, index: index.parse().ok()?, backends: backends.parse().ok()? };
        let fits = death.index < BACKENDS_MAX
            && (1..=HOST_BYTES_MAX).contains(&frontend.len())
            && (1..=URL_BYTES_MAX).contains(&url.len());
        fits.then_some(death)
    }
}

impl fmt::Display for Death<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{};{};{}", self.frontend, self.url, self.index, self.backends)
    }
}

#[cfg(test)]
mod tests {
    use super::Death;
    use crate::bounds::{BACKENDS_MAX, HOST_BYTES_MAX, URL_BYTES_MAX};

    #[test]
    fn reads_what_it_writes() {
        let table = [
            ("www.example.tld;http://10.0.0.1:80;0;2", ("www.example.tld", "http://10.0.0.1:80", 0, 2)),
            ("*.tld:81;http://h/a;b;c#weight=2;17;18", ("*.tld:81", "http://h/a;b;c#weight=2", 17, 18)),
            ("*;;;1;1", ("*", ";", 1, 1)),
        ];
        for (line, (frontend, url, index, backends)) in table {
            let death = Death { frontend, url, index, backends };
            assert_eq!(Death::parse(line), Some(death), "{line}");
            assert_eq!(death.to_string(), line);
        }
    }

    #[test]
    fn others_are_no_deaths() {
        let long_host = format!("{};u;0;1", "h".repeat(HOST_BYTES_MAX + 1));
        let long_url = format!("h;{};0;1", "u".repeat(URL_BYTES_MAX + 1));
        let far = format!("h;u;{BACKENDS_MAX};1");
        let table = [
            "",
            ";",
            ";;",
            ";;;",
            "h;u;0",
            "h;u;x;1",
            "h;u;0;x",
            "h;u;-1;1",
            ";u;0;1",
            "h;;0;1",
            "h;u;0;1;",
            "undefined;undefined;undefined;undefined",
            "h;u;0;1\n",
            "h;u;99999999999999999999;1",
        ];
        for line in table.into_iter().chain([&*long_host, &*long_url, &*far]) {
            assert_eq!(Death::parse(line), None, "{line}");
        }
    }
}

//! The address of the route store as one text: `redis://user:password@host:port/db#prefix`, `rediss://` over TLS,
//! `redis+unix:///path`, `file:routes.json`, and Hipache's bare `redis:`.

use percent_encoding::percent_decode_str;
use url::Url;

/// A parsed address. What it leaves out is `None` and may be said by a key of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct StoreUrl {
    pub(crate) server: UrlServer,
    /// `rediss`: over TLS.
    pub(crate) tls: bool,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) db: Option<u32>,
    pub(crate) prefix: Option<String>,
}

/// The place an address names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum UrlServer {
    /// None: `redis:`.
    #[default]
    Unsaid,
    Tcp(String, Option<u16>),
    Unix(String),
    /// A route table file, relative to the folder of the config file.
    File(String),
}

impl StoreUrl {
    /// Parses the text.
    ///
    /// # Errors
    /// What is wrong, without repeating the text (it may hold a password).
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once(':').ok_or("has no scheme")?;
        match scheme {
            "file" => file(rest),
            "redis" | "rediss" | "redis+unix" => redis(text, scheme),
            "etcd" | "etcds" | "memcached" | "memcacheds" | "zookeeper" | "zookeepers" => Err(format!(
                "routes in {} are not read; move them to Redis (docs/MIGRATION.md)",
                scheme.trim_end_matches('s')
            )),
            _ => Err(format!("scheme \"{scheme}\" is not known")),
        }
    }

    /// The text fit for a message: whatever stands before an `@` is hidden, or where the `@` seems to be forgotten,
    /// what stands behind a colon and is no port.
    pub(crate) fn masked(text: &str) -> String {
        let Some((secret, place)) = text.rsplit_once('@') else { return without_at(text) };
        match secret.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://***@{place}"),
            None => format!("***@{place}"),
        }
    }
}

/// As [`StoreUrl::masked`], for an address without `@`.
fn without_at(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://").filter(|_| !text.starts_with("file:")) else {
        return text.to_owned();
    };
    let behind_address = rest.rfind(']').map_or(0, |end| end + 1);
    let Some(colon) = rest[behind_address..].find(':').map(|colon| behind_address + colon) else {
        return text.to_owned();
    };
    let (host, port) = (&rest[..colon], &rest[colon + 1..]);
    let digits = port.bytes().take_while(u8::is_ascii_digit).count();
    let is_port = !host.is_empty()
        && digits > 0
        && matches!(port.as_bytes().get(digits), None | Some(b'/' | b'#' | b'?'));
    if is_port || scheme.ends_with("unix") { text.to_owned() } else { format!("{scheme}://***") }
}

fn file(rest: &str) -> Result<StoreUrl, String> {
    let path = match rest.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => return Err("a host in a file address is not accepted".into()),
        None => rest,
    };
    if path.is_empty() {
        return Err("names no file".into());
    }
    Ok(StoreUrl { server: UrlServer::File(path.to_owned()), ..StoreUrl::default() })
}

fn redis(text: &str, scheme: &str) -> Result<StoreUrl, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if url.query().is_some() {
        return Err("options after \"?\" are not accepted".into());
    }
    let decoded = |part: &str| -> Result<Option<String>, String> {
        let text = percent_decode_str(part).decode_utf8().map_err(|_| "is not UTF-8 when decoded")?;
        Ok((!text.is_empty()).then(|| text.into_owned()))
    };
    let mut parsed = StoreUrl {
        tls: scheme == "rediss",
        username: decoded(url.username())?,
        password: decoded(url.password().unwrap_or_default())?,
        prefix: decoded(url.fragment().unwrap_or_default())?,
        ..StoreUrl::default()
    };
    let host = decoded(url.host_str().unwrap_or_default())?;
    if scheme == "redis+unix" {
        if host.is_some() {
            return Err("the path of a socket starts with a third \"/\"".into());
        }
        let path = decoded(url.path())?.filter(|path| path.len() > 1 && path.starts_with('/'));
        parsed.server = UrlServer::Unix(path.ok_or("names no socket")?);
        return Ok(parsed);
    }
    if let Some(host) = host {
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if url.port() == Some(0) {
            return Err("port 0 is out of range".into());
        }
        parsed.server = UrlServer::Tcp(bare, url.port());
    }
    parsed.db = match url.path().trim_start_matches('/') {
        "" => None,
        number => {
            let fits = number.parse().ok().filter(|db| *db <= super::schema::DB_MAX);
            Some(fits.ok_or_else(|| format!("\"{number}\" is not the number of a database"))?)
        }
    };
    Ok(parsed)
}

//! One backend and its URL as it stands in a list: `http://host[:port][/prefix][#options]`.
//!
//! The path prefix keeps its bytes, so it is cut out here and only the host goes through the `url` crate.

use std::net::IpAddr;

use crate::bounds::{URL_BYTES_MAX, WEIGHT_MAX};

/// One backend of a frontend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The URL as it stands in the list.
    pub url: Box<str>,
    /// Position among the list's backend elements, counted from 0, invalid ones included (Hipache's backend id).
    pub index: usize,
    /// How to talk to it.
    pub scheme: Scheme,
    /// Whom to connect to.
    pub host: BackendHost,
    /// Port to connect to.
    pub port: u16,
    /// `host:port`, IPv6 in brackets: its `Host` where a client sent none.
    pub authority: Box<str>,
    /// Name of its connections: those of two backends are the same where they lead to one port in one way.
    pub pool: Box<str>,
    /// Put before the request path; empty or `/something` without a slash at its end.
    pub path_prefix: Box<str>,
    /// Share of requests relative to the other backends; at least 1.
    pub weight: u32,
    /// Takes no new requests (`#drain`).
    pub drain: bool,
    /// Certificate not verified (`#insecure`, https only).
    pub insecure: bool,
}

/// How a backend is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
}

/// Host part of a backend URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BackendHost {
    /// A literal address.
    Address(IpAddr),
    /// A name to resolve.
    Name(Box<str>),
}

impl Backend {
    /// Reads `url`, the element at `index` of its list.
    ///
    /// # Errors
    /// What is wrong with it, and the accepted form.
    pub(crate) fn parse(url: &str, index: usize) -> Result<Backend, String> {
        read(url, index).map_err(|problem| format!("{problem}; {FORM}"))
    }
}

/// Whether two texts name the same backend, one of them maybe as Node's `url` prints it, which Hipache announces: scheme
/// and host in lower case, a slash where there is no path.
pub(crate) fn is_same_url(one: &str, other: &str) -> bool {
    let (Some(first), Some(second)) = (split_for_comparison(one), split_for_comparison(other)) else {
        return one == other;
    };
    one == other || (first.0.eq_ignore_ascii_case(second.0) && first.1 == second.1)
}

/// Scheme with host, and what follows but for the slash in front.
fn split_for_comparison(url: &str) -> Option<(&str, &str)> {
    let host = url.find("://")? + 3;
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |end| host + end);
    let rest = &url[end..];
    Some((&url[..end], rest.strip_prefix('/').unwrap_or(rest)))
}

const FORM: &str = "accepted: [http:// or https://]host[:port][/prefix][#weight=3&drain&insecure]";

fn read(url: &str, index: usize) -> Result<Backend, String> {
    check_bytes(url)?;
    let (location, fragment) = url.split_once('#').unwrap_or((url, ""));
    let options = Options::read(fragment)?;
    if location.contains('?') {
        return Err("a backend has no query".into());
    }
    let (scheme, rest) = split_scheme(location)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = split_port(authority)?;
    let host = read_host(host)?;
    let port = port.map_or(Ok(default_port(scheme)), read_port)?;
    let authority = authority_of(&host, port);
    let insecure = options.insecure && scheme == Scheme::Https;
    Ok(Backend {
        url: url.into(),
        index,
        scheme,
        pool: pool_of(scheme, &authority, insecure),
        authority,
        host,
        port,
        path_prefix: path.trim_end_matches('/').into(),
        weight: options.weight,
        drain: options.drain,
        insecure,
    })
}

fn check_bytes(url: &str) -> Result<(), String> {
    if url.is_empty() {
        return Err("it is empty".into());
    }
    if url.len() > URL_BYTES_MAX {
        return Err(format!("it is longer than {URL_BYTES_MAX} bytes"));
    }
    match url.bytes().find(|byte| !byte.is_ascii_graphic() || br#""<>\^`{|}"#.contains(byte)) {
        Some(byte) => {
            Err(format!("byte 0x{byte:02x} has no place in it (a path encodes it, a name is written xn--…)"))
        }
        None => Ok(()),
    }
}

fn split_scheme(location: &str) -> Result<(Scheme, &str), String> {
    let Some((scheme, rest)) = location.split_once("://") else {
        return Ok((Scheme::Http, location));
    };
    if scheme.contains('/') {
        return Ok((Scheme::Http, location));
    }
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Ok((Scheme::Http, rest)),
        "https" => Ok((Scheme::Https, rest)),
        _ => Err(format!("unknown scheme {scheme:?}")),
    }
}

fn default_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), String> {
    if authority.contains('@') {
        return Err("user and password are not sent to backends".into());
    }
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or("the bracket of the IPv6 address is not closed")?;
        let (host, rest) = authority.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("after an IPv6 address only a port may stand".into()),
        };
    }
    match authority.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Err("an IPv6 address stands in brackets".into()),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

fn read_port(port: &str) -> Result<u16, String> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(number) if digits && number > 0 => Ok(number),
        _ => Err(format!("port {port:?} is not one of 1 to 65535")),
    }
}

fn read_host(host: &str) -> Result<BackendHost, String> {
    if host.is_empty() {
        return Err("the host is missing".into());
    }
    let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if !plain && !host.starts_with('[') {
        return Err(format!("{host:?} is no host name"));
    }
    match url::Host::parse(host) {
        Ok(url::Host::Ipv4(address)) => Ok(BackendHost::Address(IpAddr::V4(address))),
        Ok(url::Host::Ipv6(address)) => Ok(BackendHost::Address(IpAddr::V6(address))),
        Ok(url::Host::Domain(name)) => read_name(&name),
        Err(error) => Err(format!("{host:?} is no host: {error}")),
    }
}

fn read_name(name: &str) -> Result<BackendHost, String> {
    let labels = name.strip_suffix('.').unwrap_or(name);
    if labels.len() > 253 || labels.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return Err(format!("{name:?} is no host name: labels have 1 to 63 bytes, all together at most 253"));
    }
    Ok(BackendHost::Name(name.into()))
}

fn authority_of(host: &BackendHost, port: u16) -> Box<str> {
    match host {
        BackendHost::Address(address) => std::net::SocketAddr::new(*address, port).to_string().into(),
        BackendHost::Name(name) => format!("{name}:{port}").into(),
    }
}

fn pool_of(scheme: Scheme, authority: &str, insecure: bool) -> Box<str> {
    match (scheme, insecure) {
        (Scheme::Http, _) => authority.into(),
        (Scheme::Https, false) => format!("https://{authority}").into(),
        (Scheme::Https, true) => format!("https://{authority}#insecure").into(),
    }
}

/// What the fragment says. Options nobody knows are passed over: they may be meant for another program.
struct Options {
    weight: u32,
    drain: bool,
    insecure: bool,
}

impl Options {
    fn read(fragment: &str) -> Result<Options, String> {
        let mut options = Options { weight: 1, drain: false, insecure: false };
        for option in fragment.split(['&', ',']) {
            match option.split_once('=').unwrap_or((option, "")) {
                ("weight", weight) => options.weight = read_weight(weight)?,
                ("drain", "") => options.drain = true,
                ("insecure", "") => options.insecure = true,
                (name @ ("drain" | "insecure"), _) => return Err(format!("#{name} takes no value")),
                _ => {}
            }
        }
        Ok(options)
    }
}

fn read_weight(weight: &str) -> Result<u32, String> {
    let digits = weight.bytes().all(|byte| byte.is_ascii_digit());
    match weight.parse::<u32>() {
        Ok(number) if digits && (1..=WEIGHT_MAX).contains(&number) => Ok(number),
        _ => Err(format!("weight {weight:?} is not one of 1 to {WEIGHT_MAX}")),
    }
}

#[cfg(test)]
mod tests;

//! The kinds of value a key takes: what is accepted, in words, and the parsing into a value that cannot be wrong.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use proxy_core::settings;
use redis_router::Tier;

use super::addresses::{self, BindAddress, SecureAddress};
use super::json::Node;
use super::levels;
use super::rate_limit;
use super::store_url::StoreUrl;

/// Largest time-out, in seconds: a week.
const TIMEOUT_MAX: f64 = 604_800.0;
/// Smallest time-out but 0, in seconds: deadlines are checked that often.
const TIMEOUT_MIN: f64 = 0.1;

/// Files one key may name.
const PATHS_MAX: usize = 16;
/// Servers one key may name.
const SERVERS_MAX: usize = 64;

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Bool,
    /// From, to; both included.
    Integer(u64, u64),
    /// Seconds, 0 for none.
    Timeout,
    /// Seconds from, to; both included.
    Seconds(f64, f64),
    Text,
    /// Name or address of a server.
    Host,
    /// Text that never shows in a message or in `check`.
    Secret,
    Choice(&'static [&'static str]),
    AccessLog,
    /// A user or a group: name or number.
    Account,
    Bind,
    /// IPv6 addresses without ports.
    Bind6,
    /// Addresses with certificates of their own; none is a value too.
    SecureBind,
    /// Files, in order; none is a value too.
    Paths,
    Networks,
    /// Address of the route store, or a list of two: read from the first, write to the second.
    Store,
    /// Servers as `host:port`; the port where none is written.
    Servers(u16),
    /// Names of tiers and their limits, in rising order.
    Tiers,
    /// What names a client.
    Identify,
    /// Levels of the error log.
    Levels,
    /// An object whose members are keys of their own.
    Section(Empty),
    /// The shape of a feature still to come, in words.
    Shape(&'static str),
}

/// What an empty section says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Empty {
    /// The feature stays off.
    Off,
    /// The feature is on with its defaults.
    On,
}

/// A checked value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Integer(u64),
    Seconds(Duration),
    Text(String),
    AccessLog(LogTarget),
    Bind(Vec<BindAddress>),
    SecureBind(Vec<SecureAddress>),
    Paths(Vec<PathBuf>),
    Networks(Vec<IpNet>),
    Store(Box<StoreAddress>),
    Servers(Vec<(String, u16)>),
    Tiers(Vec<Tier>),
    Identify(Vec<settings::Identify>),
    Levels(levels::Said),
}

/// Where the route store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreAddress {
    /// Read and followed.
    pub(crate) reads: StoreUrl,
    /// Written to, where that is another.
    pub(crate) writes: Option<StoreUrl>,
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogTarget {
    Nowhere,
    Stdout,
    File(PathBuf),
}

/// Why a value is not taken.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    /// Where inside the value, as a suffix of the key path; mostly empty.
    pub(crate) at: String,
    /// The sentence.
    pub(crate) problem: String,
}

impl Refusal {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self { at: String::new(), problem: problem.into() }
    }

    /// The same, for something at `at` inside the value.
    pub(crate) fn within(self, at: &str) -> Self {
        Self { at: format!("{at}{}", self.at), ..self }
    }
}

impl Kind {
    /// What is accepted, in words.
    pub(crate) fn accepted(self) -> String {
        match self {
            Self::Bool => "true or false".into(),
            Self::Integer(least, most) => format!("a whole number from {least} to {most}"),
            Self::Timeout => format!("seconds from {TIMEOUT_MIN} to {TIMEOUT_MAX}, or 0 for none"),
            Self::Seconds(least, most) => format!("seconds from {least} to {most}"),
            Self::Text | Self::Secret => "a text that is not empty".into(),
            Self::Host => "a host name or an IP address, without a port".into(),
            Self::Choice(choices) => {
                let quoted: Vec<_> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
                quoted.join(" or ")
            }
            Self::AccessLog => "a path, \"stdout\", or null for none".into(),
            Self::Account => "a name or a number".into(),
            Self::Bind => "an IP address, a list of them, or a list of {\"address\", \"port\"}".into(),
            Self::Bind6 => "an IPv6 address or a list of them".into(),
            Self::SecureBind => "an IP address, a list of them, or a list of {\"address\", \"port\", \"key\", \"cert\"}".into(),
            Self::Paths => "a path or a list of paths".into(),
            Self::Networks => "a list of IP addresses and CIDRs".into(),
            Self::Store => {
                "\"redis://user:password@host:port/db#prefix\" (\"rediss://\" over TLS), \
                            \"redis+unix:///path\", a list of two such, [read, write], or \"file:routes.json\""
                    .into()
            }
            Self::Servers(_) => "a list of \"host:port\"".into(),
            Self::Tiers => rate_limit::TIERS.into(),
            Self::Identify => rate_limit::IDENTIFY.into(),
            Self::Levels => levels::LEVELS.into(),
            Self::Section(_) => "an object".into(),
            Self::Shape(words) => words.into(),
        }
    }

    /// The value as the program uses it. `null` is the caller's business, but for the access log.
    ///
    /// # Errors
    /// Why it is not taken, naming the value (never a secret) and what is accepted.
    pub(crate) fn parse(self, node: &Node) -> Result<Value, Refusal> {
        match (self, node) {
            (Self::Bool, Node::Bool(flag)) => Ok(Value::Bool(*flag)),
            (Self::Integer(..) | Self::Timeout | Self::Seconds(..), Node::Text(text)) => match number(text) {
                Some(number) => self.parse(&number),
                None => Err(self.mismatch(node)),
            },
            (Self::Integer(least, most), Node::Number(_)) => match whole(node) {
                Some(number) if (least..=most).contains(&number) => Ok(Value::Integer(number)),
                _ => Err(self.out_of_range(node)),
            },
            (Self::Timeout, Node::Number(number)) => {
                let seconds = number.as_f64().unwrap_or(-1.0);
                let fits = seconds == 0.0 || (TIMEOUT_MIN..=TIMEOUT_MAX).contains(&seconds);
                if fits { Ok(Value::Seconds(duration(seconds))) } else { Err(self.out_of_range(node)) }
            }
            (Self::Seconds(least, most), Node::Number(number)) => {
                let seconds = number.as_f64().unwrap_or(-1.0);
                let fits = (least..=most).contains(&seconds);
                if fits { Ok(Value::Seconds(duration(seconds))) } else { Err(self.out_of_range(node)) }
            }
            (Self::Text | Self::Secret, Node::Text(text)) if !text.is_empty() => {
                Ok(Value::Text(text.clone()))
            }
            (Self::Host, Node::Text(text)) if is_host(text) => Ok(Value::Text(text.clone())),
            (Self::Choice(choices), Node::Text(text)) if choices.contains(&text.as_str()) => {
                Ok(Value::Text(text.clone()))
            }
            (Self::Account, Node::Text(text)) if !text.is_empty() => Ok(Value::Text(text.clone())),
            (Self::Account, Node::Number(_)) if whole(node).is_some() => Ok(Value::Text(node.excerpt())),
            (Self::AccessLog, _) => self.access_log(node),
            (Self::Bind, _) => addresses::bind(node).map(Value::Bind),
            (Self::Bind6, _) => addresses::bind6(node).map(Value::Bind),
            (Self::SecureBind, _) => addresses::secure_bind(node).map(Value::SecureBind),
            (Self::Paths, _) => self.paths(node).map(Value::Paths),
            (Self::Networks, Node::List(items)) => addresses::networks(items).map(Value::Networks),
            (Self::Store, _) => self.store(node),
            (Self::Servers(port), Node::List(items)) => self.servers(port, items),
            (Self::Tiers, Node::Object(members)) => rate_limit::tiers(members).map(Value::Tiers),
            (Self::Identify, Node::List(items)) => rate_limit::identify(items).map(Value::Identify),
            (Self::Levels, _) => levels::parse(node).map(Value::Levels),
            _ => Err(self.mismatch(node)),
        }
    }

    fn access_log(self, node: &Node) -> Result<Value, Refusal> {
        let target = match node {
            Node::Null | Node::Bool(false) => LogTarget::Nowhere,
            Node::Text(text) if text.is_empty() => LogTarget::Nowhere,
            Node::Text(text) if text == "stdout" => LogTarget::Stdout,
            Node::Text(text) => LogTarget::File(text.into()),
            _ => return Err(self.mismatch(node)),
        };
        Ok(Value::AccessLog(target))
    }

    fn paths(self, node: &Node) -> Result<Vec<PathBuf>, Refusal> {
        let items = match node {
            Node::List(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        if items.len() > PATHS_MAX {
            return Err(Refusal::new(format!("too many entries; accepted: at most {PATHS_MAX}")));
        }
        let path = |item: &Node| match item {
            Node::Text(text) if !text.is_empty() => Ok(text.into()),
            _ => Err(self.mismatch(item)),
        };
        items.iter().map(path).collect()
    }

    fn store(self, node: &Node) -> Result<Value, Refusal> {
        let (reads, writes) = match node {
            Node::Text(text) => (self.store_url(text)?, None),
            Node::List(items) => match items.as_slice() {
                [Node::Text(text)] => (self.store_url(text)?, None),
                [Node::Text(read), Node::Text(write)] => {
                    let (read, write) = (self.store_url(read)?, self.store_url(write)?);
                    let differs = read != write;
                    (read, Some(write).filter(|_| differs))
                }
                _ => {
                    let problem = format!("this list is not accepted; accepted: {}", self.accepted());
                    return Err(Refusal::new(problem));
                }
            },
            _ => return Err(self.mismatch(node)),
        };
        Ok(Value::Store(Box::new(StoreAddress { reads, writes })))
    }

    fn servers(self, port: u16, items: &[Node]) -> Result<Value, Refusal> {
        if items.len() > SERVERS_MAX {
            return Err(Refusal::new(format!("too many entries; accepted: at most {SERVERS_MAX}")));
        }
        let entry = |(index, item): (usize, &Node)| {
            let server = match item {
                Node::Text(text) => server(text, port),
                _ => None,
            };
            server.ok_or_else(|| self.mismatch(item).within(&format!("[{index}]")))
        };
        items.iter().enumerate().map(entry).collect::<Result<_, _>>().map(Value::Servers)
    }

    fn store_url(self, text: &str) -> Result<StoreUrl, Refusal> {
        StoreUrl::parse(text).map_err(|problem| {
            Refusal::new(format!("\"{}\": {problem}; accepted: {}", StoreUrl::masked(text), self.accepted()))
        })
    }

    /// A value that is not of this kind.
    pub(crate) fn mismatch(self, node: &Node) -> Refusal {
        let value = if self == Self::Secret { "the value".to_owned() } else { node.excerpt() };
        Refusal::new(format!("{value} is not accepted; accepted: {}", self.accepted()))
    }

    /// A number that is too small, too large or not whole.
    pub(crate) fn out_of_range(self, node: &Node) -> Refusal {
        Refusal::new(format!("{} is out of range; accepted: {}", node.excerpt(), self.accepted()))
    }
}

/// The number if it is whole, `30.0` included.
pub(crate) fn whole(node: &Node) -> Option<u64> {
    let Node::Number(number) = node else { return None };
    if let Some(whole) = number.as_u64() {
        return Some(whole);
    }
    let float = number.as_f64()?;
    let fits = float.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&float);
    fits.then_some(float as u64)
}

/// The number that a text of digits says, as config files filled from environment variables have it.
pub(crate) fn number(text: &str) -> Option<Node> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse::<u64>().ok().filter(|_| digits).map(|number| Node::Number(number.into()))
}

/// A host, or a literal address, IPv6 in brackets where a port follows; and the port, `port` where none is written.
fn server(text: &str, port: u16) -> Option<(String, u16)> {
    let (host, written) = match text.rsplit_once(':') {
        Some((host, written)) if !host.contains(':') || host.ends_with(']') => (host, Some(written)),
        _ => (text, None),
    };
    let digits = |written: &str| number(written).and_then(|node| whole(&node));
    let port = match written {
        None => port,
        Some(written) => u16::try_from(digits(written)?).ok().filter(|port| *port > 0)?,
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    is_host(bare).then(|| (bare.to_owned(), port))
}

/// A literal address, or what may be a name: nothing in it that belongs to a URL.
fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    text.parse::<IpAddr>().is_ok() || (!text.is_empty() && text.bytes().all(plain))
}

/// Seconds as written, to the millisecond.
fn duration(seconds: f64) -> Duration {
    Duration::from_millis(Duration::from_secs_f64(seconds + 0.000_5).as_millis() as u64)
}

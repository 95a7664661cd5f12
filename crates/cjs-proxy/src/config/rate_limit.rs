//! `rateLimit`: how much a client may ask.

use proxy_core::settings::{Counted, Identify, RateLimit};
use redis_router::{LimitRules, OnStoreError, Source, Tier, is_reserved};

use super::json::Node;
use super::kind::{Refusal, whole};
use super::report::Report;
use super::written::Written;

/// Tiers one file may name.
const TIERS_MAX: usize = proxy_core::bounds::TIERS;
/// Characters of a tier's name.
const NAME_MAX: usize = 64;
/// Greatest limit; what is counted stays far below what a number can hold.
const LIMIT_MAX: u64 = 1_000_000_000_000;
/// Sources of names one file may name.
const SOURCES_MAX: usize = 8;

/// What tiers are accepted.
pub(crate) const TIERS: &str = "an object of tier names and limits from 1 to 1000000000000";
/// What names of clients are accepted.
pub(crate) const IDENTIFY: &str = "a list of \"header:<name>\", \"referer\" and \"origin\"";

/// The limits the file asks for; `None`: none. What is followed in the store for it goes to `routes`.
pub(crate) fn rate_limit(
    written: &Written,
    routes: &mut Source,
    cores: usize,
    report: &mut Report,
) -> Option<RateLimit> {
    if !written.has_section("rateLimit") {
        return None;
    }
    let tiers = written.tiers("rateLimit.tiers");
    match routes {
        Source::Redis(redis) => redis.sets = tiers.iter().skip(1).map(|tier| tier.name.clone()).collect(),
        Source::File(_) | Source::Embedded(_) => {
            let problem = "needs routes in Redis, where requests are counted; leave it out or set it to null";
            report.fault(written.spelling("rateLimit"), problem);
        }
    }
    let on_store_error = match written.choice("rateLimit.onStoreError").as_str() {
        "allow" => OnStoreError::Allow,
        "deny" => OnStoreError::Deny,
        _ => OnStoreError::Local,
    };
    let by_name = written.choice("rateLimit.key") == "identity";
    Some(RateLimit {
        rules: LimitRules { window: written.seconds("rateLimit.window"), tiers, on_store_error, cores },
        counted: if by_name { Counted::Identity } else { Counted::ClientIp },
        identify: written.identify("rateLimit.identify"),
        dry_run: written.bool("rateLimit.dryRun"),
        headers: written.bool("rateLimit.headers"),
    })
}

/// The tiers that an object names.
pub(super) fn tiers(members: &[(String, Node)]) -> Result<Vec<Tier>, Refusal> {
    if members.is_empty() || members.len() > TIERS_MAX {
        let problem = format!("names {} tiers; accepted: 1 to {TIERS_MAX}", members.len());
        return Err(Refusal::new(problem));
    }
    let mut tiers: Vec<Tier> = Vec::with_capacity(members.len());
    for (name, node) in members {
        let at = format!(".{name}");
        check_name(name).map_err(|refusal| refusal.within(&at))?;
        let limit = whole(node).filter(|limit| (1..=LIMIT_MAX).contains(limit)).ok_or_else(|| {
            let problem =
                format!("{} is not accepted; accepted: a whole number from 1 to {LIMIT_MAX}", node.excerpt());
            Refusal::new(problem).within(&at)
        })?;
        if let Some(other) = tiers.iter().find(|other| other.limit == limit) {
            let problem = format!(
                "{limit} is the limit of {:?} too; accepted: each limit once, as the greater one is the higher tier",
                other.name
            );
            return Err(Refusal::new(problem).within(&at));
        }
        if tiers.iter().any(|tier| tier.name == *name) {
            return Err(Refusal::new("stands twice; keep one").within(&at));
        }
        tiers.push(Tier { name: name.clone(), limit });
    }
    // The members of an object have no order.
    tiers.sort_by_key(|tier| tier.limit);
    Ok(tiers)
}

/// The name goes into header fields and is that of a set in Redis, whose changes are followed by how its key begins.
fn check_name(name: &str) -> Result<(), Refusal> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(plain) {
        let accepted = format!("1 to {NAME_MAX} letters, digits, \"-\", \"_\" and \".\"");
        return Err(Refusal::new(format!("the name is not accepted; accepted: {accepted}")));
    }
    if is_reserved(name) {
        return Err(Refusal::new("the name is that of other keys in Redis; choose another"));
    }
    Ok(())
}

/// The sources of names that a list names.
pub(super) fn identify(items: &[Node]) -> Result<Vec<Identify>, Refusal> {
    if items.len() > SOURCES_MAX {
        return Err(Refusal::new(format!("too many entries; accepted: at most {SOURCES_MAX}")));
    }
    let source = |(index, item): (usize, &Node)| {
        let source = match item {
            Node::Text(text) if text == "referer" => Some(Identify::Referer),
            Node::Text(text) if text == "origin" => Some(Identify::Origin),
            Node::Text(text) => text
                .strip_prefix("header:")
                .filter(|name| is_field_name(name))
                .map(|name| Identify::Header(name.to_ascii_lowercase())),
            _ => None,
        };
        let refusal = || Refusal::new(format!("{} is not accepted; accepted: {IDENTIFY}", item.excerpt()));
        source.ok_or_else(|| refusal().within(&format!("[{index}]")))
    };
    items.iter().enumerate().map(source).collect()
}

/// A token (RFC 9110 section 5.6.2).
fn is_field_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_part)
}

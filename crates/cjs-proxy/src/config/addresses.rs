//! Addresses in the file: where to listen, whom to trust.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::json::Node;
use super::kind::{Kind, Refusal, number, whole};

/// Listening addresses one file may name.
const ADDRESSES_MAX: usize = 64;
/// Trusted networks one file may name.
const NETWORKS_MAX: usize = 4096;

/// One entry of `bind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BindAddress {
    pub(crate) address: IpAddr,
    /// `None`: the port named beside `bind`.
    pub(crate) port: Option<u16>,
}

/// The value of a `bind`: an address, `{address, port}`, or a list of these.
///
/// # Errors
/// Which entry is not accepted.
pub(crate) fn bind(node: &Node) -> Result<Vec<BindAddress>, Refusal> {
    let Node::List(items) = node else { return Ok(vec![bind_address(node)?]) };
    if items.is_empty() {
        let accepted = Kind::Bind.accepted();
        return Err(Refusal::new(format!("[]: at least one address is needed; accepted: {accepted}")));
    }
    if items.len() > ADDRESSES_MAX {
        return Err(Refusal::new(format!("too many addresses; accepted: at most {ADDRESSES_MAX}")));
    }
    let entry = |(index, item)| bind_address(item).map_err(|refusal| refusal.within(&format!("[{index}]")));
    items.iter().enumerate().map(entry).collect()
}

fn bind_address(node: &Node) -> Result<BindAddress, Refusal> {
    match node {
        Node::Text(text) => {
            let address = text.parse().map_err(|_| Kind::Bind.mismatch(node))?;
            Ok(BindAddress { address, port: None })
        }
        Node::Object(members) => bind_object(node, members),
        _ => Err(Kind::Bind.mismatch(node)),
    }
}

fn bind_object(node: &Node, members: &[(String, Node)]) -> Result<BindAddress, Refusal> {
    let (mut address, mut port) = (None, None);
    for (name, member) in members {
        match (name.as_str(), member) {
            ("address", Node::Text(text)) if address.is_none() => {
                let parsed = text.parse().map_err(|_| Kind::Bind.mismatch(member).within(".address"))?;
                address = Some(parsed);
            }
            ("port", Node::Number(_) | Node::Text(_)) if port.is_none() => {
                let said = match member {
                    Node::Text(text) => number(text).ok_or_else(|| Kind::Bind.mismatch(node))?,
                    _ => member.clone(),
                };
                let fits = whole(&said).and_then(|number| u16::try_from(number).ok());
                let refusal = || Kind::Integer(0, 65_535).out_of_range(member).within(".port");
                port = Some(fits.ok_or_else(refusal)?);
            }
            _ => return Err(Kind::Bind.mismatch(node)),
        }
    }
    let address = address.ok_or_else(|| Kind::Bind.mismatch(node))?;
    Ok(BindAddress { address, port })
}

/// One entry of `https.bind`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecureAddress {
    pub(crate) bind: BindAddress,
    /// Files of the certificate and the key that are served there by default; `None`: those of `https`.
    pub(crate) pair: Option<(PathBuf, PathBuf)>,
}

/// The value of `https.bind`: as [`bind`], with files of a certificate in an object; none is a value too.
///
/// # Errors
/// Which entry is not accepted.
pub(crate) fn secure_bind(node: &Node) -> Result<Vec<SecureAddress>, Refusal> {
    let Node::List(items) = node else { return Ok(vec![secure_address(node)?]) };
    if items.len() > ADDRESSES_MAX {
        return Err(Refusal::new(format!("too many addresses; accepted: at most {ADDRESSES_MAX}")));
    }
    let entry = |(index, item)| secure_address(item).map_err(|refusal| refusal.within(&format!("[{index}]")));
    items.iter().enumerate().map(entry).collect()
}

fn secure_address(node: &Node) -> Result<SecureAddress, Refusal> {
    let refuse = |_: Refusal| Kind::SecureBind.mismatch(node);
    let Node::Object(members) = node else {
        return Ok(SecureAddress { bind: bind_address(node).map_err(refuse)?, pair: None });
    };
    let is_file = |(name, _): &&(String, Node)| matches!(name.as_str(), "key" | "cert");
    let (files, rest): (Vec<_>, Vec<_>) = members.iter().partition(is_file);
    let rest: Vec<(String, Node)> = rest.into_iter().cloned().collect();
    let bind = bind_object(node, &rest)?;
    let file = |wanted: &str| {
        let found = files.iter().find(|(name, member)| name == wanted && !member.is_off());
        found.map(|(_, member)| match member {
            Node::Text(text) => Ok(PathBuf::from(text)),
            _ => Err(Kind::Text.mismatch(member).within(&format!(".{wanted}"))),
        })
    };
    match (file("cert").transpose()?, file("key").transpose()?) {
        (Some(certificate), Some(key)) => Ok(SecureAddress { bind, pair: Some((certificate, key)) }),
        (None, None) => Ok(SecureAddress { bind, pair: None }),
        _ => Err(Refusal::new("has one of \"key\" and \"cert\" alone; accepted: both or neither")),
    }
}

/// The value of `server.address6`: IPv6 addresses; none is a value too.
///
/// # Errors
/// Which entry is not accepted.
pub(crate) fn bind6(node: &Node) -> Result<Vec<BindAddress>, Refusal> {
    let one = |node: &Node| match node {
        Node::Text(text) => match text.parse::<Ipv6Addr>() {
            Ok(address) => Ok(BindAddress { address: address.into(), port: None }),
            Err(_) => Err(Kind::Bind6.mismatch(node)),
        },
        _ => Err(Kind::Bind6.mismatch(node)),
    };
    let Node::List(items) = node else { return Ok(vec![one(node)?]) };
    if items.len() > ADDRESSES_MAX {
        return Err(Refusal::new(format!("too many addresses; accepted: at most {ADDRESSES_MAX}")));
    }
    let entry = |(index, item)| one(item).map_err(|refusal| refusal.within(&format!("[{index}]")));
    items.iter().enumerate().map(entry).collect()
}

/// The networks of a list of addresses and CIDRs.
///
/// # Errors
/// Which entry is not accepted.
pub(crate) fn networks(items: &[Node]) -> Result<Vec<IpNet>, Refusal> {
    if items.len() > NETWORKS_MAX {
        return Err(Refusal::new(format!("too many entries; accepted: at most {NETWORKS_MAX}")));
    }
    let entry = |(index, item): (usize, &Node)| {
        let network = match item {
            Node::Text(text) => network(text),
            _ => None,
        };
        network.ok_or_else(|| {
            let accepted = "an IP address or a CIDR such as \"10.0.0.0/8\"";
            Refusal::new(format!("{} is not accepted; accepted: {accepted}", item.excerpt()))
                .within(&format!("[{index}]"))
        })
    };
    items.iter().enumerate().map(entry).collect()
}

/// A CIDR, or an address as the network of that one address.
fn network(text: &str) -> Option<IpNet> {
    if let Ok(network) = text.parse::<IpNet>() {
        return Some(network.trunc());
    }
    text.parse::<IpAddr>().ok().map(IpNet::from)
}

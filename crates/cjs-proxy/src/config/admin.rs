//! `admin`: where the process tells of itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proxy_core::settings::Admin;

use super::report::Report;
use super::written::Written;

/// The admin listener the file asks for; `None`: off.
pub(crate) fn admin(written: &Written, report: &mut Report) -> Option<Admin> {
    if !written.has_section("admin") {
        return None;
    }
    let port = written.integer_if_set("admin.port").map(|port| port as u16);
    let mut addresses: Vec<SocketAddr> = Vec::new();
    match written.bind_if_set("admin.bind") {
        None => addresses.extend(port.map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))),
        Some(bind) => {
            let ports = bind.iter().filter_map(|entry| Some((entry.address, entry.port.or(port)?)));
            addresses.extend(ports.map(|(address, port)| SocketAddr::new(address, port)));
        }
    }
    if addresses.is_empty() {
        report.warn("admin: has no effect without admin.port");
        return None;
    }
    let token = written.text_if_set("admin.token").map(str::to_owned);
    let spelling = written.spelling("admin.token");
    match &token {
        None => {
            if let Some(open) = addresses.iter().find(|address| !is_loopback(address.ip())) {
                let problem = format!(
                    "is needed, as {open} can be reached from other machines; set it, or take 127.0.0.1 for admin.bind"
                );
                report.fault(spelling, &problem);
            }
        }
        Some(token) if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            report.fault(
                spelling,
                "the value is not accepted; accepted: visible ASCII characters, without spaces",
            );
        }
        Some(_) => {}
    }
    Some(Admin { addresses, token })
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

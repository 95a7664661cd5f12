//! `https`: where it is listened for, and the certificates, which are read here to be checked.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use proxy_core::settings::{Files, Https, Listen, ListenAddress, Pair, Place, Problem};

use redis_router::Source;

use super::addresses::SecureAddress;
use super::report::Report;
use super::written::Written;

/// HTTPS as the file asks for it; `None`: off. `now` is in seconds since 1970.
pub(crate) fn https(
    written: &Written,
    (listen, routes): (&Listen, &Source),
    now: u64,
    report: &mut Report,
) -> Option<Https> {
    if !written.has_section("https") {
        return None;
    }
    let before = report.faults.len();
    let from_store = from_store(written, routes, report);
    let bind = written.secure_bind_if_set("https.bind");
    let files = files(written, bind.unwrap_or_default(), report);
    let has_files = !files.named.is_empty() || files.folder.is_some();
    let store_alone = from_store && written.is_set("https.redis");
    if !has_files && !store_alone {
        let text = "neither https.key and https.cert nor https.certDir, nor https.redis: HTTPS is off";
        report.note(written.spelling("https"), text);
        return None;
    }
    let addresses = addresses(written, bind, listen, report);
    if !store_alone {
        check_certificates(written, bind.unwrap_or_default(), &files, report);
    }
    if report.faults.len() > before {
        return None;
    }
    let reading = files.read(now);
    for fault in &reading.faults {
        report.fault(&key_of(written, &files, fault), &fault.to_string());
    }
    let told = reading.broken.iter().map(ToString::to_string).chain(reading.doubts);
    told.for_each(|text| report.warn(&text));
    Some(Https {
        addresses,
        served: Arc::new(reading.served?),
        files,
        from_store,
        traces: reading.traces,
        redirect: written.bool("https.redirect"),
        hsts: written.integer_if_set("https.hsts"),
    })
}

/// Whether certificates are looked for in the route store.
fn from_store(written: &Written, routes: &Source, report: &mut Report) -> bool {
    let is_redis = matches!(routes, Source::Redis(_));
    let wanted = written.bool("https.redis");
    if wanted && !is_redis && written.is_set("https.redis") {
        report.fault(written.spelling("https.redis"), "needs routes in Redis; leave it out");
    }
    wanted && is_redis
}

fn files(written: &Written, bind: &[SecureAddress], report: &mut Report) -> Files {
    let path = |key| written.text_if_set(key).map(PathBuf::from);
    let chain: Vec<PathBuf> = written.paths("https.ca");
    let mut named = Vec::new();
    match (path("https.cert"), path("https.key")) {
        (Some(certificate), Some(key)) => {
            named.push((Place::Default, Pair { certificate, key, chain: chain.clone() }));
        }
        (Some(_), None) => report.fault(written.spelling("https.cert"), "needs https.key beside it"),
        (None, Some(_)) => report.fault(written.spelling("https.key"), "needs https.cert beside it"),
        (None, None) => {}
    }
    for entry in bind {
        if let Some((certificate, key)) = entry.pair.clone() {
            let place = Place::At(socket_address(written, entry));
            named.push((place, Pair { certificate, key, chain: chain.clone() }));
        }
    }
    Files {
        named,
        folder: path("https.certDir"),
        members: path("https.clientCa"),
        members_required: written.choice("https.clientAuth") == "required",
        tls12: written.choice("https.minVersion") == "1.2",
        http2: written.bool("https.http2"),
    }
}

fn socket_address(written: &Written, entry: &SecureAddress) -> SocketAddr {
    let port = entry.bind.port.unwrap_or(written.integer("https.port") as u16);
    SocketAddr::new(entry.bind.address, port)
}

/// The addresses that are named, else those of plain HTTP, with the port of HTTPS.
fn addresses(
    written: &Written,
    bind: Option<&[SecureAddress]>,
    listen: &Listen,
    report: &mut Report,
) -> Vec<ListenAddress> {
    let mut addresses: Vec<ListenAddress> = Vec::new();
    let Some(bind) = bind else {
        let port = written.integer("https.port") as u16;
        let mut seen: Vec<IpAddr> = Vec::new();
        for ListenAddress { address, optional } in &listen.addresses {
            if !seen.contains(&address.ip()) {
                seen.push(address.ip());
                let address = SocketAddr::new(address.ip(), port);
                addresses.push(ListenAddress { address, optional: *optional });
            }
        }
        refuse_shared(written, "https.port", &addresses, listen, report);
        return addresses;
    };
    for entry in bind {
        let address = socket_address(written, entry);
        if addresses.iter().any(|known| known.address == address) {
            report.fault(written.spelling("https.bind"), &format!("names {address} twice; keep one"));
        }
        addresses.push(ListenAddress { address, optional: false });
    }
    refuse_shared(written, "https.bind", &addresses, listen, report);
    addresses
}

/// One port speaks one thing; any free port may be asked for twice.
fn refuse_shared(
    written: &Written,
    key: &'static str,
    addresses: &[ListenAddress],
    listen: &Listen,
    report: &mut Report,
) {
    let shared = |https: &&ListenAddress| {
        https.address.port() != 0 && listen.addresses.iter().any(|plain| plain.address == https.address)
    };
    for https in addresses.iter().filter(shared) {
        let problem =
            format!("{} speaks plain HTTP already (server.port); choose another port", https.address);
        report.fault(written.spelling(key), &problem);
    }
}

/// Whoever connects without a name, or with an unknown one, must get something: a default, or what a folder has.
fn check_certificates(written: &Written, bind: &[SecureAddress], files: &Files, report: &mut Report) {
    let has_default = files.named.iter().any(|(place, _)| *place == Place::Default);
    if has_default || files.folder.is_some() {
        return;
    }
    for (index, _) in bind.iter().enumerate().filter(|(_, entry)| entry.pair.is_none()) {
        let problem = "no certificate; name \"key\" and \"cert\" there, or https.key and https.cert";
        report.fault(&format!("{}[{index}]", written.spelling("https.bind")), problem);
    }
}

/// The key by which the file names what is at fault.
fn key_of(written: &Written, files: &Files, fault: &Problem) -> String {
    let Problem::Pair { origin, .. } = fault else { return written.spelling("https.clientCa").to_owned() };
    let is = |path: &PathBuf| path.display().to_string() == *origin;
    for (place, pair) in &files.named {
        let key = match place {
            Place::At(_) => "https.bind",
            _ if is(&pair.key) => "https.key",
            _ => "https.cert",
        };
        if pair.chain.iter().any(is) {
            return written.spelling("https.ca").to_owned();
        }
        if is(&pair.key) || is(&pair.certificate) {
            return written.spelling(key).to_owned();
        }
    }
    written.spelling("https.certDir").to_owned()
}

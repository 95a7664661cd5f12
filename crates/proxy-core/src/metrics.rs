//! Which metrics there are, and where their numbers come from. docs/METRICS.md has a row for each. How they are written
//! is `exposition.rs`'s.

use redis_router::Tier;

use crate::account::{Account, CLASSES, Counter, Histogram, LimitCounters, RoutesState};
use crate::board::{CoreView, Reason, View};
use crate::bounds::BUCKETS_MICROS;
use crate::exposition::{Exposition, Kind, seconds};
use crate::settings::Build;

/// All metrics as text. `tiers` are those of the rate limit, in their order.
pub(crate) fn write(view: &View, build: Build, tiers: &[Tier]) -> String {
    let mut text = Exposition::default();
    process(&mut text, view, build);
    requests(&mut text, view);
    backends(&mut text, view);
    clients(&mut text, view);
    limits(&mut text, view, tiers);
    cores(&mut text, view);
    text.into_text()
}

fn process(text: &mut Exposition, view: &View, build: Build) {
    let labels = [("version", build.version), ("commit", build.commit), ("io_driver", view.driver)];
    text.family("cjs_proxy_build_info", Kind::Gauge, "What runs; always 1.").sample(&labels, 1);
    let uptime = u64::try_from(view.uptime.as_micros()).unwrap_or(u64::MAX);
    text.family("cjs_proxy_uptime_seconds", Kind::Gauge, "Time since this process began to serve.")
        .sample(&[], seconds(uptime));
}

fn requests(text: &mut Exposition, view: &View) {
    let help = "Requests that have ended, by core and class of the status; 499: the client left before there was one.";
    let mut family = text.family("cjs_proxy_requests_total", Kind::Counter, help);
    for (number, core) in numbered(view) {
        for (class, counter) in CLASSES.iter().zip(&core.totals.by_class) {
            family.sample(&[("core", &number), ("class", class)], counter.get());
        }
    }
    let help = "From the first byte of a request to the end of its answer, tunnels included.";
    histogram(text, ("cjs_proxy_request_duration_seconds", help), view, |totals| &totals.duration);
    let help = "Requests refused as the client's address is in the set deny:ip.";
    counter(text, ("cjs_proxy_denied_requests_total", help), view, |totals| &totals.denied);
    let help = "Bytes of answers sent to clients.";
    counter(text, ("cjs_proxy_sent_bytes_total", help), view, |totals| &totals.bytes);
    let help = "Access log lines that were lost: the writer was too slow, or could not write.";
    counter(text, ("cjs_proxy_access_log_dropped_lines_total", help), view, |totals| &totals.lost_lines);
}

fn backends(text: &mut Exposition, view: &View) {
    let help =
        "From the choice of a request's first backend to the end of the answer, other backends included.";
    histogram(text, ("cjs_proxy_backend_duration_seconds", help), view, |totals| &totals.backend_time);
    let help = "Further backends asked after one had failed.";
    counter(text, ("cjs_proxy_retries_total", help), view, |totals| &totals.retries);
    let help = "Backends found dead by requests sent to them; each core counts what it found.";
    counter(text, ("cjs_proxy_backend_deaths_total", help), view, |totals| &totals.deaths);
}

fn clients(text: &mut Exposition, view: &View) {
    let help = "Client connections taken.";
    counter(text, ("cjs_proxy_connections_total", help), view, |totals| &totals.connections);
    let help = "Client connections closed at once, as there were too many.";
    counter(text, ("cjs_proxy_connections_refused_total", help), view, |totals| &totals.refused);
    let help = "Client connections that are open.";
    gauge(text, ("cjs_proxy_connections_open", help), view, |core| core.open);
    let help = "TLS handshakes with clients, by result.";
    let mut family = text.family("cjs_proxy_tls_handshakes_total", Kind::Counter, help);
    family.sample(&[("result", "done")], sum(view, |totals| &totals.handshakes));
    family.sample(&[("result", "failed")], sum(view, |totals| &totals.failed_handshakes));
}

/// What one decision is counted by.
type OfTier = fn(&LimitCounters) -> &Counter;

fn limits(text: &mut Exposition, view: &View, tiers: &[Tier]) {
    let help = "Decisions of the rate limit, by tier; those of a dry run as if it were none.";
    let mut family = text.family("cjs_proxy_limit_decisions_total", Kind::Counter, help);
    let decisions: [(&str, OfTier); 3] = [
        ("admitted", |tier| &tier.admitted),
        ("refused", |tier| &tier.refused),
        ("unavailable", |tier| &tier.unavailable),
    ];
    for (place, tier) in tiers.iter().enumerate().take(crate::bounds::TIERS) {
        for (decision, of) in decisions {
            let count = sum(view, |totals| of(&totals.limits[place]));
            family.sample(&[("tier", &tier.name), ("decision", decision)], count);
        }
    }
}

fn cores(text: &mut Exposition, view: &View) {
    let help = "1 where the core can ask the route store or has routes of a table; else 0.";
    let is_usable = |core: &CoreView| u64::from(core.routes == Some(RoutesState::Usable));
    gauge(text, ("cjs_proxy_route_store_connected", help), view, is_usable);
    let help = "Heap that the core holds, lives that are still draining included.";
    gauge(text, ("cjs_proxy_core_memory_bytes", help), view, |core| core.held);
    let help = "How often the core was given another life, by reason.";
    let mut family = text.family("cjs_proxy_core_replacements_total", Kind::Counter, help);
    for (number, core) in numbered(view) {
        for reason in Reason::ALL {
            let labels = [("core", &*number), ("reason", reason.name())];
            family.sample(&labels, core.replaced[reason as usize]);
        }
    }
}

fn counter(
    text: &mut Exposition,
    (name, help): (&'static str, &str),
    view: &View,
    of: fn(&Account) -> &Counter,
) {
    let mut family = text.family(name, Kind::Counter, help);
    for (number, core) in numbered(view) {
        family.sample(&[("core", &number)], of(&core.totals).get());
    }
}

fn gauge(text: &mut Exposition, (name, help): (&'static str, &str), view: &View, of: fn(&CoreView) -> u64) {
    let mut family = text.family(name, Kind::Gauge, help);
    for (number, core) in numbered(view) {
        family.sample(&[("core", &number)], of(core));
    }
}

/// One histogram over all cores.
fn histogram(
    text: &mut Exposition,
    (name, help): (&'static str, &str),
    view: &View,
    of: fn(&Account) -> &Histogram,
) {
    let bucket = |place: usize| sum(view, |totals| &of(totals).buckets[place]);
    let bounded = BUCKETS_MICROS.iter().enumerate().map(|(place, &bound)| (bound, bucket(place)));
    let micros = sum(view, |totals| &of(totals).micros);
    text.family(name, Kind::Histogram, help).histogram(bounded, bucket(BUCKETS_MICROS.len()), micros);
}

fn sum(view: &View, of: impl Fn(&Account) -> &Counter) -> u64 {
    view.cores.iter().map(|core| of(&core.totals).get()).sum()
}

fn numbered(view: &View) -> impl Iterator<Item = (String, &CoreView)> {
    view.cores.iter().enumerate().map(|(number, core)| (number.to_string(), core))
}

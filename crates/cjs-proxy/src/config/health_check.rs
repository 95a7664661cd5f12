//! `healthCheck`: the built-in active checker.

use proxy_core::settings::{HealthCheck, Scope};
use redis_router::Source;

use super::report::Report;
use super::written::Written;

/// The checker the file asks for; `None`: none.
pub(crate) fn health_check(written: &Written, routes: &Source, report: &mut Report) -> Option<HealthCheck> {
    if !written.has_section("healthCheck") {
        return None;
    }
    if !matches!(routes, Source::Redis(_)) {
        let problem = "needs routes in Redis, where the marks of dead backends are kept; leave it out or set it to null";
        report.fault(written.spelling("healthCheck"), problem);
    }
    Some(HealthCheck {
        interval: written.seconds("healthCheck.interval"),
        timeout: written.seconds("healthCheck.timeout"),
        method: text(written, "healthCheck.method", "a method such as \"GET\"", is_method, report),
        path: text(
            written,
            "healthCheck.path",
            "a path that begins with \"/\", without spaces",
            is_path,
            report,
        ),
        host: text(written, "healthCheck.host", "a host name, with or without a port", is_host, report),
        rise: written.integer("healthCheck.rise") as u32,
        fall: written.integer("healthCheck.fall") as u32,
        scope: if written.choice("healthCheck.scope") == "all" { Scope::All } else { Scope::Dead },
    })
}

fn text(
    written: &Written,
    path: &'static str,
    accepted: &str,
    fits: fn(&str) -> bool,
    report: &mut Report,
) -> String {
    let text = written.text(path);
    if !fits(&text) {
        let problem = format!("\"{}\" is not accepted; accepted: {accepted}", text.escape_debug());
        report.fault(written.spelling(path), &problem);
    }
    text
}

/// A token in capitals (RFC 9110 section 9.1); CONNECT would ask for a tunnel.
fn is_method(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_uppercase() || b"-_".contains(&byte)) && text != "CONNECT"
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

fn is_host(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
}

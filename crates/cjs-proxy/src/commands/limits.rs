//! `limits`: shows what a client has used of its limits, or forgets it.

use std::net::IpAddr;
use std::time::Duration;

use redis_router::edit::{Purpose, Session, Used};
use redis_router::{ClientKey, Source};
use serde_json::{Value, json};

use super::routes::link;
use crate::cli::LimitsCommand;
use crate::config::{self, Machine};
use crate::error::Failure;

/// Longest wait for one answer of a server.
const PATIENCE: Duration = Duration::from_secs(5);

/// Does what was asked.
///
/// # Errors
/// A bad config file, one without limits, a store that is away, or nothing to forget.
pub(super) fn limits(command: LimitsCommand) -> Result<(), Failure> {
    let path = super::locate(command.config.as_deref())?;
    let settings = config::load(&path, Machine::here()).map_err(Failure::Config)?.settings;
    let (Some(limit), Source::Redis(redis)) = (&settings.rate_limit, &settings.routes) else {
        let problem = format!("{}: nobody is limited; rateLimit: {{}} limits clients", path.display());
        return Err(Failure::Limits(problem));
    };
    let client = client(&command.client);
    let dial = |endpoint: &_| link::dial(endpoint, &settings.store_trust, PATIENCE);
    let told = |failure: redis_router::edit::Failure| Failure::Limits(failure.to_string());
    let mut session = Session::open(redis, Purpose::Write, &dial).map_err(told)?;
    if command.reset {
        let tiers = session.reset_limits(&limit.rules, &client).map_err(told)?;
        if tiers.is_empty() {
            return Err(Failure::Limits(format!("{client} has used nothing in the last window")));
        }
        let text = format!("{client}: forgotten what was used of {}", tiers.join(", "));
        print(command.json, &text, || json!({ "client": client.to_string(), "reset": tiers }));
        return Ok(());
    }
    let used = session.limits(&limit.rules, &client).map_err(told)?;
    let window = limit.rules.window.as_secs_f64();
    let table = || json!({ "client": client.to_string(), "window": window, "tiers": rows(&used) });
    print(command.json, &text(&client, window, &used), table);
    Ok(())
}

/// An address, of IPv6 with or without `/64`; else a name.
fn client(typed: &str) -> ClientKey {
    let address = typed.strip_suffix("/64").unwrap_or(typed).trim_matches(['[', ']']);
    match address.parse::<IpAddr>() {
        Ok(address) => ClientKey::at(address),
        Err(_) => ClientKey::Identity(typed.into()),
    }
}

fn print(as_json: bool, text: &str, value: impl Fn() -> Value) {
    super::print(&if as_json { format!("{:#}", value()) } else { text.to_owned() });
}

fn text(client: &ClientKey, window: f64, used: &[Used]) -> String {
    let width = used.iter().map(|used| used.tier.len()).max().unwrap_or(0).max("TIER".len());
    let mut text = format!(
        "{client}, requests in {window} s\n{:width$} {:>13} {:>13} {:>13}  NEXT FREE IN",
        "TIER", "LIMIT", "USED", "LEFT"
    );
    for used in used {
        let left = used.limit - used.used;
        let resets = used.resets_in.map_or("-".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
        text += &format!("\n{:width$} {:>13} {:>13} {left:>13}  {resets}", used.tier, used.limit, used.used);
    }
    text
}

fn rows(used: &[Used]) -> Vec<Value> {
    let row = |used: &Used| {
        json!({
            "tier": used.tier,
            "limit": used.limit,
            "used": used.used,
            "left": used.limit - used.used,
            "resetsIn": used.resets_in.map(|time| time.as_secs_f64()),
        })
    };
    used.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::client;

    #[test]
    fn clients_as_typed() {
        for (typed, meant) in [
            ("10.0.0.1", "10.0.0.1"),
            ("2001:db8::5", "2001:db8::/64"),
            ("2001:db8::/64", "2001:db8::/64"),
            ("[::1]", "::/64"),
            ("gold", "id:gold"),
        ] {
            assert_eq!(client(typed).to_string(), meant);
        }
    }
}

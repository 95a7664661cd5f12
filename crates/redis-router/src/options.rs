//! What `options:<host>` asks for: a hash that older programs do not know. Pure.

/// How requests of a host are treated beyond its list of backends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// How a backend is chosen; `None`: as the configuration says.
    pub balance: Option<Balance>,
    /// A cookie keeps a client on its backend.
    pub sticky: bool,
    /// Plain HTTP is answered with a redirect to HTTPS.
    pub https_redirect: bool,
}

/// How one of several live backends is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Balance {
    /// At random, by weight.
    #[default]
    Random,
    /// In turn, by weight.
    RoundRobin,
    /// The one with fewer requests under way, of two chosen at random by weight.
    LeastRequests,
}

impl Options {
    /// Takes in one field of the hash.
    ///
    /// # Errors
    /// What is wrong with it, and the accepted form.
    pub(crate) fn take(&mut self, field: &str, value: &str) -> Result<(), String> {
        match (field, value) {
            ("balance", "random") => self.balance = Some(Balance::Random),
            ("balance", "roundRobin") => self.balance = Some(Balance::RoundRobin),
            ("balance", "leastRequests") => self.balance = Some(Balance::LeastRequests),
            ("sticky", "cookie") => self.sticky = true,
            ("httpsRedirect", "true" | "1" | "yes") => self.https_redirect = true,
            ("httpsRedirect", "false" | "0" | "no") => self.https_redirect = false,
            ("balance", _) => return Err(unknown(value, "random, roundRobin, leastRequests")),
            ("sticky", _) => return Err(unknown(value, "cookie")),
            ("httpsRedirect", _) => return Err(unknown(value, "true, false")),
            _ => return Err("unknown option; accepted: balance, sticky, httpsRedirect".into()),
        }
        Ok(())
    }
}

fn unknown(value: &str, accepted: &str) -> String {
    let value: String = value.chars().take(100).collect();
    format!("{value:?} is none of its values; accepted: {accepted}")
}

#[cfg(test)]
mod tests {
    use super::{Balance, Options};

    #[test]
    fn fields_and_values() {
        let read = |field, value| {
            let mut options = Options::default();
            options.take(field, value).map(|()| options)
        };
        for (value, balance) in [
            ("random", Balance::Random),
            ("roundRobin", Balance::RoundRobin),
            ("leastRequests", Balance::LeastRequests),
        ] {
            assert_eq!(read("balance", value).unwrap().balance, Some(balance));
        }
        assert!(read("sticky", "cookie").unwrap().sticky);
        for value in ["true", "1", "yes"] {
            assert!(read("httpsRedirect", value).unwrap().https_redirect);
        }
        for value in ["false", "0", "no"] {
            assert_eq!(read("httpsRedirect", value).unwrap(), Options::default());
        }
        for (field, value) in [
            ("balance", ""),
            ("balance", "Random"),
            ("sticky", "ip"),
            ("httpsRedirect", "maybe"),
            ("Sticky", "cookie"),
            ("", ""),
        ] {
            assert!(read(field, value).unwrap_err().contains("accepted: "), "{field} {value}");
        }
    }
}

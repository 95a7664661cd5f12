//! What `options:<host>` asks for: a hash that older programs do not know.

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

//! The certificates a process serves, and which of them a client gets: by the name it asks for, exact before wildcard
//! before the default. Made once and shared by all cores.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use crate::certificate::Certificate;
use crate::error::Error;
use crate::hello::{HTTP1, HTTP2, Hello, Protocol};

/// What holds for every connection, whatever its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Whether TLS 1.2 is spoken too.
    pub tls12: bool,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// Whether clients show certificates; `None`: they are not asked.
    pub members: Option<Members>,
}

/// Clients that show a certificate.
#[derive(Debug, Clone)]
pub struct Members {
    pub(crate) roots: Arc<RootCertStore>,
    /// Whether one that shows none is turned away.
    pub required: bool,
}

impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        self.required == other.required && self.roots.roots == other.roots.roots
    }
}

impl Eq for Members {}

/// Where a certificate is served.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// To whoever asks for no name, or for one that nothing else is for.
    Default,
    /// The same, but at one listening address (as the configuration names it).
    At(SocketAddr),
    /// To who asks for this host, or, with `*.` before it, for one with one label more.
    Host(String),
}

/// A certificate and where it is served; `None`: it is meant to be there and cannot be used.
pub type Entry = (Place, Option<Arc<Certificate>>);

/// A certificate as it is served.
pub struct Offer {
    certificate: Arc<Certificate>,
    place: Place,
    config: Arc<ServerConfig>,
    http2: bool,
}

/// All certificates of a process.
pub struct Served {
    terms: Terms,
    /// One for all: a ticket is good on every core, and after its certificate was replaced.
    tickets: Arc<dyn ProducesTickets>,
    verifier: Arc<dyn ClientCertVerifier>,
    entries: Vec<Entry>,
    /// Under its names: `a.example`, `*.example`.
    by_name: HashMap<String, Arc<Offer>>,
    default: Option<Arc<Offer>>,
    own: HashMap<SocketAddr, Arc<Offer>>,
}

impl Served {
    /// Serves the certificates of `entries`. Of two for one name the earlier counts.
    ///
    /// # Errors
    /// The authorities of clients are of no use, or this machine has no random numbers.
    pub fn new(terms: Terms, entries: Vec<Entry>) -> Result<Self, Error> {
        let (tickets, verifier) = (ring::Ticketer::new()?, verifier(terms.members.as_ref())?);
        Ok(Self::build((terms, tickets, verifier), entries, None))
    }

    /// The same after what was served before: where a certificate is of no use the one `before` stays, and tickets that
    /// were given out stay good. Not where other clients are let in than before: who has a ticket is asked for nothing
    /// else.
    pub fn after(&self, before: &Self) -> Self {
        let old: HashMap<&Place, &Arc<Certificate>> =
            before.entries.iter().filter_map(|(place, old)| Some((place, old.as_ref()?))).collect();
        let kept = |(place, certificate): &Entry| {
            let old = old.get(place).map(|old| Arc::clone(old));
            let certificate = match (certificate, old) {
                // The same one goes on being the same.
                (Some(new), Some(old)) if **new == *old => Some(old),
                (Some(new), _) => Some(Arc::clone(new)),
                (None, old) => old,
            };
            (place.clone(), certificate)
        };
        let entries = self.entries.iter().map(kept).collect();
        let same_members = self.terms.members == before.terms.members;
        let from = if same_members { before } else { self };
        let parts = (self.terms.clone(), Arc::clone(&from.tickets), Arc::clone(&from.verifier));
        Self::build(parts, entries, Some(before).filter(|before| before.terms == self.terms))
    }

    fn build(
        (terms, tickets, verifier): (Terms, Arc<dyn ProducesTickets>, Arc<dyn ClientCertVerifier>),
        entries: Vec<Entry>,
        before: Option<&Self>,
    ) -> Self {
        let mut served = Self {
            terms,
            tickets,
            verifier,
            entries: Vec::new(),
            by_name: HashMap::new(),
            default: None,
            own: HashMap::new(),
        };
        for (place, certificate) in &entries {
            let Some(certificate) = certificate else { continue };
            let same = before.and_then(|before| before.at(place));
            let same = same.filter(|offer| Arc::ptr_eq(&offer.certificate, certificate));
            let offer = same.map_or_else(|| served.offer(place.clone(), Arc::clone(certificate)), Arc::clone);
            match place {
                Place::Default => served.default = Some(offer),
                Place::At(address) => drop(served.own.insert(*address, offer)),
                Place::Host(host) => drop(served.by_name.insert(host.clone(), offer)),
            }
        }
        served.fill_names(&entries);
        served.entries = entries;
        served
    }

    /// Certificates for several names count for all of them, but what was put under a name goes first.
    fn fill_names(&mut self, entries: &[Entry]) {
        for place in entries.iter().map(|(place, _)| place).filter(|place| !matches!(place, Place::At(_))) {
            let Some(offer) = self.at(place).cloned() else { continue };
            for name in offer.certificate.names() {
                self.by_name.entry(name.clone()).or_insert_with(|| Arc::clone(&offer));
            }
        }
    }

    fn at(&self, place: &Place) -> Option<&Arc<Offer>> {
        match place {
            Place::Default => self.default.as_ref(),
            Place::At(address) => self.own.get(address),
            Place::Host(host) => self.by_name.get(host),
        }
    }

    /// Another certificate, from elsewhere, on the same terms.
    pub fn offer(&self, place: Place, certificate: Arc<Certificate>) -> Arc<Offer> {
        let versions: &[_] = if self.terms.tls12 { &[&TLS13, &TLS12] } else { &[&TLS13] };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("the provider has suites for both versions")
            .with_client_cert_verifier(Arc::clone(&self.verifier))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate.key())));
        config.ticketer = Arc::clone(&self.tickets);
        // Sessions live in tickets alone: what one core kept another would not find.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols =
            if self.terms.http2 { vec![HTTP2.into(), HTTP1.into()] } else { vec![HTTP1.into()] };
        Arc::new(Offer { certificate, place, config: Arc::new(config), http2: self.terms.http2 })
    }

    /// What a client gets that asks for `name`, in lower case, at the listening address `at`. `None`: nothing is served
    /// to it.
    pub fn choose(&self, name: Option<&str>, at: &SocketAddr) -> Option<&Arc<Offer>> {
        let default = self.own.get(at).or(self.default.as_ref());
        let Some(name) = name else { return default };
        let find = |name: &str| {
            let by_default =
                || default.filter(|offer| offer.certificate.names().iter().any(|own| own == name));
            self.by_name.get(name).or_else(by_default)
        };
        let wildcard = || find(&format!("*{}", &name[name.find('.')?..]));
        find(name).or_else(wildcard).or(default)
    }

    /// Whether clients may be asked for certificates.
    pub fn asks_members(&self) -> bool {
        self.terms.members.is_some()
    }

    /// How many certificates there are.
    pub fn len(&self) -> usize {
        self.entries.iter().filter(|(_, certificate)| certificate.is_some()).count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Offer {
    /// What its connections begin with.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// What is spoken with the client that said `hello`. One that can speak neither is turned away in the handshake.
    pub fn protocol(&self, hello: &Hello) -> Protocol {
        if self.http2 && hello.offers_http2 { Protocol::Http2 } else { Protocol::Http1 }
    }

    /// Whether it is for `host`, a name or an address without a port.
    pub fn covers(&self, host: &str) -> bool {
        self.certificate.covers(host)
    }

    /// Whether `other` is served in the same place: the same one, or the one that came after it.
    pub fn stands_for(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

/// One for the process.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}

fn verifier(members: Option<&Members>) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let Some(members) = members else { return Ok(WebPkiClientVerifier::no_client_auth()) };
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&members.roots), provider());
    if !members.required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| Error::Protocol(rustls::Error::General(error.to_string())))
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { certificate, place, .. } = self;
        f.debug_struct("Offer")
            .field("place", place)
            .field("certificate", certificate)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("certificates", &self.len()).finish_non_exhaustive()
    }
}

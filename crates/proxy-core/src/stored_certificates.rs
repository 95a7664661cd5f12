//! Certificates from the route store, read and checked once on each core, for as long as they stay what they are.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use redis_router::Pem;
use redis_router::bounds::CERTIFICATES_MAX;
use tls::{Certificate, Offer, Place, Served};

use crate::clock;

/// Those of one core.
#[derive(Default)]
pub(crate) struct Stored(RefCell<Parsed>);

#[derive(Default)]
struct Parsed {
    /// What they are served among: other terms make other offers, and would be kept for each that nobody asks for again.
    served: Option<Arc<Served>>,
    certificates: HashMap<Box<str>, Stood, foldhash::fast::RandomState>,
}

/// What stood in the store, and what a client gets; `None`: nothing of use.
type Stood = (Rc<Pem>, Option<Arc<Offer>>);

impl Stored {
    /// What `pem` gives a client. Where it is of no use, which is said, that is what stood in its place before: whoever
    /// writes the certificate and then its key breaks the pair for a moment. `None`: nothing did.
    pub(crate) fn offer(&self, pem: &Rc<Pem>, served: &Arc<Served>) -> Option<Arc<Offer>> {
        let mut parsed = self.0.borrow_mut();
        if !parsed.served.as_ref().is_some_and(|known| Arc::ptr_eq(known, served)) {
            *parsed = Parsed { served: Some(Arc::clone(served)), ..Parsed::default() };
        }
        if let Some((known, offer)) = parsed.certificates.get(&pem.source)
            && Rc::ptr_eq(known, pem)
        {
            return offer.clone();
        }
        if parsed.certificates.len() >= CERTIFICATES_MAX {
            // The store's own rows are as many: those that are asked for come back.
            parsed.certificates.clear();
        }
        let before = parsed.certificates.remove(&pem.source).and_then(|(_, offer)| offer);
        let offer = read(pem, served, before);
        parsed.certificates.insert(pem.source.clone(), (Rc::clone(pem), offer.clone()));
        offer
    }

    /// Lets go of what can be read again.
    pub(crate) fn clear(&self) {
        self.0.take();
    }
}

fn read(pem: &Pem, served: &Served, before: Option<Arc<Offer>>) -> Option<Arc<Offer>> {
    let (chain, key) = (format!("{} certificate", pem.source), format!("{} key", pem.source));
    let chain = tls::Pem { origin: &chain, text: &pem.certificate };
    let parsed = Certificate::parse(&[chain], tls::Pem { origin: &key, text: &pem.key });
    let certificate = match parsed {
        Ok(certificate) => certificate,
        Err(error) => {
            let instead = if before.is_some() { "the one before it serves on" } else { "it is not served" };
            log::error!("certificate in Redis: {error}; {instead}");
            return before;
        }
    };
    for doubt in certificate.doubts(clock::unix_seconds()) {
        log::warn!("certificate in Redis: {}: {doubt}", pem.source);
    }
    // Under its key: whoever asks for a host of it may go on with what replaces it.
    Some(served.offer(Place::Host(pem.source.to_string()), Arc::new(certificate)))
}

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
pub(crate) struct Stored(RefCell<HashMap<Box<str>, Parsed, foldhash::fast::RandomState>>);

struct Parsed {
    pem: Rc<Pem>,
    /// What it is served among: other terms make another offer.
    served: Arc<Served>,
    /// `None`: it is of no use.
    offer: Option<Arc<Offer>>,
}

impl Stored {
    /// What `pem` gives a client; `None`: it is of no use, which has been said.
    pub(crate) fn offer(&self, pem: &Rc<Pem>, served: &Arc<Served>) -> Option<Arc<Offer>> {
        let mut all = self.0.borrow_mut();
        if let Some(known) = all.get(&pem.source)
            && Rc::ptr_eq(&known.pem, pem)
            && Arc::ptr_eq(&known.served, served)
        {
            return known.offer.clone();
        }
        if all.len() >= CERTIFICATES_MAX {
            // The store's own rows are as many: those that are asked for come back.
            all.clear();
        }
        let offer = read(pem, served);
        let parsed = Parsed { pem: Rc::clone(pem), served: Arc::clone(served), offer: offer.clone() };
        all.insert(pem.source.clone(), parsed);
        offer
    }

    /// Lets go of what can be read again.
    pub(crate) fn clear(&self) {
        self.0.take();
    }
}

fn read(pem: &Pem, served: &Served) -> Option<Arc<Offer>> {
    let (chain, key) = (format!("{} certificate", pem.source), format!("{} key", pem.source));
    let chain = tls::Pem { origin: &chain, text: &pem.certificate };
    let parsed = Certificate::parse(&[chain], tls::Pem { origin: &key, text: &pem.key });
    let certificate = match parsed {
        Ok(certificate) => certificate,
        Err(error) => {
            log::error!("certificate in Redis: {error}; it is not served");
            return None;
        }
    };
    for doubt in certificate.doubts(clock::unix_seconds()) {
        log::warn!("certificate in Redis: {}: {doubt}", pem.source);
    }
    // Under its key: whoever asks for a host of it may go on with what replaces it.
    Some(served.offer(Place::Host(pem.source.to_string()), Arc::new(certificate)))
}

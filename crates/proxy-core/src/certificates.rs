//! Which certificate a client gets. One in a file under just the name that is asked for goes first, then what the store holds
//! for the name or for its parent, then a wildcard in a file or the default. The store may have to be waited for, at most as
//! for a route; while it is away what is known of it serves on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use redis_router::bounds::CERTIFICATES_MAX;
use redis_router::{Pem, Unavailable};
use tls::{Certificate, Offer, Place, Served};

use crate::clock;
use crate::context::Core;

/// What a client gets that asks for `name`, in lower case and without a port, at the listening address that the settings
/// call `at`. `None`: nothing is for it, and there is no default.
pub(crate) async fn choose(core: &Core, name: Option<&str>, at: &SocketAddr) -> Option<Arc<Offer>> {
    let rules = core.rules();
    let https = rules.settings.https.as_ref()?;
    let served = &https.served;
    if let Some(name) = name.filter(|_| https.from_store) {
        if let Some(exact) = served.exact(name) {
            return Some(Arc::clone(exact));
        }
        match core.router.certificate(name).await {
            Ok(Some(pem)) => {
                if let Some(offer) = core.stored.offer(&pem, served) {
                    return Some(offer);
                }
            }
            Ok(None) => {}
            Err(Unavailable::Away { .. }) => {}
            Err(unavailable) => core.complaints.log(format_args!("certificate for {name}: {unavailable}")),
        }
    }
    served.choose(name, at).map(Arc::clone)
}

/// Certificates from the store that were read and checked, on one core.
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
    fn offer(&self, pem: &Rc<Pem>, served: &Arc<Served>) -> Option<Arc<Offer>> {
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

//! Which certificate a client gets. One in a file under just the name that is asked for goes first, then what the store holds
//! for the name or for its parent, then a wildcard in a file or the default. The store may have to be waited for, at most as
//! for a route; while it is away what is known of it serves on.

use std::net::SocketAddr;
use std::sync::Arc;

use redis_router::Unavailable;
use tls::Offer;

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

//! Which certificate a client gets. It may have to be waited for, though those in files are at hand: whatever else
//! certificates are kept in is asked here, between what is for a name exactly and what a wildcard or the default is for.

use std::net::SocketAddr;
use std::sync::Arc;

use tls::Offer;

use crate::context::Core;

/// What a client gets that asks for `name`, in lower case and without a port, at the listening address that the settings
/// call `at`. `None`: nothing is for it, and there is no default.
pub(crate) async fn choose(core: &Core, name: Option<&str>, at: &SocketAddr) -> Option<Arc<Offer>> {
    let rules = core.rules();
    let https = rules.settings.https.as_ref()?;
    https.served.choose(name, at).map(Arc::clone)
}

//! Whether a client is served at all. Knows nothing of routes.

use super::Exchange;
use crate::error::Failure;

impl Exchange<'_> {
    /// Lets the client in unless its address is denied.
    ///
    /// # Errors
    /// [`Failure::Denied`].
    pub(super) fn admit(&self) -> Result<(), Failure> {
        let sets = self.core.router.addresses();
        if sets.deny_nobody() || !sets.denies(self.client_address()) {
            return Ok(());
        }
        self.core.account.denied.add(1);
        Err(Failure::Denied)
    }
}

//! How many clients shake hands at once: each costs memory and, half-open, nothing but that to the client.

use std::cell::Cell;

use crate::bounds::HANDSHAKES_AT_ONCE;

/// Those of one core.
#[derive(Default)]
pub(crate) struct Handshakes {
    under_way: Cell<usize>,
    /// Connections that were closed for want of a place in this second.
    refused: Cell<u32>,
}

/// A place among them, as long as it is held.
pub(crate) struct Place<'a>(&'a Handshakes);

impl Handshakes {
    /// A place for one more; `None`: there is none, and the connection is to be closed.
    pub(crate) fn begin(&self) -> Option<Place<'_>> {
        if self.under_way.get() >= HANDSHAKES_AT_ONCE {
            self.refused.set(self.refused.get().saturating_add(1));
            return None;
        }
        self.under_way.set(self.under_way.get() + 1);
        Some(Place(self))
    }

    /// Says how many were refused. To be called about once a second.
    pub(crate) fn tick(&self) {
        match self.refused.take() {
            0 => {}
            count => log::warn!(
                "{count} connections over TLS were closed at once: {HANDSHAKES_AT_ONCE} handshakes are under way on \
                 this core"
            ),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_once_it_is_given_back() {
        let handshakes = Handshakes::default();
        let mut places: Vec<_> = (0..HANDSHAKES_AT_ONCE).map(|_| handshakes.begin().unwrap()).collect();
        assert!(handshakes.begin().is_none());
        assert_eq!(handshakes.refused.get(), 1);
        places.pop();
        assert!(handshakes.begin().is_some());
    }
}

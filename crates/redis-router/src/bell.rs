//! Waking tasks of the same core: whoever waits names a condition, whoever changes something rings.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// Wakes every waiter when rung; each looks itself whether its condition holds.
#[derive(Default)]
pub(crate) struct Bell {
    waiting: RefCell<Slab<Waker>>,
}

impl Bell {
    pub(crate) fn ring(&self) {
        for (_, waker) in self.waiting.borrow().iter() {
            waker.wake_by_ref();
        }
    }

    /// Completes with what `check` finds, at once or after a ring. May be dropped at any time.
    pub(crate) fn until<T, C: FnMut() -> Option<T> + Unpin>(&self, check: C) -> Until<'_, C> {
        Until { bell: self, check, place: None }
    }

    /// As `until`, for a condition without a result.
    pub(crate) async fn until_true(&self, mut check: impl FnMut() -> bool + Unpin) {
        self.until(|| check().then_some(())).await;
    }

    pub(crate) fn waiters(&self) -> usize {
        self.waiting.borrow().len()
    }
}

/// A waiter at a bell.
pub(crate) struct Until<'a, C> {
    bell: &'a Bell,
    check: C,
    place: Option<usize>,
}

impl<T, C: FnMut() -> Option<T> + Unpin> Future for Until<'_, C> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if let Some(found) = (self.check)() {
            return Poll::Ready(found);
        }
        let waker = context.waker().clone();
        let mut waiting = self.bell.waiting.borrow_mut();
        match self.place {
            Some(place) => waiting[place] = waker,
            None => {
                let place = waiting.insert(waker);
                drop(waiting);
                self.place = Some(place);
            }
        }
        Poll::Pending
    }
}

impl<C> Drop for Until<'_, C> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.bell.waiting.borrow_mut().remove(place);
        }
    }
}

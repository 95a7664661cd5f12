//! The few calls on raw sockets that need a borrowed descriptor. The only unsafe code of this crate.
#![allow(unsafe_code, reason = "a descriptor that monoio owns can only be borrowed by number")]

use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

/// Makes the next close of `fd` a reset. `fd` must be open: callers own the half that keeps it so.
pub(crate) fn linger_zero(fd: RawFd) {
    // SAFETY: the caller's WriteHalf holds the socket open for the length of this call, and the borrow ends here.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    // Fails only for a peer that is gone, for which there is nothing to reset.
    let _ = socket2::SockRef::from(&borrowed).set_linger(Some(Duration::ZERO));
}

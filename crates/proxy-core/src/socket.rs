//! The few calls on raw sockets that need a borrowed descriptor. The only unsafe code of this crate.
#![allow(unsafe_code, reason = "a descriptor that monoio owns can only be borrowed by number")]

use std::os::fd::{BorrowedFd, RawFd};

use monoio::buf::IoBuf;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollEvent};

/// Resets the connection on `fd` at once. Setting SO_LINGER to zero would not do: monoio's write half ends the
/// connection in order when it is dropped. Connecting to no address dissolves a TCP connection by a reset
/// (connect(2)). `fd` must be open.
pub(crate) fn reset(fd: RawFd) {
    // SAFETY: sockaddr is plain old data, for which all zeroes is a value.
    let mut nowhere: libc::sockaddr = unsafe { std::mem::zeroed() };
    nowhere.sa_family = libc::AF_UNSPEC as libc::sa_family_t;
    // SAFETY: `nowhere` lives through the call and its size is given; a bad `fd` is an error, not undefined.
    // The only error is that the peer is gone already.
    let _ = unsafe { libc::connect(fd, &raw const nowhere, size_of::<libc::sockaddr>() as libc::socklen_t) };
}

/// For each of `sockets`, whether its peer has reset it. All must be open.
pub(crate) fn broken(sockets: &[RawFd]) -> Vec<bool> {
    let watch = |&fd: &RawFd| {
        // SAFETY: the caller's connections hold these sockets open for the length of this call, and no borrow
        // outlives it.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        PollFd::new(borrowed, PollFlags::empty())
    };
    let mut polled: Vec<PollFd<'_>> = sockets.iter().map(watch).collect();
    // Without a time-out the only errors are of memory; then nobody is found broken this time.
    let _ = poll(&mut polled, PollTimeout::ZERO);
    let is_broken =
        |polled: &PollFd<'_>| polled.revents().is_some_and(|events| events.contains(PollFlags::POLLERR));
    polled.iter().map(is_broken).collect()
}

/// Has `epoll` announce the events of the socket `fd`, which must be open. It is forgotten when the socket closes.
///
/// # Errors
/// The kernel's limit of watches, or memory.
pub(crate) fn watch(epoll: &Epoll, fd: RawFd, event: EpollEvent) -> Result<(), Errno> {
    // SAFETY: the caller holds the socket open for the length of this call, and no borrow outlives it.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    epoll.add(socket, event)
}

/// Has `epoll` announce other events of the socket `fd`, which must be open and watched.
///
/// # Errors
/// Memory.
pub(crate) fn watch_anew(epoll: &Epoll, fd: RawFd, mut event: EpollEvent) -> Result<(), Errno> {
    // SAFETY: as in `watch`.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    epoll.modify(socket, &mut event)
}

/// The content of a buffer that is about to be written.
pub(crate) fn content(buffer: &impl IoBuf) -> &[u8] {
    // SAFETY: an `IoBuf` vouches that so many bytes from there on are initialized and stay as long as it is borrowed.
    unsafe { std::slice::from_raw_parts(buffer.read_ptr(), buffer.bytes_init()) }
}

/// Appends at most `most` bytes that have arrived on `fd`, which must be open. `into` must have room for them.
///
/// # Errors
/// `EAGAIN` where nothing has arrived; else the connection's end.
pub(crate) fn receive(fd: RawFd, into: &mut Vec<u8>, most: usize) -> Result<usize, Errno> {
    let room = into.spare_capacity_mut();
    let most = most.min(room.len());
    // SAFETY: `room` is writable for `most` bytes and nothing else refers to it.
    let read = unsafe { libc::recv(fd, room.as_mut_ptr().cast(), most, libc::MSG_DONTWAIT) };
    let count = Errno::result(read)? as usize;
    // SAFETY: the kernel has written `count` bytes behind the present length, and `count <= most`.
    unsafe { into.set_len(into.len() + count) };
    Ok(count)
}

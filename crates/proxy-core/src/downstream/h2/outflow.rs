//! What the streams of one connection share: the bulk buffers, what they have on its way to the socket, which is bounded
//! whatever the client's windows say, and how much they have carried.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Buf;

use crate::bounds::{H2_OUTFLOW_BYTES, H2_PAYLOAD_BYTES_KEPT, H2_PAYLOADS_KEPT};
use crate::buffer::{Buffer, BulkBuffers};

/// Bytes that wait for the socket of one connection.
pub(crate) struct Outflow {
    waiting: Cell<usize>,
    carried: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
    bulk: Rc<BulkBuffers>,
    /// Small ones that were sent.
    spare: RefCell<Vec<Vec<u8>>>,
}

impl Outflow {
    pub(crate) fn new(bulk: Rc<BulkBuffers>) -> Self {
        let (waiting, carried) = (Cell::new(0), Cell::new(0));
        Self { waiting, carried, wakers: RefCell::default(), bulk, spare: RefCell::default() }
    }

    /// An empty vector for a small payload.
    pub(crate) fn vector(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a payload's memory back.
    fn take_back(&self, buffer: Buffer) {
        let mut spare = self.spare.borrow_mut();
        let (mut bytes, start) = buffer.into_parts();
        let is_small = (1..=H2_PAYLOAD_BYTES_KEPT).contains(&bytes.capacity());
        if is_small && spare.len() < H2_PAYLOADS_KEPT {
            bytes.clear();
            spare.push(bytes);
        } else {
            self.bulk.put(Buffer::from_vec(bytes, start));
        }
    }

    /// Frees what is kept for responses to come.
    pub(crate) fn rest(&self) {
        self.spare.take();
    }

    pub(crate) fn bulk(&self) -> &Rc<BulkBuffers> {
        &self.bulk
    }

    /// Counts bytes that a request or response is made of.
    pub(crate) fn count(&self, bytes: usize) {
        self.carried.set(self.carried.get() + bytes as u64);
    }

    /// Bytes counted so far.
    pub(crate) fn carried(&self) -> u64 {
        self.carried.get()
    }

    /// Waits until there is place for more. What is sent then may go beyond it once.
    pub(crate) fn poll_place(&self, context: &Context<'_>) -> Poll<()> {
        if self.waiting.get() < H2_OUTFLOW_BYTES {
            return Poll::Ready(());
        }
        let mut wakers = self.wakers.borrow_mut();
        if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            wakers.push(context.waker().clone());
        }
        Poll::Pending
    }

    fn leave(&self, bytes: usize) {
        self.waiting.set(self.waiting.get() - bytes);
        if self.waiting.get() < H2_OUTFLOW_BYTES {
            self.wakers.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// Payload on its way. Once it is sent, or given up, its buffer goes back to where it came from.
pub(crate) struct Payload {
    buffer: Buffer,
    counted: usize,
    outflow: Rc<Outflow>,
}

impl Payload {
    pub(crate) fn new(buffer: Buffer, outflow: Rc<Outflow>) -> Self {
        let counted = buffer.len();
        outflow.waiting.set(outflow.waiting.get() + counted);
        outflow.count(counted);
        Self { buffer, counted, outflow }
    }
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        self.buffer.len()
    }

    fn chunk(&self) -> &[u8] {
        self.buffer.as_slice()
    }

    fn advance(&mut self, count: usize) {
        self.buffer.consume(count);
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        self.outflow.take_back(std::mem::take(&mut self.buffer));
        self.outflow.leave(self.counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_full_until_what_waits_is_gone() {
        let outflow = Rc::new(Outflow::new(Rc::default()));
        let context = Context::from_waker(Waker::noop());
        let payload = |bytes| Payload::new(Buffer::from_vec(vec![0; bytes], 0), Rc::clone(&outflow));
        let mut first = payload(H2_OUTFLOW_BYTES - 1);
        assert!(outflow.poll_place(&context).is_ready());
        let second = payload(1);
        assert!(outflow.poll_place(&context).is_pending());
        first.advance(1000);
        assert!(outflow.poll_place(&context).is_pending(), "a frame is whole or not gone");
        drop(second);
        assert!(outflow.poll_place(&context).is_ready());
        drop(first);
        assert_eq!(outflow.waiting.get(), 0);
    }
}

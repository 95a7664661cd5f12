//! One connection to a backend.

use std::rc::Rc;

use crate::bounds::UPSTREAM_HEAD_BYTES;
use crate::buffer::{Buffer, BulkBuffers};
use crate::http::response::ResponseHead;
use crate::message_reader::MessageReader;
use crate::stream::{ReadHalf, WriteHalf};

/// An open connection, idle or in use. Dropping it closes it.
pub(crate) struct Upstream {
    pub(crate) messages: MessageReader,
    pub(crate) write: WriteHalf,
    /// Whether it has served a request before: its backend may have closed it in the meantime.
    pub(crate) reused: bool,
    /// Response heads are parsed into this. Kept from response to response.
    pub(crate) head: ResponseHead,
    /// Request heads are encoded here. Kept from request to request.
    scratch: Vec<u8>,
}

impl Upstream {
    /// Over both halves of a connection that is ready for a request.
    pub(crate) fn new((read, write): (ReadHalf, WriteHalf), bulk: Rc<BulkBuffers>) -> Self {
        let mut messages = MessageReader::new(read, UPSTREAM_HEAD_BYTES, bulk);
        // A backend speaks when it is asked.
        messages.rest();
        Self { messages, write, reused: false, head: ResponseHead::default(), scratch: Vec::new() }
    }

    /// The buffer that a request head is encoded into.
    pub(crate) fn take_scratch(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.scratch)
    }

    /// Takes the buffer back once it is written.
    pub(crate) fn give_scratch(&mut self, buffer: Buffer) {
        let (scratch, _) = buffer.into_parts();
        if scratch.capacity() <= UPSTREAM_HEAD_BYTES {
            self.scratch = scratch;
        }
    }
}

//! HTTP/2 towards a client: one stream's request body and response. The frames are the h2 crate's.

pub(crate) mod link;
pub(crate) mod outflow;
pub(crate) mod reader;
pub(crate) mod writer;

//! HTTP/1.1 messages as bytes: heads parsed into ranges, bodies decoded in place, heads written. Pure: no
//! socket, no clock, no settings beyond sizes.

pub mod body;
pub mod encode;

pub(crate) mod fault;
pub(crate) mod h2_request;
pub(crate) mod h2_response;
pub mod head;
pub(crate) mod headers;
pub(crate) mod host;
pub mod request;
pub mod response;
pub(crate) mod span;

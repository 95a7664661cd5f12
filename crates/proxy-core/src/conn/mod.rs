//! A client's connection, by protocol.

pub(crate) mod h1;

//! A client's connection, by protocol.

pub(crate) mod h1;
pub(crate) mod https;

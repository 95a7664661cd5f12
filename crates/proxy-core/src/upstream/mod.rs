//! Connections to backends: resolved, opened, pooled.

pub(crate) mod connect;
pub(crate) mod connection;
pub(crate) mod pool;
pub(crate) mod resolve;

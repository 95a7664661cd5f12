//! TLS as state machines over owned buffers: who is trusted, and one connection's records. No socket, no runtime,
//! no file but certificates; knows neither routes nor HTTP.

mod bounds;
mod error;
mod session;
mod trust;

pub use error::Error;
pub use session::{Handshake, Read, Session};
pub use trust::{Clients, Trust, Verification};

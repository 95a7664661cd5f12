//! TLS as state machines over owned buffers: who is trusted, and one connection's records. No socket, no runtime,
//! no file but certificates; knows neither routes nor HTTP.

mod bounds;
mod certificate;
mod der;
mod error;
mod files;
mod hello;
mod member;
mod served;
mod session;
mod subject;
mod trust;
mod validity;

pub use certificate::{Certificate, Pem};
pub use error::Error;
pub use files::{Files, Pair, Reading, Traces, is_of_pair};
pub use hello::{Hello, Listener, Misheard, Protocol, UNRECOGNIZED_NAME};
pub use member::Member;
pub use served::{Entry, Members, Offer, Place, Served, Terms};
pub use session::{Handshake, Read, Session};
pub use trust::{Clients, Trust, Verification};

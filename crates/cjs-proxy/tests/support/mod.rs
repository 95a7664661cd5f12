//! What every scenario needs: a proxy, a Redis of its own, scripted backends, a raw client, and waiting.

pub(crate) mod admin;
pub(crate) mod asking;
#[path = "../../../tls/tests/scene/authority.rs"]
pub(crate) mod authority;
pub(crate) mod backend;
pub(crate) mod client;
pub(crate) mod command;
pub(crate) mod frames;
pub(crate) mod hchecker;
pub(crate) mod message;
pub(crate) mod metrics;
pub(crate) mod mortal;
pub(crate) mod over_tls;
pub(crate) mod programs;
pub(crate) mod proxy;
pub(crate) mod python;
pub(crate) mod redis;
pub(crate) mod relay;
pub(crate) mod scene;
pub(crate) mod secure_scene;
pub(crate) mod secured;
pub(crate) mod streams;
pub(crate) mod wait;

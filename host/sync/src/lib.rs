//! The thin host: channels of signed heads and immutable blobs, users' states from events, shared state on its refresh.
//!
//! It holds no logic of decisions: states are built by the engine's own `apply`, heads are checked by the rules of the
//! followers, and an engine loads what is deployed before it is served.
#![forbid(unsafe_code)]

pub mod channel;
pub mod config;
pub mod directory;
pub mod http;
pub mod key;
mod metrics;
pub mod offers;
mod pace;
pub mod publish;
pub mod refresh;
#[cfg(test)]
mod sample;
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod token;
pub mod users;

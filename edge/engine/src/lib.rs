//! The decision function of Selvedge.
//!
//! A decision is a function of its request (time, context, candidates, user state), of a bundle (features, models,
//! policy) and of a shared state (item fields, global counters). This crate knows no clock, no I/O, no randomness and
//! no platform: the same input gives the same bytes natively, under wasmtime, in browsers and in Workers.
//!
//! Loading may fail, deciding may not: [`Engine::load`] proves that every index is in range, and
//! [`Engine::decide`] is total. Its worst answer is the input order and the reason for it.
//!
//! ```
//! use selvedge_engine::{Engine, Limits};
//!
//! let mut engine = Engine::new(Limits::default());
//! let decision = engine.decide(b"not a request");
//! let decision = selvedge_format::decision::DecisionView::parse(decision).unwrap();
//! assert_eq!(decision.status.names(), ("fallback", Some("not-loaded")));
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod buffer;
mod cascade;
mod each;
mod engine;
mod explain;
pub mod feature;
mod limits;
pub mod math;
pub mod model;
mod offer;
mod order;
pub mod rank;
mod snapshot;
pub mod state;

pub use engine::{Engine, FeatureMatrix, Loaded};
pub use limits::Limits;
pub use offer::Campaigns;
pub use snapshot::{EXPLORE_COST, Snapshot};

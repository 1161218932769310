//! Follows a channel: which head is believed, when to ask again, when to go back, and what to say about it.
//!
//! The rules are functions without a clock and without I/O, written down in `docs/follow.md` and pinned by one table of
//! cases, `tests/cases/v1.json`, that every follower passes: this crate, the npm package, the Worker.
#![forbid(unsafe_code)]

mod judge;
mod trust;

pub use judge::{Refusal, judge};
pub use trust::{Keys, NotAKey, PublicKey};

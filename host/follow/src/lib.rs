//! Follows a channel: which head is believed, when to ask again, when to go back, and what to say about it.
//!
//! The rules are functions without a clock and without I/O, written down in `docs/follow.md` and pinned by one table of
//! cases, `tests/cases/v1.json`, that every follower passes: this crate, the npm package, the Worker. The feature `client`
//! adds a follower that works: HTTP, server-sent events, the last good bundle on disk.
#![forbid(unsafe_code)]

#[cfg(feature = "client")]
pub mod client;
mod guard;
mod judge;
mod schedule;
mod status;
mod trust;

pub use guard::Tally;
pub use judge::{Refusal, judge};
pub use schedule::{POLL_MS, next_poll_ms};
pub use status::{Known, State, in_rollout, status};
pub use trust::{Keys, NotAKey, PublicKey};

//! A small world in which budgets are spent by hundreds of edges and everything that can go wrong does: edges crash or are
//! lost for good, messages are lost, doubled, late and out of order, clocks are wrong and jump, prices are old and too low,
//! the host dies before it commits.
//!
//! The rules are those of `selvedge-budget`, the very code that host and Worker run; everything around them is made up
//! here, from one seed per world. A world keeps its own books of every offer that left an edge and of every discount that
//! an order got, and compares after each of them: what is settled and what can still be redeemed is within the budget, and
//! no offer serves two orders.
//!
//! Deterministic simulation as FoundationDB does it: one thread, a heap of events, and a seed that says it all.
#![forbid(unsafe_code)]

mod books;
mod demand;
mod network;
mod outcome;
mod run;
mod world;

pub use outcome::{Outcome, Summary};
pub use run::run;
pub use world::{Faults, Sabotage, World};

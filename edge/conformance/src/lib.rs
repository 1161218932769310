//! The conformance corpus: bundles, shared states and requests, and the decisions that they must give.
//!
//! [`cases`] makes the inputs, always the same ones; [`Corpus`] is their file, with the outcome of the engine of this
//! machine; [`trace`] adds what lies between input and decision, so that a difference can be traced to a feature.
//! `docs/conformance.md` is the normative page.
#![forbid(unsafe_code)]

mod cases;
mod file;
mod offers;
mod outcome;
mod world;

pub use cases::{Case, cases};
pub use file::{Corpus, NONE, StoredCase};
pub use outcome::{Outcome, outcome, trace};

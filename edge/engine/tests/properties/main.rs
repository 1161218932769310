//! Properties of the decision function, each against an oracle that is too plain to be wrong in the same way.
#![allow(
    clippy::disallowed_methods,
    reason = "oracles may use the platform's functions: they compare with a tolerance"
)]

mod alloc;
mod cascade;
mod decide;
mod feature;
mod graph;
mod offer;
mod predict;
mod slate;
mod state;
mod support;
mod trees;

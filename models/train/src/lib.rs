//! Everything that happens before a model is published: events are read, replayed into features, learned from, and judged.
//!
//! This crate turns a [`dataset`] into something a ranker can be trained and scored on, and says how good the ranker is:
//! [`metric`] holds the measures of a ranking, [`bootstrap`] the uncertainty of their means, [`report`] the page that shows
//! both; [`ope`] judges a policy on the log of another one. It runs off-line and natively; nothing here is ever linked into an edge. It prints nothing: progress goes to a
//! callback, results are values, and failures are typed errors.

pub mod baseline;
pub mod bootstrap;
pub mod dataset;
pub mod learn;
pub mod metric;
pub mod ope;
pub mod replay;
pub mod report;

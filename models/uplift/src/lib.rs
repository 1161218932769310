//! Response models and their evaluation: does targeting pay, and which policy is shipped.
#![forbid(unsafe_code)]

pub mod metric;
pub mod trial;

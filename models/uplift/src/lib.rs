//! Response models and their evaluation: does targeting pay, and which policy is shipped.
//!
//! Targeting by effect beats a plain response model where effect and response have little to do with each other, and loses to
//! it elsewhere; giving everybody the same may beat both. So nothing is assumed: a [`trial`] with known propensities is
//! learned from in several ways ([`fit`]), each becomes a [`policy`] at a budget, and a comparison decides. Measures name
//! their definition ([`metric`]), estimates come with intervals, and a trial that is too small is told so.
//!
//! This crate runs off-line. What leaves it for the edge is a [`model::ResponseModel`] as a [`file`](mod@file): plain linear
//! models or trees, and two numbers of calibration per arm; and a [`plan`]: the price at which it spends a budget. It knows
//! no cart and no bundle, and prints nothing.
#![forbid(unsafe_code)]

pub mod compare;
mod effect;
pub mod file;
pub mod fit;
pub mod hillstrom;
mod logistic;
pub mod metric;
pub mod model;
pub mod plan;
pub mod policy;
pub mod redemption;
pub mod report;
mod specialise;
pub mod table;
pub mod thornton;
pub mod trial;

pub use specialise::SpecialiseError;

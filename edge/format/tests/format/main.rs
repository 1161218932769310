//! The byte formats against their promises: what is written can be read, what is read has one form, released bytes stay
//! readable, hostile bytes are refused, and the pages in `docs/format` quote the constants in force.
//!
//! `SELVEDGE_BLESS=1 cargo test -p selvedge-format` rewrites the golden files of the current versions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod content;
mod golden;
mod hostile;
mod mutation;
mod pages;
mod regression;
mod round_trip;
mod sample;
mod strategy;

//! Requests and decisions on their way in and out of the engine.
//!
//! [`RequestBuilder`] writes the columnar request that every face sends. With the feature `json`, the module [`json`]
//! reads and writes the documents of the HTTP API and of the command line; modules that ship to browsers and guests do
//! not enable it.
#![cfg_attr(not(feature = "json"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(feature = "json")]
pub mod json;
mod request;

pub use request::{RequestBuilder, Values};

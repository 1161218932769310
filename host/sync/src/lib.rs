//! The thin host.
#![forbid(unsafe_code)]

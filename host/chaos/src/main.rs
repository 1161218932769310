//! Faults and figures of the thin host.
#![forbid(unsafe_code)]

fn main() {}

//! Placeholder opened by the workspace skeleton.
fn main() {}

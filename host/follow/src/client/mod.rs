//! A follower that works: over HTTP, with the last good bundle on disk.

mod api;
mod follower;
mod saved;
mod sse;
#[cfg(test)]
mod tests;

pub use api::{Api, ApiError};
pub use follower::{Deployment, Event, FollowOptions, Follower, Prepare, Status};

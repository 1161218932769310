//! Follows a channel.
#![forbid(unsafe_code)]

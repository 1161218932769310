//! Placeholder opened by the workspace skeleton.

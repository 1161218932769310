//! When a follower gives up a new bundle on its own.

use selvedge_format::head::{GuardV1, SHARE};

/// Counts decisions since a bundle went live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Decisions.
    pub decisions: u64,
    /// Of those, how many fell back or failed.
    pub fallbacks: u64,
}

impl Tally {
    /// Counts a decision.
    pub const fn count(&mut self, fell_back: bool) {
        self.decisions += 1;
        self.fallbacks += fell_back as u64;
    }

    /// Whether the bundle is given up: enough was decided, and more than the share fell back.
    #[must_use]
    pub fn gives_up(&self, guard: Option<GuardV1>) -> bool {
        guard.is_some_and(|guard| {
            self.decisions >= u64::from(guard.min_decisions)
                && self.fallbacks * u64::from(SHARE) > self.decisions * u64::from(guard.max_fallback_share)
        })
    }
}

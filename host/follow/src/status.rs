//! What a follower says of itself.

use selvedge_format::head::HeadV1;
use sha2::{Digest, Sha256};

/// How a follower does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No head yet: the bundle that it came with decides.
    Bootstrap,
    /// It has the newest head that it could get.
    Following,
    /// It has not heard from the source for too long.
    Stale,
    /// Its head is not valid any more. The bundle goes on deciding; prices are void.
    Expired,
    /// It has given the newest bundle up, and the one before decides.
    RolledBack,
    /// Nothing is personalised.
    Killed,
}

impl State {
    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::Following => "following",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::RolledBack => "rolled-back",
            Self::Killed => "killed",
        }
    }
}

/// What is known when somebody asks.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The head that is held.
    pub head: Option<&'a HeadV1>,
    /// When the source last answered, with a head or that there is no other.
    pub heard_ms: i64,
    /// Whether the guard has given the head's bundle up.
    pub rolled_back: bool,
}

/// The state at `now_ms`, and whether prices are valid. What must not be missed comes first: a kill, then expiry.
#[must_use]
pub fn status(known: Known<'_>, stale_after_ms: i64, now_ms: i64) -> (State, bool) {
    let Some(head) = known.head else { return (State::Bootstrap, false) };
    let expired = now_ms >= head.not_after_ms;
    let state = if head.killed {
        State::Killed
    } else if expired {
        State::Expired
    } else if known.rolled_back {
        State::RolledBack
    } else if now_ms.saturating_sub(known.heard_ms) > stale_after_ms {
        State::Stale
    } else {
        State::Following
    };
    (state, !expired && !head.killed)
}

/// Whether the user `unit` is among the `share` of ten thousand for whom a rollout's bundle decides.
#[must_use]
pub fn in_rollout(salt: u64, unit: &str, share: u16) -> bool {
    let digest: [u8; 32] = Sha256::new().chain_update(salt.to_le_bytes()).chain_update(unit).finalize().into();
    let drawn = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
    drawn % u32::from(selvedge_format::head::SHARE) < u32::from(share)
}

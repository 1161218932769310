//! What the next head of a channel says: each change of a deployment as a function of the head before it.
//!
//! Going back is a change like the others: followers refuse a lower sequence, so the older bundle comes with a new one.

use selvedge_format::head::{BlobV1, GuardV1, HeadV1, PriceV1, RolloutV1, SHARE};
use selvedge_format::key;

/// Clocks that are behind by less than this believe a new head at once.
pub const BACKDATED_MS: i64 = 3_600_000;

/// A change of what a channel deploys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Another bundle decides for everyone; a rollout that was under way ends.
    Deploy {
        /// What decides.
        bundle: BlobV1,
        /// The shared state that goes with it.
        shared: Option<BlobV1>,
    },
    /// Another bundle decides for a share of the users. Whoever was in a rollout of a smaller share of it stays in.
    Rollout {
        /// What decides for them.
        bundle: BlobV1,
        /// The shared state that goes with it.
        shared: Option<BlobV1>,
        /// How many of [`SHARE`] users.
        share: u16,
    },
    /// The rollout's bundle decides for this share of the users, or for everyone.
    Promote {
        /// How many of [`SHARE`] users; `None` is everyone.
        share: Option<u16>,
    },
    /// What was deployed by an earlier head decides again.
    GoBack {
        /// That head.
        to: &'a HeadV1,
    },
    /// The bundle in force gets another shared state.
    Refresh {
        /// For everyone else than a rollout's users.
        shared: BlobV1,
    },
    /// Nobody is personalised.
    Kill,
    /// The opposite of [`Kill`](Self::Kill).
    Revive,
    /// The same for longer.
    Renew,
}

/// What a head says besides what it deploys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// How long it is believed, in milliseconds.
    pub valid_ms: i64,
    /// Prices; `None` keeps those of the head before.
    pub prices: Option<Vec<PriceV1>>,
    /// When edges go back by themselves; `None` keeps what the head before says.
    pub guard: Option<GuardV1>,
}

/// Why a change cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// There is no head to start from.
    #[error("the channel has no head yet; publish a bundle first")]
    NothingDeployed,
    /// There is no rollout.
    #[error("no rollout is under way in this channel; `publish --rollout` starts one")]
    NoRollout,
    /// The share is not one of a rollout.
    #[error("a rollout's share is above 0 and below 100 %; deploy the bundle to give it to everyone")]
    Share,
}

/// The head after `previous`.
///
/// # Errors
/// The change starts from something that is not there, or its share is out of range.
pub fn next(
    channel: &str,
    previous: Option<&HeadV1>,
    change: Change<'_>,
    terms: &Terms,
    now_ms: i64,
) -> Result<HeadV1, ChangeError> {
    let mut head = match (previous, change) {
        (Some(previous), _) => previous.clone(),
        (None, Change::Deploy { bundle, shared }) => HeadV1 {
            channel: channel.to_owned(),
            sequence: 0,
            issued_ms: 0,
            not_before_ms: 0,
            not_after_ms: 0,
            bundle,
            shared,
            rollout: None,
            prices: Vec::new(),
            guard: None,
            killed: false,
        },
        (None, _) => return Err(ChangeError::NothingDeployed),
    };
    head.sequence += 1;
    head.issued_ms = now_ms;
    head.not_before_ms = now_ms.saturating_sub(BACKDATED_MS).max(0);
    head.not_after_ms = now_ms.saturating_add(terms.valid_ms);
    if let Some(prices) = &terms.prices {
        head.prices.clone_from(prices);
    }
    head.guard = terms.guard.or(head.guard);
    match change {
        Change::Deploy { bundle, shared } => {
            (head.bundle, head.shared, head.rollout) = (bundle, shared, None);
        }
        Change::Rollout { bundle, shared, share } => {
            let share = in_range(share)?;
            let going_on = head.rollout.filter(|rollout| rollout.bundle.id == bundle.id);
            // Other users for another rollout: the same ones would see every experiment.
            let salt = going_on.map_or_else(|| key(channel.as_bytes()) ^ head.sequence, |rollout| rollout.salt);
            head.rollout = Some(RolloutV1 { bundle, shared, share, salt });
        }
        Change::Promote { share } => {
            let rollout = head.rollout.as_mut().ok_or(ChangeError::NoRollout)?;
            match share {
                Some(share) => rollout.share = in_range(share)?,
                None => (head.bundle, head.shared, head.rollout) = (rollout.bundle, rollout.shared, None),
            }
        }
        Change::GoBack { to } => {
            (head.bundle, head.shared, head.rollout) = (to.bundle, to.shared, None);
        }
        Change::Refresh { shared } => head.shared = Some(shared),
        Change::Kill => head.killed = true,
        Change::Revive => head.killed = false,
        Change::Renew => {}
    }
    Ok(head)
}

fn in_range(share: u16) -> Result<u16, ChangeError> {
    if (1..SHARE).contains(&share) { Ok(share) } else { Err(ChangeError::Share) }
}

/// What going back means: out of the rollout that is under way, or to the newest head with another bundle.
/// `history` is newest first and begins with the head in force.
#[must_use]
pub fn before(history: &[HeadV1]) -> Option<&HeadV1> {
    let newest = history.first()?;
    if newest.rollout.is_some() {
        return Some(newest);
    }
    history.iter().find(|head| head.bundle.id != newest.bundle.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn blob(first: u8) -> BlobV1 {
        BlobV1 { id: [first; 32], size: 1000 }
    }

    fn terms() -> Terms {
        Terms { valid_ms: 1000, ..Terms::default() }
    }

    fn after(previous: Option<&HeadV1>, change: Change<'_>) -> HeadV1 {
        let head = next("shop", previous, change, &terms(), NOW_MS).unwrap();
        head.check().unwrap();
        assert_eq!(head.sequence, previous.map_or(0, |head| head.sequence) + 1);
        head
    }

    #[test]
    fn a_rollout_grows_with_the_same_users_and_then_is_for_everyone() {
        let first = after(None, Change::Deploy { bundle: blob(1), shared: Some(blob(2)) });
        assert_eq!(
            (first.sequence, first.not_before_ms, first.not_after_ms),
            (1, NOW_MS - BACKDATED_MS, NOW_MS + 1000)
        );
        let some = after(Some(&first), Change::Rollout { bundle: blob(3), shared: None, share: 500 });
        assert_eq!((some.bundle, some.rollout.unwrap().share), (blob(1), 500));
        let more = after(Some(&some), Change::Rollout { bundle: blob(3), shared: None, share: 5000 });
        assert_eq!(more.rollout.unwrap().salt, some.rollout.unwrap().salt);
        let most = after(Some(&more), Change::Promote { share: Some(9999) });
        assert_eq!(most.rollout.unwrap().salt, some.rollout.unwrap().salt);
        let all = after(Some(&most), Change::Promote { share: None });
        assert_eq!((all.bundle, all.shared, all.rollout), (blob(3), None, None));
        let other = after(Some(&all), Change::Rollout { bundle: blob(4), shared: None, share: 500 });
        assert_ne!(other.rollout.unwrap().salt, some.rollout.unwrap().salt);
    }

    #[test]
    fn going_back_ends_a_rollout_first_and_finds_the_other_bundle_then() {
        let first = after(None, Change::Deploy { bundle: blob(1), shared: None });
        let second = after(Some(&first), Change::Deploy { bundle: blob(2), shared: None });
        let renewed = after(Some(&second), Change::Renew);
        let rollout = after(Some(&renewed), Change::Rollout { bundle: blob(3), shared: None, share: 1 });
        let history = [rollout, renewed, second, first.clone()];
        let back = after(Some(&history[0]), Change::GoBack { to: before(&history).unwrap() });
        assert_eq!((back.bundle, back.rollout), (blob(2), None));
        assert_eq!(before(&history[1..]), Some(&first));
        assert_eq!(before(&history[3..]), None);
    }

    #[test]
    fn the_switch_keeps_what_is_deployed() {
        let first = after(None, Change::Deploy { bundle: blob(1), shared: None });
        let killed = after(Some(&first), Change::Kill);
        assert!(killed.killed && killed.bundle == first.bundle);
        assert!(!after(Some(&killed), Change::Revive).killed);
        assert!(after(Some(&killed), Change::Refresh { shared: blob(5) }).killed, "a refresh does not revive");
    }

    #[test]
    fn changes_that_start_from_nothing_are_refused() {
        let refused = |previous, change| next("shop", previous, change, &terms(), NOW_MS).unwrap_err();
        assert_eq!(refused(None, Change::Kill), ChangeError::NothingDeployed);
        let first = after(None, Change::Deploy { bundle: blob(1), shared: None });
        assert_eq!(refused(Some(&first), Change::Promote { share: None }), ChangeError::NoRollout);
        for share in [0, SHARE] {
            let change = Change::Rollout { bundle: blob(2), shared: None, share };
            assert_eq!(refused(Some(&first), change), ChangeError::Share);
        }
    }
}

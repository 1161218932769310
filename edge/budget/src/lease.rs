//! What host and edge say to each other: a request for money, the lease that answers it, and reports on what became of it.
//!
//! A lease has the id of the request that asked for it, so asking again is asking for the same lease, whatever was lost
//! on the way.

use alloc::collections::BTreeMap;
use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::Amounts;

/// Most buckets in a report.
pub const MAX_BUCKETS: usize = 512;

/// A holder asks for money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRequest {
    /// Never used twice by any holder, except to ask again for the same.
    #[serde(with = "crate::id")]
    pub id: u128,
    /// Who asks.
    pub holder: String,
    /// How much would be good.
    pub wanted: Amounts,
    /// Less than this is of no use.
    pub least: Amounts,
}

/// Money that one holder may promise, for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Id of the request.
    #[serde(with = "crate::id")]
    pub id: u128,
    /// A ledger that starts again (after a restored copy, or a clock that ran far ahead) has another epoch, and takes no
    /// leases from before.
    pub epoch: u64,
    /// Who holds it.
    pub holder: String,
    /// The money, at face value.
    pub amounts: Amounts,
    /// When it was granted. All times are milliseconds since 1970-01-01 UTC, by the host's clock.
    pub granted_ms: i64,
    /// No offer is minted at or after.
    pub mint_until_ms: i64,
    /// Longest life of an offer.
    pub longest_offer_ms: i64,
    /// Reports add up offers that expire within the same so many milliseconds.
    pub bucket_ms: i64,
    /// How far a holder's clock may be from the host's.
    pub skew_ms: i64,
}

impl Lease {
    /// No offer of this lease is redeemed at or after.
    #[must_use]
    pub const fn last_expiry_ms(&self) -> i64 {
        self.mint_until_ms.saturating_add(self.longest_offer_ms)
    }

    /// All that it still holds is free again at this time, whatever became of its holder.
    #[must_use]
    pub const fn over_ms(&self) -> i64 {
        self.last_expiry_ms().saturating_add(self.skew_ms)
    }

    /// End of the bucket of offers that expire at `expires_ms`: at or after it.
    #[must_use]
    pub const fn bucket_end_ms(&self, expires_ms: i64) -> i64 {
        let width = if self.bucket_ms > 0 { self.bucket_ms } else { 1 };
        expires_ms.saturating_add(width - 1).div_euclid(width).saturating_mul(width)
    }
}

/// What a holder has done with a lease so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseReport {
    /// Which lease.
    #[serde(with = "crate::id")]
    pub lease: u128,
    /// Who reports.
    pub holder: String,
    /// Grows with every report on this lease, from 1. What is older than the newest changes nothing.
    pub sequence: u64,
    /// Nothing will ever be minted from it again.
    pub closed: bool,
    /// Face value of all offers ever minted from it, by [`Lease::bucket_end_ms`] of their expiry.
    pub minted: BTreeMap<i64, Amounts>,
}

/// What the host did with a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reported {
    /// It is the newest.
    Taken,
    /// This one, or a newer one, was there before.
    Known,
    /// The lease is over: all of it is settled or free.
    Over,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_never_ends_before_its_offers() {
        let lease = |bucket_ms| Lease {
            id: 1,
            epoch: 1,
            holder: "h".into(),
            amounts: Amounts::none(),
            granted_ms: 0,
            mint_until_ms: 0,
            longest_offer_ms: 0,
            bucket_ms,
            skew_ms: 0,
        };
        for bucket_ms in [-1, 0, 1, 7, 60_000] {
            for expires_ms in [-61, -60, -1, 0, 1, 59_999, 60_000, 60_001] {
                let end = lease(bucket_ms).bucket_end_ms(expires_ms);
                assert!(end >= expires_ms && end - expires_ms < bucket_ms.max(1), "{expires_ms} by {bucket_ms}: {end}");
            }
        }
    }
}

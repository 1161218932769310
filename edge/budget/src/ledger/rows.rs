//! What a ledger keeps. The layouts are frozen: a change is a new row type, and the old one is still read.

use alloc::collections::BTreeMap;
use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::{Amounts, Lease, Minor};

/// The one row of the ledger itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRowV1 {
    /// Epoch of the leases that are taken.
    pub epoch: u64,
    /// The latest time at which anything was changed. Time does not go back behind it: what was released stays expired.
    pub seen_ms: i64,
}

/// What may be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermsV1 {
    /// In all.
    pub total: Minor,
    /// On one day.
    pub daily: Option<DailyV1>,
}

/// A limit on the face value that is minted on one day and has not come back on that day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DailyV1 {
    /// The limit.
    pub limit: Minor,
    /// Days begin at midnight so many minutes ahead of UTC.
    pub utc_offset_min: i16,
}

impl DailyV1 {
    /// The day, counted from 1970-01-01 at this offset.
    #[must_use]
    pub const fn day(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(self.offset_ms()).div_euclid(DAY_MS)
    }

    /// When the day of `now_ms` is over.
    #[must_use]
    pub const fn end_ms(&self, now_ms: i64) -> i64 {
        (self.day(now_ms).saturating_add(1)).saturating_mul(DAY_MS).saturating_sub(self.offset_ms())
    }

    const fn offset_ms(&self) -> i64 {
        self.utc_offset_min as i64 * 60_000
    }
}

const DAY_MS: i64 = 86_400_000;

/// A budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetRowV1 {
    /// What may be spent.
    pub terms: TermsV1,
    /// Discounts of orders.
    pub settled: Minor,
    /// What leases hold: money that is not promised yet, and offers that are out.
    pub held: Minor,
    /// The part of `held` whose holders have not been heard of since their time was over.
    pub locked: Minor,
    /// The day that the next number is of.
    pub day: i64,
    /// Granted on that day, without what has come back.
    pub day_granted: Minor,
}

/// How far a lease has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StageV1 {
    /// Its holder may mint.
    Open,
    /// Its time is over and its holder has not said what became of it.
    Lost,
    /// Its holder has said for good what was minted.
    Closed,
    /// It holds nothing.
    Over,
}

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRowV1 {
    /// As it was granted.
    pub lease: Lease,
    /// How far it has come.
    pub stage: StageV1,
    /// What it holds: granted, neither redeemed nor released.
    pub held: Amounts,
    /// Of the newest report; 0 before the first.
    pub sequence: u64,
    /// Offers by the end of their expiry.
    pub buckets: BTreeMap<i64, BucketRowV1>,
    /// When to look at it again; it stands under this time in the ledger's list of what is due.
    pub due_ms: Option<i64>,
}

/// Offers of a lease that expire at about the same time, by face value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRowV1 {
    /// Minted, by the newest report.
    pub minted: Amounts,
    /// Redeemed, whether reported or not.
    pub redeemed: Amounts,
    /// Expired, and free again.
    pub released: Amounts,
}

impl BucketRowV1 {
    /// Reported as minted, neither redeemed nor released.
    #[must_use]
    pub fn open(&self) -> Amounts {
        let mut open = self.minted.without(&self.redeemed);
        open.take(&self.released);
        open
    }
}

/// An offer that was redeemed, by its id. It stays when it is refunded: an offer is good once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferRowV1 {
    /// By which order.
    pub order: String,
    /// Of which campaign.
    pub campaign: String,
    /// Against which lease.
    pub lease: u128,
    /// What was promised.
    pub face: Amounts,
    /// What was given.
    pub discount: Amounts,
    /// When.
    pub redeemed_ms: i64,
    /// When the discount was taken back with the order.
    pub refunded_ms: Option<i64>,
}

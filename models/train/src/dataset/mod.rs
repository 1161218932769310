//! A year of shopping in a neutral form, whatever it was read from.
//!
//! Replay, training and evaluation need four things: who bought what and when, what the items are, when decisions are made,
//! and which items were on offer then. [`Dataset`] is exactly that and knows nothing of files, Parquet or features. It is
//! filled by [`Dataset::complete_journey`] (real, fetched by [`fetch`]) or by [`Dataset::synthetic`] (made from a seed, for
//! tests and for machines without a network), and [`FlyerQueries`] turns it into ranking queries.
//!
//! Users, items and stores are numbered in ascending order of their numeric ids, so that an index comparison *is* an id
//! comparison and nothing depends on the order in which a source happens to list its rows.

pub mod calendar;
mod columns;
mod complete_journey;
mod error;
pub mod fetch;
mod flyer;
pub mod mailing;
mod synthetic;

use std::collections::BTreeMap;
use std::ops::Range;

pub use error::DatasetError;
pub use flyer::{FOLDS, FlyerEvents, FlyerQueries, LeftOut, MAX_CANDIDATES, Query, fold};
pub use synthetic::SyntheticSize;

/// Where a [`Dataset`] came from; reports print it beside every figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The Complete Journey, read from its published package.
    CompleteJourney,
    /// Generated from this seed.
    Synthetic {
        /// The seed that reproduces it.
        seed: u64,
    },
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CompleteJourney => f.write_str("Complete Journey"),
            Self::Synthetic { seed } => write!(f, "synthetic (seed {seed})"),
        }
    }
}

/// A product. Every field but `id` may be empty, which means that the source does not know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The product id, in decimal.
    pub id: String,
    /// Such as `GROCERY`.
    pub department: String,
    /// `National` or `Private` (the retailer's own label).
    pub brand: String,
    /// Such as `SOFT DRINKS`.
    pub product_category: String,
    /// Such as `SFT DRNK 2 LITER BTL CARB INCL`.
    pub product_type: String,
    /// The manufacturer's id, in decimal.
    pub manufacturer: String,
    /// Such as `12 OZ`; free text.
    pub package_size: String,
}

/// One line of a basket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Purchase {
    /// Milliseconds since the epoch, UTC.
    pub time_ms: i64,
    /// Index into [`Dataset::users`].
    pub user: u32,
    /// Index into [`Dataset::items`].
    pub item: u32,
    /// Index into [`Dataset::stores`].
    pub store: u32,
    /// Units (for goods sold by weight or volume, whatever the source counts them in); 0 occurs, for returns and coupons.
    pub quantity: f32,
    /// US dollars received for the line.
    pub sales_value: f32,
    /// US dollars taken off by the retailer's own discount, at least 0.
    pub retail_disc: f32,
    /// The basket that the line belongs to.
    pub basket: u64,
}

/// A week of the retailer's calendar. Decisions about it are made at its first instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Week {
    /// Its number, from 1.
    pub number: u32,
    /// First instant, milliseconds since the epoch, UTC.
    pub start_ms: i64,
    /// First instant of the next week.
    pub end_ms: i64,
}

/// Items, users, purchases and flyers of one retailer.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Where it came from.
    pub source: Source,
    /// Every item that was ever bought or on a flyer, by ascending id.
    pub items: Vec<Item>,
    /// Household ids, in decimal, ascending.
    pub users: Vec<String>,
    /// Store ids, in decimal, ascending.
    pub stores: Vec<String>,
    /// All purchases, by time, then basket, item, user and store.
    pub purchases: Vec<Purchase>,
    /// The weeks that the purchases span, consecutive and ascending.
    pub weeks: Vec<Week>,
    /// (week number, store) to the front page of that flyer: item indices, ascending, each once.
    flyers: BTreeMap<(u32, u32), Vec<u32>>,
}

impl Dataset {
    /// The week of that number, if the data cover it.
    #[must_use]
    pub fn week(&self, number: u32) -> Option<&Week> {
        self.weeks.binary_search_by_key(&number, |w| w.number).ok().map(|at| &self.weeks[at])
    }

    /// The purchases at or after `range.start` and before `range.end` (milliseconds since the epoch, UTC).
    #[must_use]
    pub fn purchases_between(&self, range: Range<i64>) -> &[Purchase] {
        let first = self.purchases.partition_point(|p| p.time_ms < range.start);
        let last = self.purchases.partition_point(|p| p.time_ms < range.end);
        &self.purchases[first..last.max(first)]
    }

    /// The items on the front page of a store's flyer, by ascending id; empty where the store had none that week.
    #[must_use]
    pub fn flyer(&self, store: u32, week: u32) -> &[u32] {
        self.flyers.get(&(week, store)).map_or(&[], Vec::as_slice)
    }

    /// How many (store, week) pairs have a flyer.
    #[must_use]
    pub fn flyer_count(&self) -> usize {
        self.flyers.len()
    }
}

/// How far a long step has come; handed to the caller's callback, since this crate prints nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What is being done, as a phrase for people: "reading promotions".
    pub stage: &'a str,
    /// Units done so far.
    pub done: u64,
    /// Units in all; 0 where that is not known beforehand.
    pub total: u64,
}

/// The order in which every source sorts its purchases: total, so that equal inputs give equal replays.
fn sort_purchases(purchases: &mut [Purchase]) {
    purchases.sort_unstable_by_key(|p| {
        let amounts = (p.quantity.to_bits(), p.sales_value.to_bits(), p.retail_disc.to_bits());
        (p.time_ms, p.basket, p.item, p.user, p.store, amounts)
    });
}

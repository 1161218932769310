//! The world's own books: every offer that left an edge, and what each order got. They know nothing of leases and trust
//! no ledger.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use selvedge_budget::{Amounts, Minor};

use crate::world::BUDGETS;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// An offer that a user has.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) face: Amounts,
    pub(crate) discount: Amounts,
    pub(crate) lease: u128,
    pub(crate) epoch: u64,
    pub(crate) expires_ms: i64,
    pub(crate) minted_ms: i64,
    pub(crate) state: OfferState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OfferState {
    /// It can still be redeemed.
    Out,
    /// This order has it.
    Redeemed { order: u64, refunded: bool },
    /// Its time is over, or its epoch.
    Dead,
}

/// A budget as it really is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    pub(crate) total: u64,
    pub(crate) settled: u64,
    pub(crate) out: u64,
    /// Unspent money of edges that are gone.
    pub(crate) locked: u64,
    /// The largest part of the total that was settled, out or locked at one time.
    pub(crate) peak: f64,
}

/// The books.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) budgets: Vec<Truth>,
    pub(crate) offers: Vec<Offer>,
    /// Settled or out by the day of minting, for the first budget, if days are limited.
    days: BTreeMap<i64, u64>,
    day_limit: Option<u64>,
    /// Offers that are out, the first to expire first.
    ends: BinaryHeap<Reverse<(i64, usize)>>,
    /// The latest time at which the ledger changed anything.
    seen_ms: i64,
    pub(crate) epoch: u64,
    pub(crate) overspends: u64,
    /// Offers that served two orders, or an order twice.
    pub(crate) doubled: u64,
    /// Offers that were redeemed after their time.
    pub(crate) too_late: u64,
}

impl Books {
    pub(crate) fn new(totals: &[Minor], day_limit: Option<u64>) -> Self {
        let budgets = totals.iter().map(|total| Truth { total: total.0, ..Truth::default() }).collect();
        Self {
            budgets,
            offers: Vec::new(),
            days: BTreeMap::new(),
            day_limit,
            ends: BinaryHeap::new(),
            seen_ms: i64::MIN,
            epoch: 0,
            overspends: 0,
            doubled: 0,
            too_late: 0,
        }
    }

    /// The ledger changed something at this time: what has expired by then cannot be redeemed any more.
    pub(crate) fn seen(&mut self, now_ms: i64) {
        self.seen_ms = self.seen_ms.max(now_ms);
        while let Some(Reverse((expires_ms, at))) = self.ends.peek().copied() {
            if expires_ms > self.seen_ms {
                break;
            }
            self.ends.pop();
            self.kill(at);
        }
    }

    /// The ledger's time.
    pub(crate) fn time_ms(&self, now_ms: i64) -> i64 {
        self.seen_ms.max(now_ms)
    }

    /// The ledger begins again, at this time.
    pub(crate) fn begin_epoch(&mut self, now_ms: i64, epoch: u64) {
        self.epoch = epoch;
        self.seen_ms = now_ms;
        while let Some(Reverse((_, at))) = self.ends.pop() {
            self.kill(at);
        }
    }

    /// An offer has left its edge.
    pub(crate) fn mint(&mut self, offer: Offer) -> usize {
        let at = self.offers.len();
        let good = offer.epoch == self.epoch && offer.expires_ms > self.seen_ms;
        self.offers.push(Offer { state: OfferState::Dead, ..offer });
        if good {
            self.offers[at].state = OfferState::Out;
            self.ends.push(Reverse((self.offers[at].expires_ms, at)));
            self.change(at, |truth, face, _| truth.out += face);
            self.count_day(at, |day, face, _| day + face);
            self.check();
        }
        at
    }

    /// The ledger says that an order got an offer's discount, for the first time.
    pub(crate) fn settle(&mut self, at: usize, order: u64, discount: &Amounts) {
        if matches!(self.offers[at].state, OfferState::Redeemed { .. }) {
            self.doubled += 1;
            return;
        }
        if self.offers[at].state == OfferState::Out {
            self.change(at, |truth, face, _| truth.out -= face);
            self.count_day(at, |day, face, discount| day - (face - discount));
        } else {
            self.too_late += 1;
        }
        self.doubled += u64::from(discount != &self.offers[at].discount);
        self.offers[at].state = OfferState::Redeemed { order, refunded: false };
        self.change(at, |truth, _, discount| truth.settled += discount);
        self.check();
    }

    /// The ledger says that an order had got an offer's discount before.
    pub(crate) fn settled_before(&mut self, at: usize, order: u64, discount: &Amounts) {
        let offer = &self.offers[at];
        let same = matches!(offer.state, OfferState::Redeemed { order: first, .. } if first == order);
        self.doubled += u64::from(!same || discount != &offer.discount);
    }

    /// The ledger took a discount back.
    pub(crate) fn refund(&mut self, at: usize) {
        if let OfferState::Redeemed { refunded: refunded @ false, .. } = &mut self.offers[at].state {
            *refunded = true;
            self.change(at, |truth, _, discount| truth.settled -= discount);
        }
    }

    /// Money that an edge took with it, or that has come back from one.
    pub(crate) fn lock(&mut self, amounts: &Amounts, comes_back: bool) {
        for (truth, name) in self.budgets.iter_mut().zip(BUDGETS) {
            let amount = amounts.get(name).0;
            truth.locked = if comes_back { truth.locked - amount } else { truth.locked + amount };
        }
        self.check();
    }

    fn kill(&mut self, at: usize) {
        if self.offers[at].state == OfferState::Out {
            self.offers[at].state = OfferState::Dead;
            self.change(at, |truth, face, _| truth.out -= face);
            self.count_day(at, |day, face, _| day - face);
        }
    }

    fn change(&mut self, at: usize, change: impl Fn(&mut Truth, u64, u64)) {
        let Offer { face, discount, .. } = &self.offers[at];
        for (truth, name) in self.budgets.iter_mut().zip(BUDGETS) {
            change(truth, face.get(name).0, discount.get(name).0);
        }
    }

    fn count_day(&mut self, at: usize, change: impl Fn(u64, u64, u64) -> u64) {
        if self.day_limit.is_some() {
            let Offer { face, discount, minted_ms, .. } = &self.offers[at];
            let day = self.days.entry(minted_ms.div_euclid(DAY_MS)).or_default();
            *day = change(*day, face.get(BUDGETS[0]).0, discount.get(BUDGETS[0]).0);
        }
    }

    /// What must hold after every event.
    fn check(&mut self) {
        for truth in &mut self.budgets {
            self.overspends += u64::from(truth.settled + truth.out > truth.total);
            truth.peak = truth.peak.max((truth.settled + truth.out + truth.locked) as f64 / truth.total as f64);
        }
        if let Some(limit) = self.day_limit {
            self.overspends += self.days.values().filter(|day| **day > limit).count() as u64;
        }
    }
}

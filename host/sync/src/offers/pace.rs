//! Prices that follow how fast budgets are spent: the controller's steps, over what the ledger says.
//!
//! The host is told of money, by leases and their reports, and not of questions: those are decided at edges that it does not
//! see. So the controller's unit is a second and not a request. What is committed (settled, or held by leases) since the last
//! step is its cost, what is free is what is left, and the time until the last campaign of the budget ends, or as far ahead as
//! the operator plans, is what it must last. Money that comes back counts against the cost.
//!
//! **Whose word counts.** A head says the price, and what the operator puts there stands: a price that this host did not
//! publish is where the controller goes on from, after a whole interval. While a channel is killed nothing is stepped and
//! nothing is published, and the time does not count. What is published is the newest head with other prices, so whatever
//! was deployed, rolled out or rolled back stays so.
//!
//! **What is stored.** One row per budget beside the ledger, written in the transaction that read it. A host that ends between
//! a head and the note of it finds a price that it does not know, which is its own, and goes on from there.

use selvedge_budget::ledger::{self, Balance, LedgerError};
use selvedge_budget::price::{Controller, ControllerV1, Pace};
use selvedge_format::head::{HeadV1, PriceV1};
use selvedge_format::key;
use serde::{Deserialize, Serialize};

use super::{Deployed, Offers, OffersError};
use crate::config::Prices;
use crate::store::{OffersTx, StoreError};

/// What stands before a budget's name in the key of its row. Other notes begin with other letters.
const ROW: &[u8] = b"price:";
/// How eager the first steps are.
const GAIN: f64 = 1.0;
/// Prices are in millionths.
const MICROS: f64 = 1e6;

/// What is stored of a budget whose price this host sets. The layout is frozen: a change is a new type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct PacedV1 {
    controller: ControllerV1,
    /// When the last step was.
    stepped_ms: i64,
    /// Settled and held at that time.
    committed: u64,
    /// What the head said, in millionths, if it said anything.
    said: Option<u64>,
}

/// How a budget is paced at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paced {
    /// The controller's own price, in millionths. It is published when it leaves the band around the one that edges know.
    pub price_micros: u64,
    /// When it was last looked at.
    pub stepped_ms: i64,
    /// Until when the budget is to last.
    pub until_ms: i64,
}

/// What the bundle in force says of a budget.
struct Declared<'p> {
    budget: &'p str,
    highest: f64,
    until_ms: i64,
}

impl Offers {
    /// Takes a step for each budget that the host prices, and says which prices a new head should have.
    ///
    /// # Errors
    /// The store fails.
    pub fn step_prices(&self, now_ms: i64, head: &HeadV1, prices: &Prices) -> Result<Vec<PriceV1>, OffersError> {
        let declared = self.deployed().as_ref().map_or_else(Vec::new, |deployed| declared(deployed, head, prices));
        self.reclaim(now_ms)?;
        let steps = self.transact(|tx| {
            let mut steps = Vec::with_capacity(declared.len());
            for of in &declared {
                steps.extend(step(tx, now_ms, head, prices, of)?.map(|(row, said)| (of, row, said)));
            }
            Ok(steps)
        })?;
        let mut paced = self.paced_now();
        let mut changed = Vec::new();
        for (of, row, said) in steps {
            let price_micros = micros(row.controller.price);
            let until_ms = of.until_ms;
            paced.insert(of.budget.to_owned(), Paced { price_micros, stepped_ms: row.stepped_ms, until_ms });
            changed.extend(said.map(|price_micros| PriceV1 { budget: of.budget.to_owned(), price_micros }));
        }
        Ok(changed)
    }

    /// Notes that a head says these prices, and that this host has put them there.
    ///
    /// # Errors
    /// The store fails.
    pub fn published_prices(&self, prices: &[PriceV1]) -> Result<(), OffersError> {
        self.transact(|tx| {
            for price in prices {
                if let Some(mut row) = read(tx, &price.budget).map_err(LedgerError::Store)? {
                    row.said = Some(price.price_micros);
                    write(tx, &price.budget, &row).map_err(LedgerError::Store)?;
                }
            }
            Ok(())
        })
    }

    /// How a budget is paced, if it is and was since the start.
    #[must_use]
    pub fn paced(&self, budget: &str) -> Option<Paced> {
        self.paced_now().get(budget).copied()
    }
}

/// Budgets that are priced here and that the bundle in force has campaigns for.
fn declared<'p>(deployed: &Deployed, head: &HeadV1, prices: &'p Prices) -> Vec<Declared<'p>> {
    // Another head is about to be deployed: the next step will see it.
    let snapshot = deployed.engine.snapshot().filter(|_| deployed.bundle == head.bundle.id);
    let Some(campaigns) = snapshot.and_then(selvedge_engine::Snapshot::campaigns) else { return Vec::new() };
    let campaigns = campaigns.declared();
    let of = |budget: &'p String| {
        let at = campaigns.budgets.iter().position(|declared| declared.key == key(budget.as_bytes()))?;
        let funds =
            |funders: &[(u16, u16)]| funders.iter().any(|(position, share)| usize::from(*position) == at && *share > 0);
        let funded = campaigns.campaigns.iter().filter(|campaign| funds(&campaign.funders));
        let until_ms = funded.map(|campaign| campaign.until_ms).max()?;
        let highest = campaigns.budgets[at].highest_price_micros as f64 / MICROS;
        Some(Declared { budget, highest, until_ms })
    };
    prices.budgets.iter().filter_map(of).collect()
}

/// The row after a step, and the price that a new head should have. Nothing for a budget that is not open, or whose campaigns
/// are over.
fn step(
    tx: &mut dyn OffersTx,
    now_ms: i64,
    head: &HeadV1,
    prices: &Prices,
    of: &Declared<'_>,
) -> Result<Option<(PacedV1, Option<u64>)>, LedgerError<StoreError>> {
    let store = LedgerError::Store;
    let ends_ms = of.until_ms.min(now_ms.saturating_add(prices.ahead_ms));
    if ends_ms <= now_ms || tx.budget(of.budget).map_err(store)?.is_none() {
        return Ok(None);
    }
    let left_s = seconds(ends_ms - now_ms).max(1);
    let balance = ledger::balance(tx, of.budget)?;
    let said = head.prices.iter().find(|price| price.budget == of.budget).map(|price| price.price_micros);
    let pace = Pace { requests: left_s, gain: GAIN, highest: of.highest, band: prices.band };
    let committed = balance.settled.plus(balance.held).0;
    let known = read(tx, of.budget).map_err(store)?;
    let mut controller = match &known {
        Some(row) => Controller::resume(pace, &row.controller),
        None => begin(pace, &balance, said),
    };
    let mut change = None;
    if let Some(row) = &known {
        let passed_s = seconds(now_ms - row.stepped_ms);
        if row.said != said {
            // The operator's, or what a head without a price means.
            controller.adopt(said.map_or(of.highest, |micros| micros as f64 / MICROS));
        } else if !head.killed && passed_s > 0 {
            let cost = committed as f64 - row.committed as f64;
            controller.observe(passed_s, cost, balance.free.0 as f64, left_s);
            let published = controller.publish(now_ms).price_micros;
            change = Some(published).filter(|published| said != Some(*published));
        }
    }
    let row = PacedV1 { controller: controller.keep(), stepped_ms: now_ms, committed, said };
    write(tx, of.budget, &row).map_err(store)?;
    Ok(Some((row, change)))
}

fn begin(pace: Pace, balance: &Balance, said: Option<u64>) -> Controller {
    let free = balance.free.0 as f64;
    match said {
        Some(micros) => Controller::warm(pace, free, micros as f64 / MICROS),
        None => Controller::cold(pace, free),
    }
}

/// Whole seconds; none where a clock went back.
const fn seconds(ms: i64) -> u64 {
    if ms > 0 { ms as u64 / 1000 } else { 0 }
}

fn micros(price: f64) -> u64 {
    (price * MICROS).round() as u64
}

fn row_key(budget: &str) -> Vec<u8> {
    [ROW, budget.as_bytes()].concat()
}

fn read(tx: &mut dyn OffersTx, budget: &str) -> Result<Option<PacedV1>, StoreError> {
    let damaged = |error| StoreError::Corrupt(format!("how budget {budget} is paced cannot be read: {error}"));
    tx.note(&row_key(budget))?.map(|bytes| postcard::from_bytes(&bytes).map_err(damaged)).transpose()
}

fn write(tx: &mut dyn OffersTx, budget: &str, row: &PacedV1) -> Result<(), StoreError> {
    let bytes = postcard::to_allocvec(row).map_err(|error| StoreError::Io(error.to_string()))?;
    tx.put_note(&row_key(budget), &bytes)
}

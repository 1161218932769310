//! What came of a world, and of many.

use serde::Serialize;

use crate::World;

/// Budgets are judged by how much of them was used where without a limit so much more would have been.
const ENOUGH_DEMAND: f64 = 1.3;

/// What came of one world.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The world's seed.
    pub seed: u64,
    /// Times at which more was settled and out than there was.
    pub overspends: u64,
    /// Offers that served two orders, or an order twice.
    pub doubled: u64,
    /// Offers that were redeemed after their time.
    pub too_late: u64,
    /// Offers that were good and were refused.
    pub wronged: u64,
    /// Times at which the ledger's own numbers did not agree with each other or with the world's books.
    pub disagreements: u64,
    /// Budgets with enough demand, in a world that says something about their use.
    pub judged: Vec<Use>,
    /// What happened.
    pub counts: Counts,
}

/// How well a budget was used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Use {
    /// The largest part of it that was settled, out or locked by lost edges at one time.
    pub utilisation: f64,
    /// The part of it that orders got in the end.
    pub settled_share: f64,
    /// The part of the offers that were redeemed.
    pub redemption: f64,
    /// Length of the campaign in lives of an offer.
    pub lives: f64,
}

/// How much happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Events.
    pub events: u64,
    /// Offers that were wanted.
    pub wanted: u64,
    /// Offers that left an edge.
    pub offers: u64,
    /// Offers that no lease had the money for.
    pub censored: u64,
    /// Orders that got a discount.
    pub redemptions: u64,
    /// Orders that came with an offer of another.
    pub double_spends: u64,
    /// Leases granted.
    pub leases: u64,
    /// Messages that were lost.
    pub messages_lost: u64,
    /// Edges that vanished.
    pub edges_lost: u64,
    /// Crashes of edges.
    pub edge_crashes: u64,
    /// Transactions that the host lost.
    pub host_crashes: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.wanted += other.wanted;
        self.offers += other.offers;
        self.censored += other.censored;
        self.redemptions += other.redemptions;
        self.double_spends += other.double_spends;
        self.leases += other.leases;
        self.messages_lost += other.messages_lost;
        self.edges_lost += other.edges_lost;
        self.edge_crashes += other.edge_crashes;
        self.host_crashes += other.host_crashes;
    }
}

impl Outcome {
    /// Whether anything was broken that must hold in every world.
    #[must_use]
    pub fn is_good(&self) -> bool {
        [self.overspends, self.doubled, self.too_late, self.wronged, self.disagreements] == [0; 5]
    }

    /// Judges a budget, if the world says something about it.
    pub(crate) fn judge(&mut self, world: &World, hindsight: u64, peak: f64, settled: u64, total: u64) {
        let enough = hindsight as f64 >= ENOUGH_DEMAND * total as f64;
        if enough && world.is_ordinary() {
            self.judged.push(Use {
                utilisation: peak,
                settled_share: settled as f64 / total as f64,
                redemption: world.redemption,
                lives: world.campaign_ms as f64 / world.rules.longest_offer_ms as f64,
            });
        }
    }
}

/// What came of many worlds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Number of worlds.
    pub seeds: u64,
    /// Times at which more was settled and out than there was, over all worlds. Must be 0.
    pub overspends: u64,
    /// The smallest largest part of a judged budget that was settled, out or locked at one time.
    pub worst_utilisation: f64,
    /// The mean part of a judged budget that orders got in the end.
    pub settled_share: f64,
    /// The mean of what the first is the least of.
    pub mean_utilisation: f64,
    /// Budgets that were judged: hindsight demand of at least 1.3 of them, clocks and totals in order.
    pub judged_budgets: u64,
    /// Seed of the world with the least utilisation.
    pub worst_seed: u64,
    /// Mean part of offers that were redeemed, over judged budgets.
    pub redemption_rate: f64,
    /// Mean length of the campaigns in lives of an offer, over judged budgets.
    pub campaign_in_offer_lives: f64,
    /// Offers that served two orders, or an order twice. Must be 0.
    pub doubled: u64,
    /// Offers that were redeemed after their time. Must be 0.
    pub too_late: u64,
    /// Offers that were good and were refused. Must be 0.
    pub wronged: u64,
    /// Times at which the ledger's numbers did not agree. Must be 0.
    pub disagreements: u64,
    /// Seeds in which something that must be 0 was not; the first ten.
    pub broken_seeds: Vec<u64>,
    /// How much happened.
    pub counts: Counts,
}

impl Summary {
    /// Adds a world.
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.overspends += outcome.overspends;
        self.doubled += outcome.doubled;
        self.too_late += outcome.too_late;
        self.wronged += outcome.wronged;
        self.disagreements += outcome.disagreements;
        self.counts.add(&outcome.counts);
        if !outcome.is_good() && self.broken_seeds.len() < 10 {
            self.broken_seeds.push(outcome.seed);
        }
        for judged in &outcome.judged {
            if self.judged_budgets == 0 || judged.utilisation < self.worst_utilisation {
                self.worst_utilisation = judged.utilisation;
                self.worst_seed = outcome.seed;
            }
            self.judged_budgets += 1;
            let towards = |mean: &mut f64, value: f64| *mean += (value - *mean) / self.judged_budgets as f64;
            towards(&mut self.mean_utilisation, judged.utilisation);
            towards(&mut self.settled_share, judged.settled_share);
            towards(&mut self.redemption_rate, judged.redemption);
            towards(&mut self.campaign_in_offer_lives, judged.lives);
        }
    }

    /// Whether nothing was broken in any world.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.broken_seeds.is_empty()
    }
}

//! What a seed says: how large a world is, and how badly it goes.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use selvedge_budget::holder::Habits;
use selvedge_budget::ledger::Rules;
use selvedge_budget::{Minor, price::Patience};

/// Names of budgets: a total, and those who pay a part.
pub(crate) const BUDGETS: [&str; 3] = ["total", "store", "brand"];
/// When every world begins: an ordinary Monday, in milliseconds since 1970-01-01 UTC.
pub(crate) const BEGIN_MS: i64 = 1_767_571_200_000;
/// The largest face value of an offer.
pub(crate) const LARGEST_FACE: u64 = 2000;
/// The price that is used where the published one is too old, in millionths.
pub(crate) const HIGHEST_PRICE_MICROS: u64 = 1_000_000;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// A world.
#[derive(Clone, Debug)]
pub struct World {
    /// All of its chances are drawn from this.
    pub seed: u64,
    /// Number of edges.
    pub edges: usize,
    /// Traffic of the edge of rank `n` is `n` to the minus this.
    pub skew_of_traffic: f64,
    /// Users that an offer could be made to.
    pub requests: u32,
    /// Length of the campaign.
    pub campaign_ms: i64,
    /// Total of each budget.
    pub totals: Vec<Minor>,
    /// A limit on the first budget's days, as a part of its total.
    pub daily: Option<f64>,
    /// How leases are granted.
    pub rules: Rules,
    /// How holders ask.
    pub habits: Habits,
    /// Part of the offers that are redeemed.
    pub redemption: f64,
    /// Whether offers must be worth a price.
    pub priced: bool,
    /// What the prices that edges see are to the right ones.
    pub price_bias: f64,
    /// How long edges believe in prices.
    pub patience: Patience,
    /// What goes wrong.
    pub faults: Faults,
    /// What is broken on purpose, to see that it is noticed.
    pub sabotage: Sabotage,
}

/// How often what goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Messages that do not arrive.
    pub lost: f64,
    /// Messages that arrive twice.
    pub doubled: f64,
    /// Messages that take up to a minute.
    pub late: f64,
    /// Edges that vanish and never come back.
    pub lost_edges: f64,
    /// Offers at which the edge dies, before or after it wrote down what it promised.
    pub crashes: f64,
    /// Transactions of the host that are lost before they are committed.
    pub host_crashes: f64,
    /// Offers that are tried by two orders.
    pub double_spends: f64,
    /// Orders that are cancelled.
    pub refunds: f64,
    /// How far the host's clock jumps in the middle of the campaign, and back a while later.
    pub jump_ms: i64,
    /// Whether the ledger starts a new epoch when the clock is right again.
    pub new_epoch: bool,
    /// What the totals are multiplied with in the middle of the campaign.
    pub change_of_totals: f64,
}

/// Breaches of what the rules ask of those who use them. A world in which one is in force must overspend; it would show
/// nothing if it did not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sabotage {
    /// Edges that crash start again from what they had written long before.
    pub forget_writes: bool,
    /// The state of an edge runs twice.
    pub twins: bool,
    /// Leases arrive with so much more time to mint.
    pub longer_leases_ms: i64,
    /// The host reclaims by a time that is so much later.
    pub reclaim_ahead_ms: i64,
}

impl World {
    /// The world of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let lease_ms = rng.random_range(4 * MINUTE..20 * MINUTE);
        let longest_offer_ms = rng.random_range(20 * MINUTE..6 * HOUR);
        let campaign_ms = rng.random_range(12 * HOUR..48 * HOUR);
        let requests = rng.random_range(12_000..24_000);
        // What all requests would be worth, from a third of the budget to three times as much.
        let demand = f64::from(requests) * LARGEST_FACE as f64 * 0.6;
        let one_total = |rng: &mut ChaCha8Rng, part: f64| Minor((demand * part / rng.random_range(0.5..6.0)) as u64);
        let totals =
            (0..rng.random_range(1..=BUDGETS.len())).map(|at| one_total(&mut rng, [1.0, 0.25, 0.25][at])).collect();
        let ordinary = rng.random_bool(0.7);
        let jumps = !ordinary && rng.random_bool(0.4);
        let faults = Faults {
            lost: rng.random_range(0.0..0.2),
            doubled: rng.random_range(0.0..0.1),
            late: rng.random_range(0.0..0.05),
            lost_edges: rng.random_range(0.0..0.1),
            crashes: rng.random_range(0.0..0.01),
            host_crashes: rng.random_range(0.0..0.02),
            double_spends: rng.random_range(0.0..0.05),
            refunds: rng.random_range(0.0..0.05),
            jump_ms: if jumps { rng.random_range(-3 * HOUR..3 * HOUR) } else { 0 },
            new_epoch: jumps && rng.random_bool(0.5),
            change_of_totals: if ordinary { 1.0 } else { rng.random_range(0.9..1.2) },
        };
        let fresh_ms = rng.random_range(campaign_ms / 50..campaign_ms / 10);
        Self {
            seed,
            edges: rng.random_range(200..=300),
            skew_of_traffic: rng.random_range(0.7..1.3),
            requests,
            campaign_ms,
            totals,
            daily: (!ordinary && !jumps).then(|| rng.random_range(0.2..0.8)),
            rules: Rules {
                lease_ms,
                longest_offer_ms,
                skew_ms: rng.random_range(0..30 * SECOND),
                largest_share: rng.random_range(5..=20),
            },
            habits: Habits {
                cover_ms: rng.random_range(30 * SECOND..4 * MINUTE),
                idle_ms: rng.random_range(10 * SECOND..MINUTE),
                most: Minor::MOST,
                retry_ms: rng.random_range(SECOND / 2..2 * SECOND),
                pause_ms: rng.random_range(5 * SECOND..20 * SECOND),
            },
            redemption: rng.random_range(0.1..0.9),
            priced: rng.random_bool(0.5),
            price_bias: rng.random_range(0.7..1.0),
            patience: Patience { fresh_ms, stop_ms: 2 * fresh_ms, highest_micros: HIGHEST_PRICE_MICROS },
            faults,
            sabotage: Sabotage::default(),
        }
    }

    /// Whether this world says something about how much of a budget can be used: clocks are right within what is allowed,
    /// no day ends early, and totals stay.
    #[must_use]
    pub fn is_ordinary(&self) -> bool {
        self.faults.jump_ms == 0 && self.daily.is_none() && self.faults.change_of_totals == 1.0
    }
}

//! On-line: a price that follows how fast a budget is spent.

use serde::{Deserialize, Serialize};

use super::Published;

/// Millionths in one.
const MICROS: f64 = 1e6;
/// The first batches are few, and chance is large among few: none moves the price by more than this part of it.
const LARGEST_STEP: f64 = 0.5;
/// The price moves as if it were at least this part of the highest.
const LEAST_UNIT: f64 = 1e-4;

/// How a price moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Requests that are expected in the whole time.
    pub requests: u64,
    /// How eager the first steps are. 1 is a good start.
    pub gain: f64,
    /// The price is never above this.
    pub highest: f64,
    /// A new price is published when it is off by more than this part of the last.
    pub band: f64,
}

/// `lambda <- [lambda - eta (rho - mean cost)]+` over batches of requests, with `rho` the budget left per request left.
///
/// Because `rho` is taken anew, what was spent too fast or too slowly is made up for over all that is left. `eta` is
/// `gain * lambda / rho_0` over the square root of the requests seen: it settles at the `1/sqrt(T)` of the theory and moves
/// fast while nothing is known, and in parts of the price itself, so that no unit has to be known (the multiplicative case
/// of mirror descent). A controller that starts from a price of yesterday counts as if half of the requests had been
/// seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Controller {
    pace: Pace,
    price: f64,
    published: f64,
    /// Budget per request at the start.
    even: f64,
    /// Requests that the steps have settled over.
    settled: u64,
}

/// A controller between two steps, as it is stored. The layout is frozen: a change is a new type.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControllerV1 {
    /// The price itself.
    pub price: f64,
    /// The price that edges know.
    pub published: f64,
    /// Budget per request at the start.
    pub even: f64,
    /// Requests that the steps have settled over.
    pub settled: u64,
}

impl Controller {
    /// Goes on where one ended that was stored, under a pace that may be another one.
    #[must_use]
    pub const fn resume(pace: Pace, kept: &ControllerV1) -> Self {
        let ControllerV1 { price, published, even, settled } = *kept;
        Self { pace, price: price.clamp(0.0, pace.highest), published, even, settled }
    }

    /// What to store.
    #[must_use]
    pub const fn keep(&self) -> ControllerV1 {
        ControllerV1 { price: self.price, published: self.published, even: self.even, settled: self.settled }
    }

    /// Somebody else has set the price: it goes on from there, no more eager than it was.
    pub const fn adopt(&mut self, price: f64) {
        self.price = price.clamp(0.0, self.pace.highest);
        self.published = price;
    }

    /// Nothing is known: the price comes down from the highest. What is not spent at first is spent later; what is spent
    /// at a price too low is gone.
    #[must_use]
    pub fn cold(pace: Pace, budget: f64) -> Self {
        Self::starting(pace, budget, pace.highest, 0)
    }

    /// The price was good for requests like these.
    #[must_use]
    pub fn warm(pace: Pace, budget: f64, price: f64) -> Self {
        Self::starting(pace, budget, price, pace.requests / 2)
    }

    fn starting(pace: Pace, budget: f64, price: f64, settled: u64) -> Self {
        let price = price.clamp(0.0, pace.highest);
        let even = budget / pace.requests.max(1) as f64;
        Self { pace, price, published: price, even, settled }
    }

    /// The price itself.
    #[must_use]
    pub const fn price(&self) -> f64 {
        self.price
    }

    /// The price that edges should know: the last that was published, unless the price has left the band around it.
    #[must_use]
    pub fn publish(&mut self, now_ms: i64) -> Published {
        if (self.price - self.published).abs() > self.pace.band * self.published {
            self.published = self.price;
        }
        Published { price_micros: to_micros(self.published), issued_ms: now_ms }
    }

    /// A batch of requests was decided at the present price and cost so much; so much budget is left for so many that are
    /// still to come.
    pub fn observe(&mut self, requests: u64, cost: f64, budget_left: f64, requests_left: u64) {
        if requests == 0 || self.even <= 0.0 {
            return;
        }
        self.settled = self.settled.saturating_add(requests);
        // At the very end one offer more or less moves the budget per request at will: a batch is the least to plan for.
        let rho = budget_left.max(0.0) / requests_left.max(requests) as f64;
        let off = (rho - cost / requests as f64) / self.even;
        // Steps of single requests would add up by chance alone to the root of their number.
        let eta = self.pace.gain * (requests.isqrt() as f64 / self.settled.isqrt() as f64);
        let step = (eta * off).clamp(-LARGEST_STEP, LARGEST_STEP);
        // A price of nothing must be able to rise.
        let unit = self.price.max(self.pace.highest * LEAST_UNIT);
        self.price = (self.price - unit * step).clamp(0.0, self.pace.highest);
    }
}

/// To the nearest: a price that was set in millionths comes back as it was.
fn to_micros(price: f64) -> u64 {
    (price * MICROS + 0.5) as u64
}

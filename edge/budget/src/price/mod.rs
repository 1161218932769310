//! The price of a budget: what a unit of it must bring, so that the budget lasts and goes to those who are worth it.
//!
//! With a price `lambda` every user is decided alone: the arm with the largest `value - lambda * cost`, if that is above
//! zero. [`solve`] finds the price off-line for users that are known; [`Controller`] finds it on-line for those that
//! come; [`effective_price`] says what an edge does with a price that is old.
//!
//! Values and costs are expectations, so they are floating point. Money that is promised or spent never passes through
//! here: a wrong price spends badly, never too much.
//!
//! Lagrange relaxation of the multiple-choice knapsack (Kellerer, Pferschy, Pisinger, *Knapsack Problems*, chapter 11);
//! dual descent for pacing (Balseiro, Lu, Mirrokni, 2020).

mod control;
mod solve;
mod stale;

pub use control::{Controller, ControllerV1, Pace};
pub use solve::{BadArms, Plan, solve};
pub use stale::{EffectivePrice, Patience, Published, effective_price};

/// One thing that can be done for a user. Doing nothing is always possible, brings nothing and costs nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arm {
    /// What it is expected to bring.
    pub value: f64,
    /// What it is expected to cost, above zero or zero.
    pub cost: f64,
}

/// The arm that is best at a price; of equals the cheaper, then the first. `None` is doing nothing.
#[must_use]
pub fn best_arm(arms: &[Arm], price: f64) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (at, arm) in arms.iter().enumerate() {
        let score = arm.value - price * arm.cost;
        let (than, cost) = best.map_or((0.0, 0.0), |(chosen, score)| (score, arms[chosen].cost));
        if score > than || (score == than && arm.cost < cost) {
            best = Some((at, score));
        }
    }
    best.map(|(at, _)| at)
}

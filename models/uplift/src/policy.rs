//! Policies: who gets which arm when a budget is given.
//!
//! With `p_k` the response to arm k, m the margin of a response, `d_k` the discount that a responder takes and `s_k` the cost
//! of sending, arm k is worth `(p_k - p_0) m` more than none and costs `p_k d_k + s_k`: of all who respond, since those who
//! would have bought anyway redeem too. Spending a budget best is a multiple-choice knapsack. Its relaxation is solved
//! exactly by stepping along each row's upper hull of (cost, value) in order of value per cost, over all rows; the ratio at
//! which the budget ends is the price of budget (Sinha and Zoltners 1979; Sverdrup et al., "Qini curves for multi-armed
//! treatment rules", 2023). Only the last step is taken in part.
//!
//! A path sees probabilities, whatever model they came from, and never an outcome.

use thiserror::Error;

use crate::trial::Trial;

/// What responses and arms are worth and cost, in one currency.
#[derive(Clone, Debug, PartialEq)]
pub struct Economics {
    margin: f64,
    discount: Vec<f64>,
    sending: Vec<f64>,
}

/// Why costs and values are none.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum EconomicsError {
    /// Not one number per arm.
    #[error("{what}: {found} numbers for {arms} arms, the control among them")]
    Length {
        /// Which.
        what: &'static str,
        /// Numbers given.
        found: usize,
        /// Arms of the trial.
        arms: usize,
    },
    /// A negative or impossible number.
    #[error("{what} of arm {arm} is {value}; it must be a number of at least 0, and 0 for the control")]
    Cost {
        /// Which.
        what: &'static str,
        /// The arm.
        arm: usize,
        /// The number.
        value: f64,
    },
    /// A response that is worth nothing.
    #[error("a margin of {0} per response: it must be above 0, or no arm pays")]
    Margin(f64),
}

impl Economics {
    /// `margin` per response; `discount` that a responder takes and cost of `sending`, by arm.
    ///
    /// # Errors
    /// A number is missing, negative or not finite, the control costs something, or a response is worth nothing.
    pub fn new(trial: &Trial, margin: f64, discount: Vec<f64>, sending: Vec<f64>) -> Result<Self, EconomicsError> {
        if !(margin.is_finite() && margin > 0.0) {
            return Err(EconomicsError::Margin(margin));
        }
        let arms = trial.arm_count();
        for (what, costs) in [("the discount", &discount), ("the cost of sending", &sending)] {
            if costs.len() != arms {
                return Err(EconomicsError::Length { what, found: costs.len(), arms });
            }
            let is_cost = |arm: usize, value: f64| value.is_finite() && value >= 0.0 && (arm > 0 || value == 0.0);
            if let Some((arm, value)) = costs.iter().enumerate().find(|(arm, value)| !is_cost(*arm, **value)) {
                return Err(EconomicsError::Cost { what, arm, value: *value });
            }
        }
        Ok(Self { margin, discount, sending })
    }

    /// Worth of a response.
    #[must_use]
    pub fn margin(&self) -> f64 {
        self.margin
    }

    /// What an arm costs where `response` of those who get it respond.
    #[must_use]
    pub fn cost(&self, arm: usize, response: f64) -> f64 {
        response * self.discount[arm] + self.sending[arm]
    }
}

/// What a row is given: `arm` with probability `share`, else `otherwise`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The arm.
    pub arm: usize,
    /// Its probability.
    pub share: f64,
    /// The other arm.
    pub otherwise: usize,
}

impl Choice {
    /// Always this arm.
    #[must_use]
    pub const fn always(arm: usize) -> Self {
        Self { arm, share: 1.0, otherwise: arm }
    }

    /// Probability of an arm.
    #[must_use]
    pub fn probability(self, arm: usize) -> f64 {
        let of = |one: usize, share: f64| if one == arm { share } else { 0.0 };
        of(self.arm, self.share) + of(self.otherwise, 1.0 - self.share)
    }

    /// The mean of something over its arms.
    #[must_use]
    pub fn mean(self, of: impl Fn(usize) -> f64) -> f64 {
        let rest = if self.share < 1.0 { (1.0 - self.share) * of(self.otherwise) } else { 0.0 };
        self.share * of(self.arm) + rest
    }
}

/// A row's move to a dearer arm.
#[derive(Clone, Copy, Debug)]
struct Step {
    row: usize,
    from: usize,
    to: usize,
    cost: f64,
    ratio: f64,
}

/// All budgets' decisions of one policy.
#[derive(Clone, Debug)]
pub struct Path {
    rows: usize,
    steps: Vec<Step>,
}

impl Path {
    /// The path of probabilities `[row][arm]`, choosing between none and the `allowed` arms.
    #[must_use]
    pub fn new(probabilities: &[f32], arms: usize, allowed: &[usize], economics: &Economics) -> Self {
        let mut steps = Vec::new();
        for (row, probabilities) in probabilities.chunks_exact(arms).enumerate() {
            let p = |arm: usize| f64::from(probabilities[arm]);
            let offer = |arm: &usize| Offer {
                arm: *arm,
                cost: economics.cost(*arm, p(*arm)),
                value: (p(*arm) - p(0)) * economics.margin,
            };
            let mut offers: Vec<Offer> = allowed.iter().map(offer).collect();
            let mut from = Offer { arm: 0, cost: 0.0, value: 0.0 };
            for to in hull(&mut offers) {
                let cost = to.cost - from.cost;
                let ratio = if cost > 0.0 { (to.value - from.value) / cost } else { f64::INFINITY };
                steps.push(Step { row, from: from.arm, to: to.arm, cost, ratio });
                from = to;
            }
        }
        // Stable: a row's own steps, whose ratios fall, stay in their order.
        steps.sort_by(|a, b| b.ratio.total_cmp(&a.ratio));
        Self { rows: probabilities.len() / arms.max(1), steps }
    }

    /// What each row is given when `budget` per row may be spent, as the probabilities have it.
    #[must_use]
    pub fn at(&self, budget: f64) -> Vec<Choice> {
        let mut choices = vec![Choice::always(0); self.rows];
        let mut left = budget * self.rows as f64;
        for step in &self.steps {
            if step.cost > left {
                if left > 0.0 {
                    choices[step.row] = Choice { arm: step.to, share: left / step.cost, otherwise: step.from };
                }
                break;
            }
            left -= step.cost;
            choices[step.row] = Choice::always(step.to);
        }
        choices
    }

    /// Value per cost of the step at which `budget` per row ends: the price of budget. 0 where budget is left over.
    #[must_use]
    pub fn price(&self, budget: f64) -> f64 {
        let mut left = budget * self.rows as f64;
        let last = self.steps.iter().find(|step| {
            left -= step.cost;
            left < 0.0
        });
        last.map_or(0.0, |step| step.ratio)
    }

    /// What the path spends per row at most.
    #[must_use]
    pub fn largest_budget(&self) -> f64 {
        self.steps.iter().map(|step| step.cost).sum::<f64>() / self.rows.max(1) as f64
    }
}

#[derive(Clone, Copy, Debug)]
struct Offer {
    arm: usize,
    cost: f64,
    value: f64,
}

/// The offers worth stepping to from nothing at (0, 0), by rising cost: each of more value, at a falling ratio.
fn hull(offers: &mut [Offer]) -> Vec<Offer> {
    offers.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(b.value.total_cmp(&a.value)));
    let origin = Offer { arm: 0, cost: 0.0, value: 0.0 };
    let mut hull: Vec<Offer> = Vec::new();
    for offer in offers.iter() {
        if offer.value <= hull.last().unwrap_or(&origin).value {
            continue;
        }
        while let Some(last) = hull.last() {
            let before = if hull.len() > 1 { hull[hull.len() - 2] } else { origin };
            let is_above = (last.value - before.value) * (offer.cost - before.cost)
                > (offer.value - before.value) * (last.cost - before.cost);
            if is_above {
                break;
            }
            hull.pop();
        }
        hull.push(*offer);
    }
    hull
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn economics(sending: &[f64]) -> Economics {
        Economics { margin: 1.0, discount: vec![0.0; sending.len()], sending: sending.to_vec() }
    }

    /// The best predicted value of a budget over all decisions without parts, by trying every one.
    fn best(probabilities: &[f32], sending: &[f64], budget: f64) -> f64 {
        let arms = sending.len();
        let rows = probabilities.len() / arms;
        (0..arms.pow(rows as u32))
            .filter_map(|mut code| {
                let (mut cost, mut value) = (0.0, 0.0);
                for row in probabilities.chunks_exact(arms) {
                    let arm = code % arms;
                    code /= arms;
                    cost += sending[arm];
                    value += f64::from(row[arm]) - f64::from(row[0]);
                }
                (cost <= budget * rows as f64).then_some(value)
            })
            .fold(0.0, f64::max)
    }

    proptest! {
        #[test]
        fn a_path_spends_the_budget_and_no_whole_decision_is_worth_more(
            probabilities in prop::collection::vec(0.0..1.0_f32, 12), budget in 0.0..1.5_f64,
        ) {
            let sending = [0.0, 0.6, 1.0];
            let path = Path::new(&probabilities, 3, &[1, 2], &economics(&sending));
            let choices = path.at(budget);
            let spent: f64 = choices.iter().map(|choice| choice.mean(|arm| sending[arm])).sum();
            prop_assert!(spent <= budget * 4.0 + 1e-9);
            prop_assert!((spent - budget.min(path.largest_budget()) * 4.0).abs() < 1e-9);
            let value: f64 = choices.iter().zip(probabilities.chunks_exact(3))
                .map(|(choice, row)| choice.mean(|arm| f64::from(row[arm]) - f64::from(row[0]))).sum();
            prop_assert!(value >= best(&probabilities, &sending, budget) - 1e-6);
        }

        #[test]
        fn the_price_of_budget_falls_with_the_budget(probabilities in prop::collection::vec(0.0..1.0_f32, 30)) {
            let path = Path::new(&probabilities, 3, &[1, 2], &economics(&[0.0, 0.6, 1.0]));
            let prices: Vec<f64> = (0..12).map(|step| path.price(f64::from(step) * 0.1)).collect();
            prop_assert!(prices.windows(2).all(|pair| pair[0] >= pair[1]));
        }
    }

    #[test]
    fn an_offer_that_costs_nothing_is_made_first_and_one_that_harms_never() {
        let path = Path::new(&[0.1, 0.3, 0.4, 0.3, 0.2, 0.1], 3, &[1, 2], &economics(&[0.0, 0.0, 1.0]));
        assert_eq!(path.at(0.0), [Choice::always(1), Choice::always(0)]);
        assert_eq!(path.at(9.0), [Choice::always(2), Choice::always(0)]);
    }

    #[test]
    fn responders_who_would_have_come_anyway_are_paid_for() {
        let economics = Economics { margin: 10.0, discount: vec![0.0, 2.0], sending: vec![0.0, 0.1] };
        assert!((economics.cost(1, 0.5) - 1.1).abs() < 1e-12);
        let path = Path::new(&[0.4, 0.5], 2, &[1], &economics);
        assert!((path.largest_budget() - 1.1).abs() < 1e-6);
    }
}

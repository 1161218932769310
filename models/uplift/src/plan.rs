//! The price of a campaign's budget before the campaign begins: known users, their chances, and what each price spends.
//!
//! The edge decides one user at a time, by one number per budget: an arm is offered where it is worth its price, by as many
//! standard errors as the campaign is cautious. [`Planned::at`] follows that rule on all users, so its spend and its offers
//! are those of the edge at that price. The price of a budget is the lowest that keeps to it. How far the rule falls short
//! of the best that any plan could do is bounded by the solver of [`selvedge_budget::price`] (the Lagrange dual).
//!
//! Chances come from whoever has them; there is no trial here and no outcome, so values are what a model expects.

use selvedge_budget::price::{Arm, BadArms, solve};

/// Halvings of the interval of prices: more than a double's mantissa can tell apart.
const HALVINGS: u32 = 128;

/// What is sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Incremental value for the budget.
    Revenue,
    /// Incremental value minus cost.
    Profit,
}

/// An offer, as a plan knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer {
    /// Expected discount given a response.
    pub discount: f64,
    /// What it costs to make it.
    pub sending: f64,
    /// Standard error of its chance.
    pub error: f64,
}

/// What a campaign offers to whom.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// What is sought.
    pub goal: Goal,
    /// By how many standard errors an offer must be worth its price.
    pub caution: f64,
    /// What must be left of a margin after the discount.
    pub margin_floor: f64,
    /// Share of users who get nothing.
    pub holdout: f64,
    /// Arms 1, 2, ...
    pub offers: Vec<Offer>,
    /// Standard error of the chance without an offer.
    pub error: f64,
}

/// Users of a campaign.
#[derive(Clone, Debug)]
pub struct Users {
    /// Chance of a response, `[user][arm]`, arm 0 without an offer.
    pub chances: Vec<f32>,
    /// What a response earns, by user.
    pub margins: Vec<f64>,
}

/// What a price does.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// What a unit of cost must bring.
    pub price: f64,
    /// What is spent, in all; users who are held out cost nothing.
    pub spend: f64,
    /// What is earned above making no offers, before costs, in all.
    pub value: f64,
    /// Users who are offered each arm, from arm 1 on; expected, since a share of them is held out.
    pub offers: Vec<f64>,
    /// The arm of each user, were nobody held out.
    pub chosen: Vec<usize>,
}

/// Users and campaign, ready for any price.
#[derive(Clone, Debug)]
pub struct Planned {
    campaign: Campaign,
    users: Users,
}

/// The price of a budget.
#[derive(Clone, Debug)]
pub struct Priced {
    /// What it does.
    pub point: Point,
    /// No plan within the budget gains more, by the goal.
    pub bound: f64,
    /// How much of the best gain may be missing.
    pub gap: f64,
}

impl Planned {
    /// Puts both together.
    #[must_use]
    pub fn new(campaign: Campaign, users: Users) -> Self {
        Self { campaign, users }
    }

    /// Number of users.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users.margins.len()
    }

    /// What happens at a price.
    #[must_use]
    pub fn at(&self, price: f64) -> Point {
        let reached = 1.0 - self.campaign.holdout;
        let mut point =
            Point { price, spend: 0.0, value: 0.0, offers: vec![0.0; self.campaign.offers.len()], chosen: Vec::new() };
        for user in 0..self.users() {
            let chosen = self.best(user, price);
            if let Some(at) = chosen.checked_sub(1) {
                let Arm { value, cost } = self.arm(user, at);
                point.spend += reached * cost;
                point.value += reached * value;
                point.offers[at] += reached;
            }
            point.chosen.push(chosen);
        }
        point
    }

    /// The lowest price that spends at most `budget`, and how far it is from the best plan.
    ///
    /// # Errors
    /// A number that is none, or a negative cost or budget.
    pub fn price(&self, budget: f64) -> Result<Priced, BadArms> {
        let reached = 1.0 - self.campaign.holdout;
        let gained = |arm: Arm| match self.campaign.goal {
            Goal::Revenue => arm,
            Goal::Profit => Arm { value: arm.value - arm.cost, cost: arm.cost },
        };
        let arms = |user: usize| (0..self.campaign.offers.len()).map(|at| gained(self.arm(user, at))).collect();
        let users: Vec<Vec<Arm>> = (0..self.users()).map(arms).collect();
        // Those who are held out spend nothing, so the others may spend more.
        let within = if reached > 0.0 { budget / reached } else { budget };
        let bound = solve(&users, within)?.bound * reached;
        let point = self.lowest_price(budget);
        let gain = match self.campaign.goal {
            Goal::Revenue => point.value,
            Goal::Profit => point.value - point.spend,
        };
        Ok(Priced { gap: (bound - gain).max(0.0), point, bound })
    }

    /// What happens at the lowest price that spends at most `budget`, without a bound.
    #[must_use]
    pub fn lowest_price(&self, budget: f64) -> Point {
        let free = self.at(0.0);
        if free.spend <= budget {
            return free;
        }
        let mut below = 0.0;
        let mut price = 1.0;
        while self.at(price).spend > budget && price < 1e9 {
            below = price;
            price *= 2.0;
        }
        for _ in 0..HALVINGS {
            let middle = below + (price - below) / 2.0;
            if middle <= below || middle >= price {
                break;
            }
            if self.at(middle).spend > budget {
                below = middle;
            } else {
                price = middle;
            }
        }
        self.at(price)
    }

    fn chance(&self, user: usize, arm: usize) -> f64 {
        f64::from(self.users.chances[user * (self.campaign.offers.len() + 1) + arm])
    }

    /// Value and cost of an offer, counted from 0.
    fn arm(&self, user: usize, at: usize) -> Arm {
        let offer = &self.campaign.offers[at];
        let chance = self.chance(user, at + 1);
        Arm {
            value: (chance - self.chance(user, 0)) * self.users.margins[user],
            cost: chance * offer.discount + offer.sending,
        }
    }

    /// The arm that the edge's rule offers, 0 for none.
    fn best(&self, user: usize, price: f64) -> usize {
        let margin = self.users.margins[user];
        let of_cost = price + if self.campaign.goal == Goal::Profit { 1.0 } else { 0.0 };
        let mut best = (0, 0.0, 0.0);
        for (at, offer) in self.campaign.offers.iter().enumerate() {
            if self.campaign.margin_floor != 0.0 && margin - offer.discount < self.campaign.margin_floor {
                continue;
            }
            let arm = self.arm(user, at);
            let error = (offer.error * (margin - of_cost * offer.discount)).hypot(self.campaign.error * margin);
            let score = arm.value - of_cost * arm.cost - self.campaign.caution * error;
            if score > best.1 || (score == best.1 && arm.cost < best.2) {
                best = (at + 1, score, arm.cost);
            }
        }
        best.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn campaign(goal: Goal, caution: f64, holdout: f64) -> Campaign {
        let offer = |discount| Offer { discount, sending: 0.5, error: 0.02 };
        Campaign { goal, caution, margin_floor: 0.0, holdout, offers: vec![offer(2.0), offer(4.0)], error: 0.01 }
    }

    fn users(chances: &[(f32, f32, f32)]) -> Users {
        Users {
            chances: chances.iter().flat_map(|(none, small, large)| [*none, *small, *large]).collect(),
            margins: vec![10.0; chances.len()],
        }
    }

    proptest! {
        #[test]
        fn no_price_spends_more_than_its_budget_and_a_plan_is_within_its_bound(
            chances in prop::collection::vec((0.0_f32..1.0, 0.0_f32..1.0, 0.0_f32..1.0), 1..60),
            share in 0.05_f64..1.0, caution in 0.0_f64..2.0, holdout in 0.0_f64..0.5, profit in any::<bool>(),
        ) {
            let goal = if profit { Goal::Profit } else { Goal::Revenue };
            let planned = Planned::new(campaign(goal, caution, holdout), users(&chances));
            let budget = share * planned.at(0.0).spend + 0.1;
            let priced = planned.price(budget).unwrap();
            prop_assert!(priced.point.spend <= budget);
            prop_assert!(priced.gap >= 0.0 && priced.bound + 1e-9 >= priced.bound - priced.gap);
            let gain = priced.point.value - if profit { priced.point.spend } else { 0.0 };
            prop_assert!(gain <= priced.bound + 1e-9);
        }
    }

    #[test]
    fn a_higher_price_offers_less_and_without_caution_the_solver_finds_the_same_price() {
        let chances: Vec<_> =
            (0..40_u8).map(|at| (0.1, 0.1 + f32::from(at) / 60.0, 0.12 + f32::from(at) / 50.0)).collect();
        let planned = Planned::new(campaign(Goal::Revenue, 0.0, 0.0), users(&chances));
        let spends: Vec<f64> = [0.0, 1.0, 2.0, 4.0].iter().map(|price| planned.at(*price).spend).collect();
        assert!(spends.windows(2).all(|pair| pair[0] >= pair[1]), "{spends:?}");
        let priced = planned.price(20.0).unwrap();
        let arms = |user: usize| vec![planned.arm(user, 0), planned.arm(user, 1)];
        let solved = solve(&(0..40).map(arms).collect::<Vec<_>>(), 20.0).unwrap();
        assert!((priced.point.price - solved.price).abs() < 1e-9, "{} and {}", priced.point.price, solved.price);
        assert_eq!(priced.bound, solved.bound);
    }

    #[test]
    fn users_held_out_cost_nothing() {
        let chances = [(0.1, 0.6, 0.7); 10];
        let all = Planned::new(campaign(Goal::Revenue, 0.0, 0.0), users(&chances)).at(0.0);
        let most = Planned::new(campaign(Goal::Revenue, 0.0, 0.2), users(&chances)).at(0.0);
        assert!((most.spend - 0.8 * all.spend).abs() < 1e-9 && (most.value - 0.8 * all.value).abs() < 1e-9);
        assert_eq!(most.chosen, all.chosen);
    }

    #[test]
    fn a_margin_that_does_not_bear_an_offer_gets_none() {
        let mut campaign = campaign(Goal::Revenue, 0.0, 0.0);
        campaign.margin_floor = 7.0;
        let planned = Planned::new(campaign, users(&[(0.1, 0.6, 0.9)]));
        assert_eq!(planned.at(0.0).chosen, [1], "10 - 4 is less than 7");
    }
}

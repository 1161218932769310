//! Off-line: the price at which known users spend a budget, and how far from the best plan that can be.

use alloc::vec::Vec;

use super::{Arm, best_arm};

/// Halvings of the interval of prices: more than a double's mantissa can tell apart.
const HALVINGS: u32 = 128;

/// Who gets what.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The price that the plan was made at.
    pub price: f64,
    /// The arm of each user; `None` is nothing.
    pub chosen: Vec<Option<usize>>,
    /// Sum of the values.
    pub value: f64,
    /// Sum of the costs, at most the budget.
    pub cost: f64,
    /// No plan within the budget has a larger value.
    pub bound: f64,
}

impl Plan {
    /// How much of the best value may be missing: 0 is the optimum.
    #[must_use]
    pub fn gap(&self) -> f64 {
        (self.bound - self.value).max(0.0)
    }
}

/// Arms that cannot be planned with.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadArms {
    /// Not a number, or a negative cost.
    #[error("arm {arm} of user {user}: value and cost must be finite, and the cost not negative")]
    Arm {
        /// Position of the user.
        user: usize,
        /// Position of the arm.
        arm: usize,
    },
    /// Not a number, or negative.
    #[error("the budget must be finite and not negative")]
    Budget,
}

/// The best plan that a price, and the money it leaves over, can find.
///
/// The cost of what is chosen falls with the price. Two prices are bisected until nothing lies between: one that keeps to
/// the budget, and one just below that does not. The plan is that of the first; what is left then goes to users who differ
/// between the two, the best value per cost first, as far as it fits. The bound is that of the Lagrange dual: at any price
/// `sum max(0, value - price * cost) + price * budget` is at least the value of every plan within the budget.
///
/// # Errors
/// A number that is none, or a negative cost or budget.
pub fn solve<U: AsRef<[Arm]>>(users: &[U], budget: f64) -> Result<Plan, BadArms> {
    check(users, budget)?;
    let mut plan = at_price(users, 0.0, budget);
    if plan.cost <= budget {
        return Ok(plan);
    }
    let mut below = 0.0;
    let mut price = beyond_all(users);
    for _ in 0..HALVINGS {
        let middle = below + (price - below) / 2.0;
        if middle <= below || middle >= price {
            break;
        }
        if at_price(users, middle, budget).cost > budget {
            below = middle;
        } else {
            price = middle;
        }
    }
    let over = at_price(users, below, budget);
    plan = at_price(users, price, budget);
    plan.bound = plan.bound.min(over.bound);
    spend_rest(&mut plan, &over.chosen, users, budget);
    Ok(plan)
}

fn check<U: AsRef<[Arm]>>(users: &[U], budget: f64) -> Result<(), BadArms> {
    if !budget.is_finite() || budget < 0.0 {
        return Err(BadArms::Budget);
    }
    for (user, arms) in users.iter().enumerate() {
        let bad = |arm: &Arm| !arm.value.is_finite() || !arm.cost.is_finite() || arm.cost < 0.0;
        if let Some(arm) = arms.as_ref().iter().position(bad) {
            return Err(BadArms::Arm { user, arm });
        }
    }
    Ok(())
}

/// A price at which nobody gets anything that costs.
fn beyond_all<U: AsRef<[Arm]>>(users: &[U]) -> f64 {
    let arms = users.iter().flat_map(|arms| arms.as_ref());
    let per_cost = arms.filter(|arm| arm.cost > 0.0).map(|arm| arm.value / arm.cost);
    1.0 + per_cost.fold(0.0, f64::max).min(f64::MAX / 4.0)
}

fn at_price<U: AsRef<[Arm]>>(users: &[U], price: f64, budget: f64) -> Plan {
    let mut plan =
        Plan { price, chosen: Vec::with_capacity(users.len()), value: 0.0, cost: 0.0, bound: price * budget };
    for arms in users.iter().map(AsRef::as_ref) {
        let chosen = best_arm(arms, price);
        if let Some(arm) = chosen.map(|at| arms[at]) {
            plan.value += arm.value;
            plan.cost += arm.cost;
            plan.bound += arm.value - price * arm.cost;
        }
        plan.chosen.push(chosen);
    }
    plan
}

/// Spends what is left on users who would get more at the lower price.
fn spend_rest<U: AsRef<[Arm]>>(plan: &mut Plan, more: &[Option<usize>], users: &[U], budget: f64) {
    let arm = |user: usize, chosen: Option<usize>| match chosen {
        Some(at) => users[user].as_ref()[at],
        None => Arm { value: 0.0, cost: 0.0 },
    };
    let gain = |user: usize| {
        let (now, then) = (arm(user, plan.chosen[user]), arm(user, more[user]));
        (then.value - now.value, then.cost - now.cost)
    };
    let differs = |user: &usize| plan.chosen[*user] != more[*user];
    let mut steps: Vec<(usize, f64, f64)> = (0..users.len())
        .filter(differs)
        .map(|user| (user, gain(user).0, gain(user).1))
        .filter(|(_, value, cost)| *value > 0.0 && *cost > 0.0)
        .collect();
    steps.sort_by(|a, b| (b.1 / b.2).total_cmp(&(a.1 / a.2)).then(b.1.total_cmp(&a.1)));
    for (user, value, cost) in steps {
        if plan.cost + cost <= budget {
            plan.cost += cost;
            plan.value += value;
            plan.chosen[user] = more[user];
        }
    }
}

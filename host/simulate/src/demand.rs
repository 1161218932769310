//! What was wanted of the budgets, and how much of one could have been used in hindsight.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use selvedge_budget::{Amounts, Minor};

use crate::world::BUDGETS;

type Parts = [u64; BUDGETS.len()];

/// An offer that somebody wanted to make.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    at_ms: i64,
    face: Parts,
    /// When it stops to be out: redeemed, or expired.
    ends_ms: i64,
    /// What an order gets of it then.
    settles: Parts,
}

/// All offers that were wanted, in the order of their time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand(Vec<Wanted>);

impl Demand {
    /// Notes an offer that is redeemed after so long, if it is.
    pub(crate) fn note(
        &mut self,
        at_ms: i64,
        face: &Amounts,
        discount: &Amounts,
        expires_ms: i64,
        redeemed_after_ms: Option<i64>,
    ) {
        let parts = |amounts: &Amounts| BUDGETS.map(|name| amounts.get(name).0);
        let redeemed_ms = redeemed_after_ms.map(|after_ms| at_ms + after_ms).filter(|at_ms| *at_ms < expires_ms);
        let settles = if redeemed_ms.is_some() { parts(discount) } else { Parts::default() };
        self.0.push(Wanted { at_ms, face: parts(face), ends_ms: redeemed_ms.unwrap_or(expires_ms), settles });
    }

    /// The most that would have been settled and out at one time, had one mind decided every offer at once, and had this
    /// one budget no end. The others keep theirs: what they could not have paid for is no demand for this one.
    pub(crate) fn hindsight(&self, budget: usize, totals: &[Minor]) -> u64 {
        let (mut used, mut peak) = (Parts::default(), 0);
        let mut out: BinaryHeap<Reverse<(i64, Parts, Parts)>> = BinaryHeap::new();
        for wanted in &self.0 {
            while out.peek().is_some_and(|Reverse((ends_ms, ..))| *ends_ms <= wanted.at_ms) {
                let Some(Reverse((_, face, settles))) = out.pop() else { break };
                for at in 0..used.len() {
                    used[at] = used[at] + settles[at] - face[at];
                }
            }
            let fits = |parts: &Parts| {
                totals.iter().enumerate().all(|(at, total)| at == budget || used[at] + parts[at] <= total.0)
            };
            let first = |parts: Parts| [parts[0], 0, 0];
            let (face, settles) = if fits(&wanted.face) {
                (wanted.face, wanted.settles)
            } else if fits(&first(wanted.face)) {
                (first(wanted.face), first(wanted.settles))
            } else {
                continue;
            };
            for at in 0..used.len() {
                used[at] += face[at];
            }
            out.push(Reverse((wanted.ends_ms, face, settles)));
            peak = peak.max(used[budget]);
        }
        peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_others_cannot_pay_for_is_no_demand() {
        let mut demand = Demand::default();
        let amounts = |first, second| Amounts::new([(BUDGETS[0], Minor(first)), (BUDGETS[1], Minor(second))]).unwrap();
        // The second is redeemed at half its face before the third is wanted.
        demand.note(0, &amounts(10, 5), &amounts(10, 5), 100, None);
        demand.note(1, &amounts(10, 5), &amounts(6, 2), 100, Some(5));
        demand.note(7, &amounts(10, 5), &amounts(10, 5), 100, None);
        assert_eq!(demand.hindsight(1, &[Minor(1000), Minor(1)]), 12);
        assert_eq!(demand.hindsight(1, &[Minor(20), Minor(1)]), 10);
        assert_eq!(demand.hindsight(0, &[Minor(1), Minor(1)]), 26);
    }
}

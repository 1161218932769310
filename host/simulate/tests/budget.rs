//! Budgets hold in every world, and the simulator notices when the rules are broken.

use selvedge_simulate::{Sabotage, Summary, World, run};

#[test]
fn nothing_is_overspent_and_no_good_offer_is_refused() {
    let mut summary = Summary::default();
    for seed in 1..=20 {
        summary.add(&run(&World::draw(seed)));
    }
    assert!(summary.is_good(), "{summary:#?}");
    // A world in which nothing goes wrong would show nothing.
    let counts = summary.counts;
    let happened = [counts.double_spends, counts.messages_lost, counts.edges_lost, counts.edge_crashes];
    assert!(happened.into_iter().chain([counts.host_crashes]).all(|count| count > 100), "{counts:?}");
    assert!(summary.judged_budgets >= 3, "only {} budgets were judged", summary.judged_budgets);
    assert!(summary.worst_utilisation >= 0.98, "a budget lay idle: {summary:#?}");
}

#[test]
fn a_seed_says_it_all() {
    assert_eq!(run(&World::draw(7)), run(&World::draw(7)));
}

/// Small worlds that spend all of their budget, each with the same breach of the rules.
fn overspends(sabotage: Sabotage) -> u64 {
    let scarce = |seed| {
        let mut world = World::draw(seed);
        world.requests /= 3;
        // So small a world sees few crashes otherwise, and some breaches show only in one.
        world.faults.crashes = 0.02;
        for total in &mut world.totals {
            total.0 /= 12;
        }
        world.sabotage = sabotage;
        world
    };
    (1..=3).map(|seed| run(&scarce(seed)).overspends).sum()
}

#[test]
fn scarce_worlds_hold_without_a_breach() {
    assert_eq!(overspends(Sabotage::default()), 0);
}

#[test]
fn an_edge_that_forgets_what_it_wrote_is_noticed() {
    assert!(overspends(Sabotage { forget_writes: true, ..Sabotage::default() }) > 0);
}

#[test]
fn an_edge_that_runs_twice_is_noticed() {
    assert!(overspends(Sabotage { twins: true, ..Sabotage::default() }) > 0);
}

#[test]
fn an_edge_that_mints_after_its_time_is_noticed() {
    assert!(overspends(Sabotage { longer_leases_ms: 12 * 3_600_000, ..Sabotage::default() }) > 0);
}

#[test]
fn a_ledger_that_reclaims_too_early_is_noticed() {
    assert!(overspends(Sabotage { reclaim_ahead_ms: 3 * 3_600_000, ..Sabotage::default() }) > 0);
}

//! The price of a budget against the best that could have been done.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use selvedge_budget::price::{Arm, BadArms, Controller, Pace, best_arm, solve};

/// The best value within the budget, by trying everything.
fn best_by_force(users: &[Vec<Arm>], budget: f64) -> f64 {
    let Some((first, rest)) = users.split_first() else { return 0.0 };
    let with = first.iter().filter(|arm| arm.cost <= budget);
    with.map(|arm| arm.value + best_by_force(rest, budget - arm.cost)).fold(best_by_force(rest, budget), f64::max)
}

fn arms() -> impl Strategy<Value = Vec<Arm>> {
    // Whole numbers: sums are exact, and ties and equal ratios are common.
    prop::collection::vec((-3..12_i32, 0..8_i32), 0..4).prop_map(|arms| {
        let arm = |(value, cost)| Arm { value: f64::from(value), cost: f64::from(cost) };
        arms.into_iter().map(arm).collect()
    })
}

proptest! {
    #[test]
    fn a_plan_keeps_to_the_budget_and_its_gap_holds_the_optimum(
        users in prop::collection::vec(arms(), 0..7), budget in 0..30_i32,
    ) {
        let budget = f64::from(budget);
        let plan = solve(&users, budget).unwrap();
        let best = best_by_force(&users, budget);
        let chosen = || users.iter().zip(&plan.chosen).filter_map(|(arms, chosen)| chosen.map(|at| arms[at]));
        prop_assert!(plan.cost <= budget);
        prop_assert!((chosen().map(|arm| arm.value).sum::<f64>() - plan.value).abs() < 1e-9);
        prop_assert!((chosen().map(|arm| arm.cost).sum::<f64>() - plan.cost).abs() < 1e-9);
        prop_assert!(plan.value <= best + 1e-9, "{} is above the best, {best}", plan.value);
        prop_assert!(plan.bound >= best - 1e-9, "the bound {} is below the best, {best}", plan.bound);
        // At most one user of those on the edge is left out for want of money.
        let dearest = users.iter().flatten().map(|arm| arm.value).fold(0.0, f64::max);
        prop_assert!(plan.gap() <= 2.0 * dearest + 1e-9, "a gap of {}", plan.gap());
    }
}

#[test]
fn of_equals_the_cheaper_is_chosen_and_nothing_beats_no_gain() {
    let arm = |value, cost| Arm { value, cost };
    assert_eq!(best_arm(&[arm(3.0, 1.0), arm(4.0, 2.0), arm(2.0, 0.0)], 1.0), Some(2));
    assert_eq!(best_arm(&[arm(1.0, 1.0)], 1.0), None);
    assert_eq!(best_arm(&[], 0.0), None);
}

#[test]
fn numbers_that_are_none_are_refused_by_place() {
    let arm = |value, cost| vec![Arm { value, cost }];
    assert_eq!(solve(&[arm(1.0, 1.0), arm(f64::NAN, 1.0)], 1.0), Err(BadArms::Arm { user: 1, arm: 0 }));
    assert_eq!(solve(&[arm(1.0, -1.0)], 1.0), Err(BadArms::Arm { user: 0, arm: 0 }));
    assert_eq!(solve(&[arm(1.0, 1.0)], f64::INFINITY), Err(BadArms::Budget));
}

/// Requests of one day: three arms whose value falls off with their cost, and most users not worth it.
fn stream(seed: u64, requests: usize) -> Vec<[Arm; 3]> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let user = |_| {
        let margin = rng.random_range(10.0..60.0);
        let taste = rng.random::<f64>() * rng.random::<f64>();
        let buys = 0.05 + 0.4 * rng.random::<f64>();
        [2.0, 4.0, 8.0].map(|face: f64| {
            let lift = taste * face / (face + 6.0);
            Arm { value: lift * margin, cost: (buys + lift).min(1.0) * face }
        })
    };
    (0..requests).map(user).collect()
}

/// Value of what a controller decides, as a part of the best in hindsight.
fn run(mut controller: Controller, users: &[[Arm; 3]], budget: f64) -> f64 {
    const BATCH: usize = 100;
    let best = solve(users, budget).unwrap();
    let (mut left, mut value, mut to_come) = (budget, 0.0, users.len());
    for batch in users.chunks(BATCH) {
        let mut cost = 0.0;
        let price = controller.publish(0).price_micros as f64 / 1e6;
        for arms in batch {
            let chosen = best_arm(arms, price).map(|at| arms[at]);
            if let Some(arm) = chosen.filter(|arm| arm.cost <= left) {
                left -= arm.cost;
                cost += arm.cost;
                value += arm.value;
            }
        }
        to_come -= batch.len();
        controller.observe(batch.len() as u64, cost, left, to_come as u64);
    }
    assert!(left >= 0.0);
    value / best.value
}

const REQUESTS: usize = 50_000;

fn pace() -> Pace {
    Pace { requests: REQUESTS as u64, gain: 1.0, highest: 50.0, band: 0.01 }
}

#[test]
fn the_price_of_yesterday_brings_all_but_a_300th_of_the_value() {
    for seed in 1..=3 {
        let (yesterday, today) = (stream(seed + 100, REQUESTS), stream(seed, REQUESTS));
        for budget in [5_000.0, 20_000.0, 50_000.0] {
            let price = solve(&yesterday, budget).unwrap().price;
            let value = run(Controller::warm(pace(), budget, price), &today, budget);

            assert!(value >= 0.997, "seed {seed}, budget {budget}: {value}");
        }
    }
}

#[test]
fn a_start_from_nothing_brings_all_but_a_hundredth_of_the_value() {
    for seed in 1..=3 {
        let today = stream(seed, REQUESTS);
        for budget in [5_000.0, 20_000.0, 50_000.0] {
            for highest in [15.0, 50.0, 200.0] {
                let pace = Pace { highest, ..pace() };
                let value = run(Controller::cold(pace, budget), &today, budget);

                assert!(value >= 0.99, "seed {seed}, budget {budget}, highest {highest}: {value}");
            }
        }
    }
}

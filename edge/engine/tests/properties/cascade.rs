//! A cascade orders candidates as a plain evaluation of its stages does, and says so when it stops early.

use proptest::prelude::*;
use selvedge_engine::{Engine, Limits};
use selvedge_format::decision::{DecisionStatus, DecisionView, DegradedReason, FallbackReason};
use selvedge_format::model::{LinearWeights, ModelKindV1};
use selvedge_format::program::{OpV1, Scope};
use selvedge_wire::{RequestBuilder, Values};

use crate::graph::Attention;
use crate::support::{NOW_MS, PRICE, WEIGHT, assert_same, cascade, engine, number, policy, program};
use crate::trees::Draw;

/// A linear model over price and weight.
fn linear(price: f32, weight: f32) -> (ModelKindV1, Vec<u8>) {
    (ModelKindV1::Linear { bias: 0.0 }, LinearWeights::encode(&[price, weight], &[0.0, 0.0]))
}

/// By price, then by weight, then by both.
fn bundle(keep: &[u32]) -> Vec<u8> {
    let program = program([OpV1::Number { field: PRICE }, OpV1::Number { field: WEIGHT }]);
    let models = [linear(1.0, 0.0), linear(0.0, 1.0), linear(0.5, -2.0)];
    let stages: Vec<_> = models.into_iter().take(keep.len() + 1).collect();
    cascade(&program, &policy(100), &stages, keep)
}

fn request(prices: &[f32], weights: &[f32]) -> RequestBuilder {
    let ids: Vec<String> = (0..prices.len()).map(|at| format!("p{at}")).collect();
    RequestBuilder::new([7; 16], NOW_MS, ids.iter().map(String::as_str))
        .column(Scope::Item, "price", Values::Numbers(prices))
        .column(Scope::Item, "weight", Values::Numbers(weights))
}

fn scores(engine: &mut Engine, request: &RequestBuilder) -> Vec<f32> {
    engine.score(&request.clone().build()).expect("a valid request").to_vec()
}

/// Candidates by score, the largest first, NaN last, equal ones in their order.
fn best_first(candidates: &mut [usize], scores: &[f32]) {
    candidates.sort_by(|first, second| {
        let (a, b) = (scores[*first], scores[*second]);
        let by_score = a.is_nan().cmp(&b.is_nan()).then(b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal));
        by_score.then(first.cmp(second))
    });
}

proptest! {
    #[test]
    fn stages_order_as_a_plain_evaluation_does(
        rows in prop::collection::vec((number(), number()), 1..40),
        keep in prop::collection::vec(1..50_u32, 0..3),
    ) {
        let (prices, weights): (Vec<f32>, Vec<f32>) = rows.into_iter().unzip();
        let request = request(&prices, &weights);
        // What each stage by itself gives everybody.
        let whole: Vec<Vec<f32>> = [linear(1.0, 0.0), linear(0.0, 1.0), linear(0.5, -2.0)]
            .into_iter()
            .map(|model| {
                let program = program([OpV1::Number { field: PRICE }, OpV1::Number { field: WEIGHT }]);
                scores(&mut engine(&cascade(&program, &policy(1), &[model], &[]), Limits::default()), &request)
            })
            .collect();
        let mut order: Vec<usize> = (0..prices.len()).collect();
        let mut expected = whole[0].clone();
        best_first(&mut order, &expected);
        for (keep, whole) in keep.iter().zip(&whole[1..]) {
            let (seen, others) = order.split_at(order.len().min(*keep as usize));
            seen.iter().for_each(|at| expected[*at] = whole[*at]);
            let scored = seen.iter().map(|at| expected[*at]).filter(|score| !score.is_nan());
            let mut below = scored.fold(f32::INFINITY, f32::min);
            for at in others {
                below = below.next_down();
                expected[*at] = below;
            }
            best_first(&mut order, &expected);
        }

        let mut cascade = engine(&bundle(&keep), Limits::default());
        assert_same(&scores(&mut cascade, &request), &expected);
        let bytes = cascade.decide(&request.build()).to_vec();
        let decision = DecisionView::parse(&bytes).expect("a decision");
        assert_eq!(decision.status, DecisionStatus::Personalized);
        assert_eq!(decision.slots.iter().map(|slot| slot as usize).collect::<Vec<_>>(), order);
    }
}

#[test]
fn what_the_last_stage_has_not_seen_stands_below_it_in_the_order_of_the_first() {
    let request = request(&[5.0, 1.0, 4.0, 2.0, 3.0], &[10.0, 99.0, 20.0, 99.0, 99.0]);
    let mut engine = engine(&bundle(&[2]), Limits::default());
    let bytes = engine.decide(&request.build()).to_vec();
    let decision = DecisionView::parse(&bytes).expect("a decision");
    assert_eq!(decision.slots.iter().collect::<Vec<_>>(), [2, 0, 4, 3, 1]);
    let first = 10.0_f32.next_down();
    let expected = [20.0, 10.0, first, first.next_down(), first.next_down().next_down()];
    assert_eq!(decision.scores.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn reasons_are_those_of_the_last_stage_where_it_scored() {
    let request = request(&[5.0, 1.0, 4.0], &[10.0, 99.0, 20.0]).reasons(2);
    let mut engine = engine(&bundle(&[2]), Limits::default());
    let bytes = engine.decide(&request.build()).to_vec();
    let decision = DecisionView::parse(&bytes).expect("a decision");
    let reasons: Vec<Vec<(u32, f32)>> = (0..3).map(|slot| decision.reasons(slot).collect()).collect();
    assert_eq!(reasons, [vec![(1, 20.0)], vec![(1, 10.0)], vec![]]);
}

#[test]
fn a_stage_that_would_be_too_dear_is_left_out_and_the_decision_says_so() {
    let request = request(&[5.0, 1.0, 4.0, 2.0], &[10.0, 99.0, 20.0, 30.0]).build();
    let decide = |keep: &[u32], cost| {
        let bytes = engine(&bundle(keep), Limits { cost, ..Limits::default() }).decide(&request).to_vec();
        let decision = DecisionView::parse(&bytes).expect("a decision");
        (decision.status, decision.cost, decision.slots.iter().collect::<Vec<_>>())
    };
    let degraded = DecisionStatus::Degraded(DegradedReason::CostLimit);
    let (_, first, by_price) = decide(&[], u64::MAX);
    let (_, second, by_weight) = decide(&[3], u64::MAX);
    let (status, third, by_both) = decide(&[3, 2], u64::MAX);
    assert_eq!(status, DecisionStatus::Personalized);
    assert!(first < second && second < third && by_price != by_weight && by_weight != by_both);
    assert_eq!(decide(&[3, 2], third), (DecisionStatus::Personalized, third, by_both));
    assert_eq!(decide(&[3, 2], third - 1), (degraded, second, by_weight));
    assert_eq!(decide(&[3, 2], second - 1), (degraded, first, by_price));
    assert_eq!(decide(&[3, 2], first - 1).0, DecisionStatus::Fallback(FallbackReason::CostLimit));
    assert_eq!(degraded.names(), ("personalized", Some("cost-limit")));
}

#[test]
fn candidates_meet_only_where_all_their_pairs_are_paid_for() {
    let number = |field| OpV1::Number { field };
    let features = program([number(PRICE), number(WEIGHT), OpV1::Position, OpV1::Position, OpV1::Position]);
    let first = (ModelKindV1::Linear { bias: 0.0 }, LinearWeights::encode(&[1.0, 0.5, 0.0, 0.0, 0.0], &[0.0; 5]));
    let list = (ModelKindV1::Graph, Attention::new(2, 8, 8, &mut Draw::new(9)).encode());
    let alone = cascade(&features, &policy(100), std::slice::from_ref(&list), &[]);
    let behind = cascade(&features, &policy(100), &[first, list], &[40]);
    let decide = |bundle: &[u8], candidates: u8, cost| {
        let numbers: Vec<f32> = (0..candidates).map(|at| f32::from(at) / 64.0).collect();
        let request = request(&numbers, &numbers).build();
        let bytes = engine(bundle, Limits { cost, ..Limits::default() }).decide(&request).to_vec();
        let decision = DecisionView::parse(&bytes).expect("a decision");
        (decision.status, decision.cost)
    };
    let fallback = DecisionStatus::Fallback(FallbackReason::CostLimit);
    let degraded = DecisionStatus::Degraded(DegradedReason::CostLimit);
    let cost = |bundle, candidates| decide(bundle, candidates, u64::MAX).1;
    assert!(cost(&alone, 200) > 3 * cost(&alone, 100), "pairs dominate, and are four times as many");
    let enough = cost(&alone, 100);
    assert_eq!(decide(&alone, 100, enough), (DecisionStatus::Personalized, enough));
    assert_eq!(decide(&alone, 100, enough - 1).0, fallback);
    assert_eq!(decide(&alone, 101, enough).0, fallback, "one candidate more is a hundred pairs more");
    // Behind a first stage forty meet, however many there are.
    let enough = cost(&behind, 200);
    assert!(enough < cost(&alone, 100) && enough - cost(&behind, 100) < cost(&alone, 40));
    assert_eq!(decide(&behind, 200, enough), (DecisionStatus::Personalized, enough));
    assert_eq!(decide(&behind, 200, enough - 1).0, degraded);
}

#[test]
fn a_warm_cascade_does_not_allocate() {
    let numbers: Vec<f32> = (0..100_u16).map(f32::from).collect();
    let request = request(&numbers, &numbers).reasons(2).build();
    let mut engine = engine(&bundle(&[60, 20]), Limits::default());
    engine.decide(&request);
    let counted = allocation_counter::measure(|| {
        engine.decide(&request);
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

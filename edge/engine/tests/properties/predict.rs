//! A matrix of features scores as the request does that they come from.

use proptest::prelude::*;
use selvedge_engine::{Engine, Limits};
use selvedge_format::model::{LinearWeights, ModelKindV1, TreeNodes};
use selvedge_format::program::{OpV1, ProgramV1, Scope};
use selvedge_format::{DecodeErrorKind, ErrorCode};
use selvedge_wire::{RequestBuilder, Values};

use crate::graph::layer;
use crate::support::{AGE, BUDGET, NOW_MS, PRICE, WEIGHT, assert_same, cascade, engine, number, policy, program};
use crate::trees::{Draw, tree};

const FEATURES: usize = 5;

/// Two features of the request, as the network reads them, and three of the candidate.
fn numbers() -> ProgramV1 {
    let number = |field| OpV1::Number { field };
    program([number(BUDGET), number(AGE), number(PRICE), number(WEIGHT), OpV1::Position])
}

fn linear(draw: &mut Draw) -> (ModelKindV1, Vec<u8>) {
    let weights: Vec<f32> = (0..FEATURES).map(|_| draw.unit()).collect();
    (ModelKindV1::Linear { bias: 0.25 }, LinearWeights::encode(&weights, &[0.5; FEATURES]))
}

fn trees(draw: &mut Draw, leaves: usize) -> (ModelKindV1, Vec<u8>) {
    let trees: Vec<_> = (0..11).map(|_| tree(draw, leaves, FEATURES, 30)).collect();
    (ModelKindV1::Trees { base: 0.5 }, TreeNodes::encode(&trees))
}

fn bundles(draw: &mut Draw) -> Vec<Vec<u8>> {
    let network = (ModelKindV1::Graph, layer(7, draw).0);
    let stages = [linear(draw), trees(draw, 30), trees(draw, 300), network];
    let alone = stages.iter().map(|stage| cascade(&numbers(), &policy(10), std::slice::from_ref(stage), &[]));
    alone.chain([cascade(&numbers(), &policy(10), &stages, &[20, 5, 1])]).collect()
}

fn request(budget: f32, age: f32, items: &[(f32, f32)]) -> Vec<u8> {
    let ids: Vec<String> = (0..items.len()).map(|at| format!("p{at}")).collect();
    let (prices, weights): (Vec<f32>, Vec<f32>) = items.iter().copied().unzip();
    RequestBuilder::new([7; 16], NOW_MS, ids.iter().map(String::as_str))
        .column(Scope::Context, "budget", Values::Numbers(&[budget]))
        .column(Scope::User, "age", Values::Numbers(&[age]))
        .column(Scope::Item, "price", Values::Numbers(&prices))
        .column(Scope::Item, "weight", Values::Numbers(&weights))
        .build()
}

/// The features of a request, `[row][feature]`.
fn rows_of(engine: &mut Engine, request: &[u8]) -> Vec<f32> {
    let matrix = engine.features(request).expect("a valid request");
    (0..matrix.candidates).flat_map(|row| (0..matrix.features()).map(move |at| matrix.column(at)[row])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn features_of_a_request_are_predicted_as_the_request_is_scored(
        seed: u64,
        budget in number(),
        age in number(),
        items in prop::collection::vec((number(), number()), 1..80),
    ) {
        let request = request(budget, age, &items);
        for bundle in bundles(&mut Draw::new(seed)) {
            let mut engine = engine(&bundle, Limits::default());
            let expected = engine.score(&request).expect("a valid request").to_vec();
            let values = rows_of(&mut engine, &request);
            assert_same(engine.predict(items.len(), FEATURES, &values).expect("rows of this bundle"), &expected);
        }
    }

    #[test]
    fn a_row_alone_is_predicted_as_among_others_and_buffers_of_larger_matrices_change_nothing(
        seed: u64,
        rows in 2_usize..70,
    ) {
        let mut draw = Draw::new(seed);
        // Without the cascade, whose stages see only the best.
        for bundle in &bundles(&mut draw)[..4] {
            let mut engine = engine(bundle, Limits::default());
            let mut row = || [0.5, f32::NAN, draw.unit(), draw.unit(), draw.unit()];
            let values: Vec<f32> = (0..rows).flat_map(|_| row()).collect();
            let together = engine.predict(rows, FEATURES, &values).expect("rows of this bundle").to_vec();
            for (at, row) in values.chunks(FEATURES).enumerate() {
                assert_same(engine.predict(1, FEATURES, row).expect("a row"), &together[at..=at]);
            }
        }
    }
}

#[test]
fn what_is_no_matrix_of_this_bundle_is_refused_with_both_numbers() {
    let bundle = cascade(&numbers(), &policy(10), &[linear(&mut Draw::new(1))], &[]);
    let mut engine = engine(&bundle, Limits::default());
    let values = [1.0; 8 * FEATURES];
    let truncated = |needed, found| DecodeErrorKind::Truncated { needed, found };
    let too_large = |limit, found| DecodeErrorKind::TooLarge { limit, found };
    for (rows, features, len, kind, place) in [
        (2, 5, 9, truncated(40, 36), "rows of features"),
        (2, 5, 11, too_large(40, 44), "rows of features"),
        (2, 4, 8, truncated(40, 32), "rows of features"),
        (2, 6, 12, too_large(40, 48), "rows of features"),
        // As many values as are wanted do not make a wrong shape right.
        (2, 4, 10, truncated(40, 32), "rows of features"),
        (2, u32::MAX as usize, 10, too_large(40, 8 * u64::from(u32::MAX)), "rows of features"),
        (0, 5, 0, DecodeErrorKind::Invalid, "request without candidates"),
        (2_001, 5, 10, too_large(2_000, 2_001), "request candidates"),
        (u32::MAX as usize, 5, 10, too_large(2_000, u32::MAX.into()), "request candidates"),
    ] {
        let refused = engine.predict(rows, features, &values[..len]).expect_err("no matrix of this bundle");
        assert_eq!((refused.kind(), refused.place()), (kind, place), "{rows} x {features} with {len}");
        assert_eq!(engine.last_error(), Some(&refused));
    }
    assert!(engine.predict(8, FEATURES, &values).is_ok(), "a refusal leaves nothing behind");
    assert_eq!(engine.last_error(), None);
}

#[test]
fn rows_cost_what_candidates_cost() {
    let bundle = cascade(&numbers(), &policy(10), &[trees(&mut Draw::new(1), 30)], &[]);
    let mut engine = engine(&bundle, Limits { cost: 300, ..Limits::default() });
    let values = [1.0; 50 * FEATURES];
    assert!(engine.predict(2, FEATURES, &values[..2 * FEATURES]).is_ok());
    let refused = engine.predict(50, FEATURES, &values).expect_err("too dear");
    assert_eq!((refused.code(), refused.place()), (ErrorCode::TooLarge, "decision cost"));
}

#[test]
fn without_a_bundle_nothing_is_predicted() {
    let refused = Engine::new(Limits::default()).predict(1, 1, &[1.0]).expect_err("nothing is loaded");
    assert_eq!(refused.code(), ErrorCode::NotLoaded);
}

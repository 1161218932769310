//! After its first decision, an engine decides without allocating.

use selvedge_engine::Engine;
use selvedge_format::decision::{DecisionStatus, DecisionView};

use crate::decide::{World, world};

#[test]
fn a_warm_engine_does_not_allocate() {
    let World { mut engine, request } = world();
    for request in [request(40).build(), request(1).build(), b"not a request".to_vec()] {
        warm(&mut engine, &request);
        let counted = allocation_counter::measure(|| {
            engine.decide(&request);
        });
        assert_eq!(counted.count_total, 0, "{counted:?}");
    }
    // A smaller request after a larger one finds its buffers large enough.
    warm(&mut engine, &request(40).build());
    let small = request(17).build();
    let counted = allocation_counter::measure(|| {
        engine.decide(&small);
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
    let decided = DecisionView::parse(engine.decide(&small)).expect("a valid decision");
    assert_eq!(decided.status, DecisionStatus::Personalized);
    assert!(decided.contributions > 0, "reasons are part of what must not allocate");
}

fn warm(engine: &mut Engine, request: &[u8]) {
    engine.decide(request);
}

#[test]
fn a_warm_engine_predicts_without_allocating() {
    let World { mut engine, .. } = world();
    let features = engine.snapshot().expect("a bundle").program().features.len();
    let values: Vec<f32> = (0..40 * features).map(|at| at as f32).collect();
    let mut predict = |rows: usize| engine.predict(rows, features, &values[..rows * features]).map(<[f32]>::len);
    assert_eq!((predict(40), predict(1)), (Ok(40), Ok(1)));
    for rows in [40, 17, 1] {
        let counted = allocation_counter::measure(|| {
            assert_eq!(predict(rows), Ok(rows));
        });
        assert_eq!(counted.count_total, 0, "{rows} rows: {counted:?}");
    }
}

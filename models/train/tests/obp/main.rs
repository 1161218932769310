//! Our estimators against those of Open Bandit Pipeline, on its sample logs. `cargo xtask obp` fetches both and runs this.

use std::collections::BTreeMap;
use std::path::PathBuf;

use selvedge_train::bootstrap::Bootstrap;
use selvedge_train::ope::{Draw, Estimates};
use serde::Deserialize;

const LARGEST_DIFFERENCE: f64 = 1e-9;

#[derive(Deserialize)]
struct Case {
    name: String,
    clip: f64,
    estimates: BTreeMap<String, f64>,
    draws: Draws,
}

#[derive(Deserialize)]
struct Draws {
    reward: Vec<f64>,
    logged: Vec<f64>,
    target: Vec<f64>,
    predicted: Vec<f64>,
    expected: Vec<f64>,
}

#[test]
#[ignore = "needs the estimates that `cargo xtask obp` has Open Bandit Pipeline make"]
fn estimates_are_those_of_open_bandit_pipeline() {
    let path = PathBuf::from(std::env::var_os("SELVEDGE_OBP").expect("SELVEDGE_OBP is the file of estimates"));
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(cases.len(), 6);
    let bootstrap = Bootstrap { resamples: 50, ..Bootstrap::default() };
    for Case { name, clip, estimates, draws } in cases {
        let draw = |at| Draw {
            reward: draws.reward[at],
            logged: draws.logged[at],
            target: draws.target[at],
            predicted: draws.predicted[at],
            expected: draws.expected[at],
        };
        let draws: Vec<Draw> = (0..draws.reward.len()).map(draw).collect();
        assert_eq!(draws.len(), 10_000);
        let ours = Estimates::of(&draws, clip, &bootstrap).unwrap();
        let ours = [
            ("ips", ours.ips),
            ("clipped_ips", ours.clipped_ips),
            ("snips", ours.snips),
            ("direct", ours.direct),
            ("doubly_robust", ours.doubly_robust),
        ];
        assert_eq!(estimates.len(), ours.len());
        for (estimator, ours) in ours {
            let theirs = estimates[estimator];
            assert!(theirs > 0.0, "{name}: an estimate of nothing compares nothing");
            let difference = (ours.mean - theirs).abs();
            assert!(difference <= LARGEST_DIFFERENCE, "{name}, {estimator}: {} here, {theirs} there", ours.mean);
        }
    }
}

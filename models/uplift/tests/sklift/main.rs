//! Our measures against scikit-uplift's, and values of policies over several arms against Open Bandit Pipeline's estimators and
//! plain formulas in numpy.
//! `cargo xtask uplift-reference` fetches what it takes and runs this.

use std::path::PathBuf;

use selvedge_train::bootstrap::Bootstrap;
use selvedge_uplift::compare::{Responses, self_normalised};
use selvedge_uplift::metric::{AUCC, Scored, UpliftMetric, aucc};
use selvedge_uplift::policy::{Choice, Economics};
use selvedge_uplift::trial::{Assignment, Propensities, Trial, TrialData};
use serde::Deserialize;

const LARGEST_DIFFERENCE: f64 = 1e-9;

#[derive(Deserialize)]
struct Cases {
    measured: Vec<Measured>,
    valued: Vec<Valued>,
}

#[derive(Deserialize)]
struct Measured {
    costs: Vec<f64>,
    scores: Vec<f64>,
    treated: Vec<bool>,
    responded: Vec<bool>,
    measures: Measures,
}

#[derive(Deserialize)]
struct Measures {
    auuc_criteo: f64,
    uplift_auc: f64,
    qini_auc: f64,
    aucc: Option<f64>,
}

#[derive(Deserialize)]
struct Valued {
    arms: usize,
    obp: ByObp,
    propensities: Vec<f64>,
    arm: Vec<usize>,
    outcome: Vec<f32>,
    predicted: Vec<f64>,
    chosen: Vec<usize>,
    otherwise: Vec<usize>,
    share: Vec<f64>,
    gain: f64,
    self_normalised: f64,
}

#[derive(Deserialize)]
struct ByObp {
    gain: f64,
    self_normalised: f64,
}

fn assert_close(what: &str, ours: f64, theirs: f64) {
    assert!(theirs != 0.0, "{what}: nothing compares with nothing");
    assert!((ours - theirs).abs() <= LARGEST_DIFFERENCE, "{what}: {ours} here, {theirs} there");
}

fn cases() -> Cases {
    let path = PathBuf::from(std::env::var_os("SELVEDGE_UPLIFT").expect("SELVEDGE_UPLIFT is the file of cases"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
#[ignore = "needs the cases that `cargo xtask uplift-reference` has scikit-uplift make"]
fn measures_are_those_of_scikit_uplift() {
    let cases = cases().measured;
    assert_eq!(cases.len(), 5);
    let mut with_cost_curve = 0;
    for Measured { costs, scores, treated, responded, measures } in cases {
        let scored = Scored { scores: &scores, treated: &treated, responded: &responded };
        for (metric, theirs) in [
            (UpliftMetric::AuucCriteo, measures.auuc_criteo),
            (UpliftMetric::UpliftAuc, measures.uplift_auc),
            (UpliftMetric::QiniAuc, measures.qini_auc),
        ] {
            assert_close(metric.name(), metric.of(&scored).unwrap(), theirs);
        }
        let ours = aucc(&scored, &costs);
        assert_eq!(ours.is_some(), measures.aucc.is_some(), "{AUCC}: there is a rectangle or not");
        with_cost_curve += usize::from(ours.is_some());
        if let (Some(ours), Some(theirs)) = (ours, measures.aucc) {
            assert_close(AUCC, ours, theirs);
        }
    }
    assert!(with_cost_curve >= 3, "{with_cost_curve} of 5 trials have an arm that gains");
}

#[test]
#[ignore = "needs the cases that `cargo xtask uplift-reference` makes"]
fn values_over_several_arms_are_those_of_open_bandit_pipeline_and_of_the_formulas() {
    let cases = cases().valued;
    assert_eq!(cases.len(), 3);
    let bootstrap = Bootstrap { resamples: 20, ..Bootstrap::default() };
    for case in cases {
        let rows = case.arm.len();
        let trial = Trial::new(TrialData {
            features: vec![],
            values: vec![],
            arms: (0..case.arms).map(|arm| format!("arm {arm}")).collect(),
            arm: case.arm,
            assignment: Assignment::Randomised(Propensities::PerRow(case.propensities)),
            outcome: case.outcome,
            value: vec![],
        })
        .unwrap();
        let predicted: Vec<f32> = case.predicted.iter().map(|p| *p as f32).collect();
        let choice =
            |row: usize| Choice { arm: case.chosen[row], share: case.share[row], otherwise: case.otherwise[row] };
        let choices: Vec<Choice> = (0..rows).map(choice).collect();
        let economics = Economics::new(&trial, 1.0, vec![0.0; case.arms], vec![0.0; case.arms]).unwrap();
        let gains = Responses::new(&trial, &predicted).gains(&choices, &economics);
        let gain = gains.iter().sum::<f64>() / rows as f64;
        assert_close("gain, obp", gain, case.obp.gain);
        assert_close("gain", gain, case.gain);
        let snips = self_normalised(&trial, &choices, &bootstrap).unwrap();
        assert_close("self-normalised, obp", snips.mean, case.obp.self_normalised);
        assert_close("self-normalised", snips.mean, case.self_normalised);
    }
}

//! The proof that nothing was lost: the engine loads the bundle and its scores are compared, bit for bit, with a plain
//! evaluation of the trained model, over inputs that hit every threshold and the values at its side.
//!
//! Both sides are pure functions of a row, so agreement over the values that separate all cells of every tree's grid is
//! worth more than agreement over any number of typical rows.

use selvedge_engine::feature::LANES;
use selvedge_engine::model::{Model, ModelScratch};
use selvedge_engine::{Limits, Snapshot};
use selvedge_format::AlignedBytes;
use serde::Serialize;

use crate::bind::Bound;
use crate::error::{CompileError, CompileErrorKind};

#[cfg(feature = "onnx")]
mod graph;

/// How many scores were compared; they were equal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Parity {
    /// Rows of features that were scored by the engine and by the reference.
    pub rows: usize,
    /// Thresholds that a row hit exactly, and missed by one step to either side.
    pub thresholds: usize,
    /// The largest difference found, relative to the larger of the score and 1; none where scores are equal bit for bit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<f32>,
    /// The difference that is allowed; none where scores must be equal bit for bit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f32>,
}

impl Parity {
    /// Of several models: rows and thresholds of all, and the largest difference. None is below every number.
    pub(crate) fn of_all(all: &[Self]) -> Self {
        let largest = |of: fn(&Self) -> Option<f32>| {
            all.iter().map(of).fold(None, |largest, value| if value > largest { value } else { largest })
        };
        Self {
            rows: all.iter().map(|parity| parity.rows).sum(),
            thresholds: all.iter().map(|parity| parity.thresholds).sum(),
            difference: largest(|parity| parity.difference),
            tolerance: largest(|parity| parity.tolerance),
        }
    }
}

/// Rows compared at least and at most; the values of a feature take turns, so a row shows one of each feature.
const MIN_ROWS: usize = 1024;
const MAX_ROWS: usize = 1 << 15;
/// Bounds rows times trees, and with it the time.
const MAX_WALKS: usize = 1 << 28;
/// Values that no training set holds and a request may.
const SPECIAL: [f32; 12] = [
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    0.0,
    -0.0,
    1.0,
    f32::MIN_POSITIVE,
    f32::from_bits(1),
    -f32::from_bits(1),
    f32::MAX,
    f32::MIN,
    1e-30,
];

/// Loads `bytes` as every edge does and compares the scores of each of `models`, of which the first `stages` rank.
pub(crate) fn verify(
    bytes: &[u8],
    models: &[&Bound],
    stages: usize,
    features: usize,
) -> Result<Vec<Parity>, CompileError> {
    let snapshot = Snapshot::load(&AlignedBytes::copy_of(bytes), &Limits::default()).map_err(|error| {
        let help = "an edge with the default limits would refuse this bundle: make the model smaller";
        CompileError::new(CompileErrorKind::Limit, "bundle", error.to_string(), help)
    })?;
    let mut compared = Vec::with_capacity(models.len());
    for (at, bound) in models.iter().enumerate() {
        let campaigns = snapshot.campaigns();
        let response = || campaigns.and_then(|campaigns| campaigns.model(at));
        let loaded = if at < stages { snapshot.stage(at) } else { response() };
        let Some(loaded) = loaded else {
            let message = format!("model {at} was compiled, and the engine has not loaded it");
            return Err(CompileError::new(CompileErrorKind::Parity, "bundle", message, REPORT));
        };
        compared.push(match bound {
            #[cfg(feature = "onnx")]
            Bound::Graph(graph) => graph::compare(loaded, graph, features)?,
            _ => compare(loaded, bound, features)?,
        });
    }
    Ok(compared)
}

const REPORT: &str = "this is a bug in Selvedge: please report it with the model file";

fn compare(model: &Model, bound: &Bound, features: usize) -> Result<Parity, CompileError> {
    let mut random = SplitMix(0x5e1f_ed9e);
    let mut columns: Vec<Column> = (0..features).map(|feature| Column::new(&bound.thresholds(feature))).collect();
    let thresholds = columns.iter().map(|column| column.thresholds).sum();
    let longest = columns.iter().map(|column| column.values.len()).max().unwrap_or(0);
    let most = (MAX_WALKS / bound.terms().max(1)).clamp(LANES, MAX_ROWS);
    let rows = longest.max(MIN_ROWS).min(most).next_multiple_of(LANES);

    let matrix: Vec<f32> = columns.iter_mut().flat_map(|column| column.fill(rows, &mut random)).collect();
    let (mut scores, mut scratch) = (vec![0.0; rows], ModelScratch::default());
    model.raw_scores(&matrix, rows, &mut scratch, &mut scores);
    for (at, score) in scores.iter().enumerate() {
        let row: Vec<f32> = (0..features).map(|feature| matrix[feature * rows + at]).collect();
        let expected = bound.raw_score(&row);
        // A sum of infinities is NaN on both sides, and which NaN is nobody's promise.
        if score.to_bits() != expected.to_bits() && !(score.is_nan() && expected.is_nan()) {
            let message =
                format!("the engine scores {score} where the model scores {expected}, for the features {row:?}");
            return Err(CompileError::new(CompileErrorKind::Parity, "bundle", message, REPORT));
        }
    }
    Ok(Parity { rows, thresholds, difference: None, tolerance: None })
}

/// Values of one feature worth trying.
struct Column {
    values: Vec<f32>,
    thresholds: usize,
}

impl Column {
    fn new(thresholds: &[f32]) -> Self {
        let around = thresholds.iter().flat_map(|value| [*value, value.next_down(), value.next_up()]);
        Self { values: around.chain(SPECIAL).collect(), thresholds: thresholds.len() }
    }

    /// `rows` values: all of them in a random order, then again in another.
    fn fill(&mut self, rows: usize, random: &mut SplitMix) -> Vec<f32> {
        let mut filled = Vec::with_capacity(rows + self.values.len());
        while filled.len() < rows {
            for at in (1..self.values.len()).rev() {
                self.values.swap(at, random.below(at + 1));
            }
            filled.extend_from_slice(&self.values);
        }
        filled.truncate(rows);
        filled
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): the same rows for the same model, on every machine.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use selvedge_spec::{FeatureSpec, ModelSpec};

    use super::verify;
    use crate::bind::bind;
    use crate::{CompileErrorKind, LinearModel, Trained, TrainedModel, compile, compile_stages, import};

    const FEATURES: &str = "version = 1\n[fields.item]\nx = \"number\"\n\
        [[feature]]\nname = \"x\"\nkind = \"number\"\nfield = \"item.x\"\n";
    const MODEL: &str = "version = 1\n[model]\nname = \"m\"\nkind = \"trees\"\nobjective = \"lambdarank\"\n\
        features = \"features.toml\"\n";

    fn refused(written: &TrainedModel, trained: &TrainedModel) -> bool {
        let features = FeatureSpec::parse("features.toml", FEATURES).expect("valid");
        let model = ModelSpec::parse("model.toml", MODEL).expect("valid");
        let bytes = compile(&features, &model, written).expect("valid").bytes;
        let bound = bind(trained, &features).expect("valid");
        verify(&bytes, &[&bound], 1, 1).is_err_and(|error| error.kind() == CompileErrorKind::Parity)
    }

    fn stump(threshold: f32, default_left: u8) -> TrainedModel {
        let json = format!(
            r#"{{"learner": {{"feature_names": [], "gradient_booster": {{"name": "gbtree", "model": {{"trees": [{{
                "left_children": [1, -1, -1], "right_children": [2, -1, -1], "split_indices": [0, 0, 0],
                "split_conditions": [{threshold}, -1, 1], "default_left": [{default_left}, 0, 0]}}]}}}},
                "learner_model_param": {{"base_score": "0", "num_feature": "1"}},
                "objective": {{"name": "reg:squarederror"}}}}}}"#
        );
        import(json.as_bytes()).expect("a valid stump")
    }

    fn line(weight: f32) -> TrainedModel {
        let weights = BTreeMap::from([("x".to_owned(), weight)]);
        let link = selvedge_format::model::Link::Identity;
        TrainedModel::Linear(LinearModel { bias: 0.25, link, weights, centres: BTreeMap::new() })
    }

    #[test]
    fn each_stage_is_compared_with_its_own_model() {
        let features = FeatureSpec::parse("features.toml", FEATURES).expect("valid");
        let stage = "[[stage]]\ntrained = \"line.json\"\nkeep = 5\n";
        let model = ModelSpec::parse("model.toml", &format!("{MODEL}{stage}")).expect("valid");
        let stages = [line(0.5), stump(0.1, 0)];
        let bundle =
            compile_stages(&features, &model, Trained { stages: &stages, ..Trained::default() }).expect("valid");
        let compared = |first: &TrainedModel, last: &TrainedModel| {
            let bound = [first, last].map(|trained| bind(trained, &features).expect("valid"));
            verify(&bundle.bytes, &[&bound[0], &bound[1]], 2, 1)
        };
        let each = compared(&stages[0], &stages[1]).expect("they are equal");
        let reported: Vec<_> = bundle.report.stages.iter().map(|stage| stage.parity).collect();
        assert_eq!(reported, each);
        assert_eq!((each[0].thresholds, each[1].thresholds), (0, 1));
        let is_parity = |error: crate::CompileError| error.kind() == CompileErrorKind::Parity;
        assert!(compared(&line(0.5_f32.next_up()), &stages[1]).is_err_and(is_parity));
        assert!(compared(&stages[0], &stump(0.2, 0)).is_err_and(is_parity));
    }

    #[test]
    fn as_many_models_are_needed_as_stages_are_declared() {
        let features = FeatureSpec::parse("features.toml", FEATURES).expect("valid");
        let model = ModelSpec::parse("model.toml", MODEL).expect("valid");
        for stages in [vec![], vec![line(0.5), line(0.5)]] {
            let error = compile_stages(&features, &model, Trained { stages: &stages, ..Trained::default() });
            assert_eq!(error.expect_err("one model is needed").kind(), CompileErrorKind::Stages);
        }
    }

    #[test]
    fn a_threshold_one_step_off_is_found() {
        let step = 0.1_f32.next_up();
        assert!(!refused(&stump(0.1, 0), &stump(0.1, 0)));
        assert!(refused(&stump(0.1, 0), &stump(step, 0)));
        assert!(refused(&stump(step, 0), &stump(0.1, 0)));
    }

    #[test]
    fn another_way_for_missing_values_is_found() {
        assert!(refused(&stump(0.1, 0), &stump(0.1, 1)));
    }

    #[test]
    fn a_weight_one_step_off_is_found() {
        assert!(!refused(&line(0.5), &line(0.5)));
        assert!(refused(&line(0.5), &line(0.5_f32.next_up())));
    }
}

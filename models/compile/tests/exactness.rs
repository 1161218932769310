//! Imported models score as the libraries that trained them, bit for bit, in the reference walk and in the engine.

mod declared;

use selvedge_compile::{TrainedModel, compile, import_output};
use selvedge_engine::feature::LANES;
use selvedge_engine::model::ModelScratch;
use selvedge_engine::{Limits, Snapshot};
use selvedge_format::AlignedBytes;
use selvedge_spec::ModelOutput;

/// Inputs and the library's raw scores of them, as `fixtures/export.py` lays them out.
struct Cases {
    features: usize,
    inputs: Vec<f32>,
    margins: Vec<f32>,
}

impl Cases {
    fn parse(bytes: &[u8]) -> Self {
        let word = |at: usize| <[u8; 4]>::try_from(&bytes[4 * at..4 * at + 4]).expect("four bytes");
        let (rows, features) = (u32::from_le_bytes(word(0)) as usize, u32::from_le_bytes(word(1)) as usize);
        assert_eq!(bytes.len(), 4 * (2 + rows * (features + 1)));
        let floats = |start: usize, len: usize| (start..start + len).map(|at| f32::from_le_bytes(word(at))).collect();
        Self { features, inputs: floats(2, rows * features), margins: floats(2 + rows * features, rows) }
    }
}

fn check(model: &[u8], output: Option<ModelOutput>, cases: &[u8]) {
    let cases = Cases::parse(cases);
    let trained = import_output(model, output).expect("a model that its library wrote");
    let TrainedModel::Trees(ensemble) = &trained else { panic!("not trees") };
    for (row, expected) in cases.inputs.chunks_exact(cases.features).zip(&cases.margins) {
        assert_eq!(ensemble.raw_score(row).to_bits(), expected.to_bits(), "{row:?}");
    }

    let declared = |index: usize| ensemble.names().map_or(format!("f{index}"), |names| names[index].clone());
    // Declared in another order than the model's, where names can tell.
    let mut order: Vec<usize> = (0..cases.features).collect();
    if ensemble.names().is_some() {
        order.reverse();
    }
    let names: Vec<_> = order.iter().map(|index| declared(*index)).collect();
    let bundle = compile(&declared::features(&names), &declared::model(""), &trained).expect("a bundle");
    assert!(bundle.report.parity.rows >= 1024);

    let snapshot = Snapshot::load(&AlignedBytes::copy_of(&bundle.bytes), &Limits::default()).expect("loads");
    let rows = cases.margins.len();
    let stride = rows.next_multiple_of(LANES);
    let mut matrix = vec![0.0; stride * cases.features];
    for (row, inputs) in cases.inputs.chunks_exact(cases.features).enumerate() {
        for (column, index) in order.iter().enumerate() {
            matrix[column * stride + row] = inputs[*index];
        }
    }
    let mut scores = vec![0.0; stride];
    snapshot.model().raw_scores(&matrix, rows, &mut ModelScratch::default(), &mut scores);
    for (score, expected) in scores.iter().zip(&cases.margins) {
        assert_eq!(score.to_bits(), expected.to_bits());
    }
}

macro_rules! fixtures {
    ($($test:ident: $name:literal, $suffix:literal $(, class $class:literal)?;)+) => {$(
        #[test]
        fn $test() {
            check(
                include_bytes!(concat!("../fixtures/", $name, $suffix)),
                None$(.or(Some(ModelOutput::Class($class))))?,
                include_bytes!(concat!("../fixtures/", $name, ".cases")),
            );
        }
    )+};
}

fixtures! {
    binary_with_a_base_score_and_names: "binary", ".json";
    stumps_of_raw_logits: "stumps", ".json";
    regression_eight_levels_deep: "squared", ".json";
    logistic_regression_grown_leaf_by_leaf: "leafwise", ".json";
    ranking_by_ndcg: "ndcg", ".json";
    ranking_by_map_with_parallel_trees: "map", ".json";
    ranking_by_pairs_in_version_1_7: "pairwise_1_7", ".json";
    pruned_trees_in_version_1_7: "pruned_1_7", ".json";
    lightgbm_binary_with_names: "lgb_binary", ".txt";
    lightgbm_regression: "lgb_regression", ".txt";
    lightgbm_ranking: "lgb_rank", ".txt";
    lightgbm_with_dropout: "lgb_dart", ".txt";
    lightgbm_random_forest_averages: "lgb_forest", ".txt";
    lightgbm_splits_on_sets: "lgb_sets", ".txt";
    lightgbm_zero_is_missing: "lgb_zeros", ".txt";
    lightgbm_missing_is_zero: "lgb_none", ".txt";
    lightgbm_300_leaves: "lgb_large", ".txt";
    catboost_binary_with_names: "cat_logloss", ".json";
    catboost_ranking: "cat_rank", ".json";
    catboost_scale_and_bias: "cat_scale", ".json";
    catboost_grown_leaf_by_leaf: "cat_leafwise", ".json";
    catboost_missing_above_all: "cat_max", ".json";
    xgboost_with_dropout_in_ubjson: "xgb_dart", ".ubj";
    xgboost_splits_on_sets: "xgb_sets", ".ubj";
    xgboost_random_forest: "xgb_forest", ".ubj";
    lightgbm_huber: "lgb_huber", ".txt";
    lightgbm_fair: "lgb_fair", ".txt";
    lightgbm_poisson: "lgb_poisson", ".txt";
    lightgbm_quantile: "lgb_quantile", ".txt";
    lightgbm_mape: "lgb_mape", ".txt";
    lightgbm_gamma: "lgb_gamma", ".txt";
    lightgbm_tweedie: "lgb_tweedie", ".txt";
    lightgbm_cross_entropy: "lgb_cross_entropy", ".txt";
    lightgbm_xendcg: "lgb_rank_xendcg", ".txt";
    lightgbm_one_class_of_a_softmax: "lgb_softmax", ".txt", class 2;
    lightgbm_one_class_of_averaged_forests: "lgb_ova", ".txt", class 0;
    catboost_pair_logit: "cat_pairlogit", ".json";
    catboost_query_softmax: "cat_querysoftmax", ".json";
    catboost_lambda_mart: "cat_lambdamart", ".json";
    catboost_query_rmse: "cat_queryrmse", ".json";
    catboost_rmse: "cat_rmse", ".json";
    catboost_poisson: "cat_poisson", ".json";
    catboost_tweedie: "cat_tweedie", ".json";
    catboost_huber: "cat_huber", ".json";
    catboost_one_class_of_a_softmax: "cat_softmax", ".json", class 2;
    catboost_one_class_against_the_rest: "cat_ova", ".json", class 1;
    catboost_one_class_grown_leaf_by_leaf: "cat_classes_leafwise", ".json", class 0;
    xgboost_gamma: "xgb_gamma", ".ubj";
    xgboost_tweedie: "xgb_tweedie", ".ubj";
    xgboost_poisson: "xgb_poisson", ".ubj";
    xgboost_logistic: "xgb_logistic", ".ubj";
    xgboost_absolute_error: "xgb_absoluteerror", ".ubj";
    xgboost_pseudo_huber: "xgb_pseudohubererror", ".ubj";
    xgboost_squared_log_error: "xgb_squaredlogerror", ".ubj";
    xgboost_quantile: "xgb_quantileerror", ".ubj";
    xgboost_hinge: "xgb_hinge", ".ubj";
    xgboost_ndcg_in_ubjson: "xgb_ndcg", ".ubj";
    xgboost_map_in_ubjson: "xgb_map", ".ubj";
    xgboost_pairwise_in_ubjson: "xgb_pairwise", ".ubj";
    xgboost_one_class_of_a_softmax: "xgb_softprob", ".ubj", class 1;
    xgboost_one_class_with_dropout: "xgb_softmax_dart", ".ubj", class 2;
    pipeline_over_columns: "pipe_columns", ".onnx";
    pipeline_over_named_columns: "pipe_named", ".onnx";
    pipeline_scaled_to_a_range: "pipe_minmax", ".onnx";
    pipeline_clipped_to_a_range: "pipe_clipped", ".onnx";
    pipeline_scaled_by_quartiles: "pipe_robust", ".onnx";
    pipeline_with_missing_values_filled: "pipe_imputed", ".onnx";
    pipeline_of_zeros_and_ones: "pipe_binary", ".onnx";
    pipeline_of_categories_each_a_column: "pipe_onehot", ".onnx";
    pipeline_of_categories_scaled: "pipe_onehot_scaled", ".onnx";
    pipeline_of_categories_without_the_first: "pipe_onehot_dropped", ".onnx";
    pipeline_of_numbered_categories: "pipe_ordinal", ".onnx";
    histogram_gradient_boosting: "hist_regression", ".onnx";
    histogram_gradient_boosting_of_two_classes: "hist_binary", ".onnx";
    histogram_gradient_boosting_of_one_of_three: "hist_classes", ".onnx", class 2;
    onnx_one_class_of_a_softmax: "classes_boosted", ".onnx", class 2;
    onnx_one_class_of_a_forest: "classes_forest", ".onnx", class 2;
    onnx_random_forest: "onnx_forest", ".onnx";
    onnx_two_classes: "onnx_classes", ".onnx";
    onnx_binary_with_a_base: "onnx_boosted", ".onnx";
    onnx_behind_a_scaler: "onnx_scaled", ".onnx";
    onnx_every_comparison: "onnx_modes", ".onnx";
    onnx_in_f64: "onnx_doubles", ".onnx";
    onnx_version_5: "onnx_v5", ".onnx";
    onnx_version_5_in_f64: "onnx_v5_doubles", ".onnx";
}

/// Random models with many rows, as `fixtures/boosters.py many` writes them.
#[test]
#[ignore = "needs a directory of models: SELVEDGE_FIXTURES"]
fn every_model_of_a_directory() {
    let directory = std::env::var_os("SELVEDGE_FIXTURES").expect("SELVEDGE_FIXTURES names a directory");
    let mut models = 0;
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|suffix| suffix == "cases") {
            continue;
        }
        let read = |path: &std::path::Path| std::fs::read(path).expect("a file");
        // Of several classes the one that the name says, such as `lgb_140_class2.txt`.
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        let class = stem.rsplit_once("_class").map(|(_, class)| class.parse().expect("a number"));
        check(&read(&path), class.map(ModelOutput::Class), &read(&path.with_extension("cases")));
        models += 1;
    }
    assert!(models > 0);
}

//! Linear models at the end of scikit-learn's pipelines score as onnxruntime does. `fixtures/pipelines.py` made them.
#![cfg(feature = "onnx")]

mod declared;

use prost::Message;
use selvedge_compile::{CompileErrorKind, compile, import, import_output};
use selvedge_engine::feature::stride;
use selvedge_engine::model::ModelScratch;
use selvedge_engine::{Limits, Snapshot};
use selvedge_format::AlignedBytes;
use selvedge_spec::ModelOutput;
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto};

const FEATURES: usize = 4;
/// Difference that is allowed, relative to the larger of the score and 1.
const TOLERANCE: f32 = 1e-5;
/// The same for sums of ensembles, each of which onnxruntime rounds to `f32`.
const ROUNDED: f32 = 5e-7;

/// Compares the scores of a bundle with onnxruntime's; what the report says about the difference is returned.
fn agrees(
    model: &[u8],
    names: [&str; FEATURES],
    output: Option<ModelOutput>,
    cases: &[u8],
    tolerance: f32,
) -> Option<f32> {
    let word = |at: usize| <[u8; 4]>::try_from(&cases[4 * at..4 * at + 4]).expect("four bytes");
    let number = |at: usize| f32::from_le_bytes(word(at));
    let rows = u32::from_le_bytes(word(0)) as usize;
    assert_eq!((u32::from_le_bytes(word(1)) as usize, cases.len()), (FEATURES, 4 * (2 + rows * (FEATURES + 1))));

    let trained = import_output(model, output).expect("a model that skl2onnx wrote");
    let bundle =
        compile(&declared::features(&names.map(str::to_owned)), &declared::model(""), &trained).expect("a bundle");
    let snapshot = Snapshot::load(&AlignedBytes::copy_of(&bundle.bytes), &Limits::default()).expect("loads");
    let stride = stride(rows);
    let mut matrix = vec![0.0; stride * FEATURES];
    for (row, feature) in (0..rows).flat_map(|row| (0..FEATURES).map(move |feature| (row, feature))) {
        matrix[feature * stride + row] = number(2 + row * FEATURES + feature);
    }
    let mut scores = vec![0.0; stride];
    snapshot.model().scores(&matrix, stride, &mut ModelScratch::default(), &mut scores);
    for (row, score) in scores.iter().take(rows).enumerate() {
        let expected = number(2 + rows * FEATURES + row);
        let difference = (score - expected).abs() / expected.abs().max(1.0);
        assert!(difference <= tolerance, "row {row}: {score} where onnxruntime scores {expected}");
    }
    bundle.report.parity.difference
}

macro_rules! fixtures {
    ($($test:ident: $name:literal, $features:expr $(, class $class:literal)?;)+) => {$(
        #[test]
        fn $test() {
            let difference = agrees(
                include_bytes!(concat!("../fixtures/", $name, ".onnx")),
                $features,
                None$(.or(Some(ModelOutput::Class($class))))?,
                include_bytes!(concat!("../fixtures/", $name, ".cases")),
                TOLERANCE,
            );
            assert!(difference.is_some_and(|difference| difference <= TOLERANCE));
        }
    )+};
}

const IN_ORDER: [&str; FEATURES] = ["a", "b", "c", "d"];

fixtures! {
    ridge_behind_a_scaler: "line_ridge", IN_ORDER;
    ridge_scaled_to_a_range: "line_minmax", IN_ORDER;
    logistic_scaled_by_quartiles: "line_robust", IN_ORDER;
    logistic_with_missing_values_filled: "line_imputed", IN_ORDER;
    ridge_of_rows_that_sum_to_one: "line_l1", IN_ORDER;
    logistic_of_rows_of_length_one: "line_l2", IN_ORDER;
    ridge_of_zeros_and_ones: "line_binary", IN_ORDER;
    logistic_over_columns: "line_columns", IN_ORDER;
    logistic_over_named_columns: "line_named", ["price", "rank", "spend", "share"];
    logistic_of_categories_each_a_column: "line_onehot", IN_ORDER;
    ridge_of_categories_without_the_first: "line_onehot_dropped", IN_ORDER;
    ridge_of_numbered_categories: "line_ordinal", IN_ORDER;
    one_class_of_a_multinomial: "line_classes", IN_ORDER, class 2;
}

#[test]
fn ensembles_that_vote_score_as_one_up_to_rounding() {
    macro_rules! votes {
        ($($name:literal $(class $class:literal)?;)+) => {$(
            let (model, cases) = (
                include_bytes!(concat!("../fixtures/", $name, ".onnx")),
                include_bytes!(concat!("../fixtures/", $name, ".cases")),
            );
            let output = None$(.or(Some(ModelOutput::Class($class))))?;
            assert_eq!(agrees(model, IN_ORDER, output, cases, ROUNDED), None, "trees are proven bit for bit");
        )+};
    }
    votes! { "vote_mean"; "vote_weighted"; "vote_binary"; "vote_classes" class 2; "bagged"; }
}

#[test]
fn what_is_more_than_a_sum_of_trees_is_refused_by_name() {
    for (model, message) in [
        (
            &include_bytes!("../fixtures/refused_adaboost.onnx")[..],
            "graph.node[4]: the operator `Mul` behind trees is not supported",
        ),
        (
            include_bytes!("../fixtures/refused_stacked.onnx"),
            "graph.node[5]: the operator `LinearRegressor` behind trees is not supported",
        ),
        (
            include_bytes!("../fixtures/refused_probabilities.onnx"),
            "graph.node[0]: probabilities of boosted trees are added",
        ),
    ] {
        assert_eq!(import(model).expect_err(message).to_string(), message);
    }
}

#[test]
fn encoders_of_other_than_numbers_are_refused_by_name() {
    let edited = |fixture: &[u8], edit: &dyn Fn(&mut NodeProto)| {
        let mut model = ModelProto::decode(fixture).expect("a committed model");
        model.graph.as_mut().expect("a graph").node.iter_mut().for_each(edit);
        import(&model.encode_to_vec()).expect_err("an encoder that is not supported").to_string()
    };
    let attribute = |node: &mut NodeProto, name: &str, edit: &dyn Fn(&mut AttributeProto)| {
        node.attribute.iter_mut().filter(|attribute| attribute.name == name).for_each(edit);
    };
    let texts = |node: &mut NodeProto| attribute(node, "cats_int64s", &|held| held.name = "cats_strings".to_owned());
    let large = |node: &mut NodeProto| attribute(node, "cats_int64s", &|held| held.ints[0] = 1 << 40);
    let fewer = |node: &mut NodeProto| attribute(node, "values_int64s", &|held| held.ints.truncate(1));
    let [of_trees, of_sums] =
        [&include_bytes!("../fixtures/pipe_onehot.onnx")[..], include_bytes!("../fixtures/line_onehot.onnx")];
    for (message, found) in [
        ("graph.node[6]: the categories of OneHotEncoder are no numbers", edited(of_trees, &texts)),
        ("graph.node[6]: the category 1099511627776 is not exact in float32", edited(of_trees, &large)),
        ("graph.node[6]: OneHotEncoder of something else than numbers", edited(of_sums, &texts)),
        ("graph.node[6]: OneHotEncoder of 1099511627776, which is not exact in float32", edited(of_sums, &large)),
        (
            "graph.node[4]: there are 1 values for 5 finite keys",
            edited(include_bytes!("../fixtures/pipe_ordinal.onnx"), &fewer),
        ),
        (
            "graph.node[4]: LabelEncoder: 1 values for 5 keys",
            edited(include_bytes!("../fixtures/line_ordinal.onnx"), &fewer),
        ),
    ] {
        assert_eq!(found, message);
    }
}

#[test]
fn inputs_are_bound_by_their_names() {
    let trained = import(include_bytes!("../fixtures/line_named.onnx")).expect("a model");
    let others = IN_ORDER.map(str::to_owned);
    let error = compile(&declared::features(&others), &declared::model(""), &trained).expect_err("other names");
    assert_eq!(error.kind(), CompileErrorKind::UnknownFeature);
}

#[test]
fn what_no_runtime_agrees_on_is_refused_by_name() {
    let error = import(include_bytes!("../fixtures/refused_max.onnx")).expect_err("the largest of a row");
    assert_eq!(error.to_string(), "graph.node[0]: the Normalizer `MAX` is not supported");
    let error = import(include_bytes!("../fixtures/line_classes.onnx")).expect_err("three classes");
    assert_eq!(
        error.to_string(),
        "graph.node[1].classlabels_ints: the model gives a score for each of 3 classes, and a ranking needs one"
    );
    let ridge = include_bytes!("../fixtures/line_ridge.onnx");
    let error = import_output(ridge, Some(ModelOutput::Class(1))).expect_err("one score");
    assert_eq!(error.to_string(), "graph.output: the model has one score, and class 1 is asked for");
}

#[test]
fn a_damaged_pipeline_is_refused_and_never_panics() {
    let whole = include_bytes!("../fixtures/line_columns.onnx");
    let (features, model) = (declared::features(&IN_ORDER.map(str::to_owned)), declared::model(""));
    let mut refused = 0;
    for at in (0..whole.len()).step_by(5) {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 0x15;
        let compiled = import(&damaged).and_then(|trained| compile(&features, &model, &trained));
        refused += usize::from(compiled.is_err());
    }
    assert!(refused > 0, "at least where an operator has another name");
}

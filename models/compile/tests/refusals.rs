//! What is refused, and in which words: every message names the place and says what to do.

mod declared;

use std::fmt::Write as _;

use miette::Diagnostic;
use selvedge_compile::{CompileError, CompileErrorKind, compile, import, inspect};
use serde_json::{Value, json};

const BINARY: &[u8] = include_bytes!("../fixtures/binary.json");
const STUMPS: &[u8] = include_bytes!("../fixtures/stumps.json");

fn render(error: &CompileError) -> String {
    let part = |part: Option<Box<dyn std::fmt::Display + '_>>| part.map(|part| part.to_string()).unwrap_or_default();
    format!("{}\n  {error}\n  help: {}", part(error.code()), part(error.help()))
}

/// `STUMPS` with the value at `pointer` replaced.
fn edited(pointer: &str, value: Value) -> Vec<u8> {
    let mut model: Value = serde_json::from_slice(STUMPS).expect("a fixture is JSON");
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
    let parent = model.pointer_mut(parent).expect("the parent is there");
    match parent {
        Value::Array(values) => values[key.parse::<usize>().expect("an index")] = value,
        _ => parent[key] = value,
    }
    model.to_string().into_bytes()
}

fn tree(column: &str, value: Value) -> Vec<u8> {
    edited(&format!("/learner/gradient_booster/model/trees/2/{column}"), value)
}

/// Compares the errors of `cases` with the snapshot `name`.
fn assert_refused(name: &str, cases: &[(&str, &[u8])]) {
    let mut text = String::new();
    for (case, bytes) in cases {
        let error = import(bytes).expect_err(case);
        writeln!(text, "{case}: {}\n", render(&error)).expect("a string grows");
    }
    assert_snapshot(name, &text);
}

fn assert_snapshot(name: &str, text: &str) {
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(name, text) });
}

#[test]
fn other_kinds_of_file_are_named() {
    assert_refused(
        "other_formats",
        &[
            ("nothing", b""),
            ("LightGBM text", b"tree\nversion=v4\nnum_class=1\n"),
            ("LightGBM dump", br#"{"name":"tree","version":"v4","tree_info":[]}"#),
            ("CatBoost JSON", br#"{"features_info":{},"oblivious_trees":[]}"#),
            ("CatBoost binary", b"CBM1\x10\x00"),
            ("XGBoost UBJSON", b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner"),
            ("XGBoost dump", br#"[{"nodeid": 0}]"#),
            ("pickle", b"\x80\x04\x95"),
            ("bundle", b"SELVEDGE\x01\x00"),
            ("CSV", b"price,brand\n"),
            ("other JSON", b"{}"),
        ],
    );
}

#[test]
#[cfg(not(feature = "onnx"))]
fn onnx_is_named_by_a_build_that_does_not_read_it() {
    let error = import(b"\x08\x08\x12\x07pytorch").expect_err("tract is not built in");
    assert_eq!(error.hint(), "build Selvedge with the feature `onnx`");
}

#[test]
fn damaged_models_are_refused_with_the_place() {
    let trees = "/learner/gradient_booster/model/trees";
    assert_refused(
        "damaged",
        &[
            ("cut short", &STUMPS[..STUMPS.len() / 2]),
            ("more after the end", &[STUMPS, b"{}"].concat()),
            ("no trees", &edited("/learner/gradient_booster/model", json!({}))),
            ("threshold too large", &tree("split_conditions", json!([1e39, 0, 0]))),
            ("a text for a threshold", &tree("split_conditions", json!(["0.5", 0, 0]))),
            ("a column too short", &tree("default_left", json!([1]))),
            ("neither left nor right", &tree("default_left", json!([2, 0, 0]))),
            ("no nodes", &edited(&format!("{trees}/0/left_children"), json!([]))),
            ("a cycle", &tree("left_children", json!([0, -1, -1]))),
            ("a shared child", &tree("left_children", json!([2, -1, 1]))),
            ("a child that is not there", &tree("right_children", json!([3, -1, -1]))),
            ("a negative child", &tree("right_children", json!([-2, -1, -1]))),
            ("a feature that is not there", &tree("split_indices", json!([4, 0, 0]))),
            ("no number of features", &edited("/learner/learner_model_param/num_feature", json!("many"))),
            ("too many features", &edited("/learner/learner_model_param/num_feature", json!("100000000"))),
            ("names for some", &edited("/learner/feature_names", json!(["a", "b"]))),
            ("no base score", &edited("/learner/learner_model_param/base_score", json!("half"))),
            ("an endless base score", &edited("/learner/learner_model_param/base_score", json!("[1E99]"))),
        ],
    );
}

#[test]
fn models_whose_scores_would_differ_are_refused_by_name() {
    assert_refused(
        "unsupported",
        &[
            ("dart", &edited("/learner/gradient_booster", json!({"name": "dart", "gbtree": {}, "weight_drop": []}))),
            ("dropout", &edited("/learner/gradient_booster/model/weight_drop", json!([0.5]))),
            ("gblinear", &edited("/learner/gradient_booster", json!({"name": "gblinear", "model": {"weights": []}}))),
            ("multi-class", &edited("/learner/objective/name", json!("multi:softprob"))),
            ("classes", &edited("/learner/learner_model_param/num_class", json!("3"))),
            ("targets", &edited("/learner/learner_model_param/num_target", json!("2"))),
            ("a tree per class", &edited("/learner/gradient_booster/model/tree_info/1", json!(1))),
            ("vector leaves", &tree("tree_param", json!({"size_leaf_vector": "2"}))),
            ("categories", &tree("split_type", json!([1, 0, 0]))),
            ("another objective", &edited("/learner/objective/name", json!("count:poisson"))),
            ("a base score per class", &edited("/learner/learner_model_param/base_score", json!("[1E-1,2E-1]"))),
        ],
    );
}

#[test]
fn a_base_score_that_is_no_probability_is_refused() {
    let mut model: Value = serde_json::from_slice(BINARY).expect("a fixture is JSON");
    model["learner"]["learner_model_param"]["base_score"] = json!("1E0");
    let error = import(model.to_string().as_bytes()).expect_err("no logit");
    assert_eq!(error.kind(), CompileErrorKind::Malformed);
    assert_eq!(error.place(), "learner.learner_model_param.base_score");
}

#[test]
fn linear_models_are_checked_as_well() {
    assert_refused(
        "linear",
        &[
            ("another kind", br#"{"kind": "forest"}"#),
            ("no bias", br#"{"kind": "linear", "weights": {}}"#),
            ("a typing mistake", br#"{"kind": "linear", "bias": 0, "weights": {}, "centers": {}}"#),
            ("a centre alone", br#"{"kind": "linear", "bias": 0, "weights": {}, "centres": {"a": 1}}"#),
            ("another link", br#"{"kind": "linear", "bias": 0, "weights": {}, "link": "probit"}"#),
        ],
    );
}

#[test]
fn models_and_declarations_that_do_not_fit_are_refused() {
    let names = |names: &[&str]| declared::features(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let all = names(&["price", "rank", "spend", "recency", "share"]);
    let binary = import(BINARY).expect("a fixture");
    let stumps = import(STUMPS).expect("a fixture");
    let linear = import(br#"{"kind": "linear", "bias": 0, "weights": {"prices": 1}}"#).expect("valid");
    let mut text = String::new();
    for (name, features, slate, model) in [
        ("misspelt", names(&["price", "rank", "spent", "recency", "share"]), "", &binary),
        ("undeclared", names(&["a", "b", "c", "d", "e"]), "", &binary),
        ("unnamed and too few", all.clone(), "", &stumps),
        ("linear", all.clone(), "", &linear),
        ("unknown field", all.clone(), "[[slate.at_most]]\nfield = \"colour\"\nmax = 1\n", &binary),
        ("no string field", all.clone(), "[[slate.exclude]]\nfield = \"price\"\nvalue = \"1\"\n", &binary),
        ("large slate", all, "[slate]\nsize = 501\n", &binary),
    ] {
        let error = compile(&features, &declared::model(slate), model).expect_err(name);
        writeln!(text, "{name}: {}\n", render(&error)).expect("a string grows");
    }
    assert_snapshot("misfits", &text);
}

#[test]
fn a_model_may_use_fewer_features_than_are_declared() {
    let names = ["price", "rank", "spend", "recency", "share", "extra"].map(str::to_owned);
    let bundle = compile(&declared::features(&names), &declared::model(""), &import(BINARY).expect("a fixture"));
    let report = bundle.expect("names tell which").report;
    let unused: Vec<_> = report.features.iter().filter(|feature| feature.splits == 0).collect();
    assert_eq!(unused.iter().map(|feature| feature.name.as_str()).collect::<Vec<_>>(), ["extra"]);
}

#[test]
fn damaged_containers_are_not_inspected() {
    let names = ["a", "b", "c", "d"].map(str::to_owned);
    let stumps = import(STUMPS).expect("a fixture");
    let bytes = compile(&declared::features(&names), &declared::model(""), &stumps).expect("valid").bytes;
    assert!(inspect(&bytes).is_ok());
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert_eq!(inspect(&damaged).expect_err("a flipped bit").kind(), CompileErrorKind::BadContainer);
        assert_eq!(inspect(&bytes[..at]).expect_err("cut short").kind(), CompileErrorKind::BadContainer);
    }
}

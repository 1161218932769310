//! What is refused, and in which words: every message names the place and says what to do.

mod declared;

use std::fmt::Write as _;

use miette::Diagnostic;
use selvedge_compile::{CompileError, CompileErrorKind, compile, import, import_output, inspect};
use selvedge_spec::ModelOutput;
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

/// A stump that splits on a set of categories.
fn set(categories: &[u32], size: usize) -> Value {
    json!({"left_children": [1, -1, -1], "right_children": [2, -1, -1], "split_indices": [0, 0, 0],
        "split_conditions": [0, -1, 1], "default_left": [0, 0, 0], "split_type": [1, 0, 0], "categories": categories,
        "categories_nodes": [0], "categories_segments": [0], "categories_sizes": [size]})
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
            ("LightGBM dump", br#"{"name":"tree","version":"v4","tree_info":[]}"#),
            ("CatBoost binary", b"CBM1\x10\x00"),
            ("ONNX", b"\x08\x08\x12\x07pytorch"),
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
    let error = import(include_bytes!("../fixtures/line_ridge.onnx")).expect_err("tract is not built in");
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
            (
                "no weights of dart",
                &edited(
                    "/learner/gradient_booster",
                    json!({"name": "dart", "gbtree": {"model": {"trees": []}}, "weight_drop": [1]}),
                ),
            ),
            ("no trees of dart", &edited("/learner/gradient_booster", json!({"name": "dart", "weight_drop": []}))),
            ("a set beyond the end", &edited(&format!("{trees}/2"), set(&[3], 2))),
            ("a set that descends", &edited(&format!("{trees}/2"), set(&[3, 3], 2))),
            ("a category too large", &edited(&format!("{trees}/2"), set(&[1 << 24], 1))),
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
            ("gblinear", &edited("/learner/gradient_booster", json!({"name": "gblinear", "model": {"weights": []}}))),
            ("classes", &edited("/learner/learner_model_param/num_class", json!("3"))),
            ("targets", &edited("/learner/learner_model_param/num_target", json!("2"))),
            ("a tree per class", &edited("/learner/gradient_booster/model/tree_info/1", json!(1))),
            ("vector leaves", &tree("tree_param", json!({"size_leaf_vector": "2"}))),
            ("another kind of split", &tree("split_type", json!([2, 0, 0]))),
            ("a time of survival", &edited("/learner/objective/name", json!("survival:aft"))),
            ("a hazard", &edited("/learner/objective/name", json!("survival:cox"))),
            ("a base score per class", &edited("/learner/learner_model_param/base_score", json!("[1E-1,2E-1]"))),
        ],
    );
}

/// A LightGBM model with `from` replaced by `to`.
fn text(from: &str, to: &str) -> Vec<u8> {
    let model = std::str::from_utf8(include_bytes!("../fixtures/lgb_sets.txt")).expect("a text");
    assert!(model.contains(from), "{from}");
    model.replacen(from, to, 1).into_bytes()
}

#[test]
fn lightgbm_models_are_refused_with_the_place() {
    assert_refused(
        "lightgbm",
        &[
            ("cut short", &text("end of trees", "")),
            ("not UTF-8", b"tree\nversion=\xff\xff"),
            ("an old version", &text("version=v4", "version=v1")),
            ("multi-class", &text("num_class=1", "num_class=3")),
            ("a tree per class", &text("num_tree_per_iteration=1", "num_tree_per_iteration=3")),
            ("another objective", &text("objective=binary", "objective=quantum")),
            ("another sigmoid", &text("sigmoid:1", "sigmoid:2")),
            ("linear trees", &text("is_linear=0", "is_linear=1")),
            ("no number of features", &text("max_feature_idx=4", "")),
            ("too many features", &text("max_feature_idx=4", "max_feature_idx=100000000000")),
            ("names for some", &text("Column_4", "")),
            ("no number of leaves", &text("num_leaves=", "num_leaves=many")),
            ("10^12 leaves", &text("num_leaves=", "num_leaves=1000000000000\nx=")),
            ("a threshold that is none", &text("threshold=", "threshold=nan ")),
            ("a set that is not there", &text("num_cat=", "num_cat=0\nx=")),
            ("10^18 sets", &text("num_cat=", "num_cat=1000000000000000000\nx=")),
            ("sets that overlap", &text("cat_boundaries=0 ", "cat_boundaries=9 ")),
            ("an endless leaf", &text("leaf_value=", "leaf_value=inf\nx=")),
            ("a cycle", &text("left_child=1", "left_child=0")),
            ("a child that is not there", &text("left_child=1", "left_child=1000")),
            ("a feature that is not there", &text("split_feature=1", "split_feature=9")),
        ],
    );
}

/// A CatBoost model with the value at `pointer` replaced.
fn cat(pointer: &str, value: Value) -> Vec<u8> {
    let bytes = include_bytes!("../fixtures/cat_logloss.json");
    let mut model: Value = serde_json::from_slice(bytes).expect("a fixture is JSON");
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
    match model.pointer_mut(parent).expect("the parent is there") {
        Value::Array(values) => values[key.parse::<usize>().expect("an index")] = value,
        parent => parent[key] = value,
    }
    model.to_string().into_bytes()
}

#[test]
fn catboost_models_are_refused_with_the_place() {
    assert_refused(
        "catboost",
        &[
            ("categories", &cat("/features_info/categorical_features", json!([{}]))),
            ("texts", &cat("/features_info/text_features", json!([{}]))),
            ("statistics", &cat("/ctr_data", json!({}))),
            ("another split", &cat("/oblivious_trees/1/splits/0/split_type", json!("OneHotFeature"))),
            ("another loss", &cat("/model_info/params/loss_function/type", json!("RMSEWithUncertainty"))),
            ("one-hot", include_bytes!("../fixtures/refused_one_hot.json")),
            ("a score per class", &cat("/oblivious_trees/1/splits", json!([]))),
            ("too few leaves", &cat("/oblivious_trees/1/leaf_values", json!([1.0]))),
            ("a bias per class", &cat("/scale_and_bias", json!([1, [0, 0]]))),
            ("no border", &cat("/oblivious_trees/0/splits/0/border", Value::Null)),
            ("a feature that is not there", &cat("/oblivious_trees/0/splits/0/float_feature_index", json!(70))),
            (
                "levels without end",
                &cat("/oblivious_trees/0/splits", json!(vec![json!({"split_type": "FloatFeature"}); 64])),
            ),
            ("features out of order", &cat("/features_info/float_features/0/flat_feature_index", json!(3))),
            ("neither leaf nor split", br#"{"features_info": {}, "trees": [{"left": null}]}"#),
            (
                "nested without end",
                format!(
                    r#"{{"features_info": {{}}, "trees": [{}1{}]}}"#,
                    r#"{"left": "#.repeat(1 << 16),
                    "}".repeat(1 << 16)
                )
                .as_bytes(),
            ),
        ],
    );
}

/// A fixture in ONNX with each `from` replaced by `to`, which is as long.
fn onnx(model: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = model.to_vec();
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "{}", String::from_utf8_lossy(from));
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn onnx_models_are_refused_with_the_place() {
    let (modes, v5) = (include_bytes!("../fixtures/onnx_modes.onnx"), include_bytes!("../fixtures/onnx_v5.onnx"));
    let boosted = include_bytes!("../fixtures/onnx_boosted.onnx");
    let scaled = include_bytes!("../fixtures/onnx_scaled.onnx");
    assert_refused(
        "onnx",
        &[
            ("cut short", &modes[..modes.len() / 2]),
            ("no graph", b"\x08\x08\x12\x07pytorch"),
            ("another operator", &onnx(modes, b"TreeEnsembleRegressor", b"TreeEnsembleRegresses")),
            ("a normalizer", &onnx(scaled, b"\x22\x06Scaler", b"\x22\x06Norma1")),
            ("no offset", &onnx(scaled, b"offset", b"offzet")),
            ("no scale", &onnx(scaled, b"\x0a\x05scale", b"\x0a\x05zcale")),
            ("another comparison", &onnx(modes, b"BRANCH_NEQ", b"BRANCH_ODD")),
            ("another transform", &onnx(boosted, b"LOGISTIC", b"SOFTMAX_")),
            ("no weights", &onnx(modes, b"target_weights", b"target_weighty")),
            ("no thresholds", &onnx(modes, b"nodes_values", b"nodes_valued")),
            ("no leaves", &onnx(v5, b"leaf_weights", b"leaf_weighty")),
            ("no modes", &onnx(v5, b"nodes_modes", b"nodes_moods")),
        ],
    );
}

#[test]
fn ubjson_is_refused_with_the_byte() {
    let dart = include_bytes!("../fixtures/xgb_dart.ubj");
    let long = [&b"{L\0\0\0\0\0\0\0\x07learner[$Z#L\x7f"[..], &[0xff; 7]].concat();
    let key = [&b"{L\x7f"[..], &[0xff; 7]].concat();
    let deep = [&b"{L\0\0\0\0\0\0\0\x07learner"[..], &[b'['; 1 << 16]].concat();
    assert_refused(
        "ubjson",
        &[
            ("cut short", &dart[..dart.len() / 2]),
            ("more after the end", &[&dart[..], b"}"].concat()),
            ("any number of nothing", &long),
            ("a key without end", &key),
            ("nested without end", &deep),
            ("another marker", b"{L\0\0\0\0\0\0\0\x07learner?"),
            ("no learner", b"{U\x01aU\x01}"),
        ],
    );
}

/// A tree of LightGBM that splits at every level on the same large set of scattered categories.
#[test]
fn sets_that_would_need_too_many_leaves_are_refused() {
    let levels = 8;
    let words = "1431655765 ".repeat(32);
    let column = |value: &str| vec![value; levels].join(" ");
    let children = |last: i64| {
        (1..=levels as i64)
            .map(|at| if at == levels as i64 { last } else { at }.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let leaves: Vec<String> = (0..levels as i64).map(|at| (-1 - at).to_string()).collect();
    let values: Vec<String> = (0..=levels).map(|at| at.to_string()).collect();
    let features: Vec<String> = (0..levels).map(|at| at.to_string()).collect();
    let names: Vec<String> = (0..levels).map(|at| format!("Column_{at}")).collect();
    let model = format!(
        "tree\nversion=v4\nnum_class=1\nmax_feature_idx={}\nobjective=regression\nfeature_names={}\n\nTree=0\nnum_leaves={}\n\
         num_cat=1\nsplit_feature={}\nthreshold={}\ndecision_type={}\nleft_child={}\nright_child={}\nleaf_value={}\n\
         cat_boundaries=0 32\ncat_threshold={words}\n\nend of trees\n",
        levels - 1,
        names.join(" "),
        levels + 1,
        features.join(" "),
        column("0"),
        column("1"),
        children(-1 - levels as i64),
        leaves.join(" "),
        values.join(" "),
    );
    let error = import(model.as_bytes()).expect_err("512 stretches of the line per level");
    assert_eq!(error.kind(), CompileErrorKind::Limit);
    assert_eq!(error.to_string(), "Tree=0: its splits on sets, made thresholds, need more than 16384 leaves");
}

/// Of several classes one must be chosen, and of one none.
#[test]
fn which_output_ranks_must_be_said_where_there_are_several() {
    let cases: [(&str, &[u8], Option<u32>); 10] = [
        ("LightGBM, none chosen", include_bytes!("../fixtures/lgb_softmax.txt"), None),
        ("LightGBM, beyond the last", include_bytes!("../fixtures/lgb_softmax.txt"), Some(3)),
        ("LightGBM, of one", include_bytes!("../fixtures/lgb_binary.txt"), Some(1)),
        ("XGBoost, none chosen", include_bytes!("../fixtures/xgb_softprob.ubj"), None),
        ("XGBoost, of one", STUMPS, Some(0)),
        ("CatBoost, none chosen", include_bytes!("../fixtures/cat_softmax.json"), None),
        ("CatBoost, of one", include_bytes!("../fixtures/cat_logloss.json"), Some(0)),
        ("ONNX, none chosen", include_bytes!("../fixtures/classes_boosted.onnx"), None),
        ("ONNX, of two classes", include_bytes!("../fixtures/onnx_classes.onnx"), Some(1)),
        ("ours", br#"{"kind": "linear", "bias": 0, "weights": {}}"#, Some(0)),
    ];
    let mut text = String::new();
    for (case, bytes, class) in cases {
        let error = import_output(bytes, class.map(ModelOutput::Class)).expect_err(case);
        writeln!(text, "{case}: {}\n", render(&error)).expect("a string grows");
    }
    assert_snapshot("outputs", &text);
}

/// A number as protobuf writes it.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Bytes as the field `tag` of a protobuf.
fn field(tag: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(tag << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn ints(name: &str, values: impl Iterator<Item = u64>) -> Vec<u8> {
    let values: Vec<u8> = values.flat_map(varint).collect();
    field(5, &[field(1, name.as_bytes()), field(8, &values)].concat())
}

fn tensor(name: &str, kind: u8, raw: &[u8]) -> Vec<u8> {
    field(5, &[field(1, name.as_bytes()), field(5, &[&[0x10, kind][..], &field(9, raw)].concat())].concat())
}

/// An ensemble of version 5 with one tree of `nodes` nodes. Each has a leaf of its own on the right and on the left the node
/// that `next` says; `nodes` is one more leaf. All leaves weigh `weight`.
fn onnx_chain(nodes: u64, weight: f32, next: impl Fn(u64) -> u64) -> Vec<u8> {
    let all = |value: u64| (0..nodes).map(move |_| value);
    let node = [
        field(1, b"x"),
        field(2, b"y"),
        field(4, b"TreeEnsemble"),
        ints("nodes_featureids", all(0)),
        ints("nodes_truenodeids", (0..nodes).map(&next)),
        ints("nodes_trueleafs", (0..nodes).map(|at| u64::from(next(at) == nodes))),
        ints("nodes_falsenodeids", 0..nodes),
        ints("nodes_falseleafs", all(1)),
        ints("tree_roots", 0..1),
        ints("leaf_targetids", 0..1),
        tensor("nodes_modes", 2, &vec![0; nodes as usize]),
        tensor("nodes_splits", 1, &vec![0; 4 * nodes as usize]),
        tensor("leaf_weights", 1, &weight.to_le_bytes().repeat(nodes as usize + 1)),
        field(7, b"ai.onnx.ml"),
    ];
    [&b"\x08\x0a"[..], &field(7, &[field(1, &node.concat()), field(11, &field(1, b"x"))].concat())].concat()
}

#[test]
fn onnx_trees_that_are_none_are_refused() {
    assert!(import(&onnx_chain(2, 1.0, |at| at + 1)).is_ok(), "the tree as it should be");
    let graph_of_2_gb = [&b"\x08\x0a"[..], &[0x3a], &varint(1 << 31)].concat();
    let node_of_2_gb = [&b"\x08\x0a"[..], &field(7, &[&[0x0a][..], &varint(1 << 31)].concat())].concat();
    assert_refused(
        "onnx_trees",
        &[
            ("a cycle", &onnx_chain(1, 1.0, |_| 0)),
            ("a million nodes", &onnx_chain(1_000_000, 1.0, |at| at + 1)),
            ("a leaf that is no number", &onnx_chain(2, f32::NAN, |at| at + 1)),
            ("a child that is not there", &onnx_chain(2, 1.0, |at| at + 7)),
            ("a graph of 2 GB", &graph_of_2_gb),
            ("an operator of 2 GB", &node_of_2_gb),
            ("rows normalised before trees", include_bytes!("../fixtures/refused_normalised.onnx")),
        ],
    );
}

/// What JSON cannot say UBJSON can.
#[test]
fn a_threshold_of_ubjson_that_is_no_number_is_refused() {
    let mut bytes = include_bytes!("../fixtures/xgb_logistic.ubj").to_vec();
    let key = b"split_conditions[$d#L";
    let at = bytes.windows(key.len()).position(|window| window == key).expect("a column of floats") + key.len() + 8;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_be_bytes());
    let error = import(&bytes).expect_err("not a number");
    assert_eq!(error.kind(), CompileErrorKind::BadTree);
    assert_eq!(error.to_string(), "learner.gradient_booster.model.trees[0]: node 0 has a threshold that is no number");
}

/// 10^6 nodes of XGBoost in one chain: refused by its levels.
#[test]
fn a_chain_of_a_million_nodes_is_refused() {
    let inner = 500_000;
    let column = |value: &dyn Fn(usize) -> i64| (0..=2 * inner).map(value).collect::<Vec<_>>();
    // Inner nodes have even numbers, and a leaf beside each.
    let child =
        |offset: usize| move |at: usize| if at.is_multiple_of(2) && at < 2 * inner { (at + offset) as i64 } else { -1 };
    let mut model: Value = serde_json::from_slice(STUMPS).expect("a fixture is JSON");
    model["learner"]["gradient_booster"]["model"]["trees"] = json!([{
        "left_children": column(&child(1)), "right_children": column(&child(2)),
        "split_indices": column(&|_| 0), "split_conditions": column(&|_| 0), "default_left": column(&|_| 0),
    }]);
    model["learner"]["gradient_booster"]["model"]["tree_info"] = json!([0]);
    let error = import(model.to_string().as_bytes()).expect_err("too deep");
    assert_eq!(error.to_string(), "learner.gradient_booster.model.trees[0]: a bundle holds at most 64 levels");
}

/// 10^6 nodes in one tree: refused by its leaves, in time and memory that follow the file.
#[test]
fn a_tree_of_a_million_nodes_is_refused() {
    let inner = 500_000;
    let column = |value: &dyn Fn(usize) -> String| (0..inner).map(value).collect::<Vec<_>>().join(" ");
    // Complete: the children of node k are 2k + 1 and 2k + 2, and below the last inner node are leaves.
    let child = |at: usize| if at < inner { at.to_string() } else { format!("-{}", at - inner + 1) };
    let model = format!(
        "tree\nversion=v4\nmax_feature_idx=0\nfeature_names=a\n\nTree=0\nnum_leaves={}\nsplit_feature={}\nthreshold={}\n\
         decision_type={}\nleft_child={}\nright_child={}\nleaf_value={}0\n\nend of trees\n",
        inner + 1,
        column(&|_| "0".into()),
        column(&|at| at.to_string()),
        column(&|_| "2".into()),
        column(&|at| child(2 * at + 1)),
        column(&|at| child(2 * at + 2)),
        "0 ".repeat(inner),
    );
    let error = import(model.as_bytes()).expect_err("too many leaves");
    assert_eq!(error.to_string(), "Tree=0: a bundle holds at most 16384 leaves");
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

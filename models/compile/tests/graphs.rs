//! ONNX models of the kinds that rank compile, and score as onnxruntime does. `onnx/export.py` made them.
#![cfg(feature = "onnx")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use selvedge_compile::{CompileErrorKind, TrainedModel, compile, import, inspect};
use selvedge_engine::feature::stride;
use selvedge_engine::model::ModelScratch;
use selvedge_engine::{Limits, Snapshot};
use selvedge_format::AlignedBytes;
use selvedge_spec::{FeatureSpec, ModelSpec};
use serde::Deserialize;

/// What onnxruntime said.
#[derive(Deserialize)]
struct Expected {
    features: Vec<Feature>,
    rows: Vec<Vec<f32>>,
    scores: Vec<f32>,
}

#[derive(Deserialize)]
struct Feature {
    name: String,
    shared: bool,
}

fn fixture(name: &str) -> (Vec<u8>, Expected) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx");
    let bytes = fs::read(path.join(format!("{name}.onnx"))).expect("a committed model");
    let text = fs::read(path.join(format!("{name}.json"))).expect("its scores");
    (bytes, serde_json::from_slice(&text).expect("valid JSON"))
}

fn declared(features: &[Feature]) -> FeatureSpec {
    let scope = |feature: &Feature| if feature.shared { "context" } else { "item" };
    let fields = |of: &str| -> String {
        let of_scope = features.iter().filter(|feature| scope(feature) == of);
        let lines: String = of_scope.map(|feature| format!("{} = \"number\"\n", feature.name)).collect();
        format!("[fields.{of}]\n{lines}")
    };
    let each: String = features
        .iter()
        .map(|feature| {
            let (name, scope) = (&feature.name, scope(feature));
            format!("[[feature]]\nname = \"{name}\"\nkind = \"number\"\nfield = \"{scope}.{name}\"\n")
        })
        .collect();
    let text = format!("version = 1\n{}{}{each}", fields("item"), fields("context"));
    FeatureSpec::parse("features.toml", &text).expect("a valid declaration")
}

fn model() -> ModelSpec {
    let text = "version = 1\n[model]\nname = \"demo\"\nkind = \"graph\"\nobjective = \"logistic\"\n\
        features = \"features.toml\"\n";
    ModelSpec::parse("model.toml", text).expect("a valid declaration")
}

fn scores(bundle: &[u8], rows: &[Vec<f32>]) -> Vec<f32> {
    let snapshot = Snapshot::load(&AlignedBytes::copy_of(bundle), &Limits::default()).expect("a valid bundle");
    let stride = stride(rows.len());
    let mut matrix = vec![0.0; rows[0].len() * stride];
    for (row, values) in rows.iter().enumerate() {
        for (feature, value) in values.iter().enumerate() {
            matrix[feature * stride + row] = *value;
        }
    }
    let mut scores = vec![0.0; stride];
    snapshot.model().scores(&matrix, stride, &mut ModelScratch::default(), &mut scores);
    scores.truncate(rows.len());
    scores
}

/// Compiles a fixture and compares its scores; the text of `inspect` is returned.
fn agrees(name: &str) -> String {
    let (bytes, expected) = fixture(name);
    let trained = import(&bytes).expect("an ONNX model");
    let bundle =
        compile(&declared(&expected.features), &model(), &trained).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(bundle.report.parity.difference.is_some_and(|difference| difference <= 1e-5));
    for (row, (score, expected)) in scores(&bundle.bytes, &expected.rows).iter().zip(&expected.scores).enumerate() {
        let difference = (score - expected).abs() / expected.abs().max(1.0);
        assert!(difference <= 1e-5, "{name}, row {row}: {score} where onnxruntime scores {expected}");
    }
    inspect(&bundle.bytes).expect("a valid bundle").to_string()
}

macro_rules! scores_as_onnxruntime {
    ($($name:ident,)+) => {
        $(#[test]
        fn $name() {
            let filters = vec![(r"(?s).*(graph model: )", "$1"), (r"(?s)predicted cost.*(slate of)", "$1")];
            insta::with_settings!({ filters => filters }, {
                insta::assert_snapshot!(agrees(stringify!($name)));
            });
        })+
    };
}

scores_as_onnxruntime!(mlp, normalised, dlrm, deepfm, dcn, two_tower, mmoe, din, encoder,);

#[test]
fn a_score_does_not_depend_on_who_else_is_ranked() {
    for name in ["mlp", "dlrm", "din"] {
        let (bytes, expected) = fixture(name);
        let trained = import(&bytes).expect("an ONNX model");
        let bundle = compile(&declared(&expected.features), &model(), &trained).expect("compiles").bytes;
        let together = scores(&bundle, &expected.rows);
        let many: Vec<Vec<f32>> = (0..5).flat_map(|_| expected.rows.clone()).collect();
        assert_eq!(scores(&bundle, &many)[80..], together[..]);
        for (row, score) in expected.rows.iter().zip(&together) {
            assert_eq!(scores(&bundle, std::slice::from_ref(row))[0].to_bits(), score.to_bits(), "{name}");
        }
    }
}

#[test]
fn what_cannot_be_bound_is_named() {
    let (bytes, expected) = fixture("dlrm");
    let trained = import(&bytes).expect("an ONNX model");
    let error = compile(&declared(&expected.features[1..]), &model(), &trained).expect_err("a feature is missing");
    assert_eq!(error.kind(), CompileErrorKind::UnknownFeature);
    assert_eq!(error.place(), "graph.input.dense");
    let (bytes, expected) = fixture("mlp");
    let trained = import(&bytes).expect("an ONNX model");
    let error = compile(&declared(&expected.features[1..]), &model(), &trained).expect_err("a feature is missing");
    assert_eq!(error.kind(), CompileErrorKind::FeatureCount);
}

#[test]
fn what_cannot_be_compiled_is_refused_by_name() {
    let feature = |at: usize| Feature { name: format!("f{at}"), shared: false };
    let (features, model) = (declared(&[feature(0), feature(1), feature(2)]), model());
    let mut text = String::new();
    for name in [
        "cyclic",
        "external",
        "overflowing",
        "not_a_number",
        "shapes",
        "unknown_operator",
        "unsupported_operator",
        "across_candidates",
        "power",
        "two_numbers",
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/onnx/refused_{name}.onnx"));
        let bytes = fs::read(path).expect("a committed model");
        let error = import(&bytes).and_then(|trained| compile(&features, &model, &trained)).expect_err(name);
        writeln!(text, "{name}: {}\n  {error}\n  help: {}\n", error.kind().code(), error.hint()).expect("a string");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_damaged_file_is_refused_and_never_panics() {
    let (bytes, expected) = fixture("mlp");
    let (features, model) = (declared(&expected.features), model());
    let mut refused = 0;
    for at in (0..bytes.len()).step_by(61) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x11;
        damaged.truncate(if at % 2 == 0 { bytes.len() } else { at });
        let compiled = import(&damaged).and_then(|trained: TrainedModel| compile(&features, &model, &trained));
        refused += usize::from(compiled.is_err());
    }
    assert!(refused > 0, "at least the files cut short");
}

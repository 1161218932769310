//! Networks with their weights in less: they keep their order, or they are refused.
#![cfg(feature = "onnx")]

mod exported;

use selvedge_compile::{
    CompileError, CompileErrorKind, CompiledBundle, Sample, SampleRequest, Trained, TrainedModel, compile,
    compile_stages, import, inspect,
};
use selvedge_format::program::Scope;
use selvedge_spec::{FeatureSpec, ModelSpec};
use selvedge_wire::{RequestBuilder, Values};
use serde::Deserialize;

use exported::{Feature, declared};

/// Networks with layers alone, with tables, and with much besides.
const NETWORKS: [&str; 9] = ["mlp", "normalised", "dlrm", "deepfm", "dcn", "two_tower", "mmoe", "din", "encoder"];

#[derive(Deserialize)]
struct Exported {
    features: Vec<Feature>,
    rows: Vec<Vec<f32>>,
}

fn fixture(name: &str) -> (Vec<u8>, Exported) {
    exported::fixture(name)
}

fn model(quantise: &str) -> ModelSpec {
    let text = format!(
        "version = 1\n[model]\nname = \"demo\"\nkind = \"linear\"\nobjective = \"logistic\"\n\
         features = \"features.toml\"\n{quantise}"
    );
    ModelSpec::parse("model.toml", &text).expect("a valid declaration")
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// Requests whose values are those of the export's rows, each from another row.
fn sample(exported: &Exported, requests: usize, candidates: usize) -> Sample {
    let mut random = Random(7);
    let ids: Vec<String> = (0..candidates).map(|at| format!("item {at}")).collect();
    let mut request = || {
        let mut column = |at: usize| {
            let count = if exported.features[at].shared { 1 } else { candidates };
            (0..count).map(|_| exported.rows[random.below(exported.rows.len())][at]).collect()
        };
        let columns: Vec<Vec<f32>> = (0..exported.features.len()).map(&mut column).collect();
        let builder = RequestBuilder::new([1; 16], 1_700_000_000_000, ids.iter().map(String::as_str));
        let filled = exported.features.iter().zip(&columns).fold(builder, |builder, (feature, values)| {
            let scope = if feature.shared { Scope::Context } else { Scope::Item };
            builder.column(scope, &feature.name, Values::Numbers(values))
        });
        SampleRequest { bytes: filled.build(), gains: Vec::new() }
    };
    Sample { requests: (0..requests).map(|_| request()).collect(), shared: None }
}

fn quantised(name: &str, declaration: &str) -> Result<CompiledBundle, CompileError> {
    let (bytes, exported) = fixture(name);
    let sample = sample(&exported, 20, 25);
    compile_by(&declared(&exported.features), &model(declaration), &import(&bytes)?, &sample)
}

fn compile_by(
    features: &FeatureSpec,
    model: &ModelSpec,
    trained: &TrainedModel,
    sample: &Sample,
) -> Result<CompiledBundle, CompileError> {
    let with = Trained { stages: std::slice::from_ref(trained), sample: Some(sample), campaigns: None };
    compile_stages(features, model, with)
}

#[test]
fn networks_of_every_kind_keep_their_order_in_bytes_and_in_halves() {
    for (weights, correlation) in [("int8", 0.999), ("f16", 0.999_9)] {
        for name in NETWORKS {
            // Four tables of bytes under one short sum.
            let correlation = if (name, weights) == ("dlrm", "int8") { 0.998 } else { correlation };
            let bundle = quantised(name, &format!("[quantise]\nweights = \"{weights}\"\nmax_loss = 0.5\n"));
            let report = bundle.unwrap_or_else(|error| panic!("{name}: {error}")).report.quantised.expect("quantised");
            assert!(report.layers > 0, "{name}: {report:?}");
            assert!(report.loss.spearman >= correlation, "{name}: {report:?}");
            let [before, after] = report.bytes;
            assert!(after < before, "{name}: {report:?}");
        }
    }
}

#[test]
fn tables_are_narrow_and_their_scales_are_by_row() {
    for weights in ["int8", "f16"] {
        let bundle = quantised("dlrm", &format!("[quantise]\nweights = \"{weights}\"\nmax_loss = 0.01\n"));
        let bundle = bundle.expect("it keeps its order");
        assert!(bundle.report.quantised.expect("quantised").tables > 0);
        let text = inspect(&bundle.bytes).expect("a valid bundle").to_string();
        assert!(text.lines().any(|line| line.contains("gather") && line.ends_with(weights)), "{text}");
        assert!(text.lines().any(|line| line.contains("dense") && line.ends_with(weights)), "{text}");
    }
}

#[test]
fn a_layer_is_a_quarter_of_its_size_in_bytes_and_half_in_halves() {
    for (weights, most) in [("int8", 0.45), ("f16", 0.65)] {
        let bundle = quantised("mlp", &format!("[quantise]\nweights = \"{weights}\"\nmax_loss = 0.01\n"));
        let [before, after] = bundle.expect("it keeps its order").report.quantised.expect("quantised").bytes;
        assert!((after as f64) < most * before as f64, "{after} of {before}, steps and biases included");
    }
}

#[test]
fn equal_inputs_give_equal_bytes() {
    let twice = [0, 1].map(|_| quantised("mlp", "[quantise]\nweights = \"int8\"\nmax_loss = 0.1\n").expect("compiles"));
    assert_eq!(twice[0].bytes, twice[1].bytes);
}

#[test]
fn what_loses_more_than_was_declared_is_refused_with_what_it_loses() {
    let error =
        quantised("mlp", "[quantise]\nweights = \"int8\"\nmax_loss = 1e-9\n").expect_err("bytes lose something");
    assert_eq!(error.kind(), CompileErrorKind::Loss);
    let text = error.to_string();
    assert!(text.contains("the correlation of ranks is 0.99") && text.contains("% may be"), "{text}");
}

#[test]
fn the_loss_of_what_was_wanted_counts_where_it_is_known() {
    let (bytes, exported) = fixture("mlp");
    let mut sample = sample(&exported, 20, 25);
    for (at, request) in sample.requests.iter_mut().enumerate() {
        request.gains = (0..25).map(|candidate| if candidate == at { 1.0 } else { 0.0 }).collect();
    }
    let trained = import(&bytes).expect("an ONNX model");
    let compiled = |sample: &Sample| {
        let spec = model("[quantise]\nweights = \"f16\"\nmax_loss = 0.01\n");
        compile_by(&declared(&exported.features), &spec, &trained, sample)
    };
    let loss = compiled(&sample).expect("halves lose next to nothing").report.quantised.expect("quantised").loss;
    let (ndcg, auc) = (loss.ndcg.expect("known"), loss.auc.expect("known"));
    assert!(ndcg[0] > 0.0 && ndcg[0] < 1.0 && auc[0] > 0.2 && auc[0] < 0.8, "gains that know nothing: {loss:?}");
    sample.requests[3].gains.pop();
    let error = compiled(&sample).expect_err("a gain is missing");
    assert!(error.to_string().contains("request 3 of the sample has 24 gains for 25 candidates"), "{error}");
}

#[test]
fn what_cannot_be_quantised_says_why() {
    let (bytes, exported) = fixture("mlp");
    let (features, spec) = (declared(&exported.features), model("[quantise]\nweights = \"int8\"\n"));
    let trained = import(&bytes).expect("an ONNX model");
    let error = compile(&features, &spec, &trained).expect_err("there is no sample");
    assert!(error.hint().contains("--sample"), "{error}");
    let garbage =
        Sample { requests: vec![SampleRequest { bytes: b"no request".to_vec(), gains: vec![] }], shared: None };
    let error = compile_by(&features, &spec, &trained, &garbage).expect_err("no request");
    assert!(error.to_string().contains("request 0 of the sample is refused"), "{error}");
    let empty = Sample::default();
    let error = compile_by(&features, &spec, &trained, &empty).expect_err("an empty sample");
    assert!(error.to_string().contains("no order to judge by"), "{error}");
    let linear = import(br#"{"kind": "linear", "bias": 0, "weights": {}}"#).expect("a linear model");
    let error = compile(&features, &spec, &linear).expect_err("a linear model");
    assert_eq!(error.kind(), CompileErrorKind::Quantisation);
    assert!(error.to_string().contains("only the weights of networks"), "{error}");
}

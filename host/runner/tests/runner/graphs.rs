//! Tensor programs of the exported networks, in the engine of this machine and in both guest modules: the same bits.

use std::fs;
use std::path::Path;

use selvedge_compile::{Sample, SampleRequest, Trained, TrainedModel, compile, compile_stages, import};
use selvedge_engine::{Engine, Limits};
use selvedge_format::AlignedBytes;
use selvedge_format::decision::DecisionView;
use selvedge_format::program::Scope;
use selvedge_runner::{GuestModule, Instance, RunnerLimits};
use selvedge_spec::{FeatureSpec, ModelSpec};
use selvedge_wire::{RequestBuilder, Values};
use serde::Deserialize;

use crate::given;

const MODEL: &str = "version = 1
[model]
name = \"network\"
kind = \"graph\"
objective = \"logistic\"
features = \"features.toml\"
[slate]
size = 500
";

/// Inputs that came with a network.
#[derive(Deserialize)]
struct Exported {
    features: Vec<Feature>,
    rows: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Feature {
    name: String,
    /// The same for all candidates.
    shared: bool,
}

impl Feature {
    const fn scope(&self) -> Scope {
        if self.shared { Scope::Context } else { Scope::Item }
    }
}

fn declared(features: &[Feature]) -> FeatureSpec {
    let named = |scope: Scope, of: &str| -> String {
        let there = features.iter().filter(|feature| feature.scope() == scope);
        let fields: String = there.map(|Feature { name, .. }| format!("{name} = \"number\"\n")).collect();
        format!("[fields.{of}]\n{fields}")
    };
    let each = features.iter().map(|Feature { name, shared }| {
        let of = if *shared { "context" } else { "item" };
        format!("[[feature]]\nname = \"{name}\"\nkind = \"number\"\nfield = \"{of}.{name}\"\n")
    });
    let each: String = each.collect();
    let text = format!("version = 1\n{}{}{each}", named(Scope::Item, "item"), named(Scope::Context, "context"));
    FeatureSpec::parse("features.toml", &text).expect("a valid declaration")
}

/// Every row is a candidate.
fn request(exported: &Exported) -> Vec<u8> {
    let ids: Vec<String> = (0..exported.rows.len()).map(|row| format!("item {row}")).collect();
    let columns: Vec<Vec<f32>> = (0..exported.features.len())
        .map(|at| {
            let rows = if exported.features[at].shared { 1 } else { exported.rows.len() };
            exported.rows[..rows].iter().map(|row| row[at]).collect()
        })
        .collect();
    let builder = RequestBuilder::new(given::REQUEST_ID, 1_700_000_000_000, ids.iter().map(String::as_str));
    let filled = exported.features.iter().zip(&columns).fold(builder, |builder, (feature, values)| {
        builder.column(feature.scope(), &feature.name, Values::Numbers(values))
    });
    filled.build()
}

/// The bundle with weights as they are, and those with narrow ones, calibrated on the request.
fn bundles(exported: &Exported, trained: &TrainedModel, request: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let features = declared(&exported.features);
    let model = |quantise: &str| ModelSpec::parse("model.toml", &format!("{MODEL}{quantise}")).expect("valid");
    let single = compile(&features, &model(""), trained).expect("it compiles").bytes;
    let requests = vec![SampleRequest { bytes: request.to_vec(), gains: Vec::new() }];
    let sample = Sample { requests, shared: None };
    let narrow = |weights: &str| {
        let model = model(&format!("[quantise]\nweights = \"{weights}\"\nmax_loss = 0.1\n"));
        let with = Trained { stages: std::slice::from_ref(trained), sample: Some(&sample), campaigns: None };
        compile_stages(&features, &model, with).expect("it keeps its order").bytes
    };
    vec![("f32", single), ("f16", narrow("f16")), ("int8", narrow("int8"))]
}

#[test]
fn every_exported_network_has_the_same_bits_natively_and_in_both_guest_modules() {
    let exports = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/compile/tests/onnx");
    let modules = given::modules().map(|wasm| GuestModule::read(&wasm).expect("the guest keeps to the ABI"));
    const NAMES: [&str; 12] = [
        "mlp",
        "normalised",
        "dlrm",
        "deepfm",
        "dcn",
        "two_tower",
        "mmoe",
        "din",
        "encoder",
        "reranker",
        "setrank",
        "listwise",
    ];
    for name in NAMES {
        let read = |suffix: &str| fs::read(exports.join(format!("{name}.{suffix}"))).expect("a committed export");
        let exported: Exported = serde_json::from_slice(&read("json")).expect("valid JSON");
        let trained = import(&read("onnx")).expect("an ONNX model");
        let request = request(&exported);
        for (weights, bundle) in bundles(&exported, &trained, &request) {
            decides_alike(&format!("{name} in {weights}"), &exported, &bundle, &request, &modules);
        }
    }
}

/// Decides natively and in each module.
fn decides_alike(name: &str, exported: &Exported, bundle: &[u8], request: &[u8], modules: &[GuestModule]) {
    let mut engine = Engine::new(Limits::default());
    engine.load(AlignedBytes::copy_of(bundle)).expect("the bundle loads");
    let decision = engine.decide(request).to_vec();
    let view = DecisionView::parse(&decision).expect("valid bytes");
    assert_eq!((view.status.names().0, view.slots.len()), ("personalized", exported.rows.len()), "{name}");
    assert!(view.scores.get(0) > view.scores.get(view.slots.len() - 1), "{name} tells no candidates apart");

    for (module, kind) in modules.iter().zip(["SIMD", "plain"]) {
        let mut instance = Instance::new(module, RunnerLimits::default());
        instance.load(bundle.to_vec()).expect("the bundle loads");
        let decided = instance.decide(request).expect("a decision").decision;
        let differs = decided.iter().zip(&decision).position(|(found, native)| found != native);
        assert_eq!((differs, decided.len()), (None, decision.len()), "{name} in the {kind} module");
    }
}

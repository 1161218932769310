//! Tensor programs of the exported networks, in the engine of this machine and in both guest modules: the same bits.

use std::fs;
use std::path::Path;

use selvedge_compile::{Sample, SampleRequest, Trained, TrainedModel, compile, compile_stages, import, lower_program};
use selvedge_engine::state::{Event, ItemKeys, UserState};
use selvedge_engine::{Engine, Limits};
use selvedge_format::decision::DecisionView;
use selvedge_format::program::Scope;
use selvedge_format::{AlignedBytes, key};
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
    /// What onnxruntime said.
    scores: Vec<f32>,
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

/// An item whose number among so many is this.
fn item_of(number: f32, buckets: u64) -> String {
    let mut ids = (0..).map(|at| format!("item {at}"));
    ids.find(|id| (key(id.as_bytes()) % buckets + 1) as f32 == number).expect("numbers are spread evenly")
}

/// A user who has viewed items with these numbers, the newest first, on two devices; and bought something last.
fn state_after_views(features: &FeatureSpec, numbers: &[f32], now_ms: i64) -> Vec<u8> {
    let program = lower_program(features).expect("it fits a bundle");
    let mut user = UserState::new();
    let mut happens = |device, event: &str, item: &str, ago_s: i64| {
        let event = Event {
            event: key(event.as_bytes()),
            time_ms: now_ms - ago_s * 1000,
            item: key(item.as_bytes()),
            value: 1.0,
        };
        user.apply(device, &program, &ItemKeys::new(&program, None), &event).expect("few devices");
    };
    happens(1, "purchase", "something else", 1);
    for (at, number) in (0..).zip(numbers) {
        happens(at % 2, "view", &item_of(*number, 40), 60 + at as i64);
    }
    user.encode()
}

#[test]
fn a_network_over_the_users_own_history_scores_as_onnxruntime_and_has_the_same_bits_everywhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/reference/onnx.md")).expect("the page");
    let declared = page.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let features = FeatureSpec::parse("features.toml", declared).expect("a valid declaration");
    let exports = root.join("models/compile/tests/onnx");
    let read = |suffix: &str| fs::read(exports.join(format!("recent.{suffix}"))).expect("a committed export");
    let exported: Exported = serde_json::from_slice(&read("json")).expect("valid JSON");
    let trained = import(&read("onnx")).expect("an ONNX model");
    let bundle = compile(&features, &ModelSpec::parse("model.toml", MODEL).expect("valid"), &trained)
        .expect("it compiles")
        .bytes;

    // What the rows have as numbers is said by ids and events here.
    let now_ms = 1_795_000_000_000;
    let ids: Vec<String> = exported.rows.iter().map(|row| item_of(row[row.len() - 1], 40)).collect();
    let viewed: Vec<f32> = exported.rows[0][..6].iter().copied().filter(|number| *number > 0.0).collect();
    let state = state_after_views(&features, &viewed, now_ms);
    let request = RequestBuilder::new(given::REQUEST_ID, now_ms, ids.iter().map(String::as_str)).state(&state).build();
    let mut engine = Engine::new(Limits::default());
    engine.load(AlignedBytes::copy_of(&bundle)).expect("the bundle loads");
    let matrix = engine.features(&request).expect("features");
    for (row, expected) in exported.rows.iter().enumerate() {
        let found: Vec<f32> = (0..matrix.features()).map(|feature| matrix.column(feature)[row]).collect();
        assert_eq!(&found, expected, "row {row}");
    }
    let decision = engine.decide(&request).to_vec();
    let view = DecisionView::parse(&decision).expect("valid bytes");
    for (place, slot) in view.slots.iter().enumerate() {
        let (score, expected) = (view.scores.get(place), exported.scores[slot as usize]);
        assert!((score - expected).abs() <= 1e-5, "{score} where onnxruntime scores {expected}");
    }
    let modules = given::modules().map(|wasm| GuestModule::read(&wasm).expect("the guest keeps to the ABI"));
    decides_alike("recent", &exported, &bundle, &request, &modules);
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
        let scores = engine.score(request).expect("scores");
        let rows = exported.rows.len();
        let predicted = instance.predict(rows, exported.features.len(), &exported.rows.concat()).expect("scores");
        let bits = |scores: &[f32]| scores.iter().map(|score| score.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&predicted), bits(scores), "{name} in the {kind} module");
        // Of a list it is another score than in company.
        let alone = instance.predict(1, exported.features.len(), &exported.rows[0]).expect("a score");
        let native = engine.predict(1, exported.features.len(), &exported.rows[0]).expect("a score");
        assert_eq!(bits(&alone), bits(native), "{name} in the {kind} module, one row");
    }
}

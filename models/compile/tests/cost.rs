//! The cost that is shown is the cost that a decision counts.

#[cfg(feature = "onnx")]
mod exported;

use selvedge_compile::cost::{CANDIDATES, CostInspection};
use selvedge_compile::{CompiledBundle, Inspection, Trained, TrainedModel, compile, compile_stages, import, inspect};
use selvedge_engine::{Engine, Limits};
use selvedge_format::AlignedBytes;
use selvedge_format::decision::DecisionView;
use selvedge_spec::{FeatureSpec, ModelSpec};
use selvedge_wire::RequestBuilder;

const FEATURES: &str = r#"version = 1
[fields.item]
price = "number"
brand = "string"
name = "tokens"
[fields.context]
query = "tokens"
[[feature]]
name = "price"
kind = "number"
field = "item.price"
[[feature]]
name = "overlap"
kind = "token_overlap"
field = "item.name"
with = "context.query"
metric = "jaccard"
[[feature]]
name = "place"
kind = "position"
"#;
const MODEL: &str = "version = 1\n[model]\nname = \"m\"\nkind = \"linear\"\nobjective = \"logistic\"\n\
    features = \"features.toml\"\n";

fn features() -> FeatureSpec {
    FeatureSpec::parse("features.toml", FEATURES).expect("a valid declaration")
}

fn model(more: &str) -> ModelSpec {
    ModelSpec::parse("model.toml", &format!("{MODEL}{more}")).expect("a valid declaration")
}

fn linear() -> TrainedModel {
    import(br#"{"kind": "linear", "bias": 0, "weights": {"price": 1, "place": -1, "overlap": 2}}"#).expect("a model")
}

/// So many trees of three leaves.
fn trees(count: usize) -> TrainedModel {
    let tree = r#"{"left_children": [1, -1, 3, -1, -1], "right_children": [2, -1, 4, -1, -1],
        "split_indices": [0, 0, 2, 0, 0], "split_conditions": [1, 0.5, 7, 0.25, -1], "default_left": [1, 0, 0, 0, 0]}"#;
    let json = format!(
        r#"{{"learner": {{"feature_names": [], "gradient_booster": {{"name": "gbtree", "model": {{"trees": [{}]}}}},
            "learner_model_param": {{"base_score": "0", "num_feature": "3"}},
            "objective": {{"name": "reg:squarederror"}}}}}}"#,
        vec![tree; count].join(", ")
    );
    import(json.as_bytes()).expect("a valid model")
}

/// The cost of a decision for as many candidates as the prediction is about.
fn counted(bundle: &CompiledBundle) -> u64 {
    let ids: Vec<String> = (0..CANDIDATES).map(|at| at.to_string()).collect();
    let request = RequestBuilder::new([1; 16], 1_795_000_000_000, ids.iter().map(String::as_str)).build();
    let mut engine = Engine::new(Limits::default());
    engine.load(AlignedBytes::copy_of(&bundle.bytes)).expect("a valid bundle");
    let decision = DecisionView::parse(engine.decide(&request)).expect("a decision");
    assert_eq!(decision.status.names(), ("personalized", None));
    decision.cost
}

fn check(bundle: &CompiledBundle) -> CostInspection {
    let cost = &bundle.report.cost;
    assert_eq!(cost.units, counted(bundle));
    // Steps of a graph cost fractions of a unit: a decision rounds up what a candidate costs, the parts what all of them do.
    let parts = cost.parts.iter().map(|part| part.units).sum::<u64>();
    assert!((cost.units - CANDIDATES..=cost.units + cost.parts.len() as u64).contains(&parts), "{cost}");
    let Inspection::Bundle(shown) = inspect(&bundle.bytes).expect("a bundle") else { panic!("it is a bundle") };
    assert_eq!(&shown.cost, cost);
    cost.clone()
}

#[test]
fn a_prediction_is_what_a_decision_counts() {
    let rules = "[slate]\nsize = 12\n[[slate.at_most]]\nfield = \"brand\"\nmax = 3\nwindow = 8\n\
        [slate.diversity]\nlambda = 0.75\nsimilarity = { brand = 3.0 }\n[slate.explore]\ntemperature = 0.5\n";
    for declared in ["", rules, "[slate]\nsize = 300\n"] {
        for trained in [linear(), trees(1), trees(400)] {
            check(&compile(&features(), &model(declared), &trained).expect("it compiles"));
        }
    }
}

#[test]
fn a_cascade_costs_what_its_stages_see() {
    let stages = [linear(), trees(100), trees(1_000)];
    let declared =
        |keep: [u32; 2]| model(&keep.map(|keep| format!("[[stage]]\ntrained = \"x\"\nkeep = {keep}\n")).concat());
    let cost = |keep| {
        let trained = Trained { stages: &stages, ..Trained::default() };
        check(&compile_stages(&features(), &declared(keep), trained).expect("it compiles"))
    };
    let (few, all) = (cost([30, 10]), cost([2_000, 1_000]));
    assert!(few.units < all.units);
    assert_eq!(all.parts[0].what, "stage 3: trees model");
    let of =
        |cost: &CostInspection, what: &str| cost.parts.iter().find(|part| part.what == what).map(|part| part.units);
    assert_eq!(of(&all, "stage 3: trees model"), of(&few, "stage 3: trees model").map(|units| 10 * units));
}

#[cfg(feature = "onnx")]
#[test]
fn the_layers_of_a_network_are_counted_one_by_one() {
    #[derive(serde::Deserialize)]
    struct Exported {
        features: Vec<exported::Feature>,
    }
    for (name, dearest) in
        [("mlp", "dense 16 -> 32, relu"), ("din", "dense 6 times 8 -> 12, sigmoid"), ("reranker", "dense")]
    {
        let (bytes, exported) = exported::fixture::<Exported>(name);
        let (features, trained) = (exported::declared(&exported.features), import(&bytes).expect("a model"));
        let cost = check(&compile(&features, &model(""), &trained).expect("it compiles"));
        let layer = cost.parts.iter().find(|part| part.what.starts_with("dense") || part.what.starts_with("each"));
        assert!(layer.is_some_and(|part| part.what.starts_with(dearest)), "{cost}");
        let shared = cost.parts.iter().any(|part| part.what.ends_with(", once per request"));
        assert_eq!(shared, exported.features.iter().any(|feature| feature.shared), "{cost}");
    }
}

#[cfg(feature = "onnx")]
#[test]
fn attention_among_candidates_costs_as_many_pairs_as_its_stage_sees() {
    #[derive(serde::Deserialize)]
    struct Exported {
        features: Vec<exported::Feature>,
    }
    let (bytes, exported) = exported::fixture::<Exported>("reranker");
    let (features, reranker) = (exported::declared(&exported.features), import(&bytes).expect("a model"));
    let weights: Vec<String> = exported.features.iter().map(|feature| format!("\"{}\": 1", feature.name)).collect();
    let linear = format!("{{\"kind\": \"linear\", \"bias\": 0, \"weights\": {{{}}}}}", weights.join(", "));
    let linear = import(linear.as_bytes()).expect("a model");
    let units = |declared: &str, stages: &[TrainedModel]| {
        let trained = Trained { stages, ..Trained::default() };
        let cost = check(&compile_stages(&features, &model(declared), trained).expect("it compiles"));
        let pairs = cost.parts.iter().filter(|part| part.what.ends_with(", per pair of candidates"));
        pairs.map(|part| part.units).sum::<u64>()
    };
    let alone = units("", std::slice::from_ref(&reranker));
    let staged = units("[[stage]]\ntrained = \"x\"\nkeep = 20\n", &[linear, reranker]);
    assert!(alone > 0 && alone.abs_diff(25 * staged) <= 50, "{alone} for a hundred, {staged} for twenty");
}

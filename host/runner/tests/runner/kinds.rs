//! Every kind of feature, in the engine of this machine and in both guest modules: the same bits.
//!
//! What is declared are the examples of the reference, so a new kind is compared from the day it is documented.

use selvedge_compile::lower_program;
use selvedge_engine::state::{Event, GlobalCounters, ItemKeys, UserState};
use selvedge_engine::{Engine, Limits};
use selvedge_format::container::{ContainerBuilder, Kind};
use selvedge_format::decision::DecisionView;
use selvedge_format::model::{self, LinearWeights, Link, ModelKindV1, ModelV1, ModelsV1, StageV1};
use selvedge_format::policy::{self, DiversityV1, PolicyV1};
use selvedge_format::program::{self, ProgramV1, Scope, field_id};
use selvedge_format::shared::{FieldValues, SharedParts, SharedState};
use selvedge_format::{AlignedBytes, key};
use selvedge_runner::{GuestModule, Instance, RunnerLimits};
use selvedge_spec::{FeatureSpec, reference_markdown};
use selvedge_wire::{RequestBuilder, Values};

use crate::given;

/// A Monday evening in November 2026.
const NOW_MS: i64 = 1_795_000_000_123;
const HOUR_MS: i64 = 3_600_000;

/// More than a vector of 16, and no multiple of it.
const CANDIDATES: usize = 37;

/// What the examples leave out: the other source, key, measure or form of a kind, and the other transforms.
const VARIANTS: &str = r#"
[[feature]]
name = "hashed"
kind = "string"
field = "item.brand"
buckets = 97
[[feature]]
name = "everyone_decayed"
kind = "decayed_count"
scope = "global"
event = "purchase"
by = "department"
measure = "value"
half_life = "11h"
transform = ["log1p", { scale = 0.37 }, { shift = -1.5 }, "square"]
[[feature]]
name = "window_of_user"
kind = "window_count"
scope = "user"
event = "view"
by = "brand"
window = "7d"
buckets = 7
transform = ["sqrt", "neg", "abs", { clip = [0.5, 1.4] }]
[[feature]]
name = "everyone_recent"
kind = "recency"
scope = "global"
event = "view"
by = "brand"
unit = "h"
[[feature]]
name = "everyone_share"
kind = "share"
scope = "global"
event = "view"
by = "item"
half_life = "3d"
[[feature]]
name = "user_rate"
kind = "rate"
scope = "user"
by = "brand"
numerator = { event = "purchase" }
denominator = { event = "view" }
window = "4w"
buckets = 4
weight = 0.3
prior = 0.07
[[feature]]
name = "like_before"
kind = "token_overlap"
field = "item.name"
with = "history"
event = "purchase"
last = 20
metric = "jaccard"
[[feature]]
name = "minute"
kind = "local_time"
part = "minute_of_day"
[[feature]]
name = "month"
kind = "local_time"
part = "month"
[[feature]]
name = "product"
kind = "combine"
op = "product"
inputs = ["user_rate", "everyone_decayed"]
"#;

/// The reference's declaration with the example of every kind, and [`VARIANTS`].
fn declared() -> FeatureSpec {
    let reference = reference_markdown();
    let blocks = reference.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let text: String = blocks.map(|(block, _)| block).chain([VARIANTS]).collect();
    FeatureSpec::parse("features.toml", &text).expect("the examples of the reference are valid together")
}

fn bundle(program: &ProgramV1) -> Vec<u8> {
    let models = ModelsV1 {
        models: vec![ModelV1 { kind: ModelKindV1::Linear { bias: 0.1 }, link: Link::Logistic }],
        stages: vec![StageV1 { model: 0, keep: 0 }],
    };
    let policy = PolicyV1 {
        slate_size: 12,
        diversity: Some(DiversityV1 { lambda: 0.8, fields: vec![(field(program, "brand"), 1.0)] }),
        ..PolicyV1::default()
    };
    // Small beside the features, so that the logistic function does not saturate.
    let weight: Vec<f32> = (0..program.features.len()).map(|at| 0.013 / (at as f32 - 7.3)).collect();
    let centre: Vec<f32> = (0..program.features.len()).map(|at| at as f32 / 7.0).collect();
    ContainerBuilder::new(Kind::Bundle)
        .required(program::TAG, program::VERSION, program.encode())
        .required(model::TAG, model::VERSION, models.encode())
        .required(policy::TAG, policy::VERSION, policy.encode())
        .required(model::WEIGHTS_TAG, model::WEIGHTS_VERSION, LinearWeights::encode(&weight, &centre))
        .build()
}

fn field(program: &ProgramV1, name: &str) -> u16 {
    let id = field_id(Scope::Item, name);
    program.fields.iter().position(|field| field.id == id).expect("a declared field") as u16
}

fn id(item: usize) -> String {
    format!("item {item}")
}

/// Fields of the items, of which every fifth is unknown and some values are missing.
fn catalogue() -> SharedParts {
    let mut known: Vec<(u64, usize)> =
        (0..CANDIDATES).filter(|item| item % 5 != 4).map(|item| (key(id(item).as_bytes()), item)).collect();
    known.sort_unstable();
    let items = || known.iter().map(|(_, item)| *item);
    let word = |word: usize| key(["oat", "milk", "dark", "rye", "bread"][word % 5].as_bytes());
    let price = |item: usize| if item % 7 == 3 { f32::NAN } else { 0.1 + item as f32 / 3.0 };
    let listed = |item: usize| if item % 6 == 2 { i64::MIN } else { NOW_MS - item as i64 * 7_654_321 };
    let number = FieldValues::Number(items().map(price).collect());
    let department = FieldValues::String(items().map(|item| key(&[b'd', (item % 4) as u8])).collect());
    let brand = items().map(|item| if item % 8 == 1 { 0 } else { key(&[b'b', (item % 6) as u8]) });
    let names = items().map(|item| (0..item % 4).map(|at| word(item + at)).collect()).collect();
    SharedParts {
        as_of_ms: NOW_MS - 5 * HOUR_MS,
        items: known.iter().map(|(key, _)| *key).collect(),
        fields: vec![
            (field_id(Scope::Item, "price"), number),
            (field_id(Scope::Item, "department"), department),
            (field_id(Scope::Item, "brand"), FieldValues::String(brand.collect())),
            (field_id(Scope::Item, "name"), FieldValues::Tokens(names)),
            (field_id(Scope::Item, "listed_at"), FieldValues::Time(items().map(listed).collect())),
        ],
        ..SharedParts::default()
    }
}

/// The shared state and a user's state on two devices, after the same events.
fn counted(program: &ProgramV1) -> (Vec<u8>, Vec<u8>) {
    let mut parts = catalogue();
    let fields = SharedState::load(AlignedBytes::copy_of(&parts.encode())).expect("item fields");
    let keys = ItemKeys::new(program, Some(&fields));
    let (mut everyone, mut user) = (GlobalCounters::new(program), UserState::new());
    for at in 0..120_usize {
        let event = Event {
            event: key(if at % 3 == 0 { b"purchase" } else { b"view" }),
            time_ms: NOW_MS - (121 - at as i64) * 5 * HOUR_MS,
            item: key(id(at * at % CANDIDATES).as_bytes()),
            value: 0.3 + at as f32 / 11.0,
        };
        everyone.apply(program, &keys, &event);
        if at % 2 == 0 {
            user.apply(at as u64 % 4, program, &keys, &event).expect("few devices");
        }
    }
    parts.tables = everyone.tables(program, parts.as_of_ms);
    (parts.encode(), user.encode())
}

/// Known and unknown items; one field comes with the request.
fn request(state: &[u8]) -> Vec<u8> {
    let ids: Vec<String> = (0..CANDIDATES).map(id).collect();
    let prices: Vec<f32> = (0..CANDIDATES).map(|at| if at % 9 == 4 { f32::NAN } else { at as f32 * 0.7 }).collect();
    RequestBuilder::new(given::REQUEST_ID, NOW_MS, ids.iter().map(String::as_str))
        .utc_offset_min(-210)
        .reasons(4)
        .state(state)
        .column(Scope::Item, "price", Values::Numbers(&prices))
        .column(Scope::User, "home_store", Values::Strings(&["store 7"]))
        .column(Scope::Context, "page", Values::Strings(&["search"]))
        .column(Scope::Context, "query", Values::Tokens(&[&["dark", "rye", "bread"]]))
        .build()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn every_kind_of_feature_has_the_same_bits_natively_and_in_both_guest_modules() {
    let spec = declared();
    let program = lower_program(&spec).expect("it fits a bundle");
    let bundle = bundle(&program);
    let (shared, state) = counted(&program);
    let request = request(&state);

    let mut engine = Engine::new(Limits::default());
    engine.load(AlignedBytes::copy_of(&bundle)).expect("the bundle loads");
    engine.load(AlignedBytes::copy_of(&shared)).expect("the shared state loads");
    let matrix = engine.features(&request).expect("features");
    let columns: Vec<Vec<u32>> = (0..matrix.features()).map(|feature| bits(matrix.column(feature))).collect();
    assert_eq!(columns.len(), spec.features.len());
    for (feature, column) in spec.features.iter().zip(&columns) {
        let is_missing = column.iter().all(|value| f32::from_bits(*value).is_nan());
        assert!(!is_missing, "{} is missing everywhere: nothing is compared", feature.name);
    }
    let decision = engine.decide(&request).to_vec();
    assert_eq!(DecisionView::parse(&decision).expect("valid bytes").status.names().0, "personalized");

    for wasm in given::modules() {
        let module = GuestModule::read(&wasm).expect("the guest keeps to the ABI");
        let mut instance = Instance::new(&module, RunnerLimits::default());
        instance.load(bundle.clone()).expect("the bundle loads");
        instance.load_shared(shared.clone()).expect("the shared state loads");
        let found = instance.features(&request).expect("features");
        for (at, (feature, column)) in spec.features.iter().zip(&columns).enumerate() {
            assert_eq!(&bits(found.column(at)), column, "{} in {}", feature.name, wasm.display());
        }
        let decided = instance.decide(&request).expect("a decision");
        let differs = decided.decision.iter().zip(&decision).position(|(found, native)| found != native);
        assert_eq!((differs, decided.decision.len()), (None, decision.len()), "the decision of {}", wasm.display());
    }
}

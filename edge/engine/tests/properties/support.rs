//! Small worlds to decide in: a program, a shared state, a user and a request over a few items, brands and words.

use proptest::prelude::*;
use selvedge_engine::state::{Event, ItemKeys, UserState};
use selvedge_engine::{Engine, Limits};
use selvedge_format::container::{ContainerBuilder, Kind};
use selvedge_format::explore::ExploreV1;
use selvedge_format::model::{
    LinearWeights, Link, ModelKindV1, ModelV1, ModelsV1, StageV1, WEIGHTS_TAG, WEIGHTS_VERSION,
};
use selvedge_format::policy::PolicyV1;
use selvedge_format::program::{
    By, ColumnV1, Decay, FeatureV1, FieldType, FieldV1, Measure, OpV1, ProgramV1, Scope, TableV1, column_id, field_id,
    table_id,
};
use selvedge_format::shared::{FieldValues, SharedParts, SharedState};
use selvedge_format::{AlignedBytes, explore, key, model, policy, program};

pub(crate) const ITEMS: [&str; 8] = ["i0", "i1", "i2", "i3", "i4", "i5", "i6", "i7"];
pub(crate) const BRANDS: [&str; 4] = ["", "b1", "b2", "b3"];
pub(crate) const WORDS: [&str; 6] = ["w0", "w1", "w2", "w3", "w4", "w5"];
/// A Monday in November 2026.
pub(crate) const NOW_S: u32 = 1_795_000_000;
pub(crate) const NOW_MS: i64 = NOW_S as i64 * 1000;

// Fields of every program here, by position.
pub(crate) const PRICE: u16 = 0;
pub(crate) const BRAND: u16 = 1;
pub(crate) const NAME: u16 = 2;
pub(crate) const SINCE: u16 = 3;
pub(crate) const AGE: u16 = 4;
pub(crate) const HOME: u16 = 5;
pub(crate) const QUERY: u16 = 6;
pub(crate) const BUDGET: u16 = 7;
pub(crate) const WEIGHT: u16 = 8;

const FIELDS: [(Scope, &str, FieldType); 9] = [
    (Scope::Item, "price", FieldType::Number),
    (Scope::Item, "brand", FieldType::String),
    (Scope::Item, "name", FieldType::Tokens),
    (Scope::Item, "since", FieldType::Time),
    (Scope::User, "age", FieldType::Number),
    (Scope::User, "home", FieldType::String),
    (Scope::Context, "query", FieldType::Tokens),
    (Scope::Context, "budget", FieldType::Number),
    (Scope::Item, "weight", FieldType::Number),
];

pub(crate) fn id_of(field: u16) -> u64 {
    let (scope, name, _) = FIELDS[usize::from(field)];
    field_id(scope, name)
}

/// The fields above, and one feature per operation, without defaults and transforms.
pub(crate) fn program(ops: impl IntoIterator<Item = OpV1>) -> ProgramV1 {
    let feature = |op| FeatureV1 { op, default: f32::NAN, transforms: vec![] };
    ProgramV1 {
        fields: FIELDS.map(|(scope, name, ty)| FieldV1 { id: field_id(scope, name), scope, ty }).into(),
        user_tables: vec![],
        global_tables: vec![],
        history_events: 0,
        features: ops.into_iter().map(feature).collect(),
    }
}

pub(crate) fn column(measure: Measure, decay: Decay) -> ColumnV1 {
    ColumnV1 { id: column_id(measure, decay), measure, decay }
}

pub(crate) fn table(scope: &str, event: &str, by: By, columns: Vec<ColumnV1>) -> TableV1 {
    let name = match by {
        By::All => "all",
        By::Item => "item",
        By::Field(_) => "item.brand",
    };
    TableV1 { id: table_id(scope, event, name), event: key(event.as_bytes()), by, capacity: 4096, columns }
}

/// Values of the eight items as the shared state has them; items without values are not in it.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    pub(crate) items: Vec<Option<Item>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) price: f32,
    pub(crate) brand: usize,
    pub(crate) words: Vec<usize>,
    pub(crate) since: i64,
}

pub(crate) fn catalogue() -> impl Strategy<Value = Catalogue> {
    let item = (number(), 0..BRANDS.len(), prop::collection::vec(0..WORDS.len(), 0..5), time())
        .prop_map(|(price, brand, words, since)| Item { price, brand, words, since });
    prop::collection::vec(prop::option::weighted(0.8, item), ITEMS.len()).prop_map(|items| Catalogue { items })
}

/// Numbers as they come: mostly plain, sometimes missing or hostile.
pub(crate) fn number() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => -100.0_f32..100.0,
        1 => Just(f32::NAN),
        1 => prop::sample::select(vec![0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e-40]),
    ]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![3 => 0..2 * NOW_MS, 1 => Just(i64::MIN), 1 => any::<i64>()]
}

impl Catalogue {
    pub(crate) fn brand(&self, item: usize) -> usize {
        self.items[item].as_ref().map_or(0, |item| item.brand)
    }

    /// Key of an item's brand; 0 where it is not known.
    pub(crate) fn brand_key(&self, item: usize) -> u64 {
        key(BRANDS[self.brand(item)].as_bytes())
    }

    pub(crate) fn words(&self, item: usize) -> &[usize] {
        self.items[item].as_ref().map_or(&[], |item| &item.words)
    }

    pub(crate) fn parts(&self) -> SharedParts {
        let known =
            self.items.iter().enumerate().filter_map(|(at, item)| Some((key(ITEMS[at].as_bytes()), item.as_ref()?)));
        let mut known: Vec<(u64, &Item)> = known.collect();
        known.sort_by_key(|(item, _)| *item);
        let words = |item: &Item| item.words.iter().map(|word| key(WORDS[*word].as_bytes())).collect();
        let items = || known.iter().map(|(_, item)| *item);
        SharedParts {
            as_of_ms: NOW_MS,
            items: known.iter().map(|(item, _)| *item).collect(),
            fields: vec![
                (id_of(PRICE), FieldValues::Number(items().map(|item| item.price).collect())),
                (id_of(BRAND), FieldValues::String(items().map(|item| key(BRANDS[item.brand].as_bytes())).collect())),
                (id_of(NAME), FieldValues::Tokens(items().map(words).collect())),
                (id_of(SINCE), FieldValues::Time(items().map(|item| item.since).collect())),
            ],
            tables: vec![],
        }
    }

    pub(crate) fn shared(&self) -> SharedState {
        SharedState::load(AlignedBytes::copy_of(&self.parts().encode())).expect("a valid shared state")
    }
}

/// Something that happened to one of the items.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Happening {
    pub(crate) device: u64,
    pub(crate) event: &'static str,
    pub(crate) item: usize,
    pub(crate) time_s: u32,
    pub(crate) value: f32,
}

/// Events in any order on up to two devices, within about four months before now.
pub(crate) fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = (0..2_u64, prop::sample::select(vec!["buy", "view"]), 0..ITEMS.len(), 0..10_000_000_u32, 0.0_f32..8.0);
    let one =
        one.prop_map(|(device, event, item, ago, value)| Happening { device, event, item, time_s: NOW_S - ago, value });
    prop::collection::vec(one, 0..40)
}

pub(crate) fn state_after(program: &ProgramV1, shared: Option<&SharedState>, events: &[Happening]) -> UserState {
    let items = ItemKeys::new(program, shared);
    let mut state = UserState::new();
    for happened in events {
        let event = Event {
            event: key(happened.event.as_bytes()),
            time_ms: i64::from(happened.time_s) * 1000,
            item: key(ITEMS[happened.item].as_bytes()),
            value: happened.value,
        };
        state.apply(happened.device, program, &items, &event).expect("few devices");
    }
    state
}

/// A bundle; `weights` is the section of its one model.
pub(crate) fn bundle(program: &ProgramV1, policy: &PolicyV1, kind: ModelKindV1, weights: Vec<u8>) -> Vec<u8> {
    parts(program, policy, kind, weights).build()
}

fn parts(program: &ProgramV1, policy: &PolicyV1, kind: ModelKindV1, weights: Vec<u8>) -> ContainerBuilder {
    let models =
        ModelsV1 { models: vec![ModelV1 { kind, link: Link::Identity }], stages: vec![StageV1 { model: 0, keep: 0 }] };
    ContainerBuilder::new(Kind::Bundle)
        .required(program::TAG, program::VERSION, program.encode())
        .required(policy::TAG, policy::VERSION, policy.encode())
        .required(model::TAG, model::VERSION, models.encode())
        .required(WEIGHTS_TAG, WEIGHTS_VERSION, weights)
}

/// A bundle whose models run one after the other; `keep` says how many candidates go on, after each but the last.
pub(crate) fn cascade(
    program: &ProgramV1,
    policy: &PolicyV1,
    models: &[(ModelKindV1, Vec<u8>)],
    keep: &[u32],
) -> Vec<u8> {
    let directory = ModelsV1 {
        models: models.iter().map(|(kind, _)| ModelV1 { kind: *kind, link: Link::Identity }).collect(),
        stages: (0..).zip(keep.iter().copied().chain([0])).map(|(model, keep)| StageV1 { model, keep }).collect(),
    };
    let bundle = ContainerBuilder::new(Kind::Bundle)
        .required(program::TAG, program::VERSION, program.encode())
        .required(policy::TAG, policy::VERSION, policy.encode())
        .required(model::TAG, model::VERSION, directory.encode());
    let weights = (WEIGHTS_TAG..).zip(models);
    let with = |bundle: ContainerBuilder, (tag, (_, weights)): (u32, &(_, Vec<u8>))| {
        bundle.required(tag, WEIGHTS_VERSION, weights.clone())
    };
    weights.fold(bundle, with).build()
}

pub(crate) fn policy(slate_size: u32) -> PolicyV1 {
    PolicyV1 { slate_size, ..PolicyV1::default() }
}

/// An engine whose score is the program's first feature.
pub(crate) fn first_feature_engine(program: &ProgramV1, policy: &PolicyV1) -> Engine {
    exploring_engine(program, policy, None)
}

/// The same, with an exploration.
pub(crate) fn exploring_engine(program: &ProgramV1, policy: &PolicyV1, explore: Option<ExploreV1>) -> Engine {
    let mut weight = vec![0.0; program.features.len()];
    if let Some(first) = weight.first_mut() {
        *first = 1.0;
    }
    let centre = vec![0.0; weight.len()];
    let weights = LinearWeights::encode(&weight, &centre);
    let mut bundle = parts(program, policy, ModelKindV1::Linear { bias: 0.0 }, weights);
    if let Some(explore) = explore {
        bundle = bundle.required(explore::TAG, explore::VERSION, explore.encode());
    }
    engine(&bundle.build(), Limits::default())
}

pub(crate) fn engine(bundle: &[u8], limits: Limits) -> Engine {
    let mut engine = Engine::new(limits);
    engine.load(AlignedBytes::copy_of(bundle)).expect("a valid bundle");
    engine
}

pub(crate) fn load_shared(engine: &mut Engine, parts: &SharedParts) {
    engine.load(AlignedBytes::copy_of(&parts.encode())).expect("a valid shared state");
}

/// Feature columns of a request.
pub(crate) fn features(engine: &mut Engine, request: &[u8]) -> Vec<Vec<f32>> {
    let matrix = engine.features(request).expect("a valid request");
    (0..matrix.features()).map(|feature| matrix.column(feature).to_vec()).collect()
}

/// All features of one item.
pub(crate) fn of_item(features: &[Vec<f32>], item: usize) -> Vec<f32> {
    features.iter().map(|column| column[item]).collect()
}

/// Equal bits, any NaN equal to any.
pub(crate) fn assert_same(found: &[f32], expected: &[f32]) {
    let bits = |values: &[f32]| {
        values.iter().map(|value| if value.is_nan() { u32::MAX } else { value.to_bits() }).collect::<Vec<_>>()
    };
    assert_eq!(bits(found), bits(expected), "{found:?} instead of {expected:?}");
}

/// Equal up to rounding of a few operations on `f32`; a missing value only equals a missing one.
pub(crate) fn assert_close(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found_value, expected_value) in found.iter().zip(expected) {
        let difference = (f64::from(*found_value) - expected_value).abs();
        let is_close =
            found_value.is_nan() && expected_value.is_nan() || difference <= 1e-5 * (1.0 + expected_value.abs());
        assert!(is_close, "{found:?} instead of {expected:?}");
    }
}

//! A small shop: its fields, counters, items, users and models, the same at every call.

use selvedge_engine::state::{Event, GlobalCounters, ItemKeys, UserState};
use selvedge_format::container::{ContainerBuilder, Kind};
use selvedge_format::explore::{self, ExploreV1};
use selvedge_format::graph::{
    self, Combination, Each, Function, Graph, MAX_DIMS, Meet, Memory, Numbers, Product, Step, View,
};
use selvedge_format::model::{
    self, Finish, LEAF, LinearWeights, Link, MISSING_LEFT, ModelKindV1, ModelV1, ModelsV1, StageV1, TreeNode, TreeNodes,
};
use selvedge_format::policy::{self, PolicyV1};
use selvedge_format::program::{
    self, By, ColumnV1, CombineOp, CounterRef, Decay, FeatureV1, FieldType, FieldV1, Measure, OpV1, Overlap, ProgramV1,
    Scope, TableRef, TableV1, TimePart, TokensOf, TransformV1, column_id, field_id, table_id,
};
use selvedge_format::shared::{FieldValues, SharedParts, SharedState};
use selvedge_format::state::ProfileValue;
use selvedge_format::{AlignedBytes, key};

/// 2026-11-24T18:30:00.123Z, a Tuesday.
pub(crate) const NOW_MS: i64 = 1_795_545_000_123;
pub(crate) const HOUR_MS: i64 = 3_600_000;
const DAY_S: u32 = 86_400;
/// Items of the shop; a request may name others.
pub(crate) const ITEMS: usize = 60;
pub(crate) const BRANDS: [&str; 6] = ["", "acme", "söhne", "zeta", "日本", "b2"];
pub(crate) const WORDS: [&str; 6] = ["oat", "milk", "dark", "rye", "bread", "naïve"];

pub(crate) const PRICE: u16 = 0;
pub(crate) const BRAND: u16 = 1;
pub(crate) const NAME: u16 = 2;
pub(crate) const LISTED: u16 = 3;
pub(crate) const STORE: u16 = 4;
pub(crate) const AGE: u16 = 5;
const QUERY: u16 = 6;
const PAGE: u16 = 7;
const FIELDS: [(Scope, &str, FieldType); 8] = [
    (Scope::Item, "price", FieldType::Number),
    (Scope::Item, "brand", FieldType::String),
    (Scope::Item, "name", FieldType::Tokens),
    (Scope::Item, "listed_at", FieldType::Time),
    (Scope::User, "store", FieldType::String),
    (Scope::User, "age", FieldType::Number),
    (Scope::Context, "query", FieldType::Tokens),
    (Scope::Context, "page", FieldType::String),
];

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `end`, without it.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// From 0 to 1, without it.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }

    /// A number that may be any of those that go wrong.
    pub(crate) fn number(&mut self) -> f32 {
        const ODD: [f32; 10] = [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            -0.0,
            0.0,
            f32::MIN_POSITIVE / 8.0,
            f32::MAX,
            -1.0,
            16_777_217.0,
            1.0e-30,
        ];
        if self.below(4) == 0 { ODD[self.below(ODD.len())] } else { self.unit() * 20.0 - 4.0 }
    }
}

pub(crate) fn id(item: usize) -> String {
    format!("item {item}")
}

fn table(scope: &str, event: &str, by_name: &str, by: By, columns: &[(Measure, Decay)]) -> TableV1 {
    let column = |(measure, decay): &(Measure, Decay)| ColumnV1 {
        id: column_id(*measure, *decay),
        measure: *measure,
        decay: *decay,
    };
    TableV1 {
        id: table_id(scope, event, by_name),
        event: key(event.as_bytes()),
        by,
        capacity: 24,
        columns: columns.iter().map(column).collect(),
    }
}

/// Every operation with each of its options, and every transform.
pub(crate) fn program() -> ProgramV1 {
    let columns = [
        (Measure::Count, Decay::HalfLife { half_life_s: 30 * DAY_S }),
        (Measure::Value, Decay::Window { bucket_s: DAY_S, buckets: 7 }),
        (Measure::Count, Decay::Lifetime),
    ];
    let tables = |scope: &str| {
        vec![
            table(scope, "purchase", "item", By::Item, &columns),
            table(scope, "view", "item.brand", By::Field(BRAND), &columns),
            table(scope, "view", "all", By::All, &columns),
        ]
    };
    ProgramV1 {
        fields: FIELDS.map(|(scope, name, ty)| FieldV1 { id: field_id(scope, name), scope, ty }).to_vec(),
        user_tables: tables("user"),
        global_tables: tables("global"),
        history_events: 48,
        features: operations().into_iter().enumerate().map(feature).collect(),
    }
}

fn operations() -> Vec<OpV1> {
    let purchase = key(b"purchase");
    let mut categories: Vec<(u64, u32)> =
        (1..).zip(&BRANDS[1..]).map(|(at, brand)| (key(brand.as_bytes()), at)).collect();
    categories.sort_unstable();
    let mut ops = vec![
        OpV1::Number { field: PRICE },
        OpV1::Number { field: AGE },
        OpV1::Category { field: BRAND, values: categories },
        OpV1::Bucket { fields: vec![BRAND], buckets: 97 },
        OpV1::Bucket { fields: vec![BRAND, STORE, PAGE], buckets: 1 << 16 },
        OpV1::TimeDifference { field: LISTED, unit_s: 3600 },
        OpV1::Position,
        OpV1::Candidates,
        OpV1::InteractedWith { event: purchase, by: By::Item, within_s: 400 * DAY_S, last: 32 },
        OpV1::InteractedWith { event: key(b"view"), by: By::Field(BRAND), within_s: 2 * DAY_S, last: 5 },
        OpV1::InteractedWith { event: key(b"view"), by: By::All, within_s: u32::MAX, last: 48 },
    ];
    let of = |table: usize| [TableRef::User(table as u16), TableRef::Global(table as u16)];
    for table in (0..3).flat_map(of) {
        ops.push(OpV1::Recency { table, unit_s: 60 });
        for column in 0..3 {
            ops.push(OpV1::Counter(CounterRef { table, column }));
            ops.push(OpV1::Share(CounterRef { table, column }));
        }
        let counter = |column| CounterRef { table, column };
        ops.push(OpV1::Rate { numerator: counter(0), denominator: counter(2), weight: 3.5, prior: 0.07 });
    }
    for metric in [Overlap::Jaccard, Overlap::Containment] {
        ops.push(OpV1::TokenOverlap { field: NAME, with: TokensOf::Context { field: QUERY }, metric });
        ops.push(OpV1::TokenOverlap { field: NAME, with: TokensOf::History { event: purchase, last: 9 }, metric });
    }
    let parts = [TimePart::MinuteOfDay, TimePart::Hour, TimePart::Weekday, TimePart::Day, TimePart::Month];
    ops.extend(parts.map(|part| OpV1::LocalTime { part }));
    ops.push(OpV1::ItemId { buckets: 100_000 });
    let view = (0..4).map(|at| (at, key(b"view"), 40 * DAY_S));
    let any = (0..3).map(|at| (at, 0, u32::MAX));
    ops.extend(view.chain(any).map(|(at, event, within_s)| OpV1::RecentItem { at, event, within_s, buckets: 1 << 24 }));
    let left = ops.len() as u16;
    let combinations = [CombineOp::Ratio, CombineOp::Product, CombineOp::Difference, CombineOp::Min, CombineOp::Max];
    ops.extend(combinations.map(|op| OpV1::Combine { op, left: 0, right: 12 }));
    ops.push(OpV1::Combine { op: CombineOp::Ratio, left, right: 0 });
    ops
}

fn feature((at, op): (usize, OpV1)) -> FeatureV1 {
    let all = [
        TransformV1::Log1p,
        TransformV1::Sqrt,
        TransformV1::Abs,
        TransformV1::Neg,
        TransformV1::Square,
        TransformV1::Clip(-2.5, 9.75),
        TransformV1::Scale(0.37),
        TransformV1::Shift(-1.125),
    ];
    FeatureV1 {
        op,
        default: if at % 3 == 0 { f32::NAN } else { at as f32 * 0.5 - 3.0 },
        transforms: all.into_iter().cycle().skip(at).take(at % 3).collect(),
    }
}

/// The name of a feature's operation, for people.
pub(crate) fn operation(feature: &FeatureV1) -> String {
    format!("{:?} {:?}", feature.op, feature.transforms)
}

/// A program whose only feature is the price: the score is what the request says.
pub(crate) fn price_alone() -> ProgramV1 {
    let op = OpV1::Number { field: PRICE };
    ProgramV1 {
        features: vec![FeatureV1 { op, default: f32::NAN, transforms: vec![] }],
        user_tables: vec![],
        global_tables: vec![],
        history_events: 0,
        ..program()
    }
}

/// A program that costs so much per candidate that a few candidates reach the limit.
pub(crate) fn dear() -> ProgramV1 {
    let overlap =
        OpV1::TokenOverlap { field: NAME, with: TokensOf::Context { field: QUERY }, metric: Overlap::Jaccard };
    let feature = FeatureV1 { op: overlap, default: 0.0, transforms: vec![] };
    ProgramV1 { features: vec![feature; 400], ..program() }
}

/// The kinds of model.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kinds {
    Linear,
    Trees,
    DoubleTrees,
    /// A tensor program.
    Network,
    /// A tensor program in which candidates attend to each other and are compared with their list.
    List,
    /// A tensor program that does much with few weights, so that a few hundred candidates reach the limit.
    Labour,
}

/// A bundle in parts, so that a part can be spoilt.
pub(crate) fn parts(
    program: &ProgramV1,
    kind: Kinds,
    link: Link,
    policy: &PolicyV1,
    explore: Option<ExploreV1>,
) -> ContainerBuilder {
    let features = program.features.len();
    let (kind, weights) = match kind {
        Kinds::Linear if features == 1 => (ModelKindV1::Linear { bias: 0.0 }, LinearWeights::encode(&[1.0], &[0.0])),
        _ => model(kind, features, 7),
    };
    staged(program, &[(kind, weights, 0)], link, policy, explore)
}

/// A bundle of several stages, each a kind of model and how many candidates go on.
pub(crate) fn cascade(
    program: &ProgramV1,
    stages: &[(Kinds, u32)],
    policy: &PolicyV1,
    explore: Option<ExploreV1>,
) -> Vec<u8> {
    let stages: Vec<_> = (7..)
        .zip(stages)
        .map(|(seed, (kind, keep))| {
            let (kind, weights) = model(*kind, program.features.len(), seed);
            (kind, weights, *keep)
        })
        .collect();
    staged(program, &stages, Link::Identity, policy, explore).build()
}

fn staged(
    program: &ProgramV1,
    stages: &[(ModelKindV1, Vec<u8>, u32)],
    link: Link,
    policy: &PolicyV1,
    explore: Option<ExploreV1>,
) -> ContainerBuilder {
    let models = ModelsV1 {
        models: stages.iter().map(|(kind, ..)| ModelV1 { kind: *kind, link }).collect(),
        stages: (0..).zip(stages).map(|(model, (.., keep))| StageV1 { model, keep: *keep }).collect(),
    };
    let mut bundle = ContainerBuilder::new(Kind::Bundle)
        .required(program::TAG, program::VERSION, program.encode())
        .required(model::TAG, model::VERSION, models.encode())
        .required(policy::TAG, policy::VERSION, policy.encode());
    for (tag, (_, weights, _)) in (model::WEIGHTS_TAG..).zip(stages) {
        bundle = bundle.required(tag, model::WEIGHTS_VERSION, weights.clone());
    }
    match explore {
        Some(explore) => bundle.required(explore::TAG, explore::VERSION, explore.encode()),
        None => bundle,
    }
}

/// A model of so many features and its weights; each seed makes another one.
pub(crate) fn model(kind: Kinds, features: usize, seed: u8) -> (ModelKindV1, Vec<u8>) {
    match kind {
        Kinds::Linear => {
            let pole = f32::from(seed) + 0.3;
            let weight: Vec<f32> = (0..features).map(|at| 0.11 / (at as f32 - pole)).collect();
            let centre: Vec<f32> = (0..features).map(|at| at as f32 / 7.0).collect();
            (ModelKindV1::Linear { bias: 0.1 }, LinearWeights::encode(&weight, &centre))
        }
        Kinds::Trees => (ModelKindV1::Trees { base: 0.5 }, TreeNodes::encode(&forest(features, seed.into()))),
        Kinds::DoubleTrees => {
            let trees = forest(features, seed.into());
            let leaves = trees.iter().flatten().filter(|node| node.feature == LEAF);
            // No third of an `f32` is one, so a sum in `f32` would show.
            let leaves: Vec<f64> = leaves.map(|leaf| f64::from(leaf.value) / 3.0).collect();
            let finish = Finish { divisor: 3.0, scale: 7.0, bias: 0.1 };
            (ModelKindV1::DoubleTrees(finish), TreeNodes::encode_double(&trees, &leaves))
        }
        Kinds::Network => (ModelKindV1::Graph, network(features as u32, seed.into(), false)),
        Kinds::List => (ModelKindV1::Graph, network(features as u32, seed.into(), true)),
        Kinds::Labour => (ModelKindV1::Graph, labour()),
    }
}

/// The squashed position, added up twenty thousand times.
fn labour() -> Vec<u8> {
    const TIMES: u32 = 20_000;
    let (mut sizes, strides) = ([1; MAX_DIMS], [0; MAX_DIMS]);
    sizes[MAX_DIMS - 1] = TIMES;
    let view = |memory| View { memory, offset: 0, strides };
    let (out, left, right) = (view(Memory::Candidates), view(Memory::Features), view(Memory::Features));
    let sum = Each { function: Function::Tanh, combination: Combination::Add, sizes, out, left, right };
    Graph::encode(0, 1, 0, &[Step::Each(sum)], &[], &[])
}

/// Two layers over the features, of which those that are missing count as 0; what the candidates have in the first may meet.
fn network(features: u32, seed: u64, is_of_list: bool) -> Vec<u8> {
    const HIDDEN: u32 = 5;
    let mut random = Random(seed);
    let mut weights = |inputs: u32, outputs: u32| {
        let weights: Vec<f32> = (0..inputs * outputs).map(|_| random.unit() - 0.5).collect();
        graph::pack(&weights, inputs as usize, outputs as usize)
    };
    // Biases, of which the output takes the first, then the weights of the layers.
    let mut constants = vec![0.1, -0.2, 0.3, -0.4, 0.5];
    let first = constants.len() as u32;
    constants.extend(weights(features, HIDDEN));
    let second = constants.len() as u32;
    constants.extend(weights(HIDDEN, 1));
    // What bytes are multiplied with: their inputs, and the sum of the output.
    let scales = constants.len() as u32;
    constants.extend([1000.0, 1.0e-5]);
    // A layer of halves between an eighth and a quarter, of either sign, then one of bytes; both of one output.
    let halves = (0..4 * HIDDEN).map(|_| 0x3000 | random.below(1 << 10) as u16 | (random.below(2) as u16) << 15);
    let mut narrow: Vec<u8> = halves.flat_map(u16::to_le_bytes).collect();
    let whole = narrow.len() as u32;
    let bytes: Vec<i8> = (0..HIDDEN).map(|_| (random.below(256) as u8).cast_signed()).collect();
    narrow.extend(graph::pack_bytes(&bytes, HIDDEN as usize, 1));
    let (there, input) = (0, features);
    let hidden = 2 * features;
    let (squashed, sum) = (hidden + HIDDEN, hidden + 2 * HIDDEN);
    let score = sum + 2;
    let row = |memory, offset| View { memory, offset, strides: [0] };
    let each = |function, combination, size, out, (memory, left), right| {
        let (mut sizes, mut strides) = ([1; MAX_DIMS], [0; MAX_DIMS]);
        (sizes[MAX_DIMS - 1], strides[MAX_DIMS - 1]) = (size, 1);
        let view = |memory, offset| View { memory, offset, strides };
        let (out, left) = (view(Memory::Candidates, out), view(memory, left));
        Step::Each(Each { function, combination, sizes, out, left, right: view(Memory::Features, right) })
    };
    let layer = |function, inputs, outputs, input, out, weights| {
        let (input, out) = (row(Memory::Candidates, input), row(Memory::Candidates, out));
        let start = row(Memory::Constants, 0);
        Step::Product(Product {
            function,
            positions: 1,
            inputs,
            outputs,
            out,
            input,
            start,
            addend: View::NONE,
            weights,
            numbers: Numbers::Single,
        })
    };
    // Each starts from what the one before it gave, and adds some other column.
    let narrow_layer = |before, weights, numbers| {
        let addend = row(Memory::Candidates, squashed + 1);
        let (start, input, out) = (before, squashed, before + 1);
        let [start, input, out] = [start, input, out].map(|offset| row(Memory::Candidates, offset));
        let (function, inputs) = (Function::Left, HIDDEN);
        Step::Product(Product {
            function,
            positions: 1,
            inputs,
            outputs: 1,
            out,
            input,
            start,
            addend,
            weights,
            numbers,
        })
    };
    let of_features = (Memory::Features, 0);
    let mut steps = vec![
        each(Function::Equal, Combination::Store, features, there, of_features, 0),
        each(Function::Left, Combination::Select, features, input, (Memory::Candidates, there), 0),
        layer(Function::Tanh, features, HIDDEN, input, hidden, first),
        each(Function::Sigmoid, Combination::Store, HIDDEN, squashed, (Memory::Candidates, hidden), 0),
        layer(Function::Erf, HIDDEN, 1, squashed, sum, second),
        narrow_layer(sum, 0, Numbers::Half),
        narrow_layer(sum + 1, whole, Numbers::Byte { scales }),
    ];
    if !is_of_list {
        return Graph::encode(0, score + 1, score, &steps, &constants, &narrow);
    }
    let (attended, most, differs) = (score + 1, score + 5, score + 9);
    let meet = |function, width, out, value| {
        Step::Meet(Meet { function, heads: 1, width, value_width: 4, out, query: hidden, key: squashed, value })
    };
    let of = |column| (Memory::Candidates, column);
    steps.extend([
        meet(Function::Left, 4, attended, squashed),
        meet(Function::Max, 0, most, hidden),
        each(Function::Left, Combination::Add, 4, attended, of(most), 0),
        layer(Function::Left, 4, 1, attended, differs, second),
        each(Function::Left, Combination::Add, 1, differs, of(score), 0),
    ]);
    // A layer whose weights are the first candidate's features.
    let told = differs + 1;
    let mut tell = each(Function::Left, Combination::Store, 16, 0, of_features, 0);
    if let Step::Each(tell) = &mut tell {
        tell.out.memory = Memory::Request;
    }
    let mut by_request = layer(Function::Tanh, 4, 4, hidden, told, 0);
    if let Step::Product(product) = &mut by_request {
        product.numbers = Numbers::Request;
    }
    steps.extend([tell, by_request, each(Function::Left, Combination::Add, 1, differs, of(told), 0)]);
    Graph::encode(16, told + 4, differs, &steps, &constants, &narrow)
}

/// Trees from a stump to a deep one, on every feature, with thresholds where values lie and where none do.
fn forest(features: usize, seed: u64) -> Vec<Vec<TreeNode>> {
    let mut random = Random(seed);
    let leaf = |random: &mut Random| {
        let value = random.unit() - 0.5;
        TreeNode { value, mean: value, feature: LEAF, flags: 0 }
    };
    let mut trees = vec![vec![leaf(&mut random)]];
    for tree in 0..40 {
        let inner = [1, 3, 7, 31][tree % 4];
        let mut nodes = Vec::new();
        for at in 0..inner {
            nodes.push(TreeNode {
                value: [0.0, -0.0, 1.0, 0.37, 1.0e-30, random.unit() * 10.0 - 2.0][random.below(6)],
                mean: random.unit() - 0.5,
                feature: ((tree * 31 + at) % features) as u16,
                flags: if random.below(2) == 0 { MISSING_LEFT } else { 0 },
            });
        }
        nodes.extend((0..=inner).map(|_| leaf(&mut random)));
        trees.push(nodes);
    }
    trees
}

/// Fields of the items, of which every fifth is unknown and some values are missing.
fn catalogue() -> SharedParts {
    let mut known: Vec<(u64, usize)> =
        (0..ITEMS).filter(|item| item % 5 != 4).map(|item| (key(id(item).as_bytes()), item)).collect();
    known.sort_unstable();
    let items = || known.iter().map(|(_, item)| *item);
    let word = |word: usize| key(WORDS[word % WORDS.len()].as_bytes());
    let price = |item: usize| if item % 7 == 3 { f32::NAN } else { 0.1 + item as f32 / 3.0 };
    let listed = |item: usize| if item % 6 == 2 { i64::MIN } else { NOW_MS - item as i64 * 7_654_321 };
    SharedParts {
        as_of_ms: NOW_MS - 5 * HOUR_MS,
        items: known.iter().map(|(key, _)| *key).collect(),
        fields: vec![
            (field_id(Scope::Item, "price"), FieldValues::Number(items().map(price).collect())),
            (
                field_id(Scope::Item, "brand"),
                FieldValues::String(items().map(|item| key(BRANDS[item % 6].as_bytes())).collect()),
            ),
            (
                field_id(Scope::Item, "name"),
                FieldValues::Tokens(items().map(|item| (0..item % 4).map(|at| word(item + at)).collect()).collect()),
            ),
            (field_id(Scope::Item, "listed_at"), FieldValues::Time(items().map(listed).collect())),
        ],
        ..SharedParts::default()
    }
}

/// The shared state after a year of events.
pub(crate) fn shared(program: &ProgramV1) -> Vec<u8> {
    let mut parts = catalogue();
    let items = SharedState::load(AlignedBytes::copy_of(&parts.encode())).expect("item fields of our own making");
    let keys = ItemKeys::new(program, Some(&items));
    let mut everyone = GlobalCounters::new(program);
    events(&mut Random(1), 400).for_each(|event| everyone.apply(program, &keys, &event));
    parts.tables = everyone.tables(program, parts.as_of_ms);
    parts.encode()
}

/// A user with a profile who was seen on some devices.
pub(crate) fn user(program: &ProgramV1, seed: u64, count: usize) -> Vec<u8> {
    let items = SharedState::load(AlignedBytes::copy_of(&catalogue().encode())).expect("item fields of our own making");
    let keys = ItemKeys::new(program, Some(&items));
    let mut state = UserState::new();
    let store = field_id(Scope::User, "store");
    state.set(seed, store, NOW_MS - HOUR_MS, ProfileValue::String(key(b"store 7"))).expect("an empty profile");
    for (at, event) in events(&mut Random(seed), count).enumerate() {
        state.apply(seed + at as u64 % 3, program, &keys, &event).expect("few devices");
    }
    state.encode()
}

/// Events up to now, a few of them late and with odd values.
fn events(random: &mut Random, count: usize) -> impl Iterator<Item = Event> {
    (0..count).map(move |at| Event {
        event: key(if random.below(3) == 0 { b"purchase" } else { b"view" }),
        time_ms: NOW_MS - (count - at) as i64 * HOUR_MS * 3 - random.below(50) as i64 * HOUR_MS,
        item: key(id(random.below(ITEMS + 5)).as_bytes()),
        value: if at % 16 == 0 { random.number() } else { random.unit() * 5.0 },
    })
}

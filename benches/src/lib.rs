//! The world that the benchmarks decide in: synthetic, seeded, and of the size of a grocer's.
//!
//! 70,000 items in the shared state, a user with 500 counter rows and 64 recent events, 32 features of every kind, trees
//! of 31 leaves whose thresholds are values that the features take, a cap and diversity in the policy. Nothing here
//! is measured; `benches/decision.rs` is what runs:
//!
//! ```text
//! cargo bench -p selvedge-benches
//! ```

pub mod coupons;

use selvedge_engine::state::{Event, ItemKeys, UserState};
use selvedge_engine::{Engine, Limits};
use selvedge_format::container::{ContainerBuilder, Kind};
use selvedge_format::meta::{self, MetaV1};
use selvedge_format::model::{
    LEAF, Link, MISSING_LEFT, ModelKindV1, ModelV1, ModelsV1, StageV1, TreeNode, TreeNodes, WEIGHTS_TAG,
    WEIGHTS_VERSION,
};
use selvedge_format::policy::{AtMostV1, DiversityV1, PolicyV1};
use selvedge_format::program::{
    By, ColumnV1, CombineOp, CounterRef, Decay, FeatureV1, FieldType, FieldV1, Measure, OpV1, Overlap, ProgramV1,
    Scope, TableRef, TableV1, TimePart, TokensOf, TransformV1, column_id, field_id, table_id,
};
use selvedge_format::shared::{FieldValues, SharedParts, SharedState, TableParts};
use selvedge_format::{AlignedBytes, DecodeError, key, model, policy, program};
use selvedge_wire::{RequestBuilder, Values};

const ITEMS: usize = 70_000;
const BRANDS: u64 = 1_500;
const DEPARTMENTS: u64 = 40;
const WORDS: u64 = 3_000;
const LEAVES: usize = 31;
const EVENTS: usize = 900;
/// When the request is made, milliseconds.
const NOW_MS: i64 = 1_795_000_000_000;
const DAY_S: u32 = 86_400;

/// Bytes to load and to decide.
#[derive(Clone, Debug)]
pub struct World {
    /// A bundle.
    pub bundle: Vec<u8>,
    /// A shared state.
    pub shared: Vec<u8>,
    /// A request with a user state.
    pub request: Vec<u8>,
}

impl World {
    /// A world with so many trees and candidates; equal arguments make equal bytes.
    ///
    /// # Errors
    /// The engine refuses what was made: the formats and this file have come apart.
    pub fn new(trees: usize, candidates: usize) -> Result<Self, DecodeError> {
        let mut draw = Draw(7);
        let program = program();
        let shared = shared(&mut draw, &program);
        let request = request(&mut draw, &program, &shared, candidates)?;
        let mut world = Self { bundle: bundle(&program, &[]), shared, request };
        let trees = {
            let mut engine = world.engine()?;
            let matrix = engine.features(&world.request)?;
            let columns: Vec<&[f32]> = (0..matrix.features()).map(|feature| matrix.column(feature)).collect();
            (0..trees).map(|_| tree(&mut draw, &columns)).collect::<Vec<_>>()
        };
        world.bundle = bundle(&program, &trees);
        Ok(world)
    }

    /// An engine with bundle and shared state loaded.
    ///
    /// # Errors
    /// As [`World::new`].
    pub fn engine(&self) -> Result<Engine, DecodeError> {
        let mut engine = Engine::new(Limits::default());
        engine.load(AlignedBytes::copy_of(&self.bundle))?;
        engine.load(AlignedBytes::copy_of(&self.shared))?;
        Ok(engine)
    }
}

/// SplitMix64.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Small numbers often, large ones rarely, as shoppers choose.
    fn skewed(&mut self, n: u64) -> u64 {
        let wide = self.below(n) + 1;
        self.below(wide)
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }
}

fn item_id(item: u64) -> String {
    format!("item-{item}")
}

fn key_of(kind: &str, value: u64) -> u64 {
    key(format!("{kind}-{value}").as_bytes())
}

const PRICE: u16 = 0;
const BRAND: u16 = 1;
const DEPARTMENT: u16 = 2;
const NAME: u16 = 3;
const SINCE: u16 = 4;
const DISCOUNT: u16 = 5;
const QUERY: u16 = 6;
const FIELDS: [&str; 7] =
    ["item.price", "item.brand", "item.department", "item.name", "item.since", "item.discount", "context.query"];

fn program() -> ProgramV1 {
    let field = |scope, name, ty| FieldV1 { id: field_id(scope, name), scope, ty };
    let column = |measure, decay| ColumnV1 { id: column_id(measure, decay), measure, decay };
    let decayed = |days| Decay::HalfLife { half_life_s: days * DAY_S };
    let window = Decay::Window { bucket_s: 7 * DAY_S, buckets: 4 };
    let purchase = key(b"purchase");
    let table = |scope: &str, event: &str, by, columns| {
        let name = match by {
            By::All => "all",
            By::Item => "item",
            By::Field(BRAND) => "item.brand",
            By::Field(_) => "item.department",
        };
        TableV1 { id: table_id(scope, event, name), event: key(event.as_bytes()), by, capacity: 512, columns }
    };
    let counts = vec![column(Measure::Count, decayed(30)), column(Measure::Count, decayed(7))];
    let more = || {
        vec![column(Measure::Count, decayed(30)), column(Measure::Value, decayed(90)), column(Measure::Count, window)]
    };
    let user = |table, column| CounterRef { table: TableRef::User(table), column };
    let global = |column| CounterRef { table: TableRef::Global(0), column };
    let logged = |op| FeatureV1 { op, default: 0.0, transforms: vec![TransformV1::Log1p] };
    let plain = |op| FeatureV1 { op, default: f32::NAN, transforms: vec![] };
    let interacted = |by, within| OpV1::InteractedWith { event: purchase, by, within_s: within * DAY_S, last: 64 };
    let context = TokensOf::Context { field: QUERY };
    let recent = TokensOf::History { event: purchase, last: 16 };
    let rate = |numerator, denominator| OpV1::Rate { numerator, denominator, weight: 5.0, prior: 0.1 };
    ProgramV1 {
        fields: vec![
            field(Scope::Item, "price", FieldType::Number),
            field(Scope::Item, "brand", FieldType::String),
            field(Scope::Item, "department", FieldType::String),
            field(Scope::Item, "name", FieldType::Tokens),
            field(Scope::Item, "since", FieldType::Time),
            field(Scope::Item, "discount", FieldType::Number),
            field(Scope::Context, "query", FieldType::Tokens),
        ],
        user_tables: vec![
            table("user", "purchase", By::Item, counts),
            table("user", "purchase", By::Field(BRAND), more()),
            table("user", "purchase", By::Field(DEPARTMENT), more()),
            table("user", "view", By::Field(BRAND), vec![column(Measure::Count, decayed(30))]),
        ],
        global_tables: vec![table(
            "global",
            "purchase",
            By::Item,
            vec![
                column(Measure::Count, decayed(30)),
                column(Measure::Count, window),
                column(Measure::Value, decayed(30)),
            ],
        )],
        history_events: 64,
        features: vec![
            logged(OpV1::Counter(user(0, 0))),
            logged(OpV1::Counter(user(0, 1))),
            logged(OpV1::Counter(user(1, 0))),
            logged(OpV1::Counter(user(1, 1))),
            logged(OpV1::Counter(user(1, 2))),
            logged(OpV1::Counter(user(2, 0))),
            logged(OpV1::Counter(user(2, 1))),
            logged(OpV1::Counter(user(2, 2))),
            plain(OpV1::Share(user(1, 0))),
            plain(OpV1::Share(user(2, 0))),
            plain(rate(user(1, 0), user(3, 0))),
            plain(OpV1::Recency { table: TableRef::User(0), unit_s: DAY_S }),
            plain(OpV1::Recency { table: TableRef::User(1), unit_s: DAY_S }),
            logged(OpV1::Counter(global(0))),
            logged(OpV1::Counter(global(1))),
            plain(rate(global(2), global(0))),
            plain(OpV1::Share(global(0))),
            plain(interacted(By::Item, 60)),
            plain(interacted(By::Field(BRAND), 30)),
            plain(interacted(By::Field(DEPARTMENT), 14)),
            plain(OpV1::TokenOverlap { field: NAME, with: context, metric: Overlap::Jaccard }),
            plain(OpV1::TokenOverlap { field: NAME, with: recent, metric: Overlap::Containment }),
            plain(OpV1::Number { field: PRICE }),
            plain(OpV1::Number { field: DISCOUNT }),
            plain(OpV1::TimeDifference { field: SINCE, unit_s: DAY_S }),
            plain(OpV1::Bucket { fields: vec![DEPARTMENT], buckets: 64 }),
            plain(OpV1::Bucket { fields: vec![BRAND, DEPARTMENT], buckets: 256 }),
            plain(OpV1::LocalTime { part: TimePart::Hour }),
            plain(OpV1::LocalTime { part: TimePart::Weekday }),
            plain(OpV1::Position),
            plain(OpV1::Combine { op: CombineOp::Ratio, left: 0, right: 2 }),
            plain(OpV1::Combine { op: CombineOp::Product, left: 5, right: 13 }),
        ],
    }
}

fn shared(draw: &mut Draw, program: &ProgramV1) -> Vec<u8> {
    let mut items: Vec<(u64, u64)> = (0..ITEMS as u64).map(|item| (key(item_id(item).as_bytes()), item)).collect();
    items.sort_unstable();
    let id = |field: u16| program.fields[usize::from(field)].id;
    let brand = |item: u64| item * 31 % BRANDS;
    let counts: Vec<f32> = items.iter().map(|_| (draw.skewed(5_000)) as f32).collect();
    let values: Vec<f32> = counts.iter().map(|count| count * 0.3).collect();
    let columns = &program.global_tables[0].columns;
    SharedParts {
        as_of_ms: NOW_MS - 20_000_000,
        items: items.iter().map(|(key, _)| *key).collect(),
        fields: vec![
            (id(PRICE), FieldValues::Number(items.iter().map(|_| draw.skewed(3_000) as f32 / 100.0).collect())),
            (id(BRAND), FieldValues::String(items.iter().map(|(_, item)| key_of("brand", brand(*item))).collect())),
            (
                id(DEPARTMENT),
                FieldValues::String(
                    items.iter().map(|(_, item)| key_of("department", brand(*item) % DEPARTMENTS)).collect(),
                ),
            ),
            (
                id(NAME),
                FieldValues::Tokens(
                    items
                        .iter()
                        .map(|_| (0..3 + draw.below(4)).map(|_| key_of("word", draw.skewed(WORDS))).collect())
                        .collect(),
                ),
            ),
            (id(SINCE), FieldValues::Time(items.iter().map(|_| NOW_MS - draw.below(1 << 36) as i64).collect())),
        ],
        tables: vec![TableParts {
            id: program.global_tables[0].id,
            columns: columns.iter().map(|column| (column.id, column.decay)).collect(),
            keys: items.iter().map(|(key, _)| *key).collect(),
            last: vec![(NOW_MS / 1000) as u32 - 40_000; ITEMS],
            values: vec![counts.clone(), counts.clone(), values.clone()],
            total_last: (NOW_MS / 1000) as u32 - 30_000,
            totals: vec![counts.iter().sum(), counts.iter().sum(), values.iter().sum()],
        }],
    }
    .encode()
}

fn request(draw: &mut Draw, program: &ProgramV1, shared: &[u8], candidates: usize) -> Result<Vec<u8>, DecodeError> {
    let shared = SharedState::load(AlignedBytes::copy_of(shared))?;
    let keys = ItemKeys::new(program, Some(&shared));
    let mut state = UserState::new();
    let mut ago: Vec<i64> = (0..EVENTS).map(|_| draw.below(1 << 34) as i64).collect();
    ago.sort_unstable_by_key(|ago| -ago);
    for ago in ago {
        let event = Event {
            event: if draw.below(3) == 0 { key(b"view") } else { key(b"purchase") },
            time_ms: NOW_MS - ago,
            item: key(item_id(draw.skewed(900)).as_bytes()),
            value: draw.unit() * 10.0,
        };
        state.apply(1, program, &keys, &event)?;
    }
    let ids: Vec<String> = (0..candidates as u64)
        .map(|at| item_id(if at % 3 == 0 { draw.skewed(900) } else { draw.below(ITEMS as u64) }))
        .collect();
    let discounts: Vec<f32> = ids.iter().map(|_| draw.unit()).collect();
    Ok(RequestBuilder::new([7; 16], NOW_MS, ids.iter().map(String::as_str))
        .utc_offset_min(60)
        .reasons(3)
        .state(&state.encode())
        .column(Scope::Item, "discount", Values::Numbers(&discounts))
        .column(Scope::Context, "query", Values::Tokens(&[&["word-1", "word-5"]]))
        .build())
}

/// Splits a random leaf until there are enough; children follow their parents level by level.
fn tree(draw: &mut Draw, columns: &[&[f32]]) -> Vec<TreeNode> {
    let mut sizes = vec![LEAVES];
    let mut nodes = Vec::new();
    let mut at = 0;
    while at < sizes.len() {
        let size = sizes[at];
        if size == 1 {
            let value = draw.unit() / 10.0 - 0.05;
            nodes.push(TreeNode { value, mean: value, feature: LEAF, flags: 0 });
        } else {
            let left = 1 + draw.below(size as u64 - 1) as usize;
            sizes.extend([left, size - left]);
            let feature = draw.below(columns.len() as u64) as usize;
            let value = columns[feature][draw.below(columns[feature].len() as u64) as usize];
            let value = if value.is_nan() { draw.unit() } else { value };
            // A feature's missing values mostly go one way.
            let flags = if draw.below(8) == 0 { 0 } else { MISSING_LEFT };
            nodes.push(TreeNode { value, mean: 0.0, feature: feature as u16, flags });
        }
        at += 1;
    }
    nodes
}

fn bundle(program: &ProgramV1, trees: &[Vec<TreeNode>]) -> Vec<u8> {
    let models = ModelsV1 {
        models: vec![ModelV1 { kind: ModelKindV1::Trees { base: 0.5 }, link: Link::Identity }],
        stages: vec![StageV1 { model: 0, keep: 0 }],
    };
    let policy = PolicyV1 {
        slate_size: 20,
        exclude: vec![],
        at_most: vec![
            AtMostV1 { field: BRAND, count: 2, window: 0 },
            AtMostV1 { field: DEPARTMENT, count: 3, window: 5 },
        ],
        diversity: Some(DiversityV1 { lambda: 0.9, fields: vec![(DEPARTMENT, 1.0)] }),
    };
    // Faces that read JSON find the fields by name; features need none.
    let names = MetaV1 { name: "grocer".to_owned(), fields: FIELDS.map(str::to_owned).to_vec(), ..MetaV1::default() };
    ContainerBuilder::new(Kind::Bundle)
        .optional(meta::TAG, meta::VERSION, names.encode())
        .required(program::TAG, program::VERSION, program.encode())
        .required(policy::TAG, policy::VERSION, policy.encode())
        .required(model::TAG, model::VERSION, models.encode())
        .required(WEIGHTS_TAG, WEIGHTS_VERSION, TreeNodes::encode(trees))
        .build()
}

#[cfg(test)]
mod tests {
    use super::World;

    #[test]
    fn equal_arguments_make_equal_worlds_and_every_part_has_work() {
        let world = World::new(20, 40).expect("a valid world");
        assert_eq!(world.request, World::new(20, 40).expect("a valid world").request);
        let mut engine = world.engine().expect("a valid world");
        let matrix = engine.features(&world.request).expect("a valid request");
        let flat = (0..matrix.features()).filter(|feature| {
            let column = matrix.column(*feature);
            column.iter().all(|value| value.to_bits() == column[0].to_bits())
        });
        assert_eq!(flat.collect::<Vec<_>>(), [27, 28], "only the parts of local time are the same for all candidates");
    }
}

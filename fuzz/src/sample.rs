//! A bundle, a shared state, a user state and a request that use every part of their formats: the point from which
//! mutation starts, and the fixed half of targets that need two inputs.

use selvedge_engine::state::{Event, ItemKeys, UserState};
use selvedge_format::campaign::{
    self, ArmResponseV1, ArmV1, BudgetV1, CampaignV1, CampaignsV1, CapBy, CapV1, Comparison, Goal, HoursV1, MarginV1,
    ResponseV1, TestOpV1,
};
use selvedge_format::container::{ContainerBuilder, Kind};
use selvedge_format::head::{BlobV1, GuardV1, HeadV1, PriceV1, RolloutV1};
use selvedge_format::model::{self, LEAF, Link, ModelKindV1, ModelV1, ModelsV1, StageV1, TreeNode, TreeNodes};
use selvedge_format::policy::{self, AtMostV1, DiversityV1, ExcludeV1, PolicyV1};
use selvedge_format::program::{
    self, By, ColumnV1, CombineOp, CounterRef, Decay, FeatureV1, FieldType, FieldV1, Measure, OpV1, Overlap, ProgramV1,
    Scope, TableRef, TableV1, TimePart, TokensOf, TransformV1, column_id, field_id, table_id,
};
use selvedge_format::request::{BudgetNow, CapCount};
use selvedge_format::shared::{FieldValues, SharedParts, TableParts};
use selvedge_format::terms::{self, CampaignTermsV1, FunderV1, SHARE, TermsV1};
use selvedge_format::{delta, key};
use selvedge_wire::{RequestBuilder, Values};

use crate::offer;

const NOW_MS: i64 = 1_700_000_000_000;
const ITEMS: [&str; 5] = ["apple", "bread", "cheese", "dates", "eggs"];
const EVENT: &[u8] = b"purchase";

/// Positions in [`fields`].
const PRICE: u16 = 0;
const BRAND: u16 = 1;
const WORDS: u16 = 2;
const SINCE: u16 = 3;
const QUERY: u16 = 4;
const STORE: u16 = 5;
/// Position of the weekday among the features: the same for all candidates.
const WEEKDAY: u16 = 5;

fn fields() -> Vec<FieldV1> {
    let field = |scope, name, ty| FieldV1 { id: field_id(scope, name), scope, ty };
    vec![
        field(Scope::Item, "price", FieldType::Number),
        field(Scope::Item, "brand", FieldType::String),
        field(Scope::Item, "words", FieldType::Tokens),
        field(Scope::Item, "since", FieldType::Time),
        field(Scope::Context, "query", FieldType::Tokens),
        field(Scope::User, "store", FieldType::String),
    ]
}

/// One counter of each kind.
fn columns() -> Vec<ColumnV1> {
    let decays =
        [Decay::HalfLife { half_life_s: 86_400 }, Decay::Window { bucket_s: 604_800, buckets: 4 }, Decay::Lifetime];
    let column = |measure, decay| ColumnV1 { id: column_id(measure, decay), measure, decay };
    decays.into_iter().map(|decay| column(Measure::Value, decay)).collect()
}

fn table(scope: &str, by: By, name: &str) -> TableV1 {
    TableV1 { id: table_id(scope, "purchase", name), event: key(EVENT), by, capacity: 8, columns: columns() }
}

/// One feature of each kind, and each transform.
fn program() -> ProgramV1 {
    let counter = |column| CounterRef { table: TableRef::User(0), column };
    let shared = |column| CounterRef { table: TableRef::Global(0), column };
    let event = key(EVENT);
    let mut values = vec![(key(b"north"), 0), (key(b"south"), 1)];
    values.sort_unstable();
    let ops = [
        OpV1::Number { field: PRICE },
        OpV1::Category { field: BRAND, values },
        OpV1::Bucket { fields: vec![BRAND, BRAND], buckets: 16 },
        OpV1::TimeDifference { field: SINCE, unit_s: 86_400 },
        OpV1::Recency { table: TableRef::User(1), unit_s: 3_600 },
        OpV1::LocalTime { part: TimePart::Weekday },
        OpV1::Position,
        OpV1::Candidates,
        OpV1::InteractedWith { event, by: By::Field(BRAND), within_s: 604_800, last: 16 },
        OpV1::Counter(counter(1)),
        OpV1::Share(shared(0)),
        OpV1::Rate { numerator: counter(2), denominator: shared(2), weight: 5.0, prior: 0.1 },
        OpV1::TokenOverlap { field: WORDS, with: TokensOf::Context { field: QUERY }, metric: Overlap::Jaccard },
        OpV1::TokenOverlap { field: WORDS, with: TokensOf::History { event, last: 8 }, metric: Overlap::Containment },
        OpV1::Combine { op: CombineOp::Ratio, left: 0, right: 9 },
        OpV1::ItemId { buckets: 512 },
        OpV1::RecentItem { at: 0, event, within_s: 604_800, buckets: 512 },
        OpV1::RecentItem { at: 1, event: 0, within_s: u32::MAX, buckets: 512 },
    ];
    let transforms = vec![
        TransformV1::Shift(1.0),
        TransformV1::Scale(0.5),
        TransformV1::Abs,
        TransformV1::Log1p,
        TransformV1::Sqrt,
        TransformV1::Square,
        TransformV1::Neg,
        TransformV1::Clip(-10.0, 10.0),
    ];
    let feature = |op| FeatureV1 { op, default: f32::NAN, transforms: transforms.clone() };
    ProgramV1 {
        fields: fields(),
        user_tables: vec![table("user", By::Item, "item"), table("user", By::Field(BRAND), "item.brand")],
        global_tables: vec![table("global", By::Item, "item")],
        history_events: 16,
        features: ops.into_iter().map(feature).collect(),
    }
}

/// A campaign with one of everything, whose rule holds whatever the user.
fn campaigns() -> CampaignsV1 {
    let weekday = |how, than| TestOpV1::Compare { feature: WEEKDAY, how, than };
    let arm = |ladder, face: u16| ArmV1 { ladder, discount: face.into(), sending: 1.0, face: face.into(), life_s: 60 };
    let response = |shift| ArmResponseV1 { model: 0, scale: 0.1, shift, error: 0.01 };
    CampaignsV1 {
        budgets: vec![BudgetV1 { key: key(b"shop"), highest_price_micros: 1_000_000 }],
        responses: vec![ResponseV1 { arms: [-1.0, 0.5, 1.0, 2.0].map(response).to_vec() }],
        campaigns: vec![CampaignV1 {
            key: key(b"spring"),
            from_ms: 0,
            until_ms: 2 * NOW_MS,
            hours: Some(HoursV1 { weekdays: 0x7f, from_min: 0, until_min: 1440 }),
            eligible: vec![
                weekday(Comparison::AtLeast, 0.0),
                TestOpV1::Missing { feature: WEEKDAY },
                TestOpV1::Or,
                TestOpV1::Is { field: STORE, value: key(b"north") },
                TestOpV1::Not,
                TestOpV1::Or,
            ],
            caps: vec![CapV1 { by: CapBy::User, period_s: 86_400, count: 2 }],
            holdout: 1_000,
            explore: 2_000,
            epoch_s: 3_600,
            goal: Goal::Profit,
            caution: 0.5,
            margin: MarginV1::Constant(2_000.0),
            margin_floor: 10.0,
            response: 0,
            funders: vec![(0, SHARE)],
            arms: vec![arm(0, 100), arm(0, 300), arm(1, 200)],
        }],
    }
}

fn terms_of_offers() -> TermsV1 {
    let campaign = CampaignTermsV1 {
        campaign: "spring".into(),
        funders: vec![FunderV1 { budget: "shop".into(), share: SHARE }],
        margin_floor: 100,
        disclosed: true,
        excluded: vec!["age".into()],
        offers: offer::offers().into_iter().take(campaigns().campaigns[0].arms.len()).collect(),
    };
    TermsV1 { currency: offer::CURRENCY.into(), campaigns: vec![campaign] }
}

/// A bundle with trees, campaigns and their terms.
#[must_use]
pub fn bundle() -> Vec<u8> {
    let policy = PolicyV1 {
        slate_size: 3,
        exclude: vec![ExcludeV1 { field: BRAND, value: key(b"east") }],
        at_most: vec![AtMostV1 { field: BRAND, count: 2, window: 3 }],
        diversity: Some(DiversityV1 { lambda: 0.9, fields: vec![(BRAND, 1.0)] }),
    };
    let models = ModelsV1 {
        models: vec![ModelV1 { kind: ModelKindV1::Trees { base: 0.5 }, link: Link::Logistic }],
        stages: vec![StageV1 { model: 0, keep: 0 }],
    };
    let node = |value, feature, flags| TreeNode { value, mean: 0.0, feature, flags };
    let tree = |feature| vec![node(1.0, feature, 1), node(-0.5, LEAF, 0), node(0.5, LEAF, 0)];
    let trees: Vec<Vec<TreeNode>> = (0..program().features.len() as u16).map(tree).collect();
    ContainerBuilder::new(Kind::Bundle)
        .required(program::TAG, program::VERSION, program().encode())
        .required(policy::TAG, policy::VERSION, policy.encode())
        .required(model::TAG, model::VERSION, models.encode())
        .required(model::WEIGHTS_TAG, model::WEIGHTS_VERSION, TreeNodes::encode(&trees))
        .required(campaign::TAG, campaign::VERSION, campaigns().encode())
        .optional(terms::TAG, terms::VERSION, terms_of_offers().encode())
        .build()
}

/// A shared state with every type of field and a counter table.
#[must_use]
pub fn shared_state() -> Vec<u8> {
    let mut items: Vec<u64> = ITEMS.iter().map(|item| key(item.as_bytes())).collect();
    items.sort_unstable();
    let count = items.len();
    let declared = fields();
    let id = |position: u16| declared[usize::from(position)].id;
    let counters = TableParts {
        id: table_id("global", "purchase", "item"),
        columns: columns().iter().map(|column| (column.id, column.decay)).collect(),
        keys: items.clone(),
        last: vec![1_699_999_000; count],
        values: vec![vec![2.0; count]; columns().len()],
        total_last: 1_699_999_000,
        totals: vec![10.0; columns().len()],
    };
    let parts = SharedParts {
        as_of_ms: NOW_MS,
        items,
        fields: vec![
            (id(PRICE), FieldValues::Number(vec![1.5; count])),
            (id(BRAND), FieldValues::String(vec![key(b"north"); count])),
            (id(WORDS), FieldValues::Tokens(vec![vec![key(b"fresh"), key(b"red")]; count])),
            (id(SINCE), FieldValues::Time(vec![NOW_MS - 1_000_000; count])),
        ],
        tables: vec![counters],
    };
    parts.encode()
}

/// The state of a user who bought every item on two devices.
#[must_use]
pub fn user_state() -> Vec<u8> {
    let program = program();
    let mut state = UserState::new();
    for (index, item) in ITEMS.iter().enumerate() {
        let time_ms = NOW_MS - 86_400_000 * (index as i64 + 1);
        let event = Event { event: key(EVENT), time_ms, item: key(item.as_bytes()), value: 2.5 };
        state.apply(index as u64 % 2, &program, &ItemKeys::new(&program, None), &event).expect("two devices fit");
    }
    state.encode()
}

/// A request with every block that asks for an offer as well, for the candidates of [`shared_state`].
#[must_use]
pub fn request(state: &[u8]) -> Vec<u8> {
    let words: &[&str] = &["fresh", "green"];
    let budget = BudgetNow { key: key(b"shop"), price_micros: 500_000, left: 250 };
    let count = CapCount { campaign: key(b"spring"), cap: 0, count: 1 };
    RequestBuilder::new([7; 16], NOW_MS, ITEMS)
        .state(state)
        .pin(1, 0)
        .exclude(2)
        .column(Scope::Item, "price", Values::Numbers(&[1.0, 2.0, f32::NAN, -1.0, 1e30]))
        .column(Scope::Item, "brand", Values::Strings(&["north", "south", "", "east", "north"]))
        .column(Scope::Item, "words", Values::Tokens(&[words, &[], words, &["red"], &[]]))
        .column(Scope::Item, "since", Values::Times(&[0, NOW_MS, i64::MIN, 1, 2]))
        .column(Scope::Context, "query", Values::Tokens(&[words]))
        .offer(key(b"spring"), Some([0xF0; 16]), &[budget], &[count])
        .build()
}

/// A head that uses every part of its format.
///
/// # Panics
/// Never: its values are valid.
#[must_use]
pub fn head() -> Vec<u8> {
    let blob = |first| BlobV1 { id: [first; 32], size: 1000 };
    let head = HeadV1 {
        channel: "shop".into(),
        sequence: 300,
        issued_ms: NOW_MS,
        not_before_ms: NOW_MS,
        not_after_ms: NOW_MS + 1,
        bundle: blob(1),
        shared: Some(blob(2)),
        rollout: Some(RolloutV1 { bundle: blob(3), shared: None, share: 500, salt: 7 }),
        prices: vec![PriceV1 { budget: "autumn".into(), price_micros: 1_000_000 }],
        guard: Some(GuardV1 { max_fallback_share: 200, min_decisions: 500 }),
        killed: false,
    };
    head.unsigned([1; 8]).expect("a valid head").sign(&[2; 64])
}

/// From the sample bundle to itself with its last bytes changed.
///
/// # Panics
/// Never: both are containers.
#[must_use]
pub fn delta() -> Vec<u8> {
    let base = bundle();
    let other = ContainerBuilder::new(Kind::Bundle).optional(9, 1, base[64..].to_vec()).build();
    delta::encode(&base, &other).expect("both are containers")
}

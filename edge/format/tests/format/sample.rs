//! One fixed content per format that uses everything the format has. The golden files hold its bytes.

use selvedge_format::campaign::{
    ArmResponseV1, ArmV1, BudgetV1, CampaignV1, CampaignsV1, CapBy, CapV1, Comparison, Goal, HoursV1, MarginV1,
    ResponseV1, TestOpV1,
};
use selvedge_format::decision::{ArmParts, DecisionStatus, DegradedReason, OfferStatus, arm, rule};
use selvedge_format::graph::{
    self, Combination, Each, Function, Gather, Graph, MAX_DIMS, Meet, Memory, Numbers, Product, Step, View,
};
use selvedge_format::head::{BlobV1, GuardV1, HeadV1, PriceV1, RolloutV1};
use selvedge_format::meta::{FeatureName, MetaV1};
use selvedge_format::model::{Finish, LEAF, Link, MISSING_LEFT, ModelKindV1, ModelV1, ModelsV1, StageV1, TreeNode};
use selvedge_format::policy::{AtMostV1, DiversityV1, ExcludeV1, PolicyV1};
use selvedge_format::program::{
    By, ColumnV1, CombineOp, CounterRef, Decay, FeatureV1, FieldType, FieldV1, Measure, OpV1, Overlap, ProgramV1,
    Scope, TableRef, TableV1, TimePart, TokensOf, TransformV1, column_id, field_id, table_id,
};
use selvedge_format::record::Outcome;
use selvedge_format::request::{BudgetNow, CapCount, NO_PRICE};
use selvedge_format::shared::{FieldValues, SharedParts, TableParts};
use selvedge_format::state::{HistoryEntry, ProfileEntry, ProfileValue};
use selvedge_format::terms::{
    BenefitV1, CampaignTermsV1, FunderV1, OfferV1, PriceOf, SHARE, ScopeV1, StackingV1, TermsV1, TestV1, TierV1,
};
use selvedge_format::{delta, key};

use crate::content::{
    Answer, Asked, Bundle, Content, Decision, Delta, Head, Log, Part, Record, Request, RequestColumn, Section, Shared,
    Slot, State, Values, Weights,
};

/// 2017-12-03T10:15:00Z.
const NOW_MS: i64 = 1_512_296_100_000;
const NOW_S: u32 = 1_512_296_100;
const DAY_S: u32 = 86_400;

const LIFETIME: Decay = Decay::Lifetime;
const MONTH: Decay = Decay::HalfLife { half_life_s: 30 * DAY_S };
const FOUR_WEEKS: Decay = Decay::Window { bucket_s: 7 * DAY_S, buckets: 4 };

const PRICE: u16 = 0;
const DEPARTMENT: u16 = 1;
const NAME: u16 = 2;
const ADDED: u16 = 3;
const STORE: u16 = 4;
const QUERY: u16 = 5;
const FIELDS: [(Scope, &str, FieldType); 6] = [
    (Scope::Item, "price", FieldType::Number),
    (Scope::Item, "department", FieldType::String),
    (Scope::Item, "name", FieldType::Tokens),
    (Scope::Item, "added", FieldType::Time),
    (Scope::User, "home_store", FieldType::String),
    (Scope::Context, "query", FieldType::Tokens),
];

fn word(text: &str) -> u64 {
    key(text.as_bytes())
}

fn column(measure: Measure, decay: Decay) -> ColumnV1 {
    ColumnV1 { id: column_id(measure, decay), measure, decay }
}

fn table(scope: &str, by_name: &str, by: By) -> TableV1 {
    TableV1 {
        id: table_id(scope, "purchase", by_name),
        event: word("purchase"),
        by,
        capacity: 512,
        columns: vec![
            column(Measure::Count, MONTH),
            column(Measure::Value, FOUR_WEEKS),
            column(Measure::Count, LIFETIME),
        ],
    }
}

fn ops() -> Vec<OpV1> {
    let user = |column| CounterRef { table: TableRef::User(0), column };
    let global = |column| CounterRef { table: TableRef::Global(1), column };
    let mut ops = vec![
        OpV1::Number { field: PRICE },
        OpV1::Category {
            field: DEPARTMENT,
            values: {
                let mut values = vec![(word("PRODUCE"), 0), (word("MEAT"), 1), (word("GROCERY"), 2)];
                values.sort_unstable();
                values
            },
        },
        OpV1::Bucket { fields: vec![DEPARTMENT, STORE], buckets: 1 << 16 },
        OpV1::TimeDifference { field: ADDED, unit_s: DAY_S },
        OpV1::Recency { table: TableRef::User(0), unit_s: 3600 },
        OpV1::Position,
        OpV1::Candidates,
        OpV1::InteractedWith { event: word("purchase"), by: By::Field(DEPARTMENT), within_s: 30 * DAY_S, last: 64 },
        OpV1::Counter(user(0)),
        OpV1::Counter(global(1)),
        OpV1::Share(user(2)),
        OpV1::Rate { numerator: user(0), denominator: global(0), weight: 20.0, prior: 0.05 },
        OpV1::TokenOverlap { field: NAME, with: TokensOf::Context { field: QUERY }, metric: Overlap::Containment },
        OpV1::TokenOverlap {
            field: NAME,
            with: TokensOf::History { event: word("purchase"), last: 10 },
            metric: Overlap::Jaccard,
        },
    ];
    let parts = [TimePart::MinuteOfDay, TimePart::Hour, TimePart::Weekday, TimePart::Day, TimePart::Month];
    ops.extend(parts.map(|part| OpV1::LocalTime { part }));
    let combinations = [CombineOp::Ratio, CombineOp::Product, CombineOp::Difference, CombineOp::Min, CombineOp::Max];
    ops.extend(combinations.map(|op| OpV1::Combine { op, left: 0, right: 8 }));
    ops
}

pub(crate) fn program() -> ProgramV1 {
    let transforms = [
        TransformV1::Log1p,
        TransformV1::Sqrt,
        TransformV1::Abs,
        TransformV1::Neg,
        TransformV1::Square,
        TransformV1::Clip(-3.5, f32::INFINITY),
        TransformV1::Scale(0.25),
        TransformV1::Shift(-1.0),
    ];
    let feature = |(index, op)| FeatureV1 {
        op,
        default: if index % 2 == 0 { f32::NAN } else { -1.0 },
        transforms: transforms.into_iter().skip(index).take(2).collect(),
    };
    ProgramV1 {
        fields: FIELDS.map(|(scope, name, ty)| FieldV1 { id: field_id(scope, name), scope, ty }).to_vec(),
        user_tables: vec![table("user", "item", By::Item)],
        global_tables: vec![table("global", "all", By::All), table("global", "item.department", By::Field(DEPARTMENT))],
        history_events: 64,
        features: ops().into_iter().enumerate().map(feature).collect(),
    }
}

pub(crate) fn models() -> ModelsV1 {
    ModelsV1 {
        models: vec![
            ModelV1 { kind: ModelKindV1::Linear { bias: -0.5 }, link: Link::Logistic },
            ModelV1 { kind: ModelKindV1::Trees { base: 0.5 }, link: Link::Identity },
        ],
        stages: vec![StageV1 { model: 1, keep: 0 }],
    }
}

pub(crate) fn bundle() -> Bundle {
    let program = program();
    let features = program.features.len();
    let inner = |value, feature, flags| TreeNode { value, mean: value / 2.0, feature, flags };
    let leaf = |value| TreeNode { value, mean: value, feature: LEAF, flags: 0 };
    // The root's left child is a leaf, so the second inner node's children are nodes 3 and 4.
    let trees = vec![
        vec![inner(2.5, 0, MISSING_LEFT), leaf(-0.125), inner(0.5, 8, 0), leaf(0.0625), leaf(0.75)],
        vec![leaf(0.03125)],
    ];
    let name = |index: usize| FeatureName {
        name: format!("feature_{index}"),
        kind: "number".into(),
        doc: if index == 0 { "Shelf price — euro".into() } else { String::new() },
    };
    Bundle {
        meta: Some(MetaV1 {
            name: "flyer".into(),
            producer: "selvedge 0.1.0".into(),
            fields: vec![
                "item.price".into(),
                "item.department".into(),
                "item.name".into(),
                "item.added".into(),
                "user.home_store".into(),
                "context.query".into(),
            ],
            features: (0..features).map(name).collect(),
            events: vec!["purchase".into()],
            shared_refresh_s: DAY_S,
        }),
        models: models(),
        weights: vec![
            Weights::Linear {
                weight: (0..features).map(|feature| feature as f32 * 0.125 - 1.0).collect(),
                centre: (0..features).map(|feature| feature as f32).collect(),
            },
            Weights::Trees(trees),
        ],
        policy: PolicyV1 {
            slate_size: 20,
            exclude: vec![ExcludeV1 { field: DEPARTMENT, value: word("FUEL") }],
            at_most: vec![AtMostV1 { field: DEPARTMENT, count: 3, window: 5 }],
            diversity: Some(DiversityV1 { lambda: 0.875, fields: vec![(DEPARTMENT, 1.0)] }),
        },
        campaigns: None,
        explore: None,
        terms: None,
        program,
    }
}

/// The sample with a third model, whose leaves are `f64` and whose thresholds are infinite.
pub(crate) fn bundle_with_doubles() -> Bundle {
    let mut bundle = bundle();
    let kind = ModelKindV1::DoubleTrees(Finish { divisor: 3.0, scale: 0.5, bias: -0.1 });
    bundle.models.models.push(ModelV1 { kind, link: Link::Logistic });
    let node = |value, feature, flags| TreeNode { value, mean: 0.25, feature, flags };
    let leaf = node(0.0, LEAF, 0);
    let trees =
        vec![vec![node(f32::INFINITY, 0, 0), node(f32::NEG_INFINITY, 8, MISSING_LEFT), leaf, leaf, leaf], vec![leaf]];
    bundle.weights.push(Weights::DoubleTrees(trees, vec![0.1, -1.0 / 3.0, 1e-300, 0.7]));
    bundle
}

/// A linear model over the candidate's number and those of two recent items.
pub(crate) fn bundle_with_a_sequence() -> Bundle {
    let mut bundle = bundle();
    let buckets = 1 << 24;
    let recent = |at| OpV1::RecentItem { at, event: word("purchase"), within_s: 30 * DAY_S, buckets };
    let feature = |op| FeatureV1 { op, default: 0.0, transforms: vec![] };
    bundle.program.features = vec![OpV1::ItemId { buckets }, recent(0), recent(1)].into_iter().map(feature).collect();
    bundle.models.models.truncate(1);
    bundle.models.stages = vec![StageV1 { model: 0, keep: 0 }];
    bundle.weights = vec![Weights::Linear { weight: vec![0.5, 0.25, -1.0], centre: vec![0.0; 3] }];
    bundle.meta = bundle.meta.map(|meta| MetaV1 { features: meta.features.into_iter().take(3).collect(), ..meta });
    bundle
}

/// Feature of the sample program that is the same for all candidates: the hour.
pub(crate) const HOUR: u16 = 15;
/// Another one: the weekday.
const WEEKDAY: u16 = 16;

/// Budgets of the sample campaigns, ascending by key.
fn budgets() -> [u64; 2] {
    let mut keys = ["shop", "brand"].map(word);
    keys.sort_unstable();
    keys
}

/// Two campaigns: one that uses everything, one that uses as little as can be.
/// The linear model first, then the trees for the best fifty.
pub(crate) fn bundle_with_a_cascade() -> Bundle {
    let stages = vec![StageV1 { model: 0, keep: 50 }, StageV1 { model: 1, keep: 0 }];
    Bundle { models: ModelsV1 { stages, ..models() }, ..bundle() }
}

pub(crate) fn degraded_decision() -> Decision {
    Decision { status: DecisionStatus::Degraded(DegradedReason::CostLimit), ..decision() }
}

pub(crate) fn campaigns() -> CampaignsV1 {
    let [first, second] = budgets();
    let arm = |ladder, face: u16| ArmV1 {
        ladder,
        discount: f32::from(face) * 0.75,
        sending: 2.5,
        face: face.into(),
        life_s: 14 * DAY_S,
    };
    let response = |model, shift| ArmResponseV1 { model, scale: 1.25, shift, error: 0.0625 };
    let hour = |how, than| TestOpV1::Compare { feature: HOUR, how, than };
    CampaignsV1 {
        budgets: vec![
            BudgetV1 { key: first, highest_price_micros: 2_500_000 },
            BudgetV1 { key: second, highest_price_micros: 0 },
        ],
        responses: vec![
            ResponseV1 { arms: vec![response(0, -1.0), response(0, -0.75), response(1, -0.5), response(1, -0.25)] },
            ResponseV1 { arms: vec![response(1, 0.0), response(0, 0.5)] },
        ],
        campaigns: vec![
            CampaignV1 {
                key: word("spring"),
                from_ms: NOW_MS - 86_400_000,
                until_ms: NOW_MS + 30 * 86_400_000,
                hours: Some(HoursV1 { weekdays: 0b110_0000, from_min: 17 * 60, until_min: 2 * 60 }),
                eligible: vec![
                    hour(Comparison::AtLeast, 6.0),
                    hour(Comparison::AtMost, 22.0),
                    TestOpV1::And,
                    hour(Comparison::Less, 12.0),
                    hour(Comparison::More, 13.0),
                    TestOpV1::Or,
                    TestOpV1::And,
                    TestOpV1::Compare { feature: WEEKDAY, how: Comparison::Equal, than: 6.0 },
                    TestOpV1::Missing { feature: WEEKDAY },
                    TestOpV1::Or,
                    TestOpV1::Not,
                    TestOpV1::Is { field: STORE, value: word("367") },
                    TestOpV1::And,
                    TestOpV1::Or,
                ],
                caps: vec![
                    CapV1 { by: CapBy::User, period_s: 7 * DAY_S, count: 1 },
                    CapV1 { by: CapBy::Device, period_s: 0, count: 3 },
                ],
                holdout: 1_000,
                explore: 500,
                epoch_s: DAY_S,
                goal: Goal::Profit,
                caution: 0.5,
                margin: MarginV1::Feature(HOUR),
                margin_floor: 100.0,
                response: 0,
                funders: vec![(0, 6_000), (1, 4_000)],
                arms: vec![arm(0, 300), arm(0, 500), arm(1, 200)],
            },
            CampaignV1 {
                key: word("always"),
                from_ms: 0,
                until_ms: i64::MAX,
                hours: None,
                eligible: vec![],
                caps: vec![],
                holdout: 0,
                explore: 0,
                epoch_s: 60,
                goal: Goal::Revenue,
                caution: 0.0,
                margin: MarginV1::Constant(450.0),
                margin_floor: 0.0,
                response: 1,
                funders: vec![(1, SHARE)],
                arms: vec![arm(0, 1)],
            },
        ],
    }
}

/// What the sample campaigns promise.
fn terms() -> TermsV1 {
    let offer = |offer: &str, benefit, cap| OfferV1 {
        offer: offer.into(),
        benefit,
        cap,
        min_spend: 1_000,
        scope: ScopeV1 {
            only: vec![TestV1 { attribute: "department".into(), values: vec!["MEAT".into(), "PRODUCE".into()] }],
            except: vec![TestV1 { attribute: "id".into(), values: vec!["995242".into()] }],
        },
        stacking: StackingV1 { group: "week".into(), exclusive: true, priority: -3, on: PriceOf::Discounted },
        life_s: 14 * DAY_S,
    };
    let funder = |budget: &str, share| FunderV1 { budget: budget.into(), share };
    let steps = vec![TierV1 { spend: 2_000, save: 200 }, TierV1 { spend: 4_000, save: 500 }];
    TermsV1 {
        currency: "EUR".into(),
        campaigns: vec![
            CampaignTermsV1 {
                campaign: "spring".into(),
                funders: vec![funder("shop", 6_000), funder("brand", 4_000)],
                margin_floor: 500,
                disclosed: true,
                excluded: vec!["age".into()],
                offers: vec![
                    offer("tenth", BenefitV1::Percent { share: 1_000 }, 300),
                    offer("steps", BenefitV1::Tiers { steps }, 500),
                    offer("shipping", BenefitV1::FreeShipping, 200),
                ],
            },
            CampaignTermsV1 {
                campaign: "always".into(),
                funders: vec![funder("shop", SHARE)],
                margin_floor: 0,
                disclosed: false,
                excluded: vec![],
                offers: vec![offer("cent", BenefitV1::Amount { minor: 1 }, 1)],
            },
        ],
    }
}

/// The sample bundle with campaigns and their terms.
pub(crate) fn bundle_with_offers() -> Bundle {
    Bundle { campaigns: Some(campaigns()), terms: Some(terms()), ..bundle() }
}

pub(crate) fn shared() -> Shared {
    let mut items = ["1029743", "995242", "908531", "981760", "1133018"].map(word).to_vec();
    items.sort_unstable();
    let table = |by: &str, keys: Vec<u64>| TableParts {
        id: table_id("global", "purchase", by),
        columns: [(Measure::Count, MONTH), (Measure::Value, FOUR_WEEKS), (Measure::Count, LIFETIME)]
            .map(|(measure, decay)| (column_id(measure, decay), decay))
            .to_vec(),
        last: (0..keys.len() as u32).map(|row| NOW_S - row * 60).collect(),
        values: (1..4).map(|column| (0..keys.len()).map(|row| (column * 10 + row) as f32).collect()).collect(),
        keys,
        total_last: NOW_S,
        totals: vec![100.0, 200.5, 300.0],
    };
    let id = |field: u16| {
        let (scope, name, _) = FIELDS[usize::from(field)];
        field_id(scope, name)
    };
    let (milk, whole) = (word("milk"), word("whole"));
    Shared(SharedParts {
        as_of_ms: NOW_MS - 3_600_000,
        fields: vec![
            (id(PRICE), FieldValues::Number(vec![0.99, f32::NAN, 3.49, 12.0, 0.5])),
            (
                id(DEPARTMENT),
                FieldValues::String(vec![word("PRODUCE"), 0, word("MEAT"), word("PRODUCE"), word("GROCERY")]),
            ),
            (
                id(NAME),
                FieldValues::Tokens(
                    [vec![milk, whole], vec![], vec![milk], vec![word("bread")], vec![]]
                        .map(|mut tokens| {
                            tokens.sort_unstable();
                            tokens
                        })
                        .to_vec(),
                ),
            ),
            (id(ADDED), FieldValues::Time(vec![NOW_MS - 1, 0, i64::MIN, NOW_MS, -1])),
        ],
        tables: vec![table("all", vec![]), table("item", items.clone())],
        items,
    })
}

pub(crate) fn state() -> State {
    let columns = || {
        vec![
            (column_id(Measure::Count, MONTH), MONTH.width()),
            (column_id(Measure::Value, FOUR_WEEKS), FOUR_WEEKS.width()),
            (column_id(Measure::Count, LIFETIME), LIFETIME.width()),
        ]
    };
    let table = |id| Section::Table {
        id,
        columns: columns(),
        total: (NOW_S - 60, vec![2.5, 1.0, 0.0, 0.0, 4.5, 3.0]),
        rows: vec![
            (0x0102_0304, NOW_S - 3600, vec![1.5, 1.0, 0.0, 0.0, 0.0, 2.0]),
            (0xf102_0304, NOW_S - 60, vec![1.0, 0.0, 0.0, 0.0, 4.5, 1.0]),
        ],
    };
    let mut ids = ["item", "item.department"].map(|by| table_id("user", "purchase", by));
    ids.sort_unstable();
    let entry = |field: &str, value| ProfileEntry { field: field_id(Scope::User, field), last: NOW_S - 5, value };
    let mut profile = vec![
        entry("age", ProfileValue::Number(42.0)),
        entry("home_store", ProfileValue::String(word("367"))),
        entry("joined", ProfileValue::Time(NOW_MS - 86_400_000)),
    ];
    profile.sort_unstable_by_key(|entry| entry.field);
    let event =
        |ago, item| HistoryEntry { last: NOW_S - ago, event: (word("purchase") >> 32) as u32, item: word(item) };
    let phone = Part {
        device: 7,
        sequence: 3,
        sections: vec![
            Section::Profile(profile),
            table(ids[0]),
            table(ids[1]),
            Section::History(vec![event(60, "995242"), event(3600, "1029743")]),
            Section::Opaque(16, b"of a later version".to_vec()),
        ],
    };
    let desktop = Part { device: 1 << 40, sequence: 1, sections: vec![table(ids[0])] };
    State(vec![phone, desktop])
}

pub(crate) fn request() -> Request {
    let words = |text: &str| text.split_whitespace().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    let column = |scope, name, values| RequestColumn { field: field_id(scope, name), scope, values };
    Request {
        request_id: *b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10",
        time_ms: NOW_MS,
        utc_offset_min: -300,
        slate_size: 2,
        reasons: 3,
        ids: words("1029743 995242 908531"),
        state: state().encode(),
        pins: vec![2, 0],
        exclude: vec![1],
        columns: vec![
            column(Scope::Item, "price", Values::Number(vec![0.99, f32::NAN, 3.49])),
            column(Scope::Item, "department", Values::String(vec![b"PRODUCE".to_vec(), vec![], b"MEAT".to_vec()])),
            column(Scope::Item, "name", Values::Tokens(vec![words("whole milk"), vec![], words("crème fraîche")])),
            column(Scope::Item, "added", Values::Time(vec![0, i64::MIN, NOW_MS])),
            column(Scope::User, "home_store", Values::String(words("367"))),
            column(Scope::Context, "query", Values::Tokens(vec![words("fresh milk")])),
        ],
        offer: None,
    }
}

/// The sample request, and an offer is asked for as well.
pub(crate) fn request_for_an_offer() -> Request {
    let [first, second] = budgets();
    let offer = Asked {
        campaign: word("spring"),
        draw: Some(std::array::from_fn(|byte| byte as u8 * 16)),
        budgets: vec![
            BudgetNow { key: first, price_micros: 1_250_000, left: 90_000 },
            BudgetNow { key: second, price_micros: NO_PRICE, left: 0 },
        ],
        counts: vec![
            CapCount { campaign: word("spring"), cap: 0, count: 1 },
            CapCount { campaign: word("spring"), cap: 1, count: 2 },
        ],
    };
    Request { offer: Some(offer), ..request() }
}

pub(crate) fn decision() -> Decision {
    Decision {
        request_id: request().request_id,
        bundle_id: std::array::from_fn(|byte| byte as u8),
        shared_id: std::array::from_fn(|byte| 255 - byte as u8),
        status: DecisionStatus::Personalized,
        candidates: 3,
        contributions: 3,
        cost: 1234,
        error: 0,
        base: 0.5,
        slots: vec![
            Slot { candidate: 2, score: f32::NAN, propensity: 1.0, rules: rule::PINNED, reasons: vec![] },
            Slot {
                candidate: 0,
                score: 0.875,
                propensity: 1.0,
                rules: rule::DIVERSITY | rule::AT_MOST,
                reasons: vec![(8, 0.5), (0, -0.125)],
            },
        ],
        offer: None,
    }
}

/// The sample decision with an answer to the question for an offer.
pub(crate) fn decision_with_an_offer() -> Decision {
    let masked = arm::NO_BUDGET | arm::MARGIN_FLOOR;
    let arm = |masked, response, value| ArmParts { masked, response, value, cost: 12.5, score: value - 12.5 };
    let offer = Answer {
        campaign: word("spring"),
        epoch: NOW_MS / 86_400_000,
        status: OfferStatus::Offered,
        arm: 1,
        best: 2,
        drawn: true,
        propensity: 0.03125,
        arms: vec![
            ArmParts { response: 0.25, ..ArmParts::default() },
            arm(0, 0.375, 20.0),
            arm(0, 0.5, 40.0),
            arm(masked, 0.5, f32::NAN),
        ],
    };
    Decision { offer: Some(offer), ..decision() }
}

pub(crate) fn log() -> Log {
    let (request, decision) = (request().encode(), decision().encode());
    let outcome = Outcome {
        request_id: [0xa5; 16],
        time_ms: 1_514_160_000_000,
        item: key(b"1082185"),
        event: key(b"purchase"),
        id: key(b"receipt 7, line 3"),
        value: 0.55,
    };
    Log(vec![
        Record::Digest {
            time_ms: 1_514_159_999_000,
            request_hash: key(&request),
            items: vec![key(b"1082185"), key(b"995242")],
            decision: decision.clone(),
        },
        Record::Full { request, decision },
        Record::Outcome(outcome),
    ])
}

pub(crate) fn head() -> Head {
    let blob = |first, size| BlobV1 { id: [first; 32], size };
    Head {
        key: *b"key-name",
        signature: [0x5a; 64],
        head: HeadV1 {
            channel: "shop.main".into(),
            sequence: 300,
            issued_ms: NOW_MS,
            not_before_ms: NOW_MS - 3_600_000,
            not_after_ms: NOW_MS + 86_400_000,
            bundle: blob(1, 88_000),
            shared: Some(blob(2, 1_500_000)),
            rollout: Some(RolloutV1 { bundle: blob(3, 90_000), shared: Some(blob(4, 1_600_000)), share: 500, salt: 7 }),
            prices: vec![
                PriceV1 { budget: "autumn".into(), price_micros: 1_250_000 },
                PriceV1 { budget: "winter".into(), price_micros: 0 },
            ],
            guard: Some(GuardV1 { max_fallback_share: 200, min_decisions: 500 }),
            killed: false,
        },
    }
}

/// From the sample bundle to one of other weights, another seed and a longer name.
pub(crate) fn delta() -> Delta {
    let mut target = bundle();
    if let Weights::Linear { weight, .. } = &mut target.weights[0] {
        weight.iter_mut().step_by(5).for_each(|weight| *weight += 0.125);
    }
    target.meta.as_mut().unwrap().name = "flyer of the next week".into();
    target.policy.slate_size += 1;
    Delta(delta::encode(&bundle().encode(), &target.encode()).unwrap())
}

/// Features that [`graph`] reads.
pub(crate) const GRAPH_FEATURES: usize = 3;

/// A program with every kind of step: an embedding by feature 0, a layer over it that starts from the request's share of
/// feature 1, and the sum of its outputs divided by feature 2; then the same of halves and bytes, of which one value is added;
/// then attention among the candidates by these, and its largest value over all, which is added.
pub(crate) fn graph() -> Vec<u8> {
    let row = |memory, offset, stride| View { memory, offset, strides: [stride] };
    let view = |memory, offset, stride| {
        let mut strides = [0; MAX_DIMS];
        strides[MAX_DIMS - 1] = stride;
        View { memory, offset, strides }
    };
    let each = |function, combination, size, out, left, right| {
        let mut sizes = [1; MAX_DIMS];
        sizes[MAX_DIMS - 1] = size;
        Step::Each(Each { function, combination, sizes, out, left, right })
    };
    let mut constants = vec![0.5, -0.5, 1.5, -1.5];
    let (share, layer) = (constants.len() as u32, constants.len() as u32 + 4);
    constants.extend(graph::pack(&[0.25, -0.75], 1, 2));
    constants.extend(graph::pack(&[1.0, 2.0, 3.0, 4.0], 2, 2));
    let scales = constants.len() as u32;
    constants.extend([100.0, 0.5, 0.25]);
    let embedding = |table, out, numbers| {
        let (out, from) = (row(Memory::Candidates, out, 2), row(Memory::Features, 0, 1));
        Step::Gather(Gather { ids: 1, table, rows: 2, width: 2, out, from, numbers })
    };
    let whole = |numbers| {
        let (input, out) = (row(Memory::Candidates, 5, 2), row(Memory::Candidates, 7, 2));
        let (function, start) = (Function::Left, row(Memory::Constants, 0, 0));
        Step::Product(Product {
            function,
            positions: 1,
            inputs: 2,
            outputs: 2,
            out,
            input,
            start,
            addend: row(Memory::Candidates, 2, 2),
            weights: 12,
            numbers,
        })
    };
    let outputs = |memory, inputs, out, start, weights, function| {
        let (input, out) = (row(memory, 0, inputs), row(memory, out, 2));
        Step::Product(Product {
            function,
            positions: 1,
            inputs,
            outputs: 2,
            out,
            input,
            start,
            addend: View::NONE,
            weights,
            numbers: Numbers::Single,
        })
    };
    let meet = |function, width, out, value| {
        Step::Meet(Meet { function, heads: 1, width, value_width: 4, out, query: 5, key: 7, value })
    };
    let feature = |at| view(Memory::Features, at, 0);
    let score = view(Memory::Candidates, 4, 0);
    let steps = [
        each(Function::Left, Combination::Store, 1, view(Memory::Request, 0, 0), feature(1), feature(1)),
        outputs(Memory::Request, 1, 1, row(Memory::Constants, 0, 0), share, Function::Left),
        Step::Gather(Gather {
            ids: 1,
            table: 0,
            numbers: Numbers::Single,
            rows: 2,
            width: 2,
            out: row(Memory::Candidates, 0, 2),
            from: row(Memory::Features, 0, 1),
        }),
        outputs(Memory::Candidates, 2, 2, row(Memory::Request, 1, 2), layer, Function::Max),
        each(
            Function::Left,
            Combination::Add,
            2,
            score,
            view(Memory::Candidates, 2, 1),
            view(Memory::Candidates, 2, 1),
        ),
        each(Function::Divide, Combination::Store, 1, score, score, feature(2)),
        embedding(0, 5, Numbers::Half),
        whole(Numbers::Byte { scales }),
        embedding(8, 9, Numbers::Byte { scales: scales + 1 }),
        each(
            Function::Left,
            Combination::Add,
            1,
            score,
            view(Memory::Candidates, 8, 0),
            view(Memory::Candidates, 8, 0),
        ),
        meet(Function::Left, 2, 11, 7),
        meet(Function::Max, 0, 15, 11),
        each(
            Function::Left,
            Combination::Add,
            1,
            score,
            view(Memory::Candidates, 15, 0),
            view(Memory::Candidates, 15, 0),
        ),
    ];
    // A table of the halves 1, -2, 0 and the smallest, one of bytes, and a layer.
    let mut bytes: Vec<u8> = [0x3c00_u16, 0xc000, 0, 1].into_iter().flat_map(u16::to_le_bytes).collect();
    bytes.extend([127, 0x81, 0, 5]);
    bytes.extend(graph::pack_bytes(&[1, -2, 3, -4], 2, 2));
    Graph::encode(3, 19, 4, &steps, &constants, &bytes)
}

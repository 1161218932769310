//! Valid content of every format, at random.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;
use selvedge_format::campaign::{
    ArmResponseV1, ArmV1, BudgetV1, CampaignV1, CampaignsV1, CapBy, CapV1, Comparison, DAY_MIN, Goal, HoursV1,
    MIN_EPOCH_S, MarginV1, ResponseV1, TestOpV1, same_for_all,
};
use selvedge_format::decision::{
    ArmParts, ControlReason, DecisionStatus, DegradedReason, FallbackReason, NoOffer, OfferStatus,
};
use selvedge_format::explore::{ExploreKindV1, ExploreV1};
use selvedge_format::head::{BlobV1, GuardV1, HeadV1, PriceV1, RolloutV1, SHARE};
use selvedge_format::meta::{FeatureName, MetaV1};
use selvedge_format::model::{self, Finish, Link, ModelKindV1, ModelV1, ModelsV1, StageV1, TreeNode};
use selvedge_format::policy::{AtMostV1, DiversityV1, ExcludeV1, MAX_SLATE, PolicyV1};
use selvedge_format::program::{
    By, ColumnV1, CombineOp, CounterRef, Decay, FeatureV1, FieldType, FieldV1, MAX_BUCKETS, MAX_CAPACITY, Measure,
    OpV1, Overlap, ProgramV1, Scope, TableRef, TableV1, TimePart, TokensOf, TransformV1,
};
use selvedge_format::record::Outcome;
use selvedge_format::request::{BudgetNow, CapCount, MAX_TIME_MS};
use selvedge_format::shared::{FieldValues, SharedParts, TableParts};
use selvedge_format::state::{FIRST_OPAQUE, HistoryEntry, ProfileEntry, ProfileValue};
use selvedge_format::terms::{
    self, BenefitV1, CampaignTermsV1, FunderV1, MAX_LIFE_S, MAX_MINOR, OfferV1, PriceOf, ScopeV1, StackingV1, TermsV1,
    TestV1, TierV1,
};

use crate::content::{
    Answer, Asked, Bundle, Decision, Head, Log, Part, Record, Request, RequestColumn, Section, Shared, Slot, State,
    Values, Weights,
};

/// Fields of every program: one for each kind of operand, at known positions.
pub(crate) const FIELDS: [(Scope, FieldType); 7] = [
    (Scope::Item, FieldType::Number),
    (Scope::Item, FieldType::String),
    (Scope::Item, FieldType::Tokens),
    (Scope::Item, FieldType::Time),
    (Scope::Context, FieldType::Tokens),
    (Scope::User, FieldType::String),
    (Scope::Item, FieldType::String),
];
const ITEM_STRINGS: [u16; 2] = [1, 6];
const HISTORY: u16 = 32;

fn finite() -> impl Strategy<Value = f32> {
    any::<f32>().prop_filter("finite", |number| number.is_finite())
}

fn number() -> impl Strategy<Value = f32> {
    prop_oneof![4 => finite(), 1 => Just(f32::NAN), 1 => Just(f32::INFINITY)]
}

fn text() -> impl Strategy<Value = String> {
    "[a-zé]{0,6}"
}

fn word() -> impl Strategy<Value = Vec<u8>> {
    text().prop_map(String::into_bytes)
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=most)
}

fn decay() -> impl Strategy<Value = Decay> {
    prop_oneof![
        Just(Decay::Lifetime),
        (1..=u32::MAX).prop_map(|half_life_s| Decay::HalfLife { half_life_s }),
        (1..=u32::MAX, 1..=MAX_BUCKETS).prop_map(|(bucket_s, buckets)| Decay::Window { bucket_s, buckets }),
    ]
}

fn by() -> impl Strategy<Value = By> {
    prop_oneof![Just(By::All), Just(By::Item), select(&ITEM_STRINGS).prop_map(By::Field)]
}

fn tables() -> impl Strategy<Value = Vec<TableV1>> {
    let measure = select(&[Measure::Count, Measure::Value]);
    let columns = btree_map(any::<u64>(), (measure, decay()), 1..4).prop_map(|columns| {
        columns.into_iter().map(|(id, (measure, decay))| ColumnV1 { id, measure, decay }).collect::<Vec<_>>()
    });
    btree_map(any::<u64>(), (any::<u64>(), by(), 1..=MAX_CAPACITY, columns), 1..4).prop_map(|tables| {
        let table = |(id, (event, by, capacity, columns))| TableV1 { id, event, by, capacity, columns };
        tables.into_iter().map(table).collect()
    })
}

fn counter(tables: &[TableV1], place: fn(u16) -> TableRef) -> BoxedStrategy<CounterRef> {
    let widths: Vec<usize> = tables.iter().map(|table| table.columns.len()).collect();
    (0..widths.len())
        .prop_flat_map(move |table| (Just(table), 0..widths[table]))
        .prop_map(move |(table, column)| CounterRef { table: place(table as u16), column: column as u16 })
        .boxed()
}

fn transform() -> impl Strategy<Value = TransformV1> {
    prop_oneof![
        select(&[TransformV1::Log1p, TransformV1::Sqrt, TransformV1::Abs, TransformV1::Neg, TransformV1::Square]),
        (finite(), finite()).prop_map(|(a, b)| TransformV1::Clip(a.min(b), a.max(b))),
        finite().prop_map(TransformV1::Scale),
        finite().prop_map(TransformV1::Shift),
    ]
}

fn op(user: &[TableV1], global: &[TableV1]) -> impl Strategy<Value = OpV1> + use<> {
    let counter = prop_oneof![counter(user, TableRef::User), counter(global, TableRef::Global)].boxed();
    let values = btree_map(any::<u64>(), any::<u32>(), 0..5);
    let part = select(&[TimePart::MinuteOfDay, TimePart::Hour, TimePart::Weekday, TimePart::Day, TimePart::Month]);
    let with = prop_oneof![
        Just(TokensOf::Context { field: 4 }),
        (any::<u64>(), 0..=HISTORY).prop_map(|(event, last)| TokensOf::History { event, last }),
    ];
    let combine =
        select(&[CombineOp::Ratio, CombineOp::Product, CombineOp::Difference, CombineOp::Min, CombineOp::Max]);
    prop_oneof![
        Just(OpV1::Number { field: 0 }),
        values.prop_map(|values| OpV1::Category { field: 1, values: values.into_iter().collect() }),
        (vec(select(&[1, 5, 6]), 1..=8), 1..=1_u32 << 24)
            .prop_map(|(fields, buckets)| OpV1::Bucket { fields, buckets }),
        (1..=u32::MAX).prop_map(|unit_s| OpV1::TimeDifference { field: 3, unit_s }),
        (counter.clone(), 1..=u32::MAX).prop_map(|(counter, unit_s)| OpV1::Recency { table: counter.table, unit_s }),
        part.prop_map(|part| OpV1::LocalTime { part }),
        Just(OpV1::Position),
        Just(OpV1::Candidates),
        (any::<u64>(), by(), any::<u32>(), 0..=HISTORY).prop_map(|(event, by, within_s, last)| OpV1::InteractedWith {
            event,
            by,
            within_s,
            last
        }),
        counter.clone().prop_map(OpV1::Counter),
        counter.clone().prop_map(OpV1::Share),
        (counter.clone(), counter, 0.0..1e9_f32, finite()).prop_map(|(numerator, denominator, weight, prior)| {
            OpV1::Rate { numerator, denominator, weight, prior }
        }),
        (with, select(&[Overlap::Jaccard, Overlap::Containment])).prop_map(|(with, metric)| OpV1::TokenOverlap {
            field: 2,
            with,
            metric
        }),
        (combine, any::<u16>(), any::<u16>()).prop_map(|(op, left, right)| OpV1::Combine { op, left, right }),
        (1..=1_u32 << 24).prop_map(|buckets| OpV1::ItemId { buckets }),
        (0..HISTORY, any::<u64>(), any::<u32>(), 1..=1_u32 << 24)
            .prop_map(|(at, event, within_s, buckets)| OpV1::RecentItem { at, event, within_s, buckets }),
    ]
}

/// A combination may only name earlier features.
fn put_in_order(features: &mut [FeatureV1]) {
    for (index, feature) in features.iter_mut().enumerate() {
        if let OpV1::Combine { left, right, .. } = &mut feature.op {
            if index == 0 {
                feature.op = OpV1::Position;
            } else {
                (*left, *right) = (*left % index as u16, *right % index as u16);
            }
        }
    }
}

fn program() -> impl Strategy<Value = ProgramV1> {
    (tables(), tables()).prop_flat_map(|(user_tables, global_tables)| {
        let default = prop_oneof![finite(), Just(f32::NAN)];
        let feature = (op(&user_tables, &global_tables), default, vec(transform(), 0..4));
        vec(feature.prop_map(|(op, default, transforms)| FeatureV1 { op, default, transforms }), 0..12).prop_map(
            move |mut features| {
                put_in_order(&mut features);
                let field = |(index, (scope, ty)): (usize, &(Scope, FieldType))| FieldV1 {
                    id: index as u64 * 7919 + 1,
                    scope: *scope,
                    ty: *ty,
                };
                ProgramV1 {
                    fields: FIELDS.iter().enumerate().map(field).collect(),
                    user_tables: user_tables.clone(),
                    global_tables: global_tables.clone(),
                    history_events: HISTORY,
                    features,
                }
            },
        )
    })
}

/// Breadth first: each element says whether the next open node is an inner one, while there are any left.
fn tree(features: usize) -> impl Strategy<Value = Vec<TreeNode>> {
    let node = (any::<bool>(), finite(), finite(), any::<u16>(), 0..=model::MISSING_LEFT);
    (vec(node, 0..20), finite()).prop_map(move |(choices, leaf)| {
        let mut nodes = Vec::new();
        let mut open = 1;
        for (inner, value, mean, feature, flags) in choices {
            if open == 0 {
                break;
            }
            let inner = inner && features > 0;
            let feature = if inner { feature % features as u16 } else { model::LEAF };
            nodes.push(TreeNode { value, mean, feature, flags });
            open = if inner { open + 1 } else { open - 1 };
        }
        let leaf = TreeNode { value: leaf, mean: leaf, feature: model::LEAF, flags: 0 };
        nodes.extend(std::iter::repeat_n(leaf, open));
        nodes
    })
}

fn weights(features: usize) -> impl Strategy<Value = (ModelKindV1, Weights)> {
    prop_oneof![
        (finite(), vec(finite(), features), vec(finite(), features))
            .prop_map(|(bias, weight, centre)| { (ModelKindV1::Linear { bias }, Weights::Linear { weight, centre }) }),
        (finite(), vec(tree(features), 0..4))
            .prop_map(|(base, trees)| (ModelKindV1::Trees { base }, Weights::Trees(trees))),
        (1_u16..9, finite(), finite(), vec(tree(features), 0..4), any::<u64>()).prop_map(
            |(divisor, scale, bias, trees, seed)| {
                let finish = Finish { divisor: divisor.into(), scale: scale.into(), bias: bias.into() };
                let leaves = trees.iter().flatten().filter(|node| node.feature == model::LEAF).count();
                let leaves = (1..=leaves as u64).map(|at| at.wrapping_mul(seed | 1) as f64 / 3.0).collect();
                (ModelKindV1::DoubleTrees(finish), Weights::DoubleTrees(trees, leaves))
            }
        ),
    ]
}

fn policy() -> impl Strategy<Value = PolicyV1> {
    let field = || select(&ITEM_STRINGS);
    let exclude = (field(), any::<u64>()).prop_map(|(field, value)| ExcludeV1 { field, value });
    let at_most =
        (field(), 1..=u32::MAX, any::<u32>()).prop_map(|(field, count, window)| AtMostV1 { field, count, window });
    let diversity = (0.0..=1.0_f32, vec((field(), 0.0..=1.0_f32), 1..=8))
        .prop_map(|(lambda, fields)| DiversityV1 { lambda, fields });
    (1..=MAX_SLATE, vec(exclude, 0..4), vec(at_most, 0..4), proptest::option::of(diversity))
        .prop_map(|(slate_size, exclude, at_most, diversity)| PolicyV1 { slate_size, exclude, at_most, diversity })
}

fn meta() -> impl Strategy<Value = MetaV1> {
    let feature = (text(), text(), text()).prop_map(|(name, kind, doc)| FeatureName { name, kind, doc });
    (text(), text(), vec(text(), 0..3), vec(feature, 0..3), vec(text(), 0..3), any::<u32>()).prop_map(
        |(name, producer, fields, features, events, shared_refresh_s)| MetaV1 {
            name,
            producer,
            fields,
            features,
            events,
            shared_refresh_s,
        },
    )
}

fn explore() -> impl Strategy<Value = ExploreV1> {
    let kind = prop_oneof![
        (1e-6_f32..=1.0).prop_map(|epsilon| ExploreKindV1::EpsilonGreedy { epsilon }),
        (1e-6_f32..1e6).prop_map(|temperature| ExploreKindV1::Softmax { temperature }),
    ];
    (kind, any::<u64>()).prop_map(|(kind, seed)| ExploreV1 { kind, seed })
}

fn benefit() -> impl Strategy<Value = BenefitV1> {
    // Both numbers of a step rise, and what is saved never passes what is spent.
    let steps = vec((1..1000_u64, 0..1000_u64), 1..5).prop_map(|rises| {
        let rise = |last: &mut (u64, u64), (save, more): (u64, u64)| {
            *last = (last.0 + save, last.1 + save + more);
            Some(TierV1 { save: last.0, spend: last.1 })
        };
        rises.into_iter().scan((0, 0), rise).collect()
    });
    prop_oneof![
        (1..=terms::SHARE).prop_map(|share| BenefitV1::Percent { share }),
        (1..=MAX_MINOR).prop_map(|minor| BenefitV1::Amount { minor }),
        steps.prop_map(|steps| BenefitV1::Tiers { steps }),
        Just(BenefitV1::FreeShipping),
    ]
}

fn offer() -> impl Strategy<Value = OfferV1> {
    let values = btree_set("[a-zé]{1,6}", 1..4).prop_map(|values| values.into_iter().collect());
    let test = ("[a-z]{1,6}", values).prop_map(|(attribute, values)| TestV1 { attribute, values });
    let scope = (vec(test.clone(), 0..3), vec(test, 0..3)).prop_map(|(only, except)| ScopeV1 { only, except });
    let on = select(&[PriceOf::List, PriceOf::Discounted]);
    let stacking = ("[a-z0-9._-]{0,6}", any::<bool>(), any::<i16>(), on)
        .prop_map(|(group, exclusive, priority, on)| StackingV1 { group, exclusive, priority, on });
    (benefit(), 1..=MAX_MINOR, 0..=MAX_MINOR, scope, stacking, 1..=MAX_LIFE_S).prop_map(
        |(benefit, cap, min_spend, scope, stacking, life_s)| OfferV1 {
            offer: String::new(),
            benefit,
            cap,
            min_spend,
            scope,
            stacking,
            life_s,
        },
    )
}

fn terms() -> impl Strategy<Value = TermsV1> {
    let funders = prop_oneof![
        Just(vec![FunderV1 { budget: "all".into(), share: terms::SHARE }]),
        (1..terms::SHARE).prop_map(|share| {
            let funder = |budget: &str, share| FunderV1 { budget: budget.into(), share };
            vec![funder("one", share), funder("other", terms::SHARE - share)]
        }),
    ];
    let offers = btree_map("[a-z0-9._-]{1,6}", offer(), 1..4)
        .prop_map(|offers| offers.into_iter().map(|(name, offer)| OfferV1 { offer: name, ..offer }).collect());
    let campaign = (funders, 0..=terms::SHARE, any::<bool>(), vec("[a-z]{1,6}", 0..3), offers).prop_map(
        |(funders, margin_floor, disclosed, excluded, offers)| CampaignTermsV1 {
            campaign: String::new(),
            funders,
            margin_floor,
            disclosed,
            excluded,
            offers,
        },
    );
    ("[A-Z]{3}", btree_map("[a-z0-9._-]{1,6}", campaign, 0..3)).prop_map(|(currency, campaigns)| TermsV1 {
        currency,
        campaigns: campaigns.into_iter().map(|(campaign, terms)| CampaignTermsV1 { campaign, ..terms }).collect(),
    })
}

/// The user's string in [`FIELDS`]: what a rule may compare.
const USER_STRING: u16 = 5;

/// A rule over these features; at least one test.
fn rule(same: &[u16]) -> impl Strategy<Value = Vec<TestOpV1>> + use<> {
    let is = any::<u64>().prop_map(|value| TestOpV1::Is { field: USER_STRING, value }).boxed();
    let test = if same.is_empty() {
        is
    } else {
        let how =
            select(&[Comparison::Less, Comparison::AtMost, Comparison::More, Comparison::AtLeast, Comparison::Equal]);
        let than = any::<f32>().prop_filter("a number", |than| !than.is_nan());
        let compare = (select(same.to_vec()), how, than).prop_map(|(feature, how, than)| TestOpV1::Compare {
            feature,
            how,
            than,
        });
        let missing = select(same.to_vec()).prop_map(|feature| TestOpV1::Missing { feature });
        prop_oneof![is, compare, missing].boxed()
    };
    let not = proptest::option::of(Just(TestOpV1::Not));
    let both = select(&[TestOpV1::And, TestOpV1::Or]);
    let left = (test.clone(), vec((test.clone(), both.clone(), not), 0..6)).prop_map(|(first, more)| {
        let more = more.into_iter().flat_map(|(test, both, not)| [test, both].into_iter().chain(not));
        std::iter::once(first).chain(more).collect::<Vec<_>>()
    });
    // All tests first: as many values wait as there are tests.
    let right = (test.clone(), vec((test, both), 0..6)).prop_map(|(first, more)| {
        let (tests, ops): (Vec<_>, Vec<_>) = more.into_iter().unzip();
        std::iter::once(first).chain(tests).chain(ops).collect()
    });
    prop_oneof![left, right]
}

fn hours() -> impl Strategy<Value = HoursV1> {
    (1..1_u8 << 7, 0..DAY_MIN, 0..=DAY_MIN).prop_map(|(weekdays, from_min, until_min)| HoursV1 {
        weekdays,
        from_min,
        until_min,
    })
}

/// `count` arms in ladders, faces rising along each.
fn arms(count: usize) -> impl Strategy<Value = Vec<ArmV1>> {
    let numbers = (0.0..1e6_f32, 0.0..1e3_f32, 1..=MAX_LIFE_S);
    (0..3_u8, vec((any::<bool>(), 1..100_000_u64, numbers), count)).prop_map(|(first, arms)| {
        let place = |(ladder, face): &mut (u8, u64),
                     (up, more, (discount, sending, life_s)): (bool, u64, (f32, f32, u32))| {
            (*ladder, *face) = if up { (*ladder + 1, more) } else { (*ladder, *face + more) };
            Some(ArmV1 { ladder: *ladder, discount, sending, face: *face, life_s })
        };
        arms.into_iter().scan((first, 0), place).collect()
    })
}

fn funders(budgets: usize) -> impl Strategy<Value = Vec<(u16, u16)>> {
    let one = (0..budgets as u16).prop_map(|budget| vec![(budget, terms::SHARE)]);
    let two = (1..terms::SHARE).prop_map(move |share| {
        if budgets == 1 {
            vec![(0, terms::SHARE)]
        } else {
            vec![(0, share), (budgets as u16 - 1, terms::SHARE - share)]
        }
    });
    prop_oneof![one, two]
}

/// A campaign without its key, for one of these responses, each of so many arms.
fn campaign(same: &[u16], budgets: usize, responses: &[usize]) -> impl Strategy<Value = CampaignV1> + use<> {
    let margin = if same.is_empty() {
        finite().prop_map(MarginV1::Constant).boxed()
    } else {
        prop_oneof![finite().prop_map(MarginV1::Constant), select(same.to_vec()).prop_map(MarginV1::Feature)].boxed()
    };
    let eligible = prop_oneof![Just(Vec::new()), rule(same)];
    let cap = (select(&[CapBy::User, CapBy::Device]), any::<u32>(), 1..=u32::MAX)
        .prop_map(|(by, period_s, count)| CapV1 { by, period_s, count });
    let when =
        (0..i64::MAX - 1, any::<u32>()).prop_map(|(from, more)| (from, from.saturating_add(1 + i64::from(more))));
    let control = (0..=terms::SHARE, 0..=terms::SHARE, MIN_EPOCH_S..=u32::MAX);
    let value = (select(&[Goal::Revenue, Goal::Profit]), 0.0..10.0_f32, margin, finite());
    let declared = responses.to_vec();
    let chosen = (0..declared.len()).prop_flat_map(move |at| (Just(at as u16), arms(declared[at] - 1)));
    (when, proptest::option::of(hours()), eligible, vec(cap, 0..4), control, value, chosen, funders(budgets)).prop_map(
        |(when, hours, eligible, caps, (holdout, explore, epoch_s), value, (response, arms), funders)| CampaignV1 {
            key: 0,
            from_ms: when.0,
            until_ms: when.1,
            hours,
            eligible,
            caps,
            holdout,
            explore,
            epoch_s,
            goal: value.0,
            caution: value.1,
            margin: value.2,
            margin_floor: value.3,
            response,
            funders,
            arms,
        },
    )
}

/// Campaigns over the features of the program that are the same for all candidates.
fn campaigns(program: &ProgramV1, models: usize) -> impl Strategy<Value = CampaignsV1> + use<> {
    let same = same_for_all(program).into_iter().enumerate().filter(|(_, same)| *same);
    let same: Vec<u16> = same.map(|(at, _)| at as u16).collect();
    let arm = (0..models as u16, finite(), finite(), 0.0..1.0_f32)
        .prop_map(|(model, scale, shift, error)| ArmResponseV1 { model, scale, shift, error });
    let responses = vec(vec(arm, 2..6).prop_map(|arms| ResponseV1 { arms }), 1..3);
    let budgets = btree_map(1..=u64::MAX, any::<u64>(), 1..4).prop_map(|budgets| {
        let budget = |(key, highest_price_micros)| BudgetV1 { key, highest_price_micros };
        budgets.into_iter().map(budget).collect::<Vec<_>>()
    });
    (budgets, responses).prop_flat_map(move |(budgets, responses)| {
        let arms: Vec<usize> = responses.iter().map(|response| response.arms.len()).collect();
        let campaigns = btree_map(1..=u64::MAX, campaign(&same, budgets.len(), &arms), 0..3);
        campaigns.prop_map(move |campaigns| CampaignsV1 {
            budgets: budgets.clone(),
            responses: responses.clone(),
            campaigns: campaigns.into_iter().map(|(key, campaign)| CampaignV1 { key, ..campaign }).collect(),
        })
    })
}

pub(crate) fn bundle() -> impl Strategy<Value = Bundle> {
    let optional = (proptest::option::of(explore()), proptest::option::of(meta()), proptest::option::of(terms()));
    (program(), policy(), optional).prop_flat_map(|(program, policy, (explore, meta, terms))| {
        let link = select(&[Link::Identity, Link::Logistic]);
        let models = vec((weights(program.features.len()), link), 1..3);
        let with_campaigns = models.prop_flat_map({
            let program = program.clone();
            move |models| {
                let campaigns = proptest::option::of(campaigns(&program, models.len()));
                (Just(models), campaigns)
            }
        });
        with_campaigns.prop_map(move |(models, campaigns)| {
            let (models, weights): (Vec<_>, Vec<_>) =
                models.into_iter().map(|((kind, weights), link)| (ModelV1 { kind, link }, weights)).unzip();
            let last = models.len() as u16 - 1;
            let stages = (0..=last).map(|model| StageV1 { model, keep: u32::from(last - model) * 7 }).collect();
            Bundle {
                meta: meta.clone(),
                program: program.clone(),
                models: ModelsV1 { models, stages },
                weights,
                policy: policy.clone(),
                campaigns,
                explore,
                terms: terms.clone(),
            }
        })
    })
}

fn field_values(items: usize) -> impl Strategy<Value = FieldValues> {
    // Few keys, so that values repeat and some are missing.
    let key = || prop_oneof![0..4_u64, any::<u64>()];
    prop_oneof![
        vec(number(), items).prop_map(FieldValues::Number),
        vec(any::<i64>(), items).prop_map(FieldValues::Time),
        vec(key(), items).prop_map(FieldValues::String),
        vec(btree_set(key(), 0..4), items)
            .prop_map(|rows| FieldValues::Tokens(rows.into_iter().map(|row| row.into_iter().collect()).collect())),
    ]
}

fn shared_table(id: u64) -> impl Strategy<Value = TableParts> {
    (btree_set(any::<u64>(), 0..20), btree_map(any::<u64>(), decay(), 0..4)).prop_flat_map(move |(keys, columns)| {
        let values = vec(vec(finite(), keys.len()), columns.len());
        (vec(any::<u32>(), keys.len()), values, any::<u32>(), vec(finite(), columns.len())).prop_map(
            move |(last, values, total_last, totals)| TableParts {
                id,
                columns: columns.clone().into_iter().collect(),
                keys: keys.iter().copied().collect(),
                last,
                values,
                total_last,
                totals,
            },
        )
    })
}

pub(crate) fn shared() -> impl Strategy<Value = Shared> {
    (any::<i64>(), btree_set(any::<u64>(), 0..20), 0..4_u64).prop_flat_map(|(as_of_ms, items, tables)| {
        let fields = btree_map(any::<u64>(), field_values(items.len()), 0..4);
        (fields, (0..tables).map(shared_table).collect::<Vec<_>>()).prop_map(move |(fields, tables)| {
            let items = items.iter().copied().collect();
            Shared(SharedParts { as_of_ms, items, fields: fields.into_iter().collect(), tables })
        })
    })
}

fn profile() -> impl Strategy<Value = Section> {
    let value = prop_oneof![
        number().prop_map(ProfileValue::Number),
        any::<u64>().prop_map(ProfileValue::String),
        any::<i64>().prop_map(ProfileValue::Time),
    ];
    btree_map(any::<u64>(), (any::<u32>(), value), 0..5).prop_map(|entries| {
        Section::Profile(
            entries.into_iter().map(|(field, (last, value))| ProfileEntry { field, last, value }).collect(),
        )
    })
}

fn state_table(id: u64) -> impl Strategy<Value = Section> {
    btree_map(any::<u64>(), 1..4_usize, 0..4).prop_flat_map(move |columns| {
        let cells = columns.values().sum::<usize>();
        let rows = btree_map(any::<u32>(), (any::<u32>(), vec(finite(), cells)), 0..5);
        ((any::<u32>(), vec(finite(), cells)), rows).prop_map(move |(total, rows)| {
            let rows = rows.into_iter().map(|(key, (last, cells))| (key, last, cells)).collect();
            Section::Table { id, columns: columns.clone().into_iter().collect(), total, rows }
        })
    })
}

fn history() -> impl Strategy<Value = Section> {
    let event =
        (any::<u32>(), any::<u32>(), any::<u64>()).prop_map(|(last, event, item)| HistoryEntry { last, event, item });
    vec(event, 0..6).prop_map(|mut events| {
        events.sort_unstable_by(|one, other| other.cmp(one));
        Section::History(events)
    })
}

fn sections() -> impl Strategy<Value = Vec<Section>> {
    let tables =
        btree_set(any::<u64>(), 0..3).prop_flat_map(|ids| ids.into_iter().map(state_table).collect::<Vec<_>>());
    let opaque = btree_map(FIRST_OPAQUE..=u16::MAX, bytes(9), 0..3);
    (proptest::option::of(profile()), tables, proptest::option::of(history()), opaque).prop_map(
        |(profile, tables, history, opaque)| {
            let opaque = opaque.into_iter().map(|(tag, payload)| Section::Opaque(tag, payload));
            profile.into_iter().chain(tables).chain(history).chain(opaque).collect()
        },
    )
}

pub(crate) fn state() -> impl Strategy<Value = State> {
    btree_map(any::<u64>(), (any::<u64>(), sections()), 0..4).prop_map(|parts| {
        State(parts.into_iter().map(|(device, (sequence, sections))| Part { device, sequence, sections }).collect())
    })
}

fn values(rows: usize) -> impl Strategy<Value = Values> {
    prop_oneof![
        vec(number(), rows).prop_map(Values::Number),
        vec(word(), rows).prop_map(Values::String),
        vec(vec(word(), 0..3), rows).prop_map(Values::Tokens),
        vec(any::<i64>(), rows).prop_map(Values::Time),
    ]
}

fn columns(candidates: usize) -> impl Strategy<Value = Vec<RequestColumn>> {
    let column = select(&[Scope::Item, Scope::User, Scope::Context]).prop_flat_map(move |scope| {
        values(if scope == Scope::Item { candidates } else { 1 }).prop_map(move |values| (scope, values))
    });
    btree_map(any::<u64>(), column, 0..5).prop_map(|columns| {
        columns.into_iter().map(|(field, (scope, values))| RequestColumn { field, scope, values }).collect()
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    let budgets = btree_map(any::<u64>(), any::<[u64; 2]>(), 0..4).prop_map(|budgets| {
        let now = |(key, [price_micros, left]): (u64, [u64; 2])| BudgetNow { key, price_micros, left };
        budgets.into_iter().map(now).collect()
    });
    let count = any::<(u64, u32, u32)>().prop_map(|(campaign, cap, count)| CapCount { campaign, cap, count });
    (any::<u64>(), any::<Option<[u8; 16]>>(), budgets, vec(count, 0..4))
        .prop_map(|(campaign, draw, budgets, counts)| Asked { campaign, draw, budgets, counts })
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let state = prop_oneof![Just(Vec::new()), state().prop_map(|state| crate::content::Content::encode(&state))];
    vec(word(), 0..6).prop_flat_map(move |ids| {
        let count = ids.len() as u32;
        let most = if count == 0 { 0 } else { 3 };
        let fixed = (any::<[u8; 16]>(), 0..=MAX_TIME_MS, -1440..=1440_i32, any::<u32>(), any::<u32>());
        let pins = vec((0..count.max(1), any::<u32>()).prop_map(|(candidate, slot)| [candidate, slot]), 0..=most);
        let exclude = vec(0..count.max(1), 0..=most);
        (fixed, state.clone(), pins, exclude, columns(ids.len()), proptest::option::of(asked())).prop_map(
            move |(
                (request_id, time_ms, utc_offset_min, slate_size, reasons),
                state,
                pins,
                exclude,
                columns,
                offer,
            )| {
                Request {
                    request_id,
                    time_ms,
                    utc_offset_min,
                    slate_size,
                    reasons,
                    ids: ids.clone(),
                    state,
                    pins: pins.concat(),
                    exclude,
                    columns,
                    offer,
                }
            },
        )
    })
}

/// Every status and reason.
pub(crate) const OFFER_STATUSES: [OfferStatus; 11] = [
    OfferStatus::Offered,
    OfferStatus::HeldOut,
    OfferStatus::None(NoOffer::NoCampaign),
    OfferStatus::None(NoOffer::OutsideWindow),
    OfferStatus::None(NoOffer::NotEligible),
    OfferStatus::None(NoOffer::Capped),
    OfferStatus::None(NoOffer::NoBudget),
    OfferStatus::None(NoOffer::MarginFloor),
    OfferStatus::None(NoOffer::NotWorthIt),
    OfferStatus::None(NoOffer::Fallback),
    OfferStatus::None(NoOffer::Drawn),
];

fn answer() -> impl Strategy<Value = Answer> {
    let arm = (any::<u32>(), number(), number(), number(), number())
        .prop_map(|(masked, response, value, cost, score)| ArmParts { masked, response, value, cost, score });
    let fixed = (any::<u64>(), any::<i64>(), select(&OFFER_STATUSES), any::<bool>(), number());
    (fixed, vec(arm, 0..5), any::<u32>(), any::<u32>()).prop_map(
        |((campaign, epoch, status, drawn, propensity), arms, arm, best)| {
            let count = arms.len() as u32;
            // Something other than nothing is offered only if there is such an arm.
            let status = if count < 2 && status == OfferStatus::Offered { OfferStatus::HeldOut } else { status };
            let arm = if status == OfferStatus::Offered { 1 + arm % (count - 1) } else { 0 };
            let best = best % count.max(1);
            Answer { campaign, epoch, status, arm, best, drawn, propensity, arms }
        },
    )
}

pub(crate) fn decision() -> impl Strategy<Value = Decision> {
    let status = select(&[
        DecisionStatus::Personalized,
        DecisionStatus::Degraded(DegradedReason::CostLimit),
        DecisionStatus::Control(ControlReason::Holdout),
        DecisionStatus::Fallback(FallbackReason::InvalidRequest),
        DecisionStatus::Fallback(FallbackReason::InvalidState),
        DecisionStatus::Fallback(FallbackReason::TooManyCandidates),
        DecisionStatus::Fallback(FallbackReason::CostLimit),
        DecisionStatus::Fallback(FallbackReason::NoCandidates),
        DecisionStatus::Fallback(FallbackReason::NotLoaded),
    ]);
    let ids = (any::<[u8; 16]>(), any::<[u8; 32]>(), any::<[u8; 32]>());
    (ids, status, 1..=u32::MAX, 0..4_u32, any::<u64>(), any::<u16>(), number()).prop_flat_map(
        |((request_id, bundle_id, shared_id), status, candidates, contributions, cost, error, base)| {
            let reasons = vec((0..u32::MAX, number()), 0..=contributions as usize);
            let slot = (0..candidates, number(), number(), any::<u32>(), reasons).prop_map(
                |(candidate, score, propensity, rules, reasons)| Slot { candidate, score, propensity, rules, reasons },
            );
            (vec(slot, 0..6), proptest::option::of(answer())).prop_map(move |(slots, offer)| Decision {
                request_id,
                bundle_id,
                shared_id,
                status,
                candidates,
                contributions,
                cost,
                error,
                base,
                slots,
                offer,
            })
        },
    )
}

pub(crate) fn log() -> impl Strategy<Value = Log> {
    let decision = || vec(any::<u8>(), 1..=40);
    let full = (bytes(40), decision()).prop_map(|(request, decision)| Record::Full { request, decision });
    let digest = (any::<i64>(), any::<u64>(), vec(any::<u64>(), 0..4), decision())
        .prop_map(|(time_ms, request_hash, items, decision)| Record::Digest { time_ms, request_hash, items, decision });
    let outcome = (any::<[u8; 16]>(), any::<i64>(), any::<[u64; 3]>(), finite()).prop_map(
        |(request_id, time_ms, [item, event, id], value)| {
            Record::Outcome(Outcome { request_id, time_ms, item, event, id, value })
        },
    );
    vec(prop_oneof![full, digest, outcome], 0..4).prop_map(Log)
}

pub(crate) fn head() -> impl Strategy<Value = Head> {
    let blob = || (any::<[u8; 32]>(), 64_u32..).prop_map(|(id, size)| BlobV1 { id, size });
    let rollout = (blob(), proptest::option::of(blob()), 1..SHARE, any::<u64>());
    let rollout = rollout.prop_map(|(bundle, shared, share, salt)| RolloutV1 { bundle, shared, share, salt });
    let prices = btree_map("[a-z0-9._-]{1,64}", any::<u64>(), 0..5);
    let guard = (0..=SHARE, 1_u32..);
    let guard = guard.prop_map(|(max_fallback_share, min_decisions)| GuardV1 { max_fallback_share, min_decisions });
    let times = (0..i64::MAX, 0..i64::MAX).prop_map(|(issued_ms, not_before_ms)| (issued_ms, not_before_ms));
    let deployed = (blob(), proptest::option::of(blob()), proptest::option::of(rollout));
    let signed = (any::<[u8; 8]>(), any::<[u8; 32]>(), any::<[u8; 32]>());
    ("[a-z0-9._-]{1,64}", 1_u64.., times, deployed, (prices, proptest::option::of(guard), any::<bool>()), signed)
        .prop_map(|(channel, sequence, times, deployed, (prices, guard, killed), (key, first, second))| Head {
            key,
            signature: [first, second].concat().try_into().unwrap(),
            head: HeadV1 {
                channel,
                sequence,
                issued_ms: times.0,
                not_before_ms: times.1,
                not_after_ms: times.1 + 1,
                bundle: deployed.0,
                shared: deployed.1,
                rollout: deployed.2,
                prices: prices.into_iter().map(|(budget, price_micros)| PriceV1 { budget, price_micros }).collect(),
                guard,
                killed,
            },
        })
}

//! Offers: who is asked, what an arm is worth, and how probable what happened was, each against plain arithmetic.

use proptest::prelude::*;
use selvedge_engine::{Engine, Limits};
use selvedge_format::campaign::{
    ArmResponseV1, ArmV1, BudgetV1, CampaignV1, CampaignsV1, CapBy, CapV1, Comparison, Goal, HoursV1, MarginV1,
    ResponseV1, TestOpV1,
};
use selvedge_format::container::{ContainerBuilder, Kind};
use selvedge_format::decision::{ArmParts, DecisionView, NoOffer, OfferStatus, OfferView};
use selvedge_format::model::{
    LinearWeights, Link, ModelKindV1, ModelV1, ModelsV1, StageV1, WEIGHTS_TAG, WEIGHTS_VERSION,
};
use selvedge_format::program::{OpV1, ProgramV1, Scope};
use selvedge_format::request::{BudgetNow, CapCount, NO_PRICE};
use selvedge_format::{campaign, key, model, policy, program};
use selvedge_wire::{RequestBuilder, Values};

use crate::support::*;

const SPRING: u64 = 7;
const SHOP: u64 = 100;
const BRAND_FUND: u64 = 200;
const PRICE_OF_ITEM: usize = 0;
const AGE_OF_USER: u16 = 1;
const BUDGET_OF_CONTEXT: u16 = 2;

/// One feature of the item, one of the user, one of the context.
fn world_program() -> ProgramV1 {
    program([OpV1::Number { field: PRICE }, OpV1::Number { field: AGE }, OpV1::Number { field: BUDGET }])
}

/// Weights of age and budget, and the bias.
type Weights = (f32, f32, f32);

fn bundle_with(campaigns: &CampaignsV1, models: &[Weights]) -> Vec<u8> {
    let program = world_program();
    let declared = |bias| ModelV1 { kind: ModelKindV1::Linear { bias }, link: Link::Identity };
    let directory = ModelsV1 {
        models: std::iter::once(0.0).chain(models.iter().map(|(.., bias)| *bias)).map(declared).collect(),
        stages: vec![StageV1 { model: 0, keep: 0 }],
    };
    let mut builder = ContainerBuilder::new(Kind::Bundle)
        .required(program::TAG, program::VERSION, program.encode())
        .required(policy::TAG, policy::VERSION, policy(6).encode())
        .required(model::TAG, model::VERSION, directory.encode())
        .required(campaign::TAG, campaign::VERSION, campaigns.encode())
        .required(WEIGHTS_TAG, WEIGHTS_VERSION, LinearWeights::encode(&[1.0, 0.0, 0.0], &[0.0; 3]));
    for (tag, (age, budget, _)) in (WEIGHTS_TAG + 1..).zip(models) {
        let weights = LinearWeights::encode(&[0.0, *age, *budget], &[0.0; 3]);
        builder = builder.required(tag, WEIGHTS_VERSION, weights);
    }
    builder.build()
}

fn offering(campaigns: &CampaignsV1, models: &[Weights]) -> Engine {
    engine(&bundle_with(campaigns, models), Limits::default())
}

/// A campaign for everyone at any time, whose arms are paid by two budgets.
fn open_campaign(arms: Vec<ArmV1>) -> CampaignV1 {
    CampaignV1 {
        key: SPRING,
        from_ms: 0,
        until_ms: 2 * NOW_MS,
        hours: None,
        eligible: vec![],
        caps: vec![],
        holdout: 0,
        explore: 0,
        epoch_s: 86_400,
        goal: Goal::Profit,
        caution: 0.0,
        margin: MarginV1::Constant(2_000.0),
        margin_floor: 0.0,
        response: 0,
        funders: vec![(0, 6_000), (1, 4_000)],
        arms,
    }
}

fn arm_of(ladder: u8, face: u64) -> ArmV1 {
    ArmV1 { ladder, discount: face as f32 * 0.8, sending: 1.0, face, life_s: 3_600 }
}

fn all_of(campaign: CampaignV1) -> CampaignsV1 {
    let arms = (0..=campaign.arms.len()).map(|arm| ArmResponseV1 {
        model: arm as u16 + 1,
        scale: 1.0,
        shift: 0.0,
        error: 0.01,
    });
    let budget = |key| BudgetV1 { key, highest_price_micros: 3_000_000 };
    CampaignsV1 {
        budgets: vec![budget(SHOP), budget(BRAND_FUND)],
        responses: vec![ResponseV1 { arms: arms.collect() }],
        campaigns: vec![campaign],
    }
}

fn asking(age: f32, budget: f32) -> RequestBuilder {
    RequestBuilder::new([3; 16], NOW_MS, ["a", "b", "c"])
        .column(Scope::Item, "price", Values::Numbers(&[1.0, f32::INFINITY, 2.0]))
        .column(Scope::User, "age", Values::Numbers(&[age]))
        .column(Scope::Context, "budget", Values::Numbers(&[budget]))
}

fn at_price(price: f64) -> [BudgetNow; 2] {
    let now = |key| BudgetNow { key, price_micros: (price * 1e6) as u64, left: u64::MAX };
    [now(SHOP), now(BRAND_FUND)]
}

/// What the engine answers; arms as a list.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    status: OfferStatus,
    arm: usize,
    best: usize,
    propensity: f32,
    arms: Vec<ArmParts>,
}

fn ask(engine: &mut Engine, request: &RequestBuilder) -> Answer {
    let bytes = engine.decide(&request.build()).to_vec();
    let decision = DecisionView::parse(&bytes).expect("a valid decision");
    let OfferView { status, arm, best, propensity, .. } = decision.offer.expect("an answer");
    let arms = decision.offer.expect("an answer").arms().collect();
    Answer { status, arm: arm as usize, best: best as usize, propensity, arms }
}

fn weights() -> impl Strategy<Value = Vec<Weights>> {
    prop::collection::vec((-0.05_f32..0.05, -0.05_f32..0.05, -3.0_f32..1.0), 5)
}

/// Four arms: a ladder of three, and one beside it.
fn four_arms() -> Vec<ArmV1> {
    vec![arm_of(0, 100), arm_of(0, 300), arm_of(0, 700), arm_of(1, 200)]
}

proptest! {
    /// Chances, values, costs and scores are those of the formulas, in double precision, and the best one wins.
    #[test]
    fn an_arm_is_worth_its_uplift_minus_the_price_of_its_cost(
        models in weights(),
        (age, budget) in (0.0_f32..80.0, 0.0_f32..50.0),
        (price, caution) in (0.0_f64..3.0, 0.0_f32..2.0),
        is_profit in any::<bool>(),
    ) {
        let goal = if is_profit { Goal::Profit } else { Goal::Revenue };
        let campaign = CampaignV1 { goal, caution, ..open_campaign(four_arms()) };
        let arms = campaign.arms.clone();
        let mut engine = offering(&all_of(campaign), &models);
        let answer = ask(&mut engine, &asking(age, budget).offer(SPRING, None, &at_price(price), &[]));

        let chance = |(a, b, bias): &Weights| {
            1.0 / (1.0 + (-f64::from(a * age + b * budget + bias)).exp())
        };
        let mut chances: Vec<f64> = models.iter().map(chance).collect();
        // Along the ladder of the first three arms the chance does not fall.
        chances[2] = chances[2].max(chances[1]);
        chances[3] = chances[3].max(chances[2]);
        let of_cost = price + if is_profit { 1.0 } else { 0.0 };
        let mut scores = vec![0.0];
        for (at, arm) in arms.iter().enumerate() {
            let (p, d) = (chances[at + 1], f64::from(arm.discount));
            let value = (p - chances[0]) * 2_000.0;
            let cost = p * d + 1.0;
            let error = (0.01 * (2_000.0 - of_cost * d)).hypot(0.01 * 2_000.0);
            scores.push(value - of_cost * cost - f64::from(caution) * error);
            let found = answer.arms[at + 1];
            // A chance in single precision, times what is at stake.
            let near = |found: f32, expected: f64, by: f64| (f64::from(found) - expected).abs() < by;
            prop_assert!(near(found.response, p, 1e-5) && near(found.value, value, 0.02), "{found:?}: {p}, {value}");
            prop_assert!(near(found.cost, cost, 0.02), "{found:?}: {cost}");
            prop_assert!((f64::from(found.score) - scores[at + 1]).abs() < 0.05, "{found:?}: {}", scores[at + 1]);
        }
        let best = answer.best;
        prop_assert!(scores.iter().all(|score| *score <= scores[best] + 0.1), "{scores:?}: {best}");
        prop_assert_eq!(answer.arm, best, "a preview shows the best arm");
        let expected = if best == 0 { OfferStatus::None(NoOffer::NotWorthIt) } else { OfferStatus::Offered };
        prop_assert_eq!(answer.status, expected);
        prop_assert!(answer.propensity.is_nan());
    }

    /// A dearer budget never buys a dearer arm.
    #[test]
    fn the_cost_of_what_is_offered_falls_with_the_price(models in weights(), age in 0.0_f32..80.0) {
        let mut engine = offering(&all_of(open_campaign(four_arms())), &models);
        let mut last = f32::INFINITY;
        for step in 0..40 {
            let price = f64::from(step) * 0.1;
            let answer = ask(&mut engine, &asking(age, 1.0).offer(SPRING, None, &at_price(price), &[]));
            let cost = answer.arms[answer.best].cost;
            prop_assert!(cost <= last, "{cost} after {last} at {price}");
            last = cost;
        }
    }

    /// A rule in postfix says what the same rule says as nested tests.
    #[test]
    fn rules_hold_when_their_tests_do(rule in rule(), age in number(), budget in number(), home in 0..BRANDS.len()) {
        let mut ops = Vec::new();
        flatten(&rule, &mut ops);
        let campaign = CampaignV1 { eligible: ops, ..open_campaign(four_arms()) };
        let mut engine = offering(&all_of(campaign), &[(0.0, 0.0, 0.0); 5]);
        let request = asking(age, budget).column(Scope::User, "home", Values::Strings(&[BRANDS[home]]));
        let answer = ask(&mut engine, &request.offer(0, None, &at_price(0.0), &[]));
        let is_refused = answer.status == OfferStatus::None(NoOffer::NotEligible);
        prop_assert_eq!(!is_refused, holds(&rule, age, budget, BRANDS[home]));
    }

    /// Asking for an offer changes nothing of the slate.
    #[test]
    fn the_slate_does_not_see_the_offer(models in weights(), age in number()) {
        let mut engine = offering(&all_of(open_campaign(four_arms())), &models);
        let plain = engine.decide(&asking(age, 1.0).build()).to_vec();
        let asked = engine.decide(&asking(age, 1.0).offer(0, None, &[], &[]).build()).to_vec();
        let (plain, asked) = (DecisionView::parse(&plain).unwrap(), DecisionView::parse(&asked).unwrap());
        let slate = |view: &DecisionView<'_>| {
            let scores = view.scores.iter().map(f32::to_bits);
            view.slots.iter().zip(scores).collect::<Vec<_>>()
        };
        prop_assert_eq!(slate(&plain), slate(&asked));
        prop_assert!(plain.offer.is_none() && asked.offer.is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The probabilities of the arms, as each is logged when it happens, sum to 1, and arms happen as often as they say.
    #[test]
    fn what_happens_happens_as_often_as_it_says(
        models in weights(),
        (holdout, explore) in (0_u16..5_000, 1_000_u16..10_000),
    ) {
        const DRAWS: u64 = 2_000;
        let campaign = CampaignV1 { holdout, explore, ..open_campaign(four_arms()) };
        let mut engine = offering(&all_of(campaign), &models);
        let (mut seen, mut said) = (vec![0_u32; 5], vec![f64::NAN; 5]);
        for nth in 0..DRAWS {
            let draw = (u128::from(nth) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            let mixed = (draw ^ (draw >> 61)).wrapping_mul(0xbf58_476d_1ce4_e5b9_94d0_49bb_1331_11eb);
            let draw = (mixed ^ (mixed >> 59)).to_be_bytes();
            let answer = ask(&mut engine, &asking(30.0, 1.0).offer(SPRING, Some(draw), &at_price(0.1), &[]));
            seen[answer.arm] += 1;
            let probability = f64::from(answer.propensity);
            prop_assert!(said[answer.arm].is_nan() || said[answer.arm] == probability);
            said[answer.arm] = probability;
        }
        let sum: f64 = said.iter().filter(|said| !said.is_nan()).sum();
        prop_assert!((sum - 1.0).abs() < 1e-5, "{said:?}");
        for (seen, said) in seen.iter().zip(&said).filter(|(_, said)| !said.is_nan()) {
            let (mean, deviation) = (said * DRAWS as f64, (said * (1.0 - said) * DRAWS as f64).sqrt());
            prop_assert!((f64::from(*seen) - mean).abs() < 6.0 * deviation + 1.0, "{seen} of {mean}");
        }
    }
}

#[derive(Clone, Debug)]
enum Rule {
    Test(TestOpV1),
    And(Box<Rule>, Box<Rule>),
    Or(Box<Rule>, Box<Rule>),
    Not(Box<Rule>),
}

fn rule() -> impl Strategy<Value = Rule> {
    let how = prop::sample::select(vec![
        Comparison::Less,
        Comparison::AtMost,
        Comparison::More,
        Comparison::AtLeast,
        Comparison::Equal,
    ]);
    let feature = prop::sample::select(vec![AGE_OF_USER, BUDGET_OF_CONTEXT]);
    let test = prop_oneof![
        (feature.clone(), how, -50.0_f32..50.0).prop_map(|(feature, how, than)| TestOpV1::Compare {
            feature,
            how,
            than
        }),
        feature.prop_map(|feature| TestOpV1::Missing { feature }),
        (0..BRANDS.len()).prop_map(|home| TestOpV1::Is { field: HOME, value: key(BRANDS[home].as_bytes()) }),
    ];
    test.prop_map(Rule::Test).prop_recursive(5, 40, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Rule::And(a.into(), b.into())),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Rule::Or(a.into(), b.into())),
            inner.prop_map(|a| Rule::Not(a.into())),
        ]
    })
}

fn flatten(rule: &Rule, ops: &mut Vec<TestOpV1>) {
    match rule {
        Rule::Test(test) => ops.push(*test),
        Rule::And(a, b) | Rule::Or(a, b) => {
            flatten(a, ops);
            flatten(b, ops);
            ops.push(if matches!(rule, Rule::And(..)) { TestOpV1::And } else { TestOpV1::Or });
        }
        Rule::Not(a) => {
            flatten(a, ops);
            ops.push(TestOpV1::Not);
        }
    }
}

fn holds(rule: &Rule, age: f32, budget: f32, home: &str) -> bool {
    // A number that is not finite is missing.
    let known = |value: f32| if value.is_finite() { value } else { f32::NAN };
    let feature = |feature: u16| known(if feature == AGE_OF_USER { age } else { budget });
    match rule {
        Rule::Test(TestOpV1::Compare { feature: of, how, than }) => {
            let value = feature(*of);
            match how {
                Comparison::Less => value < *than,
                Comparison::AtMost => value <= *than,
                Comparison::More => value > *than,
                Comparison::AtLeast => value >= *than,
                Comparison::Equal => value == *than,
            }
        }
        Rule::Test(TestOpV1::Missing { feature: of }) => feature(*of).is_nan(),
        Rule::Test(TestOpV1::Is { value, .. }) => key(home.as_bytes()) == *value,
        Rule::Test(_) => unreachable!("tests alone are leaves"),
        Rule::And(a, b) => holds(a, age, budget, home) && holds(b, age, budget, home),
        Rule::Or(a, b) => holds(a, age, budget, home) || holds(b, age, budget, home),
        Rule::Not(a) => !holds(a, age, budget, home),
    }
}

/// Without any offer hardly anybody responds, with one everybody does: whatever can be offered is.
const EAGER: [Weights; 5] = [(0.0, 0.0, -6.0), (0.0, 0.0, 6.0), (0.0, 0.0, 6.0), (0.0, 0.0, 6.0), (0.0, 0.0, 6.0)];

fn status_of(campaign: CampaignV1, change: impl FnOnce(RequestBuilder) -> RequestBuilder) -> OfferStatus {
    let mut engine = offering(&all_of(campaign), &EAGER);
    ask(&mut engine, &change(asking(30.0, 1.0))).status
}

#[test]
fn a_campaign_runs_within_its_window_and_its_local_hours() {
    let asked = |campaign: CampaignV1, utc_offset_min| {
        status_of(campaign, |request| request.utc_offset_min(utc_offset_min).offer(SPRING, None, &at_price(0.1), &[]))
    };
    let open = || open_campaign(four_arms());
    let outside = OfferStatus::None(NoOffer::OutsideWindow);
    assert_eq!(asked(CampaignV1 { from_ms: NOW_MS, ..open() }, 0), OfferStatus::Offered);
    assert_eq!(asked(CampaignV1 { from_ms: NOW_MS + 1, ..open() }, 0), outside);
    assert_eq!(asked(CampaignV1 { until_ms: NOW_MS, ..open() }, 0), outside);
    // NOW is Wednesday, 2026-11-18, 11:06:40 UTC.
    let hours = |weekdays, from_min, until_min| Some(HoursV1 { weekdays, from_min, until_min });
    let (tuesday, wednesday, eleven) = (1 << 1, 1 << 2, 11 * 60);
    assert_eq!(asked(CampaignV1 { hours: hours(wednesday, eleven, eleven + 7), ..open() }, 0), OfferStatus::Offered);
    assert_eq!(asked(CampaignV1 { hours: hours(wednesday, eleven, eleven + 6), ..open() }, 0), outside);
    assert_eq!(asked(CampaignV1 { hours: hours(tuesday, eleven, eleven + 7), ..open() }, 0), outside);
    // In Honolulu it is an hour after midnight, which is within the night that began on Tuesday.
    assert_eq!(asked(CampaignV1 { hours: hours(tuesday, 22 * 60, 120), ..open() }, -600), OfferStatus::Offered);
    assert_eq!(asked(CampaignV1 { hours: hours(wednesday, 22 * 60, 120), ..open() }, -600), outside);
}

#[test]
fn caps_budgets_and_the_margin_floor_hold_offers_back() {
    let open = || open_campaign(four_arms());
    let none = |reason| OfferStatus::None(reason);
    let capped = || CampaignV1 { caps: vec![CapV1 { by: CapBy::User, period_s: 0, count: 2 }], ..open() };
    let counted = |count, campaign| {
        status_of(capped(), |request| request.offer(0, None, &at_price(0.1), &[CapCount { campaign, cap: 0, count }]))
    };
    assert_eq!(counted(1, SPRING), OfferStatus::Offered);
    assert_eq!(counted(2, SPRING), none(NoOffer::Capped));
    assert_eq!(counted(2, SPRING + 1), OfferStatus::Offered, "another campaign's count");

    let with_budget = |price_micros, left| {
        let now = [BudgetNow { key: SHOP, price_micros, left }, at_price(0.1)[1]];
        status_of(open(), |request| request.offer(SPRING, None, &now, &[]))
    };
    assert_eq!(with_budget(NO_PRICE, u64::MAX), none(NoOffer::NoBudget));
    assert_eq!(with_budget(100_000, 59), none(NoOffer::NoBudget), "60 % of the smallest face are 60");
    assert_eq!(with_budget(100_000, 60), OfferStatus::Offered);

    let floor = |margin_floor| {
        status_of(CampaignV1 { margin_floor, ..open() }, |request| request.offer(SPRING, None, &at_price(0.1), &[]))
    };
    assert_eq!(floor(1_920.0), OfferStatus::Offered, "the smallest offer leaves 1,920 of 2,000");
    assert_eq!(floor(1_921.0), none(NoOffer::MarginFloor));
}

#[test]
fn a_floor_of_nothing_is_none() {
    // A margin of 90 is less than every discount: what is not worth it is not offered for that reason, not for a floor.
    let status = |margin_floor| {
        let campaign =
            CampaignV1 { margin: MarginV1::Constant(90.0), margin_floor, ..open_campaign(vec![arm_of(0, 200)]) };
        status_of(campaign, |request| request.offer(SPRING, None, &at_price(0.1), &[]))
    };
    assert_eq!(status(0.0), OfferStatus::None(NoOffer::NotWorthIt));
    assert_eq!(status(0.5), OfferStatus::None(NoOffer::MarginFloor));
}

#[test]
fn a_budget_of_which_nothing_is_said_costs_its_highest_price() {
    let mut engine = offering(&all_of(open_campaign(four_arms())), &EAGER);
    let unsaid = ask(&mut engine, &asking(30.0, 1.0).offer(SPRING, None, &[], &[]));
    let highest = ask(&mut engine, &asking(30.0, 1.0).offer(SPRING, None, &at_price(3.0), &[]));
    assert_eq!(format!("{unsaid:?}"), format!("{highest:?}"));
}

#[test]
fn who_is_held_out_gets_nothing_and_it_is_known_how_probable_that_was() {
    let campaign = CampaignV1 { holdout: 2_500, ..open_campaign(four_arms()) };
    let mut engine = offering(&all_of(campaign), &EAGER);
    let mut drawn =
        |draw: [u8; 16]| ask(&mut engine, &asking(30.0, 1.0).offer(SPRING, Some(draw), &at_price(0.1), &[]));
    let (held_out, offered) = (drawn([0; 16]), drawn([0xff; 16]));
    assert_eq!((held_out.status, held_out.arm, held_out.propensity), (OfferStatus::HeldOut, 0, 0.25));
    assert_eq!((offered.status, offered.propensity), (OfferStatus::Offered, 0.75));
    assert_eq!(held_out.best, offered.best, "what would have been offered is known as well");
}

#[test]
fn without_knowing_the_user_there_is_no_offer() {
    let mut engine = offering(&all_of(open_campaign(four_arms())), &EAGER);
    let mut status = |request: RequestBuilder| ask(&mut engine, &request.offer(0, None, &[], &[])).status;
    let fallback = OfferStatus::None(NoOffer::Fallback);
    assert_eq!(status(asking(30.0, 1.0).state(b"no state")), fallback);
    assert_eq!(status(RequestBuilder::new([0; 16], NOW_MS, [])), fallback);
    // A margin that is a feature of the user which is missing.
    let unknown = CampaignV1 { margin: MarginV1::Feature(AGE_OF_USER), ..open_campaign(four_arms()) };
    let mut engine = offering(&all_of(unknown), &EAGER);
    let answer = ask(&mut engine, &asking(f32::NAN, 1.0).offer(0, None, &at_price(0.0), &[]));
    assert_eq!((answer.status, answer.arm), (OfferStatus::None(NoOffer::NotWorthIt), 0));
}

#[test]
fn of_several_campaigns_the_first_that_takes_the_user_decides() {
    let young = vec![TestOpV1::Compare { feature: AGE_OF_USER, how: Comparison::Less, than: 26.0 }];
    let first = CampaignV1 { key: 1, eligible: young, ..open_campaign(four_arms()) };
    let mut campaigns = all_of(first);
    campaigns.campaigns.push(CampaignV1 { key: 2, ..open_campaign(four_arms()) });
    let mut engine = offering(&campaigns, &EAGER);
    let mut decided = |age, campaign| {
        let request = asking(age, 1.0).offer(campaign, None, &at_price(0.1), &[]).build();
        let bytes = engine.decide(&request).to_vec();
        let offer = DecisionView::parse(&bytes).expect("a valid decision").offer.expect("an answer");
        (offer.campaign, offer.status)
    };
    assert_eq!(decided(20.0, 0), (1, OfferStatus::Offered));
    assert_eq!(decided(40.0, 0), (2, OfferStatus::Offered));
    assert_eq!(decided(40.0, 1), (1, OfferStatus::None(NoOffer::NotEligible)));
    assert_eq!(decided(40.0, 9), (0, OfferStatus::None(NoOffer::NoCampaign)));
}

#[test]
fn what_differs_between_candidates_is_no_reason_for_an_offer() {
    let by_price = vec![TestOpV1::Missing { feature: PRICE_OF_ITEM as u16 }];
    let campaigns = all_of(CampaignV1 { eligible: by_price, ..open_campaign(four_arms()) });
    let mut engine = Engine::new(Limits::default());
    let bytes = selvedge_format::AlignedBytes::copy_of(&bundle_with(&campaigns, &EAGER));
    assert_eq!(engine.load(bytes).unwrap_err().place(), "campaign eligibility");
}

#[test]
fn a_warm_engine_decides_offers_without_allocating() {
    let mut engine = offering(&all_of(open_campaign(four_arms())), &EAGER);
    let request = asking(30.0, 1.0).offer(0, Some([9; 16]), &at_price(0.1), &[]).build();
    engine.decide(&request);
    let counted = allocation_counter::measure(|| {
        engine.decide(&request);
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

//! A campaign of eight arms, as a grocer has it: what a coupon decision costs by itself.
//!
//! Twelve features of the user and the time, which is all that a campaign may read; one response model per arm and one for
//! no offer, linear or trees; three ladders paid by two budgets, a rule of two tests, a cap.

use selvedge_engine::state::{Event, ItemKeys, UserState};
use selvedge_format::campaign::{
    self, ArmResponseV1, ArmV1, BudgetV1, CampaignV1, CampaignsV1, CapBy, CapV1, Comparison, Goal, MarginV1,
    ResponseV1, TestOpV1,
};
use selvedge_format::container::{ContainerBuilder, Kind};
use selvedge_format::model::{
    LinearWeights, Link, ModelKindV1, ModelV1, ModelsV1, StageV1, TreeNodes, WEIGHTS_TAG, WEIGHTS_VERSION,
};
use selvedge_format::policy::PolicyV1;
use selvedge_format::program::{
    By, ColumnV1, CounterRef, Decay, FeatureV1, FieldType, FieldV1, Measure, OpV1, ProgramV1, Scope, TableRef, TableV1,
    TimePart, TransformV1, column_id, field_id, table_id,
};
use selvedge_format::{DecodeError, key, model, policy, program};

use crate::{DAY_S, Draw, EVENTS, NOW_MS, item_id, tree};

const ARMS: usize = 8;
/// Position of the number of purchases among the features.
const PURCHASES: u16 = 0;
/// Position of the time since the last one.
const SINCE: u16 = 4;

/// What the responses are made of.
#[derive(Clone, Copy, Debug)]
pub enum Responses {
    /// A weight per feature.
    Linear,
    /// So many trees of 31 leaves for each arm.
    Trees(usize),
}

/// A bundle whose only work is the campaign: it ranks by nothing.
#[must_use]
pub fn bundle(responses: Responses) -> Vec<u8> {
    let (program, mut draw) = (program(), Draw(11));
    let features = program.features.len();
    let linear = |draw: &mut Draw| {
        let weight: Vec<f32> = (0..features).map(|_| draw.unit() * 0.02 - 0.01).collect();
        (ModelKindV1::Linear { bias: -2.0 }, LinearWeights::encode(&weight, &vec![0.0; features]))
    };
    let seen: Vec<Vec<f32>> = (0..features).map(|_| (0..100).map(|_| draw.unit() * 8.0).collect()).collect();
    let seen: Vec<&[f32]> = seen.iter().map(Vec::as_slice).collect();
    let response = |draw: &mut Draw| match responses {
        Responses::Linear => linear(draw),
        Responses::Trees(count) => {
            let trees: Vec<_> = (0..count).map(|_| tree(draw, &seen)).collect();
            (ModelKindV1::Trees { base: -2.0 }, TreeNodes::encode(&trees))
        }
    };
    let ranking =
        (ModelKindV1::Linear { bias: 0.0 }, LinearWeights::encode(&vec![0.0; features], &vec![0.0; features]));
    let models: Vec<_> = std::iter::once(ranking).chain((0..=ARMS).map(|_| response(&mut draw))).collect();
    let directory = ModelsV1 {
        models: models.iter().map(|(kind, _)| ModelV1 { kind: *kind, link: Link::Identity }).collect(),
        stages: vec![StageV1 { model: 0, keep: 0 }],
    };
    let policy = PolicyV1 { slate_size: 1, ..PolicyV1::default() };
    let bundle = ContainerBuilder::new(Kind::Bundle)
        .required(program::TAG, program::VERSION, program.encode())
        .required(policy::TAG, policy::VERSION, policy.encode())
        .required(model::TAG, model::VERSION, directory.encode())
        .required(campaign::TAG, campaign::VERSION, campaigns().encode());
    let tagged = (WEIGHTS_TAG..).zip(models);
    tagged.fold(bundle, |bundle, (tag, (_, weights))| bundle.required(tag, WEIGHTS_VERSION, weights)).build()
}

/// The state of a user with as many events as the user who is ranked for.
///
/// # Errors
/// The engine refuses an event: the formats and this file have come apart.
pub fn state() -> Result<Vec<u8>, DecodeError> {
    let (program, mut draw, mut state) = (program(), Draw(12), UserState::new());
    let keys = ItemKeys::new(&program, None);
    for at in (0..EVENTS as i64).rev() {
        let event = Event {
            event: if draw.below(3) == 0 { key(b"view") } else { key(b"purchase") },
            time_ms: NOW_MS - at * 7_200_000,
            item: key(item_id(draw.skewed(900)).as_bytes()),
            value: draw.unit() * 10.0,
        };
        state.apply(1, &program, &keys, &event)?;
    }
    Ok(state.encode())
}

fn program() -> ProgramV1 {
    let column = |measure, decay| ColumnV1 { id: column_id(measure, decay), measure, decay };
    let decayed = |days| Decay::HalfLife { half_life_s: days * DAY_S };
    let table = |event: &str| TableV1 {
        id: table_id("user", event, "all"),
        event: key(event.as_bytes()),
        by: By::All,
        capacity: 1,
        columns: vec![
            column(Measure::Count, decayed(7)),
            column(Measure::Count, decayed(60)),
            column(Measure::Value, decayed(60)),
        ],
    };
    let counter = |table, column| CounterRef { table: TableRef::User(table), column };
    let logged = |op| FeatureV1 { op, default: 0.0, transforms: vec![TransformV1::Log1p] };
    let plain = |op| FeatureV1 { op, default: f32::NAN, transforms: vec![] };
    let recency = |table| OpV1::Recency { table: TableRef::User(table), unit_s: DAY_S };
    let rate = OpV1::Rate { numerator: counter(0, 1), denominator: counter(1, 1), weight: 5.0, prior: 0.1 };
    let interacted = OpV1::InteractedWith { event: key(b"purchase"), by: By::All, within_s: 30 * DAY_S, last: 64 };
    ProgramV1 {
        fields: vec![FieldV1 { id: field_id(Scope::User, "age"), scope: Scope::User, ty: FieldType::Number }],
        user_tables: vec![table("purchase"), table("view")],
        global_tables: vec![],
        history_events: 64,
        features: vec![
            logged(OpV1::Counter(counter(0, 0))),
            logged(OpV1::Counter(counter(0, 1))),
            logged(OpV1::Counter(counter(0, 2))),
            logged(OpV1::Counter(counter(1, 0))),
            plain(recency(0)),
            plain(recency(1)),
            plain(rate),
            plain(interacted),
            plain(OpV1::LocalTime { part: TimePart::Hour }),
            plain(OpV1::LocalTime { part: TimePart::Weekday }),
            plain(OpV1::Number { field: 0 }),
            logged(OpV1::Counter(counter(1, 1))),
        ],
    }
}

fn campaigns() -> CampaignsV1 {
    let mut budgets = [key(b"shop"), key(b"brand")];
    budgets.sort_unstable();
    let arm = |ladder, face: u16| ArmV1 {
        ladder,
        discount: f32::from(face) * 0.8,
        sending: 0.5,
        face: face.into(),
        life_s: 7 * DAY_S,
    };
    let response = |at: u16| ArmResponseV1 { model: at + 1, scale: 1.0, shift: f32::from(at) * 0.1, error: 0.002 };
    let compare = |feature, how, than| TestOpV1::Compare { feature, how, than };
    CampaignsV1 {
        budgets: budgets.map(|key| BudgetV1 { key, highest_price_micros: 2_000_000 }).to_vec(),
        responses: vec![ResponseV1 { arms: (0..=ARMS as u16).map(response).collect() }],
        campaigns: vec![CampaignV1 {
            key: key(b"spring"),
            from_ms: 0,
            until_ms: 2 * NOW_MS,
            hours: None,
            eligible: vec![
                compare(PURCHASES, Comparison::AtLeast, 0.0),
                compare(SINCE, Comparison::Less, 365.0),
                TestOpV1::And,
            ],
            caps: vec![CapV1 { by: CapBy::User, period_s: 7 * DAY_S, count: 2 }],
            holdout: 500,
            explore: 500,
            epoch_s: DAY_S,
            goal: Goal::Profit,
            caution: 0.5,
            margin: MarginV1::Constant(3_000.0),
            margin_floor: 100.0,
            response: 0,
            funders: vec![(0, 6_000), (1, 4_000)],
            arms: [(0, 100), (0, 200), (0, 400), (1, 150), (1, 300), (1, 600), (2, 50), (2, 250)]
                .map(|(ladder, face)| arm(ladder, face))
                .to_vec(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use selvedge_engine::{Engine, Limits};
    use selvedge_format::AlignedBytes;
    use selvedge_format::decision::DecisionView;
    use selvedge_wire::RequestBuilder;

    use super::*;

    #[test]
    fn all_eight_arms_are_looked_at_and_differ() {
        for responses in [Responses::Linear, Responses::Trees(5)] {
            let mut engine = Engine::new(Limits::default());
            engine.load(AlignedBytes::copy_of(&bundle(responses))).expect("a valid bundle");
            let request = RequestBuilder::new([1; 16], NOW_MS, ["a"])
                .state(&state().expect("a valid state"))
                .offer(0, Some([0xFF; 16]), &[], &[])
                .build();
            let decision = DecisionView::parse(engine.decide(&request)).expect("a valid decision");
            let arms: Vec<_> = decision.offer.expect("an answer").arms().collect();
            assert_eq!(arms.len(), ARMS + 1);
            assert!(arms.windows(2).all(|pair| pair[0].score.to_bits() != pair[1].score.to_bits()), "{arms:?}");
        }
    }
}

//! Cases of offers: campaigns over linear models and trees, every reason not to offer, draws, budgets and hours.
//!
//! A request names three items, since an offer is about the user. Which arm wins is left to the models; the tests of the
//! corpus say that every status occurs.

use selvedge_format::campaign::{
    self, ArmResponseV1, ArmV1, BudgetV1, CampaignV1, CampaignsV1, CapBy, CapV1, Comparison, Goal, HoursV1, MarginV1,
    ResponseV1, TestOpV1, same_for_all,
};
use selvedge_format::container::{ContainerBuilder, Kind};
use selvedge_format::model::{self, Link, ModelV1, ModelsV1, StageV1, WEIGHTS_TAG, WEIGHTS_VERSION};
use selvedge_format::program::{self, OpV1, ProgramV1, Scope};
use selvedge_format::request::{BudgetNow, CapCount, NO_PRICE};
use selvedge_format::{key, policy};
use selvedge_wire::{RequestBuilder, Values};

use crate::Case;
use crate::cases::{Shop, plain};
use crate::world::{AGE, HOUR_MS, Kinds, NOW_MS, Random, STORE, id};

const DAY_S: u32 = 86_400;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Response models beside the one that ranks, half of them linear.
const MODELS: u16 = 10;

/// The campaigns, in the order in which they are tried.
const SPRING: &str = "spring";
const FOREST: &str = "forest";
const EVENING: &str = "evening";
const MEMBERS: &str = "members";
const FLOORED: &str = "floored";

fn key_of(name: &str) -> u64 {
    key(name.as_bytes())
}

/// Position of the first feature of this kind.
fn feature(program: &ProgramV1, is: impl Fn(&OpV1) -> bool) -> u16 {
    program.features.iter().position(|feature| is(&feature.op)).expect("the program has every kind of feature") as u16
}

fn budgets() -> [&'static str; 2] {
    let mut names = ["shop", "brand"];
    names.sort_unstable_by_key(|name| key_of(name));
    names
}

fn arm(ladder: u8, face: u16) -> ArmV1 {
    ArmV1 { ladder, discount: f32::from(face) * 0.7, sending: 0.25, face: face.into(), life_s: 7 * DAY_S }
}

/// For everyone at any time, without control.
fn open(name: &str, response: u16, arms: Vec<ArmV1>) -> CampaignV1 {
    CampaignV1 {
        key: key_of(name),
        from_ms: NOW_MS - 30 * DAY_MS,
        until_ms: NOW_MS + 30 * DAY_MS,
        hours: None,
        eligible: vec![],
        caps: vec![],
        holdout: 0,
        explore: 0,
        epoch_s: DAY_S,
        goal: Goal::Revenue,
        caution: 0.0,
        margin: MarginV1::Constant(2_000.0),
        margin_floor: 0.0,
        response,
        funders: vec![(0, 7_501), (1, 2_499)],
        arms,
    }
}

/// Responses of arms that each have a model of their own, from `first` on and every second one; the chance rises with the
/// arm, so that offers are worth something.
fn apart(first: u16, arms: usize) -> ResponseV1 {
    let arm = |at: usize| ArmResponseV1 {
        model: first + (at as u16 * 2) % MODELS,
        scale: 0.25,
        shift: -2.0 + at as f32 * 0.3,
        error: 0.003 * at as f32,
    };
    ResponseV1 { arms: (0..arms).map(arm).collect() }
}

fn campaigns(program: &ProgramV1) -> CampaignsV1 {
    let age = feature(program, |op| matches!(op, OpV1::Number { field: AGE }));
    let weekday = feature(program, |op| matches!(op, OpV1::LocalTime { part: program::TimePart::Weekday }));
    let same = same_for_all(program);
    let missing = (0..program.features.len()).find(|at| same[*at] && program.features[*at].default.is_nan());
    let missing = missing.expect("a feature of the user without a default") as u16;
    let compare = |feature, how, than| TestOpV1::Compare { feature, how, than };
    let eight =
        vec![arm(0, 50), arm(0, 120), arm(0, 300), arm(1, 80), arm(1, 200), arm(2, 10), arm(2, 40), arm(3, 500)];
    let one_model = |at: u16| ArmResponseV1 { model: 1, scale: 1.0, shift: f32::from(at) * 0.4 - 1.0, error: 0.0 };
    CampaignsV1 {
        budgets: budgets().map(|name| BudgetV1 { key: key_of(name), highest_price_micros: 1_500_000 }).to_vec(),
        responses: vec![
            apart(1, 9),
            apart(2, 9),
            ResponseV1 { arms: (0..4).map(one_model).collect() },
            ResponseV1 { arms: (0..2).map(one_model).collect() },
        ],
        campaigns: vec![
            CampaignV1 { holdout: 1_000, explore: 2_000, caution: 0.5, ..open(SPRING, 0, eight.clone()) },
            CampaignV1 {
                goal: Goal::Profit,
                holdout: 500,
                explore: 5_000,
                epoch_s: 3_600,
                caps: vec![
                    CapV1 { by: CapBy::User, period_s: 7 * DAY_S, count: 2 },
                    CapV1 { by: CapBy::Device, period_s: 0, count: 5 },
                ],
                ..open(FOREST, 1, eight)
            },
            CampaignV1 {
                // Tuesday evenings, into the night.
                hours: Some(HoursV1 { weekdays: 0b10, from_min: 17 * 60, until_min: 2 * 60 }),
                // Arms that leave nothing of what the user brings are held back.
                margin: MarginV1::Feature(age),
                margin_floor: 1.0,
                ..open(EVENING, 2, vec![arm(0, 1), arm(0, 2), arm(1, 1)])
            },
            CampaignV1 {
                eligible: vec![
                    compare(age, Comparison::AtLeast, 4.0),
                    compare(age, Comparison::Less, 9.0),
                    TestOpV1::And,
                    TestOpV1::Is { field: STORE, value: key_of("store 7") },
                    TestOpV1::Or,
                    compare(weekday, Comparison::More, f32::NEG_INFINITY),
                    compare(weekday, Comparison::AtMost, f32::INFINITY),
                    compare(age, Comparison::Equal, 3.0),
                    TestOpV1::Not,
                    TestOpV1::And,
                    TestOpV1::And,
                    TestOpV1::And,
                    TestOpV1::Missing { feature: missing },
                    TestOpV1::Or,
                ],
                ..open(MEMBERS, 3, vec![arm(0, 30)])
            },
            CampaignV1 {
                margin: MarginV1::Constant(100.0),
                margin_floor: 80.0,
                funders: vec![(1, 10_000)],
                ..open(FLOORED, 2, vec![arm(0, 20), arm(1, 40), arm(2, 60)])
            },
        ],
    }
}

/// A bundle that ranks with a linear model, with campaigns.
fn bundle(program: &ProgramV1, campaigns: &CampaignsV1) -> ContainerBuilder {
    let features = program.features.len();
    let kind = |at: u16| if at.is_multiple_of(2) { Kinds::Trees } else { Kinds::Linear };
    let responses = (1..=MODELS).map(|at| crate::world::model(kind(at), features, at as u8));
    let all: Vec<_> = std::iter::once(crate::world::model(Kinds::Linear, features, 7)).chain(responses).collect();
    let models = all.iter().map(|(kind, _)| ModelV1 { kind: *kind, link: Link::Identity }).collect();
    let directory = ModelsV1 { models, stages: vec![StageV1 { model: 0, keep: 0 }] };
    let bundle = ContainerBuilder::new(Kind::Bundle)
        .required(program::TAG, program::VERSION, program.encode())
        .required(model::TAG, model::VERSION, directory.encode())
        .required(policy::TAG, policy::VERSION, plain().encode())
        .required(campaign::TAG, campaign::VERSION, campaigns.encode());
    let tagged = (WEIGHTS_TAG..).zip(all);
    tagged.fold(bundle, |bundle, (tag, (_, weights))| bundle.required(tag, WEIGHTS_VERSION, weights))
}

/// A question for an offer, before it is put into a request.
#[derive(Clone, Debug)]
struct Question {
    campaign: u64,
    draw: Option<[u8; 16]>,
    budgets: Vec<BudgetNow>,
    counts: Vec<CapCount>,
    time_ms: i64,
    utc_offset_min: i32,
    age: f32,
}

impl Question {
    /// A preview of a campaign for somebody of 36.
    fn of(campaign: &str) -> Self {
        Self {
            campaign: key_of(campaign),
            draw: None,
            budgets: Vec::new(),
            counts: Vec::new(),
            time_ms: NOW_MS,
            utc_offset_min: 0,
            age: 36.0,
        }
    }

    /// With this price and this much left of each budget.
    fn at(mut self, price_micros: u64, left: u64) -> Self {
        self.budgets = budgets().map(|name| BudgetNow { key: key_of(name), price_micros, left }).to_vec();
        self
    }

    /// With a draw of these three words.
    fn drawn(mut self, words: [u32; 3]) -> Self {
        let mut draw = [0x5A; 16];
        for (at, word) in words.into_iter().enumerate() {
            draw[at * 4..at * 4 + 4].copy_from_slice(&word.to_le_bytes());
        }
        self.draw = Some(draw);
        self
    }

    fn request(&self, candidates: usize) -> RequestBuilder {
        let ids: Vec<String> = (0..candidates).map(id).collect();
        RequestBuilder::new([0x0F; 16], self.time_ms, ids.iter().map(String::as_str))
            .utc_offset_min(self.utc_offset_min)
            .column(Scope::User, "age", Values::Numbers(&[self.age]))
            .offer(self.campaign, self.draw, &self.budgets, &self.counts)
    }
}

/// Around the bounds of the rule for members, which compares the root of the age.
const AGES: [f32; 7] = [9.0, 15.9, 16.0, 80.0, 81.0, f32::NAN, f32::NEG_INFINITY];
/// Neither held out nor explored.
const LATE: [u32; 3] = [u32::MAX; 3];

impl Shop {
    pub(crate) fn offers(&self, cases: &mut Vec<Case>) {
        let declared = campaigns(&self.program);
        let bundle = bundle(&self.program, &declared).build();
        self.offers_by_model(&bundle, cases);
        self.offers_by_draw(&bundle, cases);
        self.offers_refused(&bundle, cases);
        self.offers_at_random(&bundle, cases);
        self.campaigns_refused(&declared, cases);
    }

    fn offers_by_model(&self, bundle: &[u8], cases: &mut Vec<Case>) {
        for campaign in [SPRING, FOREST, EVENING, MEMBERS, FLOORED, ""] {
            for (at, user) in self.users.iter().enumerate() {
                for (price, budgets) in [("free", (0, u64::MAX)), ("dear", (2_250_000, 150))] {
                    let question = Question::of(campaign).at(budgets.0, budgets.1).drawn(LATE);
                    let name = format!("offer of {campaign:?}, user {at}, {price}");
                    cases.push(self.case(name, bundle, question.request(3).state(user).build()));
                }
                let request = Question::of(campaign).request(3).state(user);
                cases.push(self.case(format!("preview of {campaign:?}, user {at}"), bundle, request.build()));
            }
        }
    }

    /// Around the bounds of the hold-out of 1,000 and the exploration of 2,000 ten thousandths, and every explored arm.
    fn offers_by_draw(&self, bundle: &[u8], cases: &mut Vec<Case>) {
        let bound = |share: u64| ((share << 32) / 10_000) as u32;
        let mut push = |name: String, words| {
            let question = Question::of(SPRING).at(100_000, u64::MAX).drawn(words);
            cases.push(self.case(name, bundle, question.request(3).state(&self.users[1]).build()));
        };
        for word in [0, bound(1_000) - 1, bound(1_000), bound(1_000) + 1] {
            push(format!("offer held out by {word}"), [word, u32::MAX, 0]);
        }
        for word in [0, bound(2_000) - 1, bound(2_000), bound(2_000) + 1] {
            push(format!("offer explored by {word}"), [u32::MAX, word, 0]);
        }
        for arm in 0..9_u64 {
            push(format!("offer explored to arm {arm}"), [u32::MAX, 0, (arm * (1 << 32) / 9 + 1) as u32]);
        }
        // Only some arms can be paid.
        for arm in 0..4_u32 {
            let question = Question::of(FOREST).at(100_000, 60).drawn([u32::MAX, 0, arm << 30]);
            let request = question.request(3).state(&self.users[2]);
            cases.push(self.case(format!("offer explored among what can be paid, {arm}"), bundle, request.build()));
        }
    }

    /// Every reason for no offer, and times and counts around their bounds.
    fn offers_refused(&self, bundle: &[u8], cases: &mut Vec<Case>) {
        let mut push = |name: &str, question: Question| {
            let request = question.request(3).state(&self.users[1]).build();
            cases.push(self.case(format!("no offer: {name}"), bundle, request));
        };
        push("a campaign that is not there", Question::of("autumn").drawn(LATE));
        let (from, until) = (NOW_MS - 30 * DAY_MS, NOW_MS + 30 * DAY_MS);
        for (name, time_ms) in [
            ("before the first millisecond", from - 1),
            ("in the first millisecond", from),
            ("in the last millisecond", until - 1),
            ("after the last millisecond", until),
        ] {
            push(name, Question { time_ms, ..Question::of(SPRING).drawn(LATE) });
        }
        for (name, hours, utc_offset_min) in [
            ("in the hours", 0, 0),
            ("in the hours of another place only", 0, -210),
            ("in the hours of this place", -4, 300),
            ("in the night after", 7, 0),
            ("after that night", 8, 0),
            ("in the night before", -17, 0),
        ] {
            let time_ms = NOW_MS + hours * HOUR_MS;
            push(name, Question { time_ms, utc_offset_min, ..Question::of(EVENING).at(0, u64::MAX) });
        }
        for age in AGES {
            push(&format!("members of age {age}"), Question { age, ..Question::of(MEMBERS).drawn(LATE) });
        }
        let counted = |name: &str, cap, count| CapCount { campaign: key_of(name), cap, count };
        for (name, counts) in [
            ("below the caps", vec![counted(FOREST, 0, 1), counted(FOREST, 1, 4)]),
            ("at the first cap", vec![counted(FOREST, 0, 2)]),
            ("above the second cap", vec![counted(FOREST, 0, 1), counted(FOREST, 1, 6)]),
            ("at the cap of another campaign", vec![counted(SPRING, 0, 2), counted(FOREST, 9, 2)]),
        ] {
            push(name, Question { counts, ..Question::of(FOREST).at(0, u64::MAX).drawn(LATE) });
        }
        push("no price", Question::of(SPRING).at(NO_PRICE, u64::MAX).drawn(LATE));
        push("nothing left", Question::of(SPRING).at(0, 0).drawn(LATE));
        // The smallest face is 20, and one budget pays it.
        for left in [19, 20, 21] {
            push(&format!("{left} left"), Question::of(FLOORED).at(0, left).drawn(LATE));
        }
        let one_left = |at: usize| {
            let mut question = Question::of(SPRING).at(0, u64::MAX).drawn(LATE);
            question.budgets[at].left = 2;
            question
        };
        push("too little of the first budget", one_left(0));
        push("too little of the second budget", one_left(1));
        push("a price that nothing is worth", Question::of(SPRING).at(NO_PRICE - 1, u64::MAX).drawn(LATE));
        push("a dear price", Question::of(FOREST).at(900_000_000, u64::MAX).drawn(LATE));
        push(
            "a margin that is not known",
            Question { age: f32::NAN, ..Question::of(EVENING).at(0, u64::MAX).drawn(LATE) },
        );
        push("a margin of nothing", Question { age: 0.0, ..Question::of(EVENING).at(0, u64::MAX).drawn(LATE) });
        push("a margin without end", Question { age: f32::INFINITY, ..Question::of(EVENING).at(0, u64::MAX) });
        for age in AGES {
            let request = Question { age, ..Question::of(MEMBERS) }.request(3).build();
            cases.push(self.case(format!("no offer: a stranger of age {age}"), bundle, request));
        }
        self.offers_of_fallbacks(bundle, cases);
    }

    fn offers_of_fallbacks(&self, bundle: &[u8], cases: &mut Vec<Case>) {
        let drawn = Question::of(SPRING).drawn(LATE);
        cases.push(self.case("no offer: no candidates", bundle, drawn.request(0).build()));
        cases.push(self.case("no offer: too many candidates", bundle, drawn.request(2_001).build()));
        cases.push(self.case("no offer: a preview of a fallback", bundle, Question::of("").request(0).build()));
        let state = self.users[2].len() / 2;
        let cut = drawn.request(3).state(&self.users[2][..state]).build();
        cases.push(self.case("no offer: a state cut short", bundle, cut));
        let mut nothing = self.case("no offer: nothing is loaded", &[], drawn.request(3).build());
        (nothing.bundle, nothing.shared, nothing.operations) = (None, None, Vec::new());
        cases.push(nothing);
        let plain = crate::world::parts(&self.program, Kinds::Linear, Link::Identity, &plain(), None).build();
        cases.push(self.case("no offer: a bundle without campaigns", &plain, drawn.request(3).build()));
        let bytes = drawn.at(1, 1).request(3).build();
        // The block is the last one: its flags, its number of budgets, its reserved field.
        let block = bytes.len() - 40 - 2 * 24;
        for (name, at) in [("an unknown flag", 24), ("another number of budgets", 28), ("a reserved field", 36)] {
            let mut spoilt = bytes.clone();
            spoilt[block + at] ^= 2;
            cases.push(self.case(format!("no offer: {name}"), bundle, spoilt));
        }
    }

    fn offers_at_random(&self, bundle: &[u8], cases: &mut Vec<Case>) {
        let mut random = Random(1_986);
        let names = ["", SPRING, FOREST, EVENING, MEMBERS, FLOORED];
        for at in 0..80 {
            let mut question = Question::of(names[random.below(names.len())]);
            question.age = random.number();
            question.time_ms += random.below(40 * 24) as i64 * HOUR_MS - 20 * DAY_MS;
            question.utc_offset_min = [0, 60, -720, 345][random.below(4)];
            if random.below(4) > 0 {
                question = question.drawn([random.next() as u32, random.next() as u32, random.next() as u32]);
            }
            if random.below(4) > 0 {
                let price = [0, 1, 300_000, 1_000_000, 5_000_000][random.below(5)];
                question = question.at(price, [0, 25, 100, 400, u64::MAX][random.below(5)]);
            }
            let request = question.request(1 + random.below(3)).state(&self.users[random.below(3)]);
            cases.push(self.case(format!("offer at random {at}"), bundle, request.build()));
        }
    }

    /// Campaigns that must not load.
    fn campaigns_refused(&self, declared: &CampaignsV1, cases: &mut Vec<Case>) {
        let with = |change: fn(&mut CampaignsV1)| {
            let mut changed = declared.clone();
            change(&mut changed);
            bundle(&self.program, &changed).build()
        };
        let raw = |version, bytes: &[u8]| {
            bundle(&self.program, declared).required(campaign::TAG, version, bytes.to_vec()).build()
        };
        for (name, bytes) in [
            ("newer campaigns", raw(2, &declared.encode())),
            ("campaigns of noise", raw(1, &[0xFF; 40])),
            ("campaigns over what differs between candidates", {
                with(|campaigns| campaigns.campaigns[0].margin = MarginV1::Feature(0))
            }),
            ("a rule that takes what is not there", {
                with(|campaigns| campaigns.campaigns[0].eligible = vec![TestOpV1::And])
            }),
            ("a response of no model", with(|campaigns| campaigns.responses[0].arms[0].model = MODELS + 1)),
            ("funders of less than the whole", with(|campaigns| campaigns.campaigns[0].funders[0].1 -= 1)),
        ] {
            let mut case = self.case(format!("refusal: {name}"), &bytes, Question::of(SPRING).request(2).build());
            (case.shared, case.operations) = (None, Vec::new());
            cases.push(case);
        }
    }
}

//! Campaigns: to whom an offer may be made, what it does and what it costs. What is promised is in [`crate::terms`].
//!
//! Everything here is about the user and the request, never about one candidate: models and rules read only features that
//! are the same for all candidates, which [`CampaignsV1::validate`] proves. Names are [keys](crate::key); arm 0 is no offer.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::DecodeError;
use crate::model::ModelsV1;
use crate::packed::Packed;
use crate::program::{By, FieldType, OpV1, ProgramV1, Scope, TableRef, TokensOf};
use crate::terms::{MAX_CAMPAIGNS, MAX_FUNDERS, MAX_LIFE_S, MAX_MINOR, MAX_OFFERS, SHARE};

/// Section tag of the campaigns in a bundle.
pub const TAG: u32 = 0x05;
/// Version of [`CampaignsV1`].
pub const VERSION: u16 = 1;

/// Most budgets in a bundle.
pub const MAX_BUDGETS: usize = 64;
/// Most operations of one eligibility rule.
pub const MAX_OPS: usize = 256;
/// Most values that wait for an operation in one eligibility rule.
pub const MAX_DEPTH: usize = 32;
/// Most caps of one campaign.
pub const MAX_CAPS: usize = 8;
/// Shortest time in which a decision stays as it is, in seconds.
pub const MIN_EPOCH_S: u32 = 60;
/// Minutes of a day.
pub const DAY_MIN: u16 = 1440;

const PLACE: &str = "campaigns";

/// All campaigns of a bundle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CampaignsV1 {
    /// What campaigns spend from; ascending by key.
    pub budgets: Vec<BudgetV1>,
    /// What is expected of users, by arm.
    pub responses: Vec<ResponseV1>,
    /// In the order in which they are tried.
    pub campaigns: Vec<CampaignV1>,
}

/// A budget, as a decision knows it. Its money is at the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetV1 {
    /// Key of its name.
    pub key: u64,
    /// What a unit of cost must bring where nobody says what it is worth today, in millionths.
    pub highest_price_micros: u64,
}

/// The chance of a response under each arm, the first without an offer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResponseV1 {
    /// One per arm, arm 0 included.
    pub arms: Vec<ArmResponseV1>,
}

/// `1 / (1 + exp(-(scale * score + shift)))` of a model's raw score (Platt 1999).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArmResponseV1 {
    /// Position of the model in the model directory.
    pub model: u16,
    /// Factor of the raw score.
    pub scale: f32,
    /// Added to it.
    pub shift: f32,
    /// Standard error of the chance; 0 or more.
    pub error: f32,
}

/// One campaign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CampaignV1 {
    /// Key of its name.
    pub key: u64,
    /// No offers before; milliseconds since 1970-01-01 UTC.
    pub from_ms: i64,
    /// No offers at or after.
    pub until_ms: i64,
    /// Hours of the user's local week, if not all.
    pub hours: Option<HoursV1>,
    /// For whom; without operations, for everyone.
    pub eligible: Vec<TestOpV1>,
    /// How often.
    pub caps: Vec<CapV1>,
    /// Of [`SHARE`] users, how many get no offer whatever they would get.
    pub holdout: u16,
    /// Of [`SHARE`] of the others, how many get an arm at random.
    pub explore: u16,
    /// How long a decision stays as it is, in seconds: one draw per user, campaign and epoch.
    pub epoch_s: u32,
    /// What is sought.
    pub goal: Goal,
    /// How many standard errors an offer must be worth its price by.
    pub caution: f32,
    /// What a response earns before the offer, in minor units.
    pub margin: MarginV1,
    /// What must be left of it after the offer's expected discount, in minor units; 0 is no floor.
    pub margin_floor: f32,
    /// Position among the responses.
    pub response: u16,
    /// Who pays: position of the budget and share of [`SHARE`].
    pub funders: Vec<(u16, u16)>,
    /// The arms 1, 2, ...; one fewer than the response has.
    pub arms: Vec<ArmV1>,
}

/// Hours of a local week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoursV1 {
    /// Bit 0 is Monday. The day is the one on which the hours begin.
    pub weekdays: u8,
    /// First minute of the day.
    pub from_min: u16,
    /// Minute after the last; if not above `from_min`, on the day after.
    pub until_min: u16,
}

/// One operation of an eligibility rule, in postfix order on a stack of truth values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum TestOpV1 {
    /// Compares a feature with a number; a missing feature compares false.
    Compare {
        /// Position of the feature.
        feature: u16,
        /// How.
        how: Comparison,
        /// With what.
        than: f32,
    },
    /// Whether a feature is missing.
    Missing {
        /// Position of the feature.
        feature: u16,
    },
    /// Whether a string field of the user or the context has this value.
    Is {
        /// Position of the field.
        field: u16,
        /// Key of the value; 0 is missing.
        value: u64,
    },
    /// Both of the last two.
    And,
    /// Either of the last two.
    Or,
    /// Not the last one.
    Not,
}

/// Comparisons of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
    /// `==`
    Equal,
}

/// At most `count` offers of the campaign in any `period_s`. Who asks for a decision counts, and sends the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapV1 {
    /// Whose offers are counted.
    pub by: CapBy,
    /// Seconds; 0 is the whole campaign.
    pub period_s: u32,
    /// Above 0.
    pub count: u32,
}

/// Whose offers a cap counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CapBy {
    /// The user's.
    User,
    /// The device's.
    Device,
}

/// What a campaign seeks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Goal {
    /// Incremental value for the budget: the budget is there to be spent.
    Revenue,
    /// Incremental value minus cost.
    Profit,
}

/// What a response earns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum MarginV1 {
    /// The same for all.
    Constant(f32),
    /// A feature's value, in minor units; where it is missing, no offer is worth anything.
    Feature(u16),
}

/// One arm: an offer, as a decision knows it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArmV1 {
    /// Arms of one ladder follow each other with rising faces, and the chance of a response does not fall along it.
    pub ladder: u8,
    /// Expected discount given a response, in minor units.
    pub discount: f32,
    /// What it costs to make the offer, response or not, in minor units.
    pub sending: f32,
    /// The most that it can cost: what a budget must have left.
    pub face: u64,
    /// How long the offer can be redeemed, in seconds.
    pub life_s: u32,
}

impl CampaignsV1 {
    /// Decodes and validates the section against the program and the models that it names.
    ///
    /// # Errors
    /// Not canonical postcard, or a value that the page forbids.
    pub fn decode(bytes: &[u8], program: &ProgramV1, models: &ModelsV1) -> Result<Self, DecodeError> {
        let mut packed = Packed::new(bytes, PLACE)?;
        let campaigns = Self::read(&mut packed);
        packed.finish()?;
        campaigns.validate(program, models)?;
        Ok(campaigns)
    }

    #[inline(never)]
    fn read(packed: &mut Packed<'_>) -> Self {
        Self {
            budgets: packed.list(|packed| BudgetV1 { key: packed.u64(), highest_price_micros: packed.u64() }),
            responses: packed.list(|packed| ResponseV1 { arms: packed.list(ArmResponseV1::read) }),
            campaigns: packed.list(CampaignV1::read),
        }
    }

    /// The section's bytes.
    #[cfg(feature = "id")]
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        crate::container::encode(self)
    }

    /// Proves that every operand is in range, and that nothing reads what differs between candidates.
    ///
    /// # Errors
    /// The first value that does not hold; the offset is its position.
    pub fn validate(&self, program: &ProgramV1, models: &ModelsV1) -> Result<(), DecodeError> {
        let ascending = self.budgets.windows(2).all(|pair| pair[0].key < pair[1].key);
        if self.budgets.len() > MAX_BUDGETS || !ascending || self.budgets.iter().any(|budget| budget.key == 0) {
            return Err(DecodeError::invalid("campaign budgets", 0));
        }
        let most = self.campaigns.len().max(self.responses.len());
        if most > MAX_CAMPAIGNS {
            return Err(DecodeError::too_large(PLACE, MAX_CAMPAIGNS as u64, most as u64));
        }
        for (index, response) in self.responses.iter().enumerate() {
            let arm_is_valid = |arm: &ArmResponseV1| {
                usize::from(arm.model) < models.models.len()
                    && arm.scale.is_finite()
                    && arm.shift.is_finite()
                    && arm.error.is_finite()
                    && arm.error >= 0.0
            };
            if !(2..=MAX_OFFERS + 1).contains(&response.arms.len()) || !response.arms.iter().all(arm_is_valid) {
                return Err(DecodeError::invalid("campaign response", index));
            }
        }
        let context = Context { program, same: &same_for_all(program), campaigns: self };
        for (index, campaign) in self.campaigns.iter().enumerate() {
            if self.campaigns[..index].iter().any(|earlier| earlier.key == campaign.key) {
                return Err(DecodeError::invalid("campaign declared twice", index));
            }
            if let Err(place) = campaign.check(&context) {
                return Err(DecodeError::invalid(place, index));
            }
        }
        Ok(())
    }
}

impl ArmResponseV1 {
    fn read(packed: &mut Packed<'_>) -> Self {
        Self { model: packed.u16(), scale: packed.f32(), shift: packed.f32(), error: packed.f32() }
    }
}

impl HoursV1 {
    fn read(packed: &mut Packed<'_>) -> Self {
        Self { weekdays: packed.byte(), from_min: packed.u16(), until_min: packed.u16() }
    }
}

impl TestOpV1 {
    fn read(packed: &mut Packed<'_>) -> Self {
        match packed.variant(6) {
            0 => Self::Compare { feature: packed.u16(), how: Comparison::read(packed), than: packed.f32() },
            1 => Self::Missing { feature: packed.u16() },
            2 => Self::Is { field: packed.u16(), value: packed.u64() },
            3 => Self::And,
            4 => Self::Or,
            _ => Self::Not,
        }
    }
}

impl Comparison {
    fn read(packed: &mut Packed<'_>) -> Self {
        packed.one_of(&[Self::Less, Self::AtMost, Self::More, Self::AtLeast, Self::Equal])
    }
}

impl CapV1 {
    fn read(packed: &mut Packed<'_>) -> Self {
        Self { by: packed.one_of(&[CapBy::User, CapBy::Device]), period_s: packed.u32(), count: packed.u32() }
    }
}

impl ArmV1 {
    fn read(packed: &mut Packed<'_>) -> Self {
        Self {
            ladder: packed.byte(),
            discount: packed.f32(),
            sending: packed.f32(),
            face: packed.u64(),
            life_s: packed.u32(),
        }
    }
}

struct Context<'a> {
    program: &'a ProgramV1,
    same: &'a [bool],
    campaigns: &'a CampaignsV1,
}

impl Context<'_> {
    fn feature_is_valid(&self, feature: u16) -> bool {
        self.same.get(usize::from(feature)).is_some_and(|same| *same)
    }

    fn field_is_valid(&self, field: u16) -> bool {
        let field = self.program.fields.get(usize::from(field));
        field.is_some_and(|field| field.ty == FieldType::String && field.scope != Scope::Item)
    }
}

impl CampaignV1 {
    /// The epoch that a time is in: a decision is drawn once in each.
    #[must_use]
    pub const fn epoch(&self, time_ms: i64) -> i64 {
        time_ms.div_euclid(self.epoch_s as i64 * 1000)
    }

    /// The fields in their order: values of a struct are read as they are written here.
    fn read(packed: &mut Packed<'_>) -> Self {
        Self {
            key: packed.u64(),
            from_ms: packed.i64(),
            until_ms: packed.i64(),
            hours: packed.is_some().then(|| HoursV1::read(packed)),
            eligible: packed.list(TestOpV1::read),
            caps: packed.list(CapV1::read),
            holdout: packed.u16(),
            explore: packed.u16(),
            epoch_s: packed.u32(),
            goal: packed.one_of(&[Goal::Revenue, Goal::Profit]),
            caution: packed.f32(),
            margin: match packed.variant(2) {
                0 => MarginV1::Constant(packed.f32()),
                _ => MarginV1::Feature(packed.u16()),
            },
            margin_floor: packed.f32(),
            response: packed.u16(),
            funders: packed.list(|packed| (packed.u16(), packed.u16())),
            arms: packed.list(ArmV1::read),
        }
    }

    fn check(&self, context: &Context<'_>) -> Result<(), &'static str> {
        if self.key == 0 || self.from_ms < 0 || self.from_ms >= self.until_ms {
            return Err("campaign window");
        }
        let hours = self.hours.is_none_or(|hours| {
            (1..1 << 7).contains(&hours.weekdays) && hours.from_min < DAY_MIN && hours.until_min <= DAY_MIN
        });
        if !hours {
            return Err("campaign hours");
        }
        if !rule_is_valid(&self.eligible, context) {
            return Err("campaign eligibility");
        }
        if self.caps.len() > MAX_CAPS || self.caps.iter().any(|cap| cap.count == 0) {
            return Err("campaign caps");
        }
        if self.holdout > SHARE || self.explore > SHARE || self.epoch_s < MIN_EPOCH_S {
            return Err("campaign control");
        }
        let margin = match self.margin {
            MarginV1::Constant(minor) => minor.is_finite(),
            MarginV1::Feature(feature) => context.feature_is_valid(feature),
        };
        if !margin || !self.margin_floor.is_finite() || !self.caution.is_finite() || self.caution < 0.0 {
            return Err("campaign value");
        }
        let budgets = context.campaigns.budgets.len();
        let funders = (1..=MAX_FUNDERS).contains(&self.funders.len())
            && self.funders.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && self.funders.iter().all(|(budget, share)| usize::from(*budget) < budgets && *share > 0)
            && self.funders.iter().map(|(_, share)| u32::from(*share)).sum::<u32>() == u32::from(SHARE);
        if !funders {
            return Err("campaign funders");
        }
        let response = context.campaigns.responses.get(usize::from(self.response));
        if response.is_none_or(|response| response.arms.len() != self.arms.len() + 1) {
            return Err("campaign response");
        }
        let arms = self.arms.iter().all(|arm| {
            arm.discount >= 0.0
                && arm.discount.is_finite()
                && arm.sending >= 0.0
                && arm.sending.is_finite()
                && (1..=MAX_MINOR).contains(&arm.face)
                && (1..=MAX_LIFE_S).contains(&arm.life_s)
        });
        // The arms of a ladder stand together, so that one pass over them raises what falls.
        let ladders = self.arms.windows(2).all(|pair| match pair[1].ladder.checked_sub(pair[0].ladder) {
            Some(0) => pair[0].face < pair[1].face,
            step => step == Some(1),
        });
        if !arms || !ladders { Err("campaign arms") } else { Ok(()) }
    }
}

fn rule_is_valid(ops: &[TestOpV1], context: &Context<'_>) -> bool {
    if ops.len() > MAX_OPS {
        return false;
    }
    let mut depth = 0_usize;
    for op in ops {
        let takes = match op {
            TestOpV1::Compare { feature, than, .. } if context.feature_is_valid(*feature) && !than.is_nan() => 0,
            TestOpV1::Missing { feature } if context.feature_is_valid(*feature) => 0,
            TestOpV1::Is { field, .. } if context.field_is_valid(*field) => 0,
            TestOpV1::Not => 1,
            TestOpV1::And | TestOpV1::Or => 2,
            _ => return false,
        };
        let Some(left) = depth.checked_sub(takes) else { return false };
        depth = left + 1;
        if depth > MAX_DEPTH {
            return false;
        }
    }
    depth == 1 || ops.is_empty()
}

/// For each feature of a program, whether its value is the same for all candidates of a request.
#[must_use]
pub fn same_for_all(program: &ProgramV1) -> Vec<bool> {
    let mut same = Vec::with_capacity(program.features.len());
    for feature in &program.features {
        let value = op_is_same(program, &feature.op, &same);
        same.push(value);
    }
    same
}

fn op_is_same(program: &ProgramV1, op: &OpV1, earlier: &[bool]) -> bool {
    let field = |field: &u16| program.fields.get(usize::from(*field)).is_some_and(|field| field.scope != Scope::Item);
    let table = |table: &TableRef| program.table(*table).is_some_and(|table| table.by == By::All);
    match op {
        OpV1::Number { field: of } | OpV1::Category { field: of, .. } | OpV1::TimeDifference { field: of, .. } => {
            field(of)
        }
        OpV1::Bucket { fields, .. } => fields.iter().all(field),
        OpV1::Recency { table: of, .. } => table(of),
        OpV1::Counter(counter) | OpV1::Share(counter) => table(&counter.table),
        OpV1::Rate { numerator, denominator, .. } => table(&numerator.table) && table(&denominator.table),
        OpV1::LocalTime { .. } | OpV1::RecentItem { .. } => true,
        // The number of candidates is, but says nothing of the user: an offer asked for alone would be another one.
        OpV1::Candidates | OpV1::Position | OpV1::ItemId { .. } => false,
        OpV1::InteractedWith { by, .. } => *by == By::All,
        OpV1::TokenOverlap { field: of, with, .. } => field(of) && matches!(with, TokensOf::Context { .. }),
        OpV1::Combine { left, right, .. } => {
            [left, right].iter().all(|at| earlier.get(usize::from(**at)) == Some(&true))
        }
    }
}

//! Which offer a user is made, if any: the arm with the largest incremental value net of the price of its cost.
//!
//! Arms `k = 0..K`, arm 0 without an offer. With `p_k` the chance of a response, `m` what it earns, `d_k` the expected
//! discount given a response and `s_k` the cost of sending, the incremental value is `(p_k - p_0) m` and the cost
//! `p_k d_k + s_k`: those who would have bought anyway redeem as well. The price `L` of a budget turns cost into value, so
//! that one number decides a whole campaign under its budget (the Lagrangian of a multiple-choice knapsack: Goldenberg et
//! al., "Free Lunch!", 2020; Zhou et al., 2406.05987). An arm must be worth its price by a declared number of standard errors.
//!
//! Who draws, reserves and signs is elsewhere: this is a function of the request. Without the keyed draw it is a preview.

use alloc::vec::Vec;

use selvedge_format::DecodeError;
use selvedge_format::campaign::{
    CampaignV1, CampaignsV1, Comparison, DAY_MIN, Goal, HoursV1, MarginV1, ResponseV1, TestOpV1, same_for_all,
};
use selvedge_format::decision::{ArmParts, NoOffer, OfferParts, OfferStatus, arm};
use selvedge_format::model::{ModelKindV1, ModelsV1};
use selvedge_format::program::ProgramV1;
use selvedge_format::request::{NO_PRICE, OfferAsked, RequestView};
use selvedge_format::terms::SHARE;

use crate::feature::{Columns, LANES};
use crate::math;
use crate::model::{Model, ModelScratch};

/// Prices are in millionths.
const MICROS: f64 = 1e6;

/// The campaigns of a bundle after validation, with the models that they read.
#[derive(Debug)]
pub struct Campaigns {
    declared: CampaignsV1,
    /// By position in the model directory; none where no response reads the model.
    models: Vec<Option<Model>>,
    /// By feature: whether it is the same for all candidates.
    same: Vec<bool>,
    /// Cost units of a question for an offer.
    pub(crate) cost: u64,
}

impl Campaigns {
    /// Validates the section and loads its models. `weights` finds the weights of a model.
    #[cold]
    pub(crate) fn load<'a>(
        bytes: &[u8],
        program: &ProgramV1,
        models: &ModelsV1,
        weights: impl Fn(usize) -> Result<&'a [u8], DecodeError>,
    ) -> Result<Self, DecodeError> {
        let declared = CampaignsV1::decode(bytes, program, models)?;
        let mut loaded: Vec<Option<Model>> = models.models.iter().map(|_| None).collect();
        for arm in declared.responses.iter().flat_map(|response| &response.arms) {
            let at = usize::from(arm.model);
            if loaded[at].is_none() {
                let declared = &models.models[at];
                if declared.kind == ModelKindV1::Graph {
                    // Offers score one row without a scratch.
                    return Err(DecodeError::invalid("response model that is a graph", at));
                }
                loaded[at] = Some(Model::load(declared, weights(at)?, program.features.len())?);
            }
        }
        let model_cost = |at: u16| loaded[usize::from(at)].as_ref().map_or(0, Model::cost);
        let arms_cost = |response: &ResponseV1| response.arms.iter().map(|arm| model_cost(arm.model) + 8).sum::<u64>();
        // One user alone takes longer than a sixteenth of sixteen candidates, and never as long as all of them.
        let dearest = declared.responses.iter().map(arms_cost).max().unwrap_or(0) * LANES as u64;
        let tests = declared.campaigns.iter().map(|campaign| campaign.eligible.len() as u64 + 4).sum::<u64>();
        let cost = dearest + tests + program.features.len() as u64;
        Ok(Self { declared, models: loaded, same: same_for_all(program), cost })
    }

    /// What was declared.
    #[must_use]
    pub const fn declared(&self) -> &CampaignsV1 {
        &self.declared
    }

    /// A model that a response reads, by its position in the model directory.
    #[must_use]
    pub fn model(&self, at: usize) -> Option<&Model> {
        self.models.get(at)?.as_ref()
    }

    /// The campaign of this key.
    #[must_use]
    pub fn find(&self, key: u64) -> Option<&CampaignV1> {
        self.declared.campaigns.iter().find(|campaign| campaign.key == key)
    }
}

/// Reused from decision to decision.
#[derive(Debug, Default)]
pub(crate) struct OfferScratch {
    /// The user's features; NaN where they differ between candidates.
    row: Vec<f32>,
    arms: Vec<ArmParts>,
}

/// What a request's features and fields say about its user.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    /// Fields.
    pub(crate) columns: &'a Columns,
    /// Features, columns of `stride` rows.
    pub(crate) matrix: &'a [f32],
    /// Rows of a column.
    pub(crate) stride: usize,
}

impl About<'_> {
    /// A feature that is the same for all candidates.
    fn feature(&self, feature: u16) -> f32 {
        self.matrix[usize::from(feature) * self.stride]
    }

    fn field(&self, field: u16) -> u64 {
        self.columns.keys(field)[0]
    }
}

/// The answer where nothing is known about the user.
pub(crate) const fn fallback(asked: &OfferAsked<'_>) -> OfferParts<'static> {
    nothing(asked, 0, 0, NoOffer::Fallback)
}

/// The answer of a bundle without campaigns.
pub(crate) const fn no_campaign(asked: &OfferAsked<'_>) -> OfferParts<'static> {
    nothing(asked, 0, 0, NoOffer::NoCampaign)
}

/// No offer, whatever is drawn.
const fn nothing(asked: &OfferAsked<'_>, campaign: u64, epoch: i64, reason: NoOffer) -> OfferParts<'static> {
    let drawn = asked.draw.is_some();
    let propensity = if drawn { 1.0 } else { f32::NAN };
    OfferParts { campaign, epoch, status: OfferStatus::None(reason), arm: 0, best: 0, drawn, propensity, arms: &[] }
}

impl OfferScratch {
    /// Answers the question for an offer.
    pub(crate) fn decide<'s>(
        &'s mut self,
        campaigns: &Campaigns,
        request: &RequestView<'_>,
        asked: &OfferAsked<'_>,
        about: About<'_>,
        model: &mut ModelScratch,
    ) -> OfferParts<'s> {
        let mut refused = None;
        for campaign in &campaigns.declared.campaigns {
            if asked.campaign != 0 && asked.campaign != campaign.key {
                continue;
            }
            let epoch = campaign.epoch(request.time_ms);
            match admit(campaign, request, asked, &about) {
                Ok(()) => {
                    self.respond(
                        campaigns,
                        &campaigns.declared.responses[usize::from(campaign.response)],
                        about,
                        model,
                    );
                    return self.choose(campaigns, campaign, asked, about, epoch);
                }
                // Of several campaigns, the first one says why not.
                Err(reason) => refused = refused.or(Some(nothing(asked, campaign.key, epoch, reason))),
            }
        }
        refused.unwrap_or(no_campaign(asked))
    }

    fn choose<'s>(
        &'s mut self,
        campaigns: &Campaigns,
        campaign: &CampaignV1,
        asked: &OfferAsked<'_>,
        about: About<'_>,
        epoch: i64,
    ) -> OfferParts<'s> {
        raise_along_ladders(campaign, &mut self.arms);
        let response = &campaigns.declared.responses[usize::from(campaign.response)];
        self.weigh(campaigns, campaign, response, asked, about);
        let best = best(&self.arms);
        let (arm, status, propensity) = draw(campaign, asked.draw, best, &self.arms);
        let drawn = asked.draw.is_some();
        let best = best as u32;
        OfferParts { campaign: campaign.key, epoch, status, arm: arm as u32, best, drawn, propensity, arms: &self.arms }
    }

    /// Fills the chance of a response of every arm.
    fn respond(&mut self, campaigns: &Campaigns, response: &ResponseV1, about: About<'_>, scratch: &mut ModelScratch) {
        self.row.clear();
        for (feature, same) in campaigns.same.iter().enumerate() {
            let value = if *same { about.feature(feature as u16) } else { f32::NAN };
            self.row.push(value);
        }
        self.arms.clear();
        let mut scored = (None, 0.0);
        for arm in &response.arms {
            // Arms of one model (an S-learner without interactions, say) share its score.
            if scored.0 != Some(arm.model) {
                let model = campaigns.models[usize::from(arm.model)].as_ref();
                let mut score = [0.0];
                if let Some(model) = model {
                    model.raw_scores(&self.row, 1, scratch, &mut score);
                }
                scored = (Some(arm.model), score[0]);
            }
            let response = math::sigmoid(arm.scale * scored.1 + arm.shift);
            self.arms.push(ArmParts { response, ..ArmParts::default() });
        }
    }

    /// Fills value, cost, score and mask of every arm but the first.
    fn weigh(
        &mut self,
        campaigns: &Campaigns,
        campaign: &CampaignV1,
        response: &ResponseV1,
        asked: &OfferAsked<'_>,
        about: About<'_>,
    ) {
        let margin = match campaign.margin {
            MarginV1::Constant(minor) => f64::from(minor),
            MarginV1::Feature(feature) => f64::from(about.feature(feature)),
        };
        let price = price(campaigns, campaign, asked);
        // Of cost, beside its price: profit pays for it as well.
        let paid = if campaign.goal == Goal::Profit { 1.0 } else { 0.0 };
        let [none, arms @ ..] = &mut self.arms[..] else { return };
        let base_error = f64::from(response.arms[0].error) * margin;
        for ((parts, arm), fitted) in arms.iter_mut().zip(&campaign.arms).zip(&response.arms[1..]) {
            let (chance, discount) = (f64::from(parts.response), f64::from(arm.discount));
            let value = (chance - f64::from(none.response)) * margin;
            let cost = chance * discount + f64::from(arm.sending);
            let of_cost = paid + price.unwrap_or(0.0);
            let error = f64::from(fitted.error) * (margin - of_cost * discount);
            // The two chances are estimated apart.
            let error = math::sqrt64(error * error + base_error * base_error);
            let score = value - of_cost * cost - f64::from(campaign.caution) * error;
            if price.is_none() || !affordable(campaigns, campaign, asked, arm.face) {
                parts.masked |= arm::NO_BUDGET;
            }
            // 0 is no floor, as on a cart: a margin that is not known, or small, then holds nothing back.
            if campaign.margin_floor != 0.0 && margin - discount < f64::from(campaign.margin_floor) {
                parts.masked |= arm::MARGIN_FLOOR;
            }
            (parts.value, parts.cost, parts.score) = (value as f32, cost as f32, score as f32);
        }
    }
}

/// Whether a campaign may make this user an offer now; why not.
fn admit(
    campaign: &CampaignV1,
    request: &RequestView<'_>,
    asked: &OfferAsked<'_>,
    about: &About<'_>,
) -> Result<(), NoOffer> {
    let open = (campaign.from_ms..campaign.until_ms).contains(&request.time_ms)
        && campaign.hours.is_none_or(|hours| is_within(hours, request.time_ms, request.utc_offset_min));
    if !open {
        return Err(NoOffer::OutsideWindow);
    }
    if !holds(&campaign.eligible, about) {
        return Err(NoOffer::NotEligible);
    }
    let mut counts = asked.counts().filter(|count| count.campaign == campaign.key);
    let reached = counts.any(|count| campaign.caps.get(count.cap as usize).is_some_and(|cap| count.count >= cap.count));
    if reached { Err(NoOffer::Capped) } else { Ok(()) }
}

/// Whether a time is within the hours of the local week.
fn is_within(hours: HoursV1, time_ms: i64, utc_offset_min: i32) -> bool {
    let local = time_ms.div_euclid(60_000) + i64::from(utc_offset_min);
    let (day, minute) = (local.div_euclid(DAY_MIN.into()), local.rem_euclid(DAY_MIN.into()) as u16);
    // 1970-01-01 was a Thursday; bit 0 is Monday.
    let on = |day: i64| hours.weekdays >> (day + 3).rem_euclid(7) & 1 == 1;
    if hours.from_min < hours.until_min {
        on(day) && (hours.from_min..hours.until_min).contains(&minute)
    } else {
        (on(day) && minute >= hours.from_min) || (on(day - 1) && minute < hours.until_min)
    }
}

/// Evaluates a rule that [`CampaignsV1::validate`] has accepted; the stack is the bits of a word.
fn holds(rule: &[TestOpV1], about: &About<'_>) -> bool {
    let mut stack = 0_u64;
    for op in rule {
        let push = |stack: u64, value: bool| stack << 1 | u64::from(value);
        let (top, below) = (stack & 1 == 1, stack >> 1 & 1 == 1);
        stack = match *op {
            TestOpV1::Compare { feature, how, than } => {
                let value = about.feature(feature);
                let holds = match how {
                    Comparison::Less => value < than,
                    Comparison::AtMost => value <= than,
                    Comparison::More => value > than,
                    Comparison::AtLeast => value >= than,
                    Comparison::Equal => value == than,
                };
                push(stack, holds)
            }
            TestOpV1::Missing { feature } => push(stack, about.feature(feature).is_nan()),
            TestOpV1::Is { field, value } => push(stack, about.field(field) == value),
            TestOpV1::And => push(stack >> 2, below && top),
            TestOpV1::Or => push(stack >> 2, below || top),
            TestOpV1::Not => push(stack >> 1, !top),
        };
    }
    rule.is_empty() || stack & 1 == 1
}

/// Within a ladder, a larger offer does not make a response less likely: `p_k := max(p_k, p_(k-1))`.
fn raise_along_ladders(campaign: &CampaignV1, arms: &mut [ArmParts]) {
    let mut before = (None, 0.0_f32);
    for (parts, arm) in arms.iter_mut().skip(1).zip(&campaign.arms) {
        if before.0 == Some(arm.ladder) {
            parts.response = parts.response.max(before.1);
        }
        before = (Some(arm.ladder), parts.response);
    }
}

/// What a unit of the campaign's cost must bring, over its funders; none where one of them may not spend.
fn price(campaigns: &Campaigns, campaign: &CampaignV1, asked: &OfferAsked<'_>) -> Option<f64> {
    let mut sum = 0.0;
    for (budget, share) in &campaign.funders {
        let declared = &campaigns.declared.budgets[usize::from(*budget)];
        let now = asked.budgets().find(|now| now.key == declared.key);
        let micros = now.map_or(declared.highest_price_micros, |now| now.price_micros);
        if micros == NO_PRICE {
            return None;
        }
        sum += f64::from(*share) / f64::from(SHARE) * (micros as f64 / MICROS);
    }
    Some(sum)
}

/// Whether every funder has its share of a face left. A budget that the request does not name is not known to be short.
fn affordable(campaigns: &Campaigns, campaign: &CampaignV1, asked: &OfferAsked<'_>, face: u64) -> bool {
    campaign.funders.iter().all(|(budget, share)| {
        let key = campaigns.declared.budgets[usize::from(*budget)].key;
        // Rounded up, as whoever reserves it does. A face is below 2^40, a share below 2^14.
        let wanted = (face * u64::from(*share)).div_ceil(SHARE.into());
        asked.budgets().find(|now| now.key == key).is_none_or(|now| wanted <= now.left)
    })
}

/// The arm with the largest score above 0 that can be offered; of equal ones the cheapest.
fn best(arms: &[ArmParts]) -> usize {
    let mut best = 0;
    for (at, arm) in arms.iter().enumerate().skip(1) {
        let (score, cost) = (arms[best].score, arms[best].cost);
        if arm.masked == 0 && (arm.score > score || (arm.score == score && arm.cost < cost)) {
            best = at;
        }
    }
    best
}

/// What is offered for a draw: the arm, how it came about, and how probable it was over hold-out and exploration.
fn draw(campaign: &CampaignV1, draw: Option<[u8; 16]>, best: usize, arms: &[ArmParts]) -> (usize, OfferStatus, f32) {
    let why_none = |arm: usize| match arm {
        0 if best == 0 => OfferStatus::None(why_none(arms)),
        0 => OfferStatus::None(NoOffer::Drawn),
        _ => OfferStatus::Offered,
    };
    let Some(draw) = draw else { return (best, why_none(best), f32::NAN) };
    let words = draw.first_chunk::<12>().copied().unwrap_or_default();
    let word = |at: usize| u64::from(u32::from_le_bytes([words[at], words[at + 1], words[at + 2], words[at + 3]]));
    let falls_in = |at, share: u16| (word(at) * u64::from(SHARE)) >> 32 < u64::from(share);
    let feasible = arms.iter().filter(|arm| arm.masked == 0).count();
    let (holdout, explore) = (share(campaign.holdout), share(campaign.explore));
    let probability = |arm: usize| {
        let greedy = if arm == best { 1.0 - explore } else { 0.0 };
        let chosen = (1.0 - holdout) * (greedy + explore / feasible as f64);
        (if arm == 0 { holdout + chosen } else { chosen }) as f32
    };
    if falls_in(0, campaign.holdout) {
        return (0, OfferStatus::HeldOut, probability(0));
    }
    let arm = if falls_in(4, campaign.explore) {
        let nth = ((word(8) * feasible as u64) >> 32) as usize;
        let mut able = arms.iter().enumerate().filter(|(_, arm)| arm.masked == 0).map(|(at, _)| at);
        able.nth(nth).unwrap_or(0)
    } else {
        best
    };
    (arm, why_none(arm), probability(arm))
}

fn share(of: u16) -> f64 {
    f64::from(of) / f64::from(SHARE)
}

/// Why no arm is the best.
fn why_none(arms: &[ArmParts]) -> NoOffer {
    let all = |bit: u32| arms.iter().skip(1).all(|arm| arm.masked & bit != 0);
    if all(arm::NO_BUDGET) {
        NoOffer::NoBudget
    } else if arms.iter().skip(1).all(|arm| arm.masked != 0) {
        NoOffer::MarginFloor
    } else {
        NoOffer::NotWorthIt
    }
}

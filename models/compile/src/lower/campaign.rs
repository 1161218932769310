//! `campaign.toml` as the campaigns and the terms of a bundle.

use std::collections::BTreeMap;

use selvedge_format::campaign::{
    self, ArmResponseV1, ArmV1, BudgetV1, CampaignV1, CampaignsV1, CapV1, HoursV1, MarginV1, ResponseV1, TestOpV1,
    same_for_all,
};
use selvedge_format::key;
use selvedge_format::program::ProgramV1;
use selvedge_format::terms::{
    BenefitV1, CampaignTermsV1, FunderV1, OfferV1, PriceOf, SHARE, ScopeV1, StackingV1, TermsV1, TestV1, TierV1,
};
use selvedge_spec::{self as spec, Benefit, Campaign, CampaignSpec, FeatureSpec, LineTest, Margin, Offer, Test, Word};

use super::Fields;
use crate::bind::{Bound, bind};
use crate::error::{CompileError, CompileErrorKind};
use crate::response::{NO_OFFER, TrainedResponse, features_used};

/// Prices in `campaign.toml` are in units of value per unit of cost, in a bundle in millionths.
const MICROS: f64 = 1e6;

/// Campaigns as a bundle has them.
pub(crate) struct Lowered {
    /// What decides.
    pub(crate) campaigns: CampaignsV1,
    /// What is promised.
    pub(crate) terms: TermsV1,
    /// The models that responses read, from position `first` of the model directory on.
    pub(crate) models: Vec<Bound>,
}

/// Lowers the campaigns of `spec` over a program that was lowered from `features`. `responses` has the trained model of
/// every path that a campaign names; `first` is the position of the first response model in the model directory.
pub(crate) fn lower_campaigns(
    spec: &CampaignSpec,
    features: &FeatureSpec,
    program: &ProgramV1,
    responses: &BTreeMap<String, TrainedResponse>,
    first: usize,
) -> Result<Lowered, CompileError> {
    let mut budgets: Vec<BudgetV1> = spec
        .budgets
        .iter()
        .map(|budget| BudgetV1 {
            key: key(budget.name.as_bytes()),
            highest_price_micros: (budget.highest_price * MICROS).round() as u64,
        })
        .collect();
    budgets.sort_by_key(|budget| budget.key);
    let mut lowering = Lowering {
        features,
        same: same_for_all(program),
        fields: Fields::of(features),
        first,
        lowered: Lowered {
            campaigns: CampaignsV1 { budgets, ..CampaignsV1::default() },
            terms: TermsV1 { currency: spec.currency.clone(), campaigns: Vec::new() },
            models: Vec::new(),
        },
    };
    for campaign in &spec.campaigns {
        let place = format!("campaign.toml: `{}`", campaign.name);
        let Some(response) = responses.get(&campaign.response) else {
            let message = format!("there is no response model `{}`", campaign.response);
            let help = "train it with `selvedge uplift`, or name the file that has it";
            return Err(CompileError::new(CompileErrorKind::Response, place, message, help));
        };
        lowering.campaign(campaign, response)?;
    }
    Ok(lowering.lowered)
}

struct Lowering<'a> {
    features: &'a FeatureSpec,
    same: Vec<bool>,
    fields: Fields<'a>,
    first: usize,
    lowered: Lowered,
}

impl Lowering<'_> {
    fn campaign(&mut self, campaign: &Campaign, response: &TrainedResponse) -> Result<(), CompileError> {
        let response = self.response(campaign, response)?;
        let budgets = &self.lowered.campaigns.budgets;
        let shares = shares(&campaign.funders);
        let mut funders: Vec<(u16, u16)> = campaign
            .funders
            .iter()
            .zip(&shares)
            .filter_map(|((name, _), share)| {
                let at = budgets.iter().position(|budget| budget.key == key(name.as_bytes()))?;
                Some((at as u16, *share))
            })
            .collect();
        funders.sort_unstable();
        let mut ladder = 0;
        let mut arms = Vec::new();
        for (at, offer) in campaign.offers.iter().enumerate() {
            let goes_on = at > 0 && offer.ladder.is_some() && campaign.offers[at - 1].ladder == offer.ladder;
            ladder += u8::from(at > 0 && !goes_on);
            arms.push(ArmV1 {
                ladder,
                discount: offer.discount,
                sending: offer.sending,
                face: offer.cap,
                life_s: offer.life.get(),
            });
        }
        let eligible: Result<Vec<TestOpV1>, CompileError> =
            campaign.eligible.iter().map(|test| self.test(campaign, test)).collect();
        let margin = match &campaign.margin {
            Margin::Constant(minor) => MarginV1::Constant(*minor),
            Margin::Feature { name, .. } => MarginV1::Feature(self.feature(campaign, name)?),
        };
        let lowered = CampaignV1 {
            key: key(campaign.name.as_bytes()),
            from_ms: campaign.from_ms,
            until_ms: campaign.until_ms,
            hours: campaign.hours.as_ref().map(hours),
            eligible: eligible?,
            caps: campaign.caps.iter().map(cap).collect(),
            holdout: share(campaign.holdout),
            explore: share(campaign.explore),
            epoch_s: campaign.epoch.get(),
            goal: match campaign.goal {
                spec::Goal::Revenue => campaign::Goal::Revenue,
                spec::Goal::Profit => campaign::Goal::Profit,
            },
            caution: campaign.caution,
            margin,
            margin_floor: (campaign.margin_floor * campaign.order as f64) as f32,
            response,
            funders,
            arms,
        };
        self.lowered.campaigns.campaigns.push(lowered);
        self.lowered.terms.campaigns.push(CampaignTermsV1 {
            campaign: campaign.name.clone(),
            funders: campaign
                .funders
                .iter()
                .zip(shares)
                .map(|((budget, _), share)| FunderV1 { budget: budget.clone(), share })
                .collect(),
            margin_floor: share(campaign.margin_floor),
            disclosed: campaign.disclosed,
            excluded: campaign.excluded.iter().map(|(field, _)| field.to_string()).collect(),
            offers: campaign.offers.iter().map(offer).collect(),
        });
        Ok(())
    }

    /// Adds the models of a campaign's arms; the position of its response.
    fn response(&mut self, campaign: &Campaign, response: &TrainedResponse) -> Result<u16, CompileError> {
        let place = || format!("{}: arms", campaign.response);
        let offers = campaign.offers.iter().map(|offer| offer.name.as_str());
        let mut arms = Vec::new();
        for name in std::iter::once(NO_OFFER).chain(offers) {
            let Some(arm) = response.arm(name) else {
                let message = format!("the response model has no arm for the offer `{name}` of `{}`", campaign.name);
                let help = "train it on a trial with this offer, or take the offer out of the campaign";
                return Err(CompileError::new(CompileErrorKind::Response, place(), message, help));
            };
            let bound =
                bind(&arm.model, self.features).map_err(|error| error.within(&format!("{}[{name}]", place())))?;
            for feature in features_used(&bound) {
                self.check(campaign, feature, &campaign.response)?;
            }
            // The same model again, as the arms of an S-learner have, is kept once.
            let known = self.lowered.models.iter().position(|known| *known == bound);
            let at = known.unwrap_or(self.lowered.models.len());
            if known.is_none() {
                self.lowered.models.push(bound);
            }
            let model = (self.first + at) as u16;
            arms.push(ArmResponseV1 { model, scale: arm.scale, shift: arm.shift, error: arm.error });
        }
        let responses = &mut self.lowered.campaigns.responses;
        let lowered = ResponseV1 { arms };
        let at = responses.iter().position(|known| *known == lowered).unwrap_or(responses.len());
        if at == responses.len() {
            responses.push(lowered);
        }
        Ok(at as u16)
    }

    /// Refuses a feature that differs between candidates, or reads what the campaign excludes.
    fn check(&self, campaign: &Campaign, feature: usize, reader: &str) -> Result<(), CompileError> {
        let name = &self.features.features[feature].name;
        let refuse = |message: String, help: &str| {
            let place = format!("campaign.toml: `{}`", campaign.name);
            Err(CompileError::new(CompileErrorKind::Response, place, message, help))
        };
        if !self.same[feature] {
            let message =
                format!("`{reader}` reads the feature `{name}`, which is about an item and not about the user");
            return refuse(
                message,
                "an offer is decided for a user: read counters by `all`, and fields of user or context",
            );
        }
        let read = self.features.fields_read(feature);
        match campaign.excluded.iter().find(|(field, _)| read.contains(field)) {
            Some((field, _)) => {
                let message =
                    format!("`{reader}` reads `{field}` by the feature `{name}`, which the campaign excludes");
                refuse(message, "train the model without the feature, or do not exclude the field")
            }
            None => Ok(()),
        }
    }

    fn feature(&self, campaign: &Campaign, name: &str) -> Result<u16, CompileError> {
        let Some(at) = self.features.features.iter().position(|feature| feature.name == name) else {
            let place = format!("campaign.toml: `{}`", campaign.name);
            let message = format!("the features declare no `{name}`");
            let help = "declare the feature in features.toml";
            return Err(CompileError::new(CompileErrorKind::UnknownFeature, place, message, help));
        };
        self.check(campaign, at, "campaign.toml")?;
        Ok(at as u16)
    }

    fn test(&self, campaign: &Campaign, test: &Test) -> Result<TestOpV1, CompileError> {
        Ok(match test {
            Test::Compare { feature, how, than, .. } => {
                TestOpV1::Compare { feature: self.feature(campaign, feature)?, how: comparison(*how), than: *than }
            }
            Test::Missing { feature, .. } => TestOpV1::Missing { feature: self.feature(campaign, feature)? },
            Test::Is { field, value, .. } => {
                TestOpV1::Is { field: self.fields.of_ref(field), value: key(value.as_bytes()) }
            }
            Test::And => TestOpV1::And,
            Test::Or => TestOpV1::Or,
            Test::Not => TestOpV1::Not,
        })
    }
}

fn share(of: f64) -> u16 {
    (of * f64::from(SHARE)).round() as u16
}

/// Ten-thousandths that sum to all of them: what rounding leaves goes to the first.
fn shares(funders: &[(String, f64)]) -> Vec<u16> {
    let mut shares: Vec<u16> = funders.iter().map(|(_, of)| share(*of).max(1)).collect();
    let sum: i32 = shares.iter().map(|share| i32::from(*share)).sum();
    if let Some(first) = shares.first_mut() {
        *first = (i32::from(*first) + i32::from(SHARE) - sum).max(1) as u16;
    }
    shares
}

fn hours(hours: &spec::Hours) -> HoursV1 {
    let bit = |day: &spec::Weekday| spec::Weekday::ALL.iter().position(|known| known == day).map_or(0, |at| 1 << at);
    let weekdays = hours.days.iter().map(bit).fold(0, |bits, bit: u8| bits | bit);
    HoursV1 { weekdays, from_min: hours.from_min, until_min: hours.until_min }
}

fn cap(cap: &spec::Cap) -> CapV1 {
    let by = match cap.by {
        spec::CapBy::User => campaign::CapBy::User,
        spec::CapBy::Device => campaign::CapBy::Device,
    };
    CapV1 { by, period_s: cap.period.map_or(0, spec::Seconds::get), count: cap.count }
}

fn comparison(how: spec::Comparison) -> campaign::Comparison {
    match how {
        spec::Comparison::Less => campaign::Comparison::Less,
        spec::Comparison::AtMost => campaign::Comparison::AtMost,
        spec::Comparison::More => campaign::Comparison::More,
        spec::Comparison::AtLeast => campaign::Comparison::AtLeast,
        spec::Comparison::Equal => campaign::Comparison::Equal,
    }
}

fn offer(offer: &Offer) -> OfferV1 {
    let benefit = match &offer.benefit {
        Benefit::Percent(percent) => BenefitV1::Percent { share: ((percent * 100.0).round() as u16).max(1) },
        Benefit::Amount(minor) => BenefitV1::Amount { minor: *minor },
        Benefit::Tiers(steps) => BenefitV1::Tiers {
            steps: steps.iter().map(|(spend, save)| TierV1 { spend: *spend, save: *save }).collect(),
        },
        Benefit::FreeShipping => BenefitV1::FreeShipping,
    };
    OfferV1 {
        offer: offer.name.clone(),
        benefit,
        cap: offer.cap,
        min_spend: offer.min_spend,
        scope: ScopeV1 { only: tests(&offer.only), except: tests(&offer.except) },
        stacking: StackingV1 {
            group: offer.group.clone().unwrap_or_default(),
            exclusive: offer.exclusive,
            priority: offer.priority,
            on: match offer.on {
                spec::PriceOf::List => PriceOf::List,
                spec::PriceOf::Discounted => PriceOf::Discounted,
            },
        },
        life_s: offer.life.get(),
    }
}

fn tests(tests: &[LineTest]) -> Vec<TestV1> {
    tests.iter().map(|test| TestV1 { attribute: test.attribute.clone(), values: test.values.clone() }).collect()
}

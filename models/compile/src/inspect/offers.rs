//! Campaigns and their terms, in words. Amounts are in minor units; names come from the terms, which a bundle may lack.

use selvedge_format::campaign::{
    ArmResponseV1, ArmV1, CampaignV1, CampaignsV1, CapBy, Comparison, Goal, HoursV1, MarginV1, TestOpV1,
};
use selvedge_format::key;
use selvedge_format::terms::{BenefitV1, CampaignTermsV1, OfferV1, SHARE, TermsV1, TestV1};
use serde::Serialize;

use super::{Names, span};

/// Days of the week from bit 0.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A budget, as a decision knows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BudgetInspection {
    /// Its name, or its key in hexadecimal.
    pub name: String,
    /// What a unit of cost must bring where nobody says what it is worth today.
    pub highest_price: f64,
}

/// A campaign.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CampaignInspection {
    /// Its name, or its key in hexadecimal.
    pub name: String,
    /// When, for whom, how often, and what for, in words.
    pub rules: Vec<String>,
    /// The arms, the first without an offer.
    pub arms: Vec<ArmInspection>,
}

/// An arm of a campaign.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArmInspection {
    /// Name of the offer, `none` for the first, or `#` and its position.
    pub name: String,
    /// Position of its response model in the model directory.
    pub model: u16,
    /// Factor of the raw score.
    pub scale: f32,
    /// Added to it.
    pub shift: f32,
    /// Standard error of the chance.
    pub error: f32,
    /// What is promised and what it costs, in words.
    pub terms: Vec<String>,
}

fn of(terms: Option<&TermsV1>, campaign: u64) -> Option<&CampaignTermsV1> {
    terms?.campaigns.iter().find(|terms| key(terms.campaign.as_bytes()) == campaign)
}

fn budget_name(terms: Option<&TermsV1>, budget: u64) -> String {
    let mut funders = terms.into_iter().flat_map(|terms| &terms.campaigns).flat_map(|campaign| &campaign.funders);
    let named = funders.find(|funder| key(funder.budget.as_bytes()) == budget);
    named.map_or_else(|| format!("{budget:016x}"), |funder| funder.budget.clone())
}

pub(super) fn budgets(campaigns: &CampaignsV1, terms: Option<&TermsV1>) -> Vec<BudgetInspection> {
    let shown = campaigns.budgets.iter().map(|budget| BudgetInspection {
        name: budget_name(terms, budget.key),
        highest_price: budget.highest_price_micros as f64 / 1e6,
    });
    shown.collect()
}

pub(super) fn campaigns(
    names: &Names<'_>,
    campaigns: &CampaignsV1,
    terms: Option<&TermsV1>,
) -> Vec<CampaignInspection> {
    let show = |campaign: &CampaignV1| {
        let own = of(terms, campaign.key);
        let response = &campaigns.responses[usize::from(campaign.response)];
        let none = arm("none".to_owned(), &response.arms[0], Vec::new());
        let arms = campaign.arms.iter().zip(&response.arms[1..]).enumerate().map(|(at, (declared, fitted))| {
            let offer = own.and_then(|own| own.offers.get(at));
            let name = offer.map_or_else(|| format!("#{}", at + 1), |offer| offer.offer.clone());
            arm(name, fitted, offer_text(declared, offer))
        });
        CampaignInspection {
            name: own.map_or_else(|| format!("{:016x}", campaign.key), |own| own.campaign.clone()),
            rules: rules(names, campaign, own, campaigns, terms),
            arms: std::iter::once(none).chain(arms).collect(),
        }
    };
    campaigns.campaigns.iter().map(show).collect()
}

fn arm(name: String, fitted: &ArmResponseV1, terms: Vec<String>) -> ArmInspection {
    ArmInspection { name, model: fitted.model, scale: fitted.scale, shift: fitted.shift, error: fitted.error, terms }
}

fn rules(
    names: &Names<'_>,
    campaign: &CampaignV1,
    own: Option<&CampaignTermsV1>,
    campaigns: &CampaignsV1,
    terms: Option<&TermsV1>,
) -> Vec<String> {
    let mut rules = vec![format!("from {} to {} ms since 1970-01-01 UTC", campaign.from_ms, campaign.until_ms)];
    rules.extend(campaign.hours.map(hours));
    if !campaign.eligible.is_empty() {
        rules.push(format!("for whom {}", rule(names, &campaign.eligible)));
    }
    for cap in &campaign.caps {
        let by = if cap.by == CapBy::User { "user" } else { "device" };
        let period = if cap.period_s == 0 { "the campaign".to_owned() } else { span(cap.period_s.into()) };
        rules.push(format!("at most {} by {by} in {period}", cap.count));
    }
    let goal = if campaign.goal == Goal::Revenue { "revenue" } else { "profit" };
    let margin = match campaign.margin {
        MarginV1::Constant(minor) => minor.to_string(),
        MarginV1::Feature(feature) => names.feature(feature.into()),
    };
    rules.push(format!("goal {goal}, margin {margin}, of which {} must be left", campaign.margin_floor));
    rules.push(format!(
        "hold-out {}, exploration {}, caution {}, one decision in {}",
        percent(campaign.holdout),
        percent(campaign.explore),
        campaign.caution,
        span(campaign.epoch_s.into())
    ));
    for (budget, share) in &campaign.funders {
        let name = budget_name(terms, campaigns.budgets[usize::from(*budget)].key);
        rules.push(format!("{} paid by {name}", percent(*share)));
    }
    if let Some(own) = own {
        if !own.excluded.is_empty() {
            rules.push(format!("reads nothing of {}", own.excluded.join(", ")));
        }
        rules.push(if own.disclosed { "users are told" } else { "users are not told" }.to_owned());
    }
    rules
}

fn hours(hours: HoursV1) -> String {
    let days: Vec<&str> =
        DAYS.into_iter().enumerate().filter(|(at, _)| hours.weekdays >> at & 1 == 1).map(|(_, day)| day).collect();
    let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    format!("{} from {} to {}, by the user's clock", days.join(", "), time(hours.from_min), time(hours.until_min))
}

/// A postfix rule as it was written, with all its parentheses.
fn rule(names: &Names<'_>, ops: &[TestOpV1]) -> String {
    let mut stack: Vec<String> = Vec::new();
    for op in ops {
        // A rule that was decoded takes no more than there is.
        let mut pop = || stack.pop().unwrap_or_default();
        let text = match *op {
            TestOpV1::Compare { feature, how, than } => {
                let how = match how {
                    Comparison::Less => "<",
                    Comparison::AtMost => "<=",
                    Comparison::More => ">",
                    Comparison::AtLeast => ">=",
                    Comparison::Equal => "==",
                };
                format!("{} {how} {than}", names.feature(feature.into()))
            }
            TestOpV1::Missing { feature } => format!("{} is missing", names.feature(feature.into())),
            TestOpV1::Is { field, value } => format!("{} == key {value:016x}", names.field(field.into())),
            TestOpV1::Not => format!("not ({})", pop()),
            TestOpV1::And | TestOpV1::Or => {
                let (second, first) = (pop(), pop());
                let word = if *op == TestOpV1::And { "and" } else { "or" };
                format!("({first} {word} {second})")
            }
        };
        stack.push(text);
    }
    stack.pop().unwrap_or_default()
}

fn offer_text(arm: &ArmV1, offer: Option<&OfferV1>) -> Vec<String> {
    let mut text = Vec::new();
    if let Some(offer) = offer {
        text.push(match &offer.benefit {
            BenefitV1::Percent { share } => format!("{} off", percent(*share)),
            BenefitV1::Amount { minor } => format!("{minor} off"),
            BenefitV1::Tiers { steps } => {
                let steps = steps.iter().map(|step| format!("{} off from {}", step.save, step.spend));
                steps.collect::<Vec<_>>().join(" or ")
            }
            BenefitV1::FreeShipping => "free shipping".to_owned(),
        });
        if offer.min_spend > 0 {
            text.push(format!("from {}", offer.min_spend));
        }
        text.extend(offer.scope.only.iter().map(|test| format!("only {}", test_text(test))));
        text.extend(offer.scope.except.iter().map(|test| format!("not {}", test_text(test))));
        if offer.stacking.exclusive {
            text.push("exclusive".to_owned());
        }
        if !offer.stacking.group.is_empty() {
            text.push(format!("one of group {}", offer.stacking.group));
        }
    }
    text.push(format!("at most {}", arm.face));
    text.push(format!("expected {}", arm.discount));
    if arm.sending > 0.0 {
        text.push(format!("sending {}", arm.sending));
    }
    text.push(format!("ladder {}", arm.ladder));
    text.push(format!("for {}", span(arm.life_s.into())));
    text
}

fn test_text(test: &TestV1) -> String {
    format!("{} in {}", test.attribute, test.values.join(", "))
}

fn percent(share: u16) -> String {
    format!("{} %", f64::from(share) * 100.0 / f64::from(SHARE))
}

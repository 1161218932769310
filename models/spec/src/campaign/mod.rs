//! `campaign.toml`: offers, who may get them, what they may cost, and how it is found out whether they pay.

mod check;
mod parse;
mod rule;

use miette::SourceSpan;

use crate::error::Source;
use crate::feature::FieldRef;
use crate::seconds::Seconds;
use crate::vocabulary::{CapBy, Comparison, Goal, PriceOf, Weekday};

/// The campaigns of a bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct CampaignSpec {
    /// ISO 4217 code of the currency of all amounts.
    pub currency: String,
    /// What campaigns spend from, in the order of the text; at least one.
    pub budgets: Vec<Budget>,
    /// In the order in which they are tried; at least one.
    pub campaigns: Vec<Campaign>,
    pub(crate) source: Source,
}

/// Money that campaigns may spend. What is left of it is known at the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Its name.
    pub name: String,
    /// What may be spent in all, in minor units; above 0.
    pub total: u64,
    /// What may be spent in a day, if that is limited; above 0, at most `total`.
    pub per_day: Option<u64>,
    /// What one unit of cost must bring where nobody says what it is worth today.
    pub highest_price: f64,
}

/// One campaign.
#[derive(Clone, Debug, PartialEq)]
pub struct Campaign {
    /// Its name.
    pub name: String,
    /// Path of the trained response model, relative to this file.
    pub response: String,
    /// Milliseconds since 1970-01-01 UTC: no offers before.
    pub from_ms: i64,
    /// No offers at or after; above `from_ms`.
    pub until_ms: i64,
    /// Hours of the user's local week, if not all.
    pub hours: Option<Hours>,
    /// For whom, in postfix order; empty for everyone.
    pub eligible: Vec<Test>,
    /// How often.
    pub caps: Vec<Cap>,
    /// Share of users who get no offer, so that it can be told what offers do.
    pub holdout: f64,
    /// Share of the other users who get an arm at random.
    pub explore: f64,
    /// How long a decision about a user stays as it is.
    pub epoch: Seconds,
    /// What is sought.
    pub goal: Goal,
    /// By how many standard errors an offer must be worth its price.
    pub caution: f32,
    /// What a response earns before the offer.
    pub margin: Margin,
    /// Share of the expected order's price that must be left as margin.
    pub margin_floor: f64,
    /// Price of the expected order, in minor units; needed for a floor.
    pub order: u64,
    /// Whether users are told.
    pub disclosed: bool,
    /// Fields that neither rules nor models of this campaign may read.
    pub excluded: Vec<(FieldRef, SourceSpan)>,
    /// Budgets and their shares, which sum to 1.
    pub funders: Vec<(String, f64)>,
    /// Arms 1, 2, ...; at least one.
    pub offers: Vec<Offer>,
    /// The name in the text.
    pub span: SourceSpan,
}

/// Hours of a local week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    /// On which days the hours begin; at least one.
    pub days: Vec<Weekday>,
    /// First minute of the day.
    pub from_min: u16,
    /// Minute after the last; if not above `from_min`, on the day after.
    pub until_min: u16,
}

/// An operation of an eligibility rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// Compares a feature with a number.
    Compare {
        /// Name of the feature.
        feature: String,
        /// How.
        how: Comparison,
        /// With what.
        than: f32,
        /// The name in the text.
        span: SourceSpan,
    },
    /// Whether a feature is missing.
    Missing {
        /// Name of the feature.
        feature: String,
        /// The name in the text.
        span: SourceSpan,
    },
    /// Whether a string field of the user or the context has this value.
    Is {
        /// The field.
        field: FieldRef,
        /// The value.
        value: String,
        /// The field in the text.
        span: SourceSpan,
    },
    /// Both of the last two.
    And,
    /// Either of the last two.
    Or,
    /// Not the last one.
    Not,
}

/// At most `count` offers of the campaign in any `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    /// Whose offers are counted.
    pub by: CapBy,
    /// Above 0.
    pub count: u32,
    /// The whole campaign, unless declared.
    pub period: Option<Seconds>,
}

/// What a response earns.
#[derive(Clone, Debug, PartialEq)]
pub enum Margin {
    /// Minor units, the same for all users.
    Constant(f32),
    /// A feature's value, in minor units.
    Feature {
        /// Its name.
        name: String,
        /// The name in the text.
        span: SourceSpan,
    },
}

/// One offer.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Its name.
    pub name: String,
    /// What is given.
    pub benefit: Benefit,
    /// The most that is given, in minor units.
    pub cap: u64,
    /// What the lines in scope must cost together, in minor units.
    pub min_spend: u64,
    /// Attributes of lines and the values that they must have.
    pub only: Vec<LineTest>,
    /// Attributes of lines and the values that they must not have.
    pub except: Vec<LineTest>,
    /// At most one offer of a group is applied to a cart.
    pub group: Option<String>,
    /// Not together with any other.
    pub exclusive: bool,
    /// Offers of a higher priority are applied first.
    pub priority: i16,
    /// What shares and thresholds are taken of.
    pub on: PriceOf,
    /// How long it can be redeemed.
    pub life: Seconds,
    /// Offers of one ladder differ in face alone: a larger one does not make a response less likely.
    pub ladder: Option<String>,
    /// Expected discount given a response, in minor units; the cap unless declared.
    pub discount: f32,
    /// What it costs to make the offer, in minor units.
    pub sending: f32,
    /// The name in the text.
    pub span: SourceSpan,
}

/// What an offer gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Benefit {
    /// Per cent of the price of the lines in scope.
    Percent(f64),
    /// Minor units off.
    Amount(u64),
    /// What must be spent and what is saved then, both rising.
    Tiers(Vec<(u64, u64)>),
    /// What shipping costs.
    FreeShipping,
}

/// An attribute of lines and values of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineTest {
    /// Name of the attribute; `id` is the item.
    pub attribute: String,
    /// At least one; ascending.
    pub values: Vec<String>,
}

//! Terms: what the offers of a bundle's campaigns promise. Whoever mints, prices and redeems offers reads them; the
//! engine does not, since which offer is made depends on what it costs and does, never on its wording.
//!
//! Amounts are integers in minor units of one currency (cents, say; yen have none and are their own minor unit).
//! Shares are ten-thousandths. An offer has a *face*: the most that it can cost, which is what a budget reserves when
//! it is minted. So an offer that could cost anything cannot be written down.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::DecodeError;
use crate::head::is_name;

/// Section tag of the terms in a bundle.
pub const TAG: u32 = 0x07;
/// Version of [`TermsV1`].
pub const VERSION: u16 = 1;

/// Most campaigns in a bundle.
pub const MAX_CAMPAIGNS: usize = 64;
/// Most offers of one campaign.
pub const MAX_OFFERS: usize = 16;
/// Most budgets that share the cost of one campaign.
pub const MAX_FUNDERS: usize = 8;
/// Most steps of a tiered offer.
pub const MAX_TIERS: usize = 16;
/// Most tests of one scope, and most excluded attributes.
pub const MAX_TESTS: usize = 16;
/// Most values of one test.
pub const MAX_VALUES: usize = 1024;
/// Longest name of a campaign, an offer, a budget or a stacking group, in bytes.
pub const MAX_NAME: usize = 64;
/// Longest attribute or value of a test, in bytes.
pub const MAX_TEXT: usize = 256;
/// Largest amount: with it, sums over [`MAX_LINES`] lines stay in 64 bits.
pub const MAX_MINOR: u64 = 1 << 40;
/// Most lines of a cart.
pub const MAX_LINES: usize = 100_000;
/// What shares are counted in.
pub const SHARE: u16 = 10_000;
/// Longest life of an offer: 400 days, in seconds. What a lost edge reserved comes back only after it.
pub const MAX_LIFE_S: u32 = 400 * 86_400;

const PLACE: &str = "terms";

/// The terms of all campaigns of a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermsV1 {
    /// ISO 4217 code of the currency of all amounts.
    pub currency: String,
    /// In the order of the campaigns that decide.
    pub campaigns: Vec<CampaignTermsV1>,
}

/// What one campaign promises, and who pays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignTermsV1 {
    /// Name: unique in the bundle, `a-z`, `0-9`, `.`, `_`, `-`.
    pub campaign: String,
    /// Who pays: shares sum to [`SHARE`].
    pub funders: Vec<FunderV1>,
    /// Of the price of a cart's lines before any offer, the share that must remain as margin after the discount,
    /// where the cost of all lines is known; 0 is no floor.
    pub margin_floor: u16,
    /// Users are told that the offer is made by a decision about them.
    pub disclosed: bool,
    /// Attributes of users that neither models nor rules of this campaign may read.
    pub excluded: Vec<String>,
    /// In the order of the arms 1, 2, ...
    pub offers: Vec<OfferV1>,
}

/// A budget's share of what a campaign costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunderV1 {
    /// Name of the budget.
    pub budget: String,
    /// Of [`SHARE`].
    pub share: u16,
}

/// One offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferV1 {
    /// Name: unique in its campaign.
    pub offer: String,
    /// What is given.
    pub benefit: BenefitV1,
    /// The most that is given; above 0. This is the offer's face.
    pub cap: u64,
    /// What the lines in scope must cost together, at the price that `stacking.on` looks at.
    pub min_spend: u64,
    /// On which lines.
    pub scope: ScopeV1,
    /// How it goes together with others.
    pub stacking: StackingV1,
    /// How long it can be redeemed, in seconds: 1 to [`MAX_LIFE_S`].
    pub life_s: u32,
}

/// What an offer gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BenefitV1 {
    /// A share of the price of the lines in scope.
    Percent {
        /// Of [`SHARE`]: 1 to all.
        share: u16,
    },
    /// An amount off the lines in scope together.
    Amount {
        /// Above 0.
        minor: u64,
    },
    /// The amount of the highest step that the lines in scope reach. Both numbers rise from step to step.
    Tiers {
        /// 1 to [`MAX_TIERS`].
        steps: Vec<TierV1>,
    },
    /// What shipping costs, if a line is in scope.
    FreeShipping,
}

/// One step of a tiered offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierV1 {
    /// What the lines in scope must cost together.
    pub spend: u64,
    /// What is given then; at most `spend`.
    pub save: u64,
}

/// Which lines an offer is for: those that pass every test of `only` and none of `except`. Without tests, all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeV1 {
    /// All must hold.
    pub only: Vec<TestV1>,
    /// None may hold.
    pub except: Vec<TestV1>,
}

/// Holds for a line whose `attribute` is one of `values`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestV1 {
    /// Name of the attribute; `id` is the line's item.
    pub attribute: String,
    /// Ascending.
    pub values: Vec<String>,
}

/// How an offer goes together with other offers on one cart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackingV1 {
    /// At most one offer of a group, of whatever campaign, is applied; the empty group is none.
    pub group: String,
    /// Not together with any other: applied alone, or passed over if one of higher priority is applied.
    pub exclusive: bool,
    /// Offers are tried from the highest priority down; equal ones by campaign and offer.
    pub priority: i16,
    /// What shares and thresholds are taken of.
    pub on: PriceOf,
}

/// The price that an offer looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PriceOf {
    /// Before any offer: what one offer gives does not depend on the others, unless nothing is left to give.
    #[default]
    List,
    /// What earlier offers left.
    Discounted,
}

impl TermsV1 {
    /// Decodes and validates the section.
    ///
    /// # Errors
    /// Not canonical postcard, or a value that the page forbids.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let terms: Self = crate::container::metadata(bytes, PLACE)?;
        terms.validate()?;
        Ok(terms)
    }

    /// The section's bytes.
    #[cfg(feature = "id")]
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        crate::container::encode(self)
    }

    /// Checks names, order and ranges.
    ///
    /// # Errors
    /// The first value that the page forbids; the offset is the position of the campaign.
    pub fn validate(&self) -> Result<(), DecodeError> {
        if self.currency.len() != 3 || !self.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(DecodeError::invalid("terms: currency", 0));
        }
        if self.campaigns.len() > MAX_CAMPAIGNS {
            return Err(DecodeError::too_large("campaigns", MAX_CAMPAIGNS as u64, self.campaigns.len() as u64));
        }
        for (index, campaign) in self.campaigns.iter().enumerate() {
            let invalid = |place| Err(DecodeError::invalid(place, index));
            let twice = self.campaigns[..index].iter().any(|earlier| earlier.campaign == campaign.campaign);
            if twice || !is_name(&campaign.campaign, MAX_NAME) {
                return invalid("terms: campaign");
            }
            if !funders_are_valid(&campaign.funders) {
                return invalid("terms: funders");
            }
            if campaign.margin_floor > SHARE {
                return invalid("terms: margin floor");
            }
            if campaign.excluded.len() > MAX_TESTS || !campaign.excluded.iter().all(|name| is_text(name)) {
                return invalid("terms: excluded attributes");
            }
            if !(1..=MAX_OFFERS).contains(&campaign.offers.len()) {
                return invalid("terms: offers");
            }
            for (at, offer) in campaign.offers.iter().enumerate() {
                let twice = campaign.offers[..at].iter().any(|earlier| earlier.offer == offer.offer);
                if twice || !is_name(&offer.offer, MAX_NAME) {
                    return invalid("terms: offer");
                }
                if let Err(place) = offer.check() {
                    return invalid(place);
                }
            }
        }
        Ok(())
    }
}

impl OfferV1 {
    /// The most that it can cost: what a budget reserves.
    #[must_use]
    pub const fn face(&self) -> u64 {
        self.cap
    }

    /// SHA-256 of the offer's bytes in postcard: what a token names, so that nobody can redeem it under other terms.
    #[cfg(feature = "id")]
    #[must_use]
    pub fn hash(&self) -> crate::container::ContentId {
        use sha2::{Digest, Sha256};
        Sha256::digest(crate::container::encode(self)).into()
    }

    fn check(&self) -> Result<(), &'static str> {
        let amount = |minor: u64| (1..=MAX_MINOR).contains(&minor);
        let benefit = match &self.benefit {
            BenefitV1::Percent { share } => (1..=SHARE).contains(share),
            BenefitV1::Amount { minor } => amount(*minor),
            BenefitV1::Tiers { steps } => {
                (1..=MAX_TIERS).contains(&steps.len())
                    && steps.iter().all(|step| amount(step.spend) && amount(step.save) && step.save <= step.spend)
                    && steps.windows(2).all(|pair| pair[0].spend < pair[1].spend && pair[0].save < pair[1].save)
            }
            BenefitV1::FreeShipping => true,
        };
        if !benefit {
            return Err("terms: benefit");
        }
        if !amount(self.cap) {
            return Err("terms: cap");
        }
        if self.min_spend > MAX_MINOR {
            return Err("terms: minimum spend");
        }
        if !self.scope.is_valid() {
            return Err("terms: scope");
        }
        if !self.stacking.group.is_empty() && !is_name(&self.stacking.group, MAX_NAME) {
            return Err("terms: stacking group");
        }
        if !(1..=MAX_LIFE_S).contains(&self.life_s) {
            return Err("terms: life");
        }
        Ok(())
    }
}

impl ScopeV1 {
    fn is_valid(&self) -> bool {
        self.only.len() + self.except.len() <= MAX_TESTS
            && self.only.iter().chain(&self.except).all(|test| {
                is_text(&test.attribute)
                    && (1..=MAX_VALUES).contains(&test.values.len())
                    && test.values.iter().all(|value| is_text(value))
                    && test.values.windows(2).all(|pair| pair[0] < pair[1])
            })
    }
}

fn is_text(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.len())
}

fn funders_are_valid(funders: &[FunderV1]) -> bool {
    (1..=MAX_FUNDERS).contains(&funders.len())
        && funders.iter().all(|funder| funder.share > 0 && is_name(&funder.budget, MAX_NAME))
        && funders.iter().map(|funder| u32::from(funder.share)).sum::<u32>() == u32::from(SHARE)
        && (1..funders.len()).all(|at| funders[..at].iter().all(|earlier| earlier.budget != funders[at].budget))
}

#[cfg(all(test, feature = "id"))]
mod tests {
    use super::*;
    use alloc::vec;

    fn terms() -> TermsV1 {
        let offer = |name: &str, benefit| OfferV1 {
            offer: name.into(),
            benefit,
            cap: 1_000,
            min_spend: 2_000,
            scope: ScopeV1 {
                only: vec![TestV1 { attribute: "category".into(), values: vec!["dairy".into(), "fish".into()] }],
                except: Vec::new(),
            },
            stacking: StackingV1 { group: "spring".into(), ..StackingV1::default() },
            life_s: 86_400,
        };
        let steps = vec![TierV1 { spend: 3_000, save: 300 }, TierV1 { spend: 5_000, save: 700 }];
        TermsV1 {
            currency: "EUR".into(),
            campaigns: vec![CampaignTermsV1 {
                campaign: "spring".into(),
                funders: vec![
                    FunderV1 { budget: "shop".into(), share: 6_000 },
                    FunderV1 { budget: "brand".into(), share: 4_000 },
                ],
                margin_floor: 500,
                disclosed: true,
                excluded: vec!["age".into()],
                offers: vec![
                    offer("five-off", BenefitV1::Amount { minor: 500 }),
                    offer("tenth-off", BenefitV1::Percent { share: 1_000 }),
                    offer("steps", BenefitV1::Tiers { steps }),
                    offer("shipping", BenefitV1::FreeShipping),
                ],
            }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let terms = terms();
        assert_eq!(TermsV1::decode(&terms.encode()).as_ref(), Ok(&terms));
    }

    #[test]
    fn the_hash_of_an_offer_changes_with_its_terms() {
        let offer = terms().campaigns[0].offers[0].clone();
        let other = OfferV1 { cap: offer.cap + 1, ..offer.clone() };
        assert_eq!(offer.hash(), offer.clone().hash());
        assert_ne!(offer.hash(), other.hash());
    }

    #[test]
    fn values_that_the_page_forbids_are_refused() {
        type Change = fn(&mut CampaignTermsV1);
        let changes: [(&str, Change); 17] = [
            ("terms: campaign", |campaign| campaign.campaign = "Spring".into()),
            ("terms: funders", |campaign| campaign.funders[0].share = 5_999),
            ("terms: funders", |campaign| campaign.funders[1].budget = "shop".into()),
            ("terms: funders", |campaign| campaign.funders.clear()),
            ("terms: margin floor", |campaign| campaign.margin_floor = SHARE + 1),
            ("terms: excluded attributes", |campaign| campaign.excluded[0].clear()),
            ("terms: offers", |campaign| campaign.offers.clear()),
            ("terms: offer", |campaign| campaign.offers[1].offer = "five-off".into()),
            ("terms: benefit", |campaign| campaign.offers[0].benefit = BenefitV1::Amount { minor: 0 }),
            ("terms: benefit", |campaign| campaign.offers[1].benefit = BenefitV1::Percent { share: SHARE + 1 }),
            ("terms: benefit", |campaign| campaign.offers[2].benefit = BenefitV1::Tiers { steps: Vec::new() }),
            ("terms: benefit", |campaign| {
                campaign.offers[2].benefit = BenefitV1::Tiers { steps: vec![TierV1 { spend: 100, save: 101 }] };
            }),
            ("terms: cap", |campaign| campaign.offers[0].cap = 0),
            ("terms: minimum spend", |campaign| campaign.offers[0].min_spend = MAX_MINOR + 1),
            ("terms: scope", |campaign| campaign.offers[0].scope.only[0].values.reverse()),
            ("terms: stacking group", |campaign| campaign.offers[0].stacking.group = "a b".into()),
            ("terms: life", |campaign| campaign.offers[0].life_s = 0),
        ];
        for (place, change) in changes {
            let mut changed = terms();
            change(&mut changed.campaigns[0]);
            assert_eq!(TermsV1::decode(&changed.encode()).unwrap_err().place(), place);
        }
        let currency = TermsV1 { currency: "eur".into(), ..terms() };
        assert_eq!(TermsV1::decode(&currency.encode()).unwrap_err().place(), "terms: currency");
    }
}

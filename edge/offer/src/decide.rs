//! What is the same wherever offers are decided: what is noted of a user, what caps count, what is signed and what is told.
//!
//! Host and Worker decide by the same steps, each in its own storage: the engine looks which campaign it is, what was noted of the
//! user in this epoch stands, the engine decides with the draw, a face is put aside, the token is signed, all of it is written
//! down. The parts of that which are functions of their arguments are here. Where rows are kept, who leases money, and when it
//! is asked for, is the matter of each face.

use selvedge_format::campaign::{CampaignsV1, CapBy};
use selvedge_format::decision::{DecisionView, NoOffer, OfferStatus};
use selvedge_format::head::PriceV1;
use selvedge_format::key;
use selvedge_format::request::{BudgetNow, CapCount, NO_PRICE};
use selvedge_format::terms::{CampaignTermsV1, FunderV1, OfferV1, TermsV1};
use serde::{Deserialize, Serialize};

use crate::token::{self, Claims};

/// Why there is no offer where the one of this epoch was made and has expired. The engine knows no such reason: it is not asked.
pub const EXPIRED: &str = "expired";
/// Why there is no offer where the one of this epoch is none of the campaign's any more: its terms cannot be told. A token that the
/// user has stays good.
pub const WITHDRAWN: &str = "withdrawn";
/// Decisions that are remembered of a user for caps. A cap above it counts these.
const REMEMBERED: usize = 64;
/// Codes of a note without a decision: no status has them.
const UNDECIDED: (u16, u16) = (u16::MAX, 0);

/// What is noted of a user, or a device, and a campaign. The layout is frozen: a change is a new type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteV1 {
    /// Of the last decision.
    pub epoch: i64,
    /// Status and reason of it.
    pub codes: (u16, u16),
    /// The offer that was made.
    pub made: Option<NotedV1>,
    /// When offers were made, the last ones.
    pub given_ms: Vec<i64>,
}

/// An offer that was made, as it is noted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedV1 {
    /// Its name.
    pub offer: String,
    /// The token that redeems it.
    pub token: String,
    /// Not good at or after.
    pub expires_ms: i64,
}

impl Default for NoteV1 {
    fn default() -> Self {
        Self { epoch: 0, codes: UNDECIDED, made: None, given_ms: Vec::new() }
    }
}

impl NoteV1 {
    /// Whether the user was decided about in this epoch.
    #[must_use]
    pub fn is_of(&self, epoch: i64) -> bool {
        self.epoch == epoch && self.codes != UNDECIDED
    }

    /// Notes a decision.
    pub fn decided(&mut self, epoch: i64, status: OfferStatus, made: Option<&Made>) {
        self.epoch = epoch;
        self.codes = status.codes();
        self.made = made.map(|made| NotedV1 {
            offer: made.offer.clone(),
            token: made.token.clone().unwrap_or_default(),
            expires_ms: made.expires_ms,
        });
    }

    /// Notes that an offer was made, for caps.
    pub fn remember(&mut self, now_ms: i64) {
        if self.given_ms.len() >= REMEMBERED {
            self.given_ms.remove(0);
        }
        self.given_ms.push(now_ms);
    }
}

/// What each cap of the campaign of this key has counted.
#[must_use]
pub fn counts(
    declared: Option<&CampaignsV1>,
    campaign: u64,
    now_ms: i64,
    user: &NoteV1,
    device: Option<&NoteV1>,
) -> Vec<CapCount> {
    let campaign = declared.and_then(|declared| declared.campaigns.iter().find(|declared| declared.key == campaign));
    let counted =
        campaign.into_iter().flat_map(|campaign| campaign.caps.iter().zip(0..).map(|cap| (campaign.key, cap)));
    let counted = counted.map(|(campaign, (cap, position))| {
        let note = match cap.by {
            CapBy::User => Some(user),
            CapBy::Device => device,
        };
        let since = if cap.period_s == 0 { i64::MIN } else { now_ms - i64::from(cap.period_s) * 1000 };
        let given = note.map_or(0, |note| note.given_ms.iter().filter(|given| **given > since).count());
        CapCount { campaign, cap: position, count: given as u32 }
    });
    counted.collect()
}

/// What the engine is told of the budgets that campaigns name, ascending by key: each at its price of the head, or else at the
/// highest that the bundle declares. `left` says what can be put aside of a budget; where it says none, nothing may be spent.
///
/// # Errors
/// The first one of `left`.
pub fn budgets<E>(
    terms: &TermsV1,
    declared: Option<&CampaignsV1>,
    prices: &[PriceV1],
    mut left: impl FnMut(&str) -> Result<Option<u64>, E>,
) -> Result<Vec<BudgetNow>, E> {
    let declared = declared.map_or(&[][..], |declared| &declared.budgets);
    let mut budgets: Vec<BudgetNow> = Vec::with_capacity(declared.len());
    for FunderV1 { budget: name, .. } in terms.campaigns.iter().flat_map(|campaign| &campaign.funders) {
        let key = key(name.as_bytes());
        let Err(at) = budgets.binary_search_by_key(&key, |budget| budget.key) else { continue };
        let priced = prices.iter().find(|price| price.budget == *name).map(|price| price.price_micros);
        let highest = || declared.iter().find(|budget| budget.key == key).map(|budget| budget.highest_price_micros);
        let left = left(name)?;
        let price = left.and_then(|_| priced.or_else(highest));
        budgets.insert(at, BudgetNow { key, price_micros: price.unwrap_or(NO_PRICE), left: left.unwrap_or(0) });
    }
    Ok(budgets)
}

/// What the engine said, without what borrows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Said {
    /// Key of the campaign; 0 is none.
    pub campaign: u64,
    /// Which epoch of it.
    pub epoch: i64,
    /// What is offered, or why nothing is.
    pub status: OfferStatus,
    /// What is offered; 0 is nothing.
    pub arm: usize,
    /// What would be best.
    pub best: usize,
    /// How probable the arm was.
    pub propensity: f32,
}

impl Said {
    /// What a decision says of an offer; where it says nothing, a fallback.
    #[must_use]
    pub fn of(decision: &[u8]) -> Self {
        match DecisionView::parse(decision).ok().and_then(|view| view.offer) {
            Some(offer) => Self {
                campaign: offer.campaign,
                epoch: offer.epoch,
                status: offer.status,
                arm: offer.arm as usize,
                best: offer.best as usize,
                propensity: offer.propensity,
            },
            None => Self {
                campaign: 0,
                epoch: 0,
                status: OfferStatus::None(NoOffer::Fallback),
                arm: 0,
                best: 0,
                propensity: 1.0,
            },
        }
    }

    /// The terms of the campaign.
    #[must_use]
    pub fn campaign_of<'t>(&self, terms: &'t TermsV1) -> Option<&'t CampaignTermsV1> {
        terms.campaigns.iter().find(|terms| key(terms.campaign.as_bytes()) == self.campaign)
    }

    /// The terms of what is offered.
    #[must_use]
    pub fn offer_of<'c>(&self, campaign: &'c CampaignTermsV1) -> Option<&'c OfferV1> {
        self.arm.checked_sub(1).and_then(|at| campaign.offers.get(at))
    }
}

/// An offer that was made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Made {
    /// Its name.
    pub offer: String,
    /// Its terms.
    pub terms: OfferV1,
    /// ISO 4217 code of its amounts.
    pub currency: String,
    /// Whether the user must be told that a decision about them made it.
    pub disclosed: bool,
    /// The token that redeems it; none in a preview.
    pub token: Option<String>,
    /// Milliseconds since 1970-01-01 UTC: not good at or after.
    pub expires_ms: i64,
}

impl Made {
    /// An offer with these terms.
    #[must_use]
    pub fn new(
        terms: &TermsV1,
        campaign: &CampaignTermsV1,
        offer: &OfferV1,
        token: Option<String>,
        expires_ms: i64,
    ) -> Self {
        Self {
            offer: offer.offer.clone(),
            terms: offer.clone(),
            currency: terms.currency.clone(),
            disclosed: campaign.disclosed,
            token,
            expires_ms,
        }
    }
}

/// When an offer that is made now expires. Tokens count seconds.
#[must_use]
pub fn expires_ms(now_ms: i64, offer: &OfferV1) -> i64 {
    (now_ms + i64::from(offer.life_s) * 1000).div_euclid(1000) * 1000
}

/// Whether there is an offer, and which. No score is in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// Name of the campaign; absent where there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub campaign: String,
    /// `offered`, `held-out` or `none`.
    pub status: &'static str,
    /// Why nothing is offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The offer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offer: Option<Made>,
    /// Whether it was decided before, in the same epoch.
    pub repeated: bool,
}

impl Answer {
    /// What was decided just now; of an empty campaign, that there is none.
    #[must_use]
    pub fn new(campaign: &str, status: OfferStatus, offer: Option<Made>) -> Self {
        let (status, reason) = status.names();
        Self { campaign: campaign.to_owned(), status, reason, offer, repeated: false }
    }

    /// What was decided before. An offer that has expired meanwhile, or that the campaign has no more, is none, and there is no
    /// other one until the next epoch: it was made, and counts for caps.
    #[must_use]
    pub fn again(now_ms: i64, terms: &TermsV1, campaign: &CampaignTermsV1, note: NoteV1) -> Self {
        let status = OfferStatus::from_codes(note.codes.0, note.codes.1);
        let decided = |offer| Self {
            repeated: true,
            ..Self::new(&campaign.campaign, status.unwrap_or(OfferStatus::None(NoOffer::Fallback)), offer)
        };
        let Some(noted) = note.made else { return decided(None) };
        let over = match campaign.offers.iter().find(|offer| offer.offer == noted.offer) {
            _ if now_ms >= noted.expires_ms => EXPIRED,
            None => WITHDRAWN,
            // Terms may have changed with a new bundle; the token is good for its own, which are told where it is redeemed.
            Some(offer) => {
                return decided(Some(Made::new(terms, campaign, offer, Some(noted.token), noted.expires_ms)));
            }
        };
        Self { status: "none", reason: Some(over), ..decided(None) }
    }
}

/// Who makes an offer, to whom, against what; with what the engine said and the terms, all that a token says.
#[derive(Clone, Copy, Debug)]
pub struct Minting<'a> {
    /// Who makes it.
    pub issuer: &'a str,
    /// Who redeems it.
    pub audience: &'a str,
    /// For whom, as tokens name users.
    pub subject: [u8; 16],
    /// Its id, drawn at random.
    pub jti: [u8; 16],
    /// When.
    pub now_ms: i64,
    /// The lease that its face was put aside in.
    pub lease: u128,
    /// The bundle that decided.
    pub bundle: [u8; 32],
    /// Sequence of the head whose prices decided.
    pub price: u64,
}

impl Minting<'_> {
    /// What the token says.
    #[must_use]
    pub fn claims(&self, terms: &TermsV1, campaign: &CampaignTermsV1, offer: &OfferV1, said: &Said) -> Claims {
        Claims {
            iss: self.issuer.to_owned(),
            aud: self.audience.to_owned(),
            sub: self.subject,
            jti: self.jti,
            nbf: self.now_ms.div_euclid(1000) as u64,
            exp: (expires_ms(self.now_ms, offer) / 1000) as u64,
            terms: offer.hash(),
            campaign: campaign.campaign.clone(),
            offer: offer.offer.clone(),
            arm: said.arm as u16,
            face: offer.face(),
            currency: terms.currency.clone(),
            budgets: token::faces(&campaign.funders, offer.face()),
            lease: self.lease.to_be_bytes(),
            bundle: self.bundle,
            price: self.price,
            epoch: said.epoch,
            propensity: f64::from(said.propensity),
        }
    }
}

#[cfg(test)]
mod tests {
    use selvedge_format::campaign::BudgetV1;
    use selvedge_format::terms::{BenefitV1, SHARE, ScopeV1, StackingV1};

    use super::*;

    #[test]
    fn a_note_of_nothing_is_of_no_epoch() {
        let mut note = NoteV1::default();
        assert!(!note.is_of(0));
        note.decided(0, OfferStatus::HeldOut, None);
        assert!(note.is_of(0) && !note.is_of(1));
    }

    #[test]
    fn so_many_decisions_are_remembered_and_the_oldest_goes_first() {
        let mut note = NoteV1::default();
        (0..100).for_each(|now_ms| note.remember(now_ms));
        assert_eq!(note.given_ms, (36..100).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_decision_is_a_fallback() {
        let said = Said::of(b"no decision");
        assert_eq!((said.campaign, said.arm, said.status), (0, 0, OfferStatus::None(NoOffer::Fallback)));
    }

    const SPRING: &str = "spring";

    /// An offer of one campaign, paid half and half.
    fn terms(offer: &str) -> TermsV1 {
        let offer = OfferV1 {
            offer: offer.into(),
            benefit: BenefitV1::Amount { minor: 100 },
            cap: 100,
            min_spend: 0,
            scope: ScopeV1::default(),
            stacking: StackingV1::default(),
            life_s: 10,
        };
        let funder = |budget: &str| FunderV1 { budget: budget.into(), share: SHARE / 2 };
        let campaign = CampaignTermsV1 {
            campaign: SPRING.into(),
            funders: vec![funder("shop"), funder("brand")],
            margin_floor: 0,
            disclosed: false,
            excluded: Vec::new(),
            offers: vec![offer],
        };
        TermsV1 { currency: "EUR".into(), campaigns: vec![campaign] }
    }

    #[test]
    fn what_is_told_again_is_a_token_that_can_be_redeemed_or_why_there_is_none() {
        let terms_then = terms("one-off");
        let campaign = &terms_then.campaigns[0];
        let made = Made::new(&terms_then, campaign, &campaign.offers[0], Some("a.b.c".into()), 10_000);
        let mut note = NoteV1::default();
        note.decided(1, OfferStatus::Offered, Some(&made));
        let again = |now_ms, terms: &TermsV1| Answer::again(now_ms, terms, &terms.campaigns[0], note.clone());
        let first = Answer::new(SPRING, OfferStatus::Offered, Some(made));
        assert_eq!(again(9_999, &terms_then), Answer { repeated: true, ..first });
        let none = |reason| Answer {
            campaign: SPRING.into(),
            status: "none",
            reason: Some(reason),
            offer: None,
            repeated: true,
        };
        assert_eq!(again(10_000, &terms_then), none(EXPIRED));
        assert_eq!(again(9_999, &terms("another")), none(WITHDRAWN));
        assert_eq!(again(10_000, &terms("another")), none(EXPIRED));
    }

    #[test]
    fn a_budget_has_the_price_of_the_head_or_the_highest_and_none_where_nothing_may_be_spent() {
        let [shop, brand] = ["shop", "brand"].map(|name| key(name.as_bytes()));
        let declared = |key, highest_price_micros| BudgetV1 { key, highest_price_micros };
        let declared = CampaignsV1 { budgets: vec![declared(shop, 9), declared(brand, 8)], ..CampaignsV1::default() };
        let prices = [PriceV1 { budget: "shop".into(), price_micros: 5 }];
        let now =
            |left: fn(&str) -> Result<Option<u64>, ()>| budgets(&terms("one-off"), Some(&declared), &prices, left);
        let mut expected =
            [BudgetNow { key: shop, price_micros: 5, left: 4 }, BudgetNow { key: brand, price_micros: 8, left: 5 }];
        expected.sort_by_key(|budget| budget.key);
        assert_eq!(now(|name| Ok(Some(name.len() as u64))), Ok(expected.to_vec()));
        let shut = expected.map(|budget| BudgetNow { price_micros: NO_PRICE, left: 0, ..budget });
        assert_eq!(now(|_| Ok(None)), Ok(shut.to_vec()));
        assert_eq!(now(|_| Err(())), Err(()));
    }
}

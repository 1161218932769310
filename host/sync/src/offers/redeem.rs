//! Orders: what they present is believed, priced again from the server's cart, and settled once.

use std::sync::Arc;

use selvedge_budget::ledger::{self, Claims as Settled, LedgerError};
use selvedge_budget::{Amounts, Minor};
use selvedge_format::terms::TermsV1;
use selvedge_offer::price::{Given, Outcome};
use selvedge_offer::token::{self, BudgetFace, Claims};
use selvedge_offer::{Cart, Nothing, Presented, TokenRefusal, price};
use serde::Serialize;

use super::{Offers, OffersError};
use crate::store::StoreError;

/// Most offers of one order.
pub(super) const MAX_TOKENS: usize = 16;

/// An order that presents offers.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The shop's own id of it.
    pub order: &'a str,
    /// Whose it is.
    pub user: &'a str,
    /// Tokens of offers.
    pub tokens: &'a [String],
    /// The cart as the shop has it, JSON.
    pub cart: &'a [u8],
    /// Whether only to look: nothing is settled.
    pub is_preview: bool,
}

/// What an order costs with its offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Redeemed {
    /// ISO 4217 code of all amounts.
    pub currency: String,
    /// Before offers, in minor units.
    pub before_minor: u64,
    /// What all offers give.
    pub discount_minor: u64,
    /// What is to be paid.
    pub after_minor: u64,
    /// What is taken off each line of the cart.
    pub line_discounts_minor: Vec<u64>,
    /// What is taken off the shipping.
    pub shipping_discount_minor: u64,
    /// By token.
    pub offers: Vec<RedeemedOffer>,
}

/// One offer of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RedeemedOffer {
    /// Its id.
    pub jti: String,
    /// Its campaign.
    pub campaign: String,
    /// Its name.
    pub offer: String,
    /// What it gave, in minor units.
    pub discount_minor: u64,
    /// Whether this order had redeemed it before.
    pub repeated: bool,
}

impl Offers {
    /// Redeems an order's offers, all or none. The same order again gets the same answer.
    ///
    /// # Errors
    /// A token that is not believed, is another user's, expired, or was redeemed by another order; a cart that cannot be
    /// used, or on which an offer gives nothing; or the store fails.
    pub fn redeem(&self, now_ms: i64, order: &Order<'_>) -> Result<Redeemed, OffersError> {
        if !(1..=MAX_TOKENS).contains(&order.tokens.len()) {
            return Err(OffersError::TooManyTokens);
        }
        let mut presented = Vec::with_capacity(order.tokens.len());
        for (position, token) in order.tokens.iter().enumerate() {
            let claims = self.believe(now_ms, position, token, order.is_preview)?;
            if !claims.is_for(&self.options.secret, order.user) {
                return Err(OffersError::OtherUser { position });
            }
            let terms = self.terms(&claims.bundle)?;
            let terms = terms.ok_or(OffersError::UnknownTerms { position, bundle: claims.bundle })?;
            presented.push((claims, terms));
        }
        let currency = presented.first().map(|(claims, _)| claims.currency.clone()).unwrap_or_default();
        let cart = Cart::parse(order.cart, &currency)?;
        let mut offers = Vec::with_capacity(presented.len());
        for (position, (claims, terms)) in presented.iter().enumerate() {
            let found = find(claims, terms);
            offers.push(found.ok_or(OffersError::UnknownTerms { position, bundle: claims.bundle })?);
        }
        let priced = price(&cart, &offers);
        let mut given = Vec::with_capacity(presented.len());
        for (position, offer) in offers.iter().enumerate() {
            given.push(outcome(&priced.offers, offer, position, &offers)?.minor);
        }
        let mut answer = Redeemed {
            currency,
            before_minor: priced.total_before_minor(),
            discount_minor: priced.discount_minor(),
            after_minor: priced.total_after_minor(),
            line_discounts_minor: priced.line_discounts.clone(),
            shipping_discount_minor: priced.shipping_discount,
            offers: Vec::new(),
        };
        let row = |claims: &Claims, minor, repeated| RedeemedOffer {
            jti: crate::channel::hex(&claims.jti),
            campaign: claims.campaign.clone(),
            offer: claims.offer.clone(),
            discount_minor: minor,
            repeated,
        };
        if order.is_preview {
            answer.offers = presented.iter().zip(given).map(|((claims, _), minor)| row(claims, minor, false)).collect();
            return Ok(answer);
        }
        answer.offers = self.transact(|tx| {
            let mut redeemed = Vec::with_capacity(presented.len());
            for ((claims, terms), minor) in presented.iter().zip(&given) {
                let faces = faces_of(claims, terms);
                let discount = amounts(&token::settle(&faces, *minor))?;
                let settled = Settled {
                    jti: u128::from_be_bytes(claims.jti),
                    lease: u128::from_be_bytes(claims.lease),
                    campaign: claims.campaign.clone(),
                    face: amounts(&faces)?,
                    expires_ms: claims.exp as i64 * 1000,
                };
                let receipt = ledger::redeem(tx, now_ms, &settled, order.order, &discount)?;
                let minor = receipt.discount.iter().map(|(_, part)| part.0).sum();
                redeemed.push(row(claims, minor, receipt.repeated));
            }
            Ok(redeemed)
        })?;
        // What was settled before stands, whatever the cart is now.
        let settled: u64 = answer.offers.iter().map(|offer| offer.discount_minor).sum();
        if settled != answer.discount_minor {
            answer.discount_minor = settled;
            answer.after_minor = answer.before_minor.saturating_sub(settled);
        }
        for offer in answer.offers.iter().filter(|offer| !offer.repeated) {
            tracing::info!(
                target: "selvedge::offers",
                jti = offer.jti, campaign = offer.campaign, offer = offer.offer, order = order.order,
                discount = offer.discount_minor, "redeemed"
            );
        }
        Ok(answer)
    }

    fn believe(&self, now_ms: i64, position: usize, token: &str, is_preview: bool) -> Result<Claims, OffersError> {
        let now_s = now_ms.div_euclid(1000).max(0) as u64;
        let options = &self.options;
        let refused = |refusal| OffersError::Token { position, refusal };
        // Whatever its time: an order that was settled in time may ask again later. The ledger has the last word.
        let claims = token::verify(token, &self.keys, &options.audience, &options.issuer, now_s, u32::MAX);
        let claims = claims.map_err(refused)?;
        // An edge's clock may be ahead of ours by as much as leases allow.
        if claims.nbf > now_s + (options.rules.skew_ms / 1000) as u64 {
            return Err(refused(TokenRefusal::NotYet));
        }
        if is_preview && now_s >= claims.exp {
            return Err(refused(TokenRefusal::Expired));
        }
        Ok(claims)
    }
}

/// The terms that a token names, if they are those of its bundle.
fn find<'t>(claims: &Claims, terms: &'t Arc<TermsV1>) -> Option<Presented<'t>> {
    let campaign = terms.campaigns.iter().find(|campaign| campaign.campaign == claims.campaign)?;
    let presented = Presented::of(campaign, &claims.offer)?;
    let is_same = presented.offer.hash() == claims.terms
        && presented.offer.face() == claims.face
        && terms.currency == claims.currency;
    is_same.then_some(presented)
}

/// What an offer gives on the priced cart; of the same offer presented twice, the second gives nothing.
fn outcome<'o>(
    outcomes: &'o [Outcome<'_>],
    offer: &Presented<'_>,
    position: usize,
    offers: &[Presented<'_>],
) -> Result<&'o Given, OffersError> {
    let is_same = |other: &Presented<'_>| other.campaign == offer.campaign && other.offer.offer == offer.offer.offer;
    let nth = offers[..position].iter().filter(|other| is_same(other)).count();
    let mut matching =
        outcomes.iter().filter(|outcome| outcome.campaign == offer.campaign && outcome.offer == offer.offer.offer);
    let refused = |why| OffersError::GivesNothing { position, why };
    matching.nth(nth).ok_or(refused(Nothing::Repeated))?.result.as_ref().map_err(|why| refused(*why))
}

/// Who put how much aside for an offer.
fn faces_of(claims: &Claims, terms: &TermsV1) -> Vec<BudgetFace> {
    if !claims.budgets.is_empty() {
        return claims.budgets.clone();
    }
    let campaign = terms.campaigns.iter().find(|campaign| campaign.campaign == claims.campaign);
    campaign.map_or_else(Vec::new, |campaign| token::faces(&campaign.funders, claims.face))
}

/// Faces as the ledger has them; a budget that puts nothing aside is not named there.
pub(super) fn amounts(faces: &[BudgetFace]) -> Result<Amounts, LedgerError<StoreError>> {
    let parts = faces.iter().filter(|part| part.face > 0).map(|part| (part.budget.clone(), Minor(part.face)));
    Amounts::new(parts).map_err(|error| LedgerError::Store(StoreError::Io(error.to_string())))
}

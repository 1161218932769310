//! Prices: what offers give on a cart, to the minor unit.
//!
//! Offers are *tried* one after the other, in one order: priority from the highest down, then campaign, then offer,
//! by bytes. So neither the order in which offers are presented nor that of a cart's lines matters. An offer that
//! gives something is *applied*; one that gives nothing leaves no trace and has a reason, the first of [`Nothing`]
//! that holds.
//!
//! 1. **Together.** An exclusive offer is applied only if none is applied before it, and none after it. So if the
//!    first offer that gives something is exclusive it is the only one, and an exclusive offer that comes later is
//!    passed over. Of a group, the first that gives something is applied. The same offer of the same campaign is
//!    applied once.
//! 2. **Scope.** Only lines in scope are looked at. An offer of free shipping, too, wants a line in scope.
//! 3. **Spend.** The sum of the lines in scope, before any offer ([`PriceOf::List`]) or after those that were applied
//!    ([`PriceOf::Discounted`]). It is compared with the minimum and with the steps, and shares are taken of it.
//! 4. **Amount.** A share is taken of the sum and rounded down to the minor unit, once, not per line. A tiered offer
//!    gives what the highest step gives that is reached. Free shipping gives what is left of the shipping.
//! 5. **Bounds.** Never more than the cap, nor than what is left of the lines in scope (or of the shipping). So no line
//!    and no total goes below zero.
//! 6. **Margin.** Where the cost of all lines is known and the campaign has a floor, an offer is passed over that
//!    would leave less: [`leaves_margin`].
//! 7. **Lines.** The amount is split over the lines in scope by what is left of each, by the method of the largest
//!    remainder: parts are whole, add up to the amount, and none is above what is left of its line. Equal remainders
//!    are served by what is left, the larger first, and then by the lines' content; lines that are equal in everything
//!    cannot be told apart, and there the first is served.
//!
//! For an offer alone in its cart, without a floor: a further line, a higher price or quantity in scope, or a higher
//! cap never makes it give less. Together this is not claimed: a further line may let an offer through that shuts out
//! a better one.
//!
//! Priorities are the campaigner's; the best price for the user is not searched for.

use std::cmp::{Ordering, Reverse};

use selvedge_format::terms::{BenefitV1, CampaignTermsV1, OfferV1, PriceOf, SHARE};

use crate::cart::{Cart, Line};
use crate::split::split;

/// An offer that is presented with a cart.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// Name of its campaign.
    pub campaign: &'a str,
    /// Its terms.
    pub offer: &'a OfferV1,
    /// The campaign's floor of the margin, of [`SHARE`]; 0 is none.
    pub margin_floor: u16,
}

impl<'a> Presented<'a> {
    /// The offer of this name, if the campaign has one.
    #[must_use]
    pub fn of(campaign: &'a CampaignTermsV1, offer: &str) -> Option<Self> {
        let offer = campaign.offers.iter().find(|known| known.offer == offer)?;
        Some(Self { campaign: &campaign.campaign, offer, margin_floor: campaign.margin_floor })
    }

    /// The order in which offers are tried. Terms that differ under one name are ordered by their hash.
    fn tried_before(&self, other: &Self) -> Ordering {
        let names = |it: &Self| (Reverse(it.offer.stacking.priority), it.campaign, it.offer.offer.as_str());
        names(self)
            .cmp(&names(other))
            .then_with(|| self.offer.hash().cmp(&other.offer.hash()))
            .then(self.margin_floor.cmp(&other.margin_floor))
    }

    fn is_the_same(&self, other: &Self) -> bool {
        (self.campaign, &self.offer.offer) == (other.campaign, &other.offer.offer)
    }

    fn shares_a_group(&self, other: &Self) -> bool {
        let group = &self.offer.stacking.group;
        !group.is_empty() && *group == other.offer.stacking.group
    }
}

/// Why an offer gives nothing, in the order in which reasons are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
#[expect(clippy::enum_variant_names, reason = "variants are called as the stable names are")]
pub enum Nothing {
    /// The same offer of the same campaign is applied already.
    Repeated,
    /// An offer is applied already, and this one or that one is exclusive.
    Exclusive,
    /// An offer of its group is applied already.
    ExcludedByGroup,
    /// No line is in its scope.
    NoLineInScope,
    /// The lines in scope cost less than the minimum, or than the first step.
    BelowMinimum,
    /// The lines in scope, or the shipping, cost nothing, or nothing any more.
    NothingLeft,
    /// A share of them is below one minor unit.
    RoundsToNothing,
    /// Less than the floor would be left of the margin.
    MarginFloor,
}

impl Nothing {
    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Repeated => "repeated",
            Self::Exclusive => "exclusive",
            Self::ExcludedByGroup => "excluded-by-group",
            Self::NoLineInScope => "no-line-in-scope",
            Self::BelowMinimum => "below-minimum",
            Self::NothingLeft => "nothing-left",
            Self::RoundsToNothing => "rounds-to-nothing",
            Self::MarginFloor => "margin-floor",
        }
    }
}

/// What an offer gives; above 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// In all, at most the offer's face.
    pub minor: u64,
    /// Where it is taken off.
    pub from: TakenFrom,
}

/// What an offer is taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakenFrom {
    /// The lines in scope: positions, ascending, with parts above 0 that add up to what is given.
    Lines(Vec<(usize, u64)>),
    /// The shipping.
    Shipping,
}

/// What became of an offer that was presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// Name of its campaign.
    pub campaign: &'a str,
    /// Its name.
    pub offer: &'a str,
    /// What it gives, or why nothing.
    pub result: Result<Given, Nothing>,
}

/// A cart with offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priced<'a> {
    /// Every offer that was presented, in the order in which they were tried.
    pub offers: Vec<Outcome<'a>>,
    /// What the lines cost before offers.
    pub lines_minor: u64,
    /// What shipping costs before offers.
    pub shipping_minor: u64,
    /// What all offers together take off each line of the cart, by position.
    pub line_discounts: Vec<u64>,
    /// What they take off the shipping.
    pub shipping_discount: u64,
    /// What the lines cost the shop, if that is known.
    pub cost_minor: Option<u64>,
}

impl Priced<'_> {
    /// What all offers give together.
    #[must_use]
    pub fn discount_minor(&self) -> u64 {
        self.line_discounts.iter().sum::<u64>() + self.shipping_discount
    }

    /// Lines and shipping before offers.
    #[must_use]
    pub const fn total_before_minor(&self) -> u64 {
        self.lines_minor + self.shipping_minor
    }

    /// What is to be paid.
    #[must_use]
    pub fn total_after_minor(&self) -> u64 {
        self.total_before_minor() - self.discount_minor()
    }

    /// What the shop keeps of the lines after all offers, if their cost is known; shipping counts as much as it costs.
    #[must_use]
    pub fn margin_minor(&self) -> Option<i64> {
        // Each is below 2^58: cart::MAX_LINES lines of terms::MAX_MINOR.
        Some(self.lines_minor as i64 - self.cost_minor? as i64 - self.discount_minor() as i64)
    }
}

/// Whether a discount leaves the floor of the margin: `floor`, of [`SHARE`], of what the lines cost before any offer. A
/// floor of 0 is none.
///
/// The floor is taken of the price before offers, not of what is paid: so it does not sink with the discount that it
/// is to bound. What is given of the shipping counts against it, since somebody pays for it.
#[must_use]
pub fn leaves_margin(lines_minor: u64, cost_minor: u64, discount_minor: u64, floor: u16) -> bool {
    let left = i128::from(lines_minor) - i128::from(cost_minor) - i128::from(discount_minor);
    floor == 0 || left * i128::from(SHARE) >= i128::from(lines_minor) * i128::from(floor)
}

/// Applies offers to a cart.
///
/// Takes time in proportion to lines times offers, and for each offer that splits to a selection among its lines.
#[must_use]
pub fn price<'a>(cart: &Cart, presented: &[Presented<'a>]) -> Priced<'a> {
    let mut order = presented.to_vec();
    order.sort_unstable_by(Presented::tried_before);
    let mut till = Till::of(cart);
    let mut offers = Vec::with_capacity(order.len());
    let mut applied: Vec<Presented<'a>> = Vec::new();
    for tried in order {
        let result = fits(&tried, &applied).and_then(|()| till.give(&tried));
        if let Ok(given) = &result {
            till.take_off(given);
            applied.push(tried);
        }
        offers.push(Outcome { campaign: tried.campaign, offer: &tried.offer.offer, result });
    }
    Priced {
        offers,
        lines_minor: till.lines_minor,
        shipping_minor: cart.shipping_minor(),
        line_discounts: till.list.iter().zip(&till.left).map(|(list, left)| list - left).collect(),
        shipping_discount: cart.shipping_minor() - till.shipping_left,
        cost_minor: till.cost_minor,
    }
}

/// Whether an offer goes together with those that are applied.
fn fits(tried: &Presented<'_>, applied: &[Presented<'_>]) -> Result<(), Nothing> {
    let exclusive = |it: &Presented<'_>| it.offer.stacking.exclusive;
    if applied.iter().any(|earlier| earlier.is_the_same(tried)) {
        return Err(Nothing::Repeated);
    }
    if applied.iter().any(exclusive) || (exclusive(tried) && !applied.is_empty()) {
        return Err(Nothing::Exclusive);
    }
    if applied.iter().any(|earlier| earlier.shares_a_group(tried)) {
        return Err(Nothing::ExcludedByGroup);
    }
    Ok(())
}

/// A cart while offers are applied to it.
struct Till<'c> {
    lines: &'c [Line],
    /// What each line costs before offers.
    list: Vec<u64>,
    /// What is left of it.
    left: Vec<u64>,
    shipping_left: u64,
    lines_minor: u64,
    cost_minor: Option<u64>,
    /// By all offers so far.
    given: u64,
}

impl<'c> Till<'c> {
    fn of(cart: &'c Cart) -> Self {
        let list: Vec<u64> = cart.lines().iter().map(Line::price_minor).collect();
        Self {
            lines: cart.lines(),
            lines_minor: list.iter().sum(),
            left: list.clone(),
            list,
            shipping_left: cart.shipping_minor(),
            cost_minor: cart.cost_minor(),
            given: 0,
        }
    }

    fn give(&self, tried: &Presented<'_>) -> Result<Given, Nothing> {
        let offer = tried.offer;
        let scope: Vec<usize> = (0..self.lines.len()).filter(|at| self.lines[*at].is_in(&offer.scope)).collect();
        if scope.is_empty() {
            return Err(Nothing::NoLineInScope);
        }
        let sum = |prices: &[u64]| scope.iter().map(|at| prices[*at]).sum::<u64>();
        let spend = match offer.stacking.on {
            PriceOf::List => sum(&self.list),
            PriceOf::Discounted => sum(&self.left),
        };
        if spend < offer.min_spend {
            return Err(Nothing::BelowMinimum);
        }
        let is_shipping = offer.benefit == BenefitV1::FreeShipping;
        let left = if is_shipping { self.shipping_left } else { sum(&self.left) };
        let wanted = match &offer.benefit {
            // Below the spend, so it fits.
            BenefitV1::Percent { share } => (u128::from(spend) * u128::from(*share) / u128::from(SHARE)) as u64,
            BenefitV1::Amount { minor } => *minor,
            BenefitV1::Tiers { steps } => {
                let reached = steps.iter().rev().find(|step| step.spend <= spend);
                reached.ok_or(Nothing::BelowMinimum)?.save
            }
            BenefitV1::FreeShipping => left,
        };
        if left == 0 {
            return Err(Nothing::NothingLeft);
        }
        let minor = wanted.min(offer.cap).min(left);
        if minor == 0 {
            return Err(Nothing::RoundsToNothing);
        }
        let leaves = |cost| leaves_margin(self.lines_minor, cost, self.given + minor, tried.margin_floor);
        if !self.cost_minor.is_none_or(leaves) {
            return Err(Nothing::MarginFloor);
        }
        let from = if is_shipping { TakenFrom::Shipping } else { TakenFrom::Lines(self.parts(minor, &scope)) };
        Ok(Given { minor, from })
    }

    /// An amount, at most what is left of these lines, split over them.
    fn parts(&self, minor: u64, scope: &[usize]) -> Vec<(usize, u64)> {
        let weights: Vec<u64> = scope.iter().map(|at| self.left[*at]).collect();
        let parts = split(minor, &weights, |a, b| self.lines[scope[a]].cmp(&self.lines[scope[b]]));
        scope.iter().copied().zip(parts).filter(|(_, part)| *part > 0).collect()
    }

    fn take_off(&mut self, given: &Given) {
        self.given += given.minor;
        match &given.from {
            TakenFrom::Lines(parts) => parts.iter().for_each(|(at, part)| self.left[*at] -= part),
            TakenFrom::Shipping => self.shipping_left -= given.minor,
        }
    }
}

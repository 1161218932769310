//! Decision: the slate, and why.
//!
//! Fixed fields (112 bytes): `request id [16], bundle id [32], shared state id [32] (zeros: none), status u16,
//! reason u16, candidates u32, slots u32, contributions per slot u32, cost u64, error code u16, zero u16, base f32`.
//!
//! | tag | block |
//! |---|---|
//! | 1 slots | `candidate u32[slots]`, best first |
//! | 2 scores | `f32[slots]`; NaN (0x7fc00000) where there is none |
//! | 3 propensities | `f32[slots]`: probability that the policy puts this candidate here |
//! | 4 rules | `u32[slots]`: bits of [`rule`] |
//! | 5 reason features | `u32[slots * contributions]`: positions in the program, largest effect first; `u32::MAX` pads |
//! | 6 reason effects | `f32[slots * contributions]`: what the feature added to the score |
//! | 7 offer | where one was asked for: [`OfferParts`] |

use alloc::vec::Vec;

use crate::container::ContentId;
use crate::message::{BlockHeader, MessageKind, MessageView, MessageWriter};
use crate::read::Reader;
use crate::{DecodeError, F32s, U32s};

/// The frame of a decision.
pub const KIND: MessageKind = MessageKind { magic: *b"SVDC", version: 1, fixed_len: 112, place: "decision" };
/// NaN as it leaves: the one quiet NaN without payload.
pub const CANONICAL_NAN: u32 = 0x7fc0_0000;
/// Pads the list of reason features.
pub const NO_FEATURE: u32 = u32::MAX;

/// Tag of the offer's block.
pub const OFFER: u16 = 7;
/// Bytes before the arms of an offer's block.
pub const OFFER_LEN: usize = 40;
/// Bytes of one arm in it.
pub const ARM_LEN: usize = 20;

/// Bits of a slot's rules.
pub mod rule {
    /// The request pinned the candidate to this slot.
    pub const PINNED: u32 = 1;
    /// Diversity preferred it to a candidate with a higher score.
    pub const DIVERSITY: u32 = 1 << 1;
    /// A cap on equal values held back a candidate that would have stood here.
    pub const AT_MOST: u32 = 1 << 2;
    /// Exploration drew it (reserved).
    pub const EXPLORED: u32 = 1 << 3;
}

/// How a decision came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecisionStatus {
    /// The model ranked the candidates.
    Personalized,
    /// The model ranked the candidates, without its last stages.
    Degraded(DegradedReason),
    /// Deliberately not personalised.
    Control(ControlReason),
    /// The input order, because something was wrong.
    Fallback(FallbackReason),
}

/// Why not all stages of a cascade ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u16)]
pub enum DegradedReason {
    /// With the next stage the declared cost would be above the limit.
    CostLimit = 1,
}

/// Why a decision was deliberately not personalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u16)]
pub enum ControlReason {
    /// The user is in the hold-out group (reserved).
    Holdout = 1,
}

/// Why the input order was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u16)]
pub enum FallbackReason {
    /// The request does not decode; the error code says more.
    InvalidRequest = 1,
    /// The user state does not decode; the error code says more.
    InvalidState = 2,
    /// More candidates than the limit.
    TooManyCandidates = 3,
    /// The declared cost is above the limit.
    CostLimit = 4,
    /// There is nothing to rank.
    NoCandidates = 5,
    /// No bundle is loaded.
    NotLoaded = 6,
}

impl DecisionStatus {
    /// Whether the model ranked the candidates, with all its stages or without the last ones.
    #[must_use]
    pub const fn is_personalized(self) -> bool {
        matches!(self, Self::Personalized | Self::Degraded(_))
    }

    /// Status and reason, as they are written.
    #[must_use]
    pub const fn codes(self) -> (u16, u16) {
        match self {
            Self::Personalized => (0, 0),
            Self::Degraded(reason) => (0, reason as u16),
            Self::Control(reason) => (1, reason as u16),
            Self::Fallback(reason) => (2, reason as u16),
        }
    }

    fn from_codes(status: u16, reason: u16) -> Option<Self> {
        Some(match (status, reason) {
            (0, 0) => Self::Personalized,
            (0, 1) => Self::Degraded(DegradedReason::CostLimit),
            (1, 1) => Self::Control(ControlReason::Holdout),
            (2, 1) => Self::Fallback(FallbackReason::InvalidRequest),
            (2, 2) => Self::Fallback(FallbackReason::InvalidState),
            (2, 3) => Self::Fallback(FallbackReason::TooManyCandidates),
            (2, 4) => Self::Fallback(FallbackReason::CostLimit),
            (2, 5) => Self::Fallback(FallbackReason::NoCandidates),
            (2, 6) => Self::Fallback(FallbackReason::NotLoaded),
            _ => return None,
        })
    }

    /// Name of the status, and of the reason if there is one.
    #[must_use]
    pub const fn names(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Personalized => ("personalized", None),
            Self::Degraded(DegradedReason::CostLimit) => ("personalized", Some("cost-limit")),
            Self::Control(ControlReason::Holdout) => ("control", Some("holdout")),
            Self::Fallback(reason) => (
                "fallback",
                Some(match reason {
                    FallbackReason::InvalidRequest => "invalid-request",
                    FallbackReason::InvalidState => "invalid-state",
                    FallbackReason::TooManyCandidates => "too-many-candidates",
                    FallbackReason::CostLimit => "cost-limit",
                    FallbackReason::NoCandidates => "no-candidates",
                    FallbackReason::NotLoaded => "not-loaded",
                }),
            ),
        }
    }
}

/// What one decision says, as slices of equal length per slot.
#[derive(Clone, Copy, Debug)]
pub struct DecisionParts<'a> {
    /// The request's identity.
    pub request_id: [u8; 16],
    /// The bundle that decided.
    pub bundle_id: ContentId,
    /// The shared state it read; zeros if none.
    pub shared_id: ContentId,
    /// How it came about.
    pub status: DecisionStatus,
    /// Number of candidates in the request.
    pub candidates: u32,
    /// Contributions per slot.
    pub contributions: u32,
    /// Declared cost in units.
    pub cost: u64,
    /// [`crate::ErrorCode`] of a refused request or state; else 0.
    pub error: u16,
    /// Score before any contribution.
    pub base: f32,
    /// Candidates, best first.
    pub slots: &'a [u32],
    /// Score per slot.
    pub scores: &'a [f32],
    /// Propensity per slot.
    pub propensities: &'a [f32],
    /// Rules per slot.
    pub rules: &'a [u32],
    /// Features of the contributions, `[slot][contribution]`.
    pub reason_features: &'a [u32],
    /// Effects of the contributions, `[slot][contribution]`.
    pub reason_effects: &'a [f32],
    /// The answer to the question for an offer, if it was asked.
    pub offer: Option<OfferParts<'a>>,
}

impl DecisionParts<'_> {
    /// Writes the decision into `out`, which is cleared. Allocates only if `out` is too small.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (status, reason) = self.status.codes();
        let mut writer = MessageWriter::new(out, KIND, 6 + usize::from(self.offer.is_some()), |out| {
            append(out, &self.request_id);
            append(out, &self.bundle_id);
            append(out, &self.shared_id);
            let cost = (self.cost as u32, (self.cost >> 32) as u32);
            let words = [
                u32::from(status) | u32::from(reason) << 16,
                self.candidates,
                self.slots.len() as u32,
                self.contributions,
                cost.0,
                cost.1,
                self.error.into(),
            ];
            integers(out, &words);
            floats(out, &[self.base]);
        });
        writer.block(tag(1), |out| integers(out, self.slots));
        writer.block(tag(2), |out| floats(out, self.scores));
        writer.block(tag(3), |out| floats(out, self.propensities));
        writer.block(tag(4), |out| integers(out, self.rules));
        writer.block(tag(5), |out| integers(out, self.reason_features));
        writer.block(tag(6), |out| floats(out, self.reason_effects));
        if let Some(offer) = &self.offer {
            writer.block(tag(OFFER), |out| offer.write(out));
        }
    }
}

fn tag(tag: u16) -> BlockHeader {
    BlockHeader { tag, ..BlockHeader::default() }
}

/// Appends bytes. Not inlined, like the next two: a decision is written in pieces, and each place would have its own copy.
#[inline(never)]
fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

/// Appends numbers, little-endian.
#[inline(never)]
pub fn integers(out: &mut Vec<u8>, values: &[u32]) {
    for value in values {
        append(out, &value.to_le_bytes());
    }
}

/// Appends numbers as they leave the engine: [`canonical`], little-endian.
#[inline(never)]
pub fn floats(out: &mut Vec<u8>, values: &[f32]) {
    for value in values {
        append(out, &canonical(*value));
    }
}

/// Bytes of a number as they leave the engine: every NaN is the same.
#[must_use]
pub fn canonical(value: f32) -> [u8; 4] {
    if value.is_nan() { CANONICAL_NAN } else { value.to_bits() }.to_le_bytes()
}

/// A validated decision.
#[derive(Clone, Copy, Debug)]
pub struct DecisionView<'a> {
    /// The request's identity.
    pub request_id: [u8; 16],
    /// The bundle that decided.
    pub bundle_id: ContentId,
    /// The shared state it read; zeros if none.
    pub shared_id: ContentId,
    /// How it came about.
    pub status: DecisionStatus,
    /// Number of candidates in the request.
    pub candidates: u32,
    /// Contributions per slot.
    pub contributions: u32,
    /// Declared cost in units.
    pub cost: u64,
    /// [`crate::ErrorCode`] of a refused request or state; else 0.
    pub error: u16,
    /// Score before any contribution.
    pub base: f32,
    /// Candidates, best first.
    pub slots: U32s<'a>,
    /// Score per slot.
    pub scores: F32s<'a>,
    /// Propensity per slot.
    pub propensities: F32s<'a>,
    /// Rules per slot.
    pub rules: U32s<'a>,
    reason_features: U32s<'a>,
    reason_effects: F32s<'a>,
    /// The answer to the question for an offer, if it was asked.
    pub offer: Option<OfferView<'a>>,
}

impl<'a> DecisionView<'a> {
    /// Validates `bytes`.
    ///
    /// # Errors
    /// Any deviation from the layout above.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let message = MessageView::parse(bytes, KIND, |tag| (1..=OFFER).contains(&tag))?;
        let mut fixed = Reader::new(message.fixed, "decision");
        let request_id = crate::read::fixed(fixed.take(16)?);
        let bundle_id = crate::read::fixed(fixed.take(32)?);
        let shared_id = crate::read::fixed(fixed.take(32)?);
        let (status, reason) = (fixed.u16()?, fixed.u16()?);
        let status = DecisionStatus::from_codes(status, reason).ok_or(DecodeError::invalid("decision status", 96))?;
        let (candidates, slots, contributions) = (fixed.u32()?, fixed.u32()? as usize, fixed.u32()?);
        let cost = fixed.u64()?;
        let (error, zero) = (fixed.u16()?, fixed.u16()?);
        let base = f32::from_bits(fixed.u32()?);
        if zero != 0 {
            return Err(DecodeError::invalid("decision reserved field", 122));
        }
        let reasons = slots.checked_mul(contributions as usize).ok_or(DecodeError::invalid("decision reasons", 108))?;
        let block = |tag, count: usize| {
            let mut found = message.blocks().filter(|(header, _)| header.tag == tag);
            match (found.next(), found.next()) {
                (Some((header, block)), None) if header.is_plain() && Some(block.len()) == count.checked_mul(4) => {
                    Ok(block)
                }
                _ => Err(DecodeError::invalid("decision block", usize::from(tag))),
            }
        };
        let mut offers = message.blocks().filter(|(header, _)| header.tag == OFFER);
        let offer = match (offers.next(), offers.next()) {
            (None, _) => None,
            (Some((header, block)), None) if header.is_plain() => Some(OfferView::parse(block)?),
            _ => return Err(DecodeError::invalid("decision block", OFFER.into())),
        };
        let view = Self {
            request_id,
            bundle_id,
            shared_id,
            status,
            candidates,
            contributions,
            cost,
            error,
            base,
            slots: U32s::new(block(1, slots)?),
            scores: F32s::new(block(2, slots)?),
            propensities: F32s::new(block(3, slots)?),
            rules: U32s::new(block(4, slots)?),
            reason_features: U32s::new(block(5, reasons)?),
            reason_effects: F32s::new(block(6, reasons)?),
            offer,
        };
        if view.slots.iter().all(|slot| slot < candidates) {
            Ok(view)
        } else {
            Err(DecodeError::invalid("decision slot", 0))
        }
    }

    /// Feature positions and effects of a slot, largest effect first.
    pub fn reasons(&self, slot: usize) -> impl Iterator<Item = (u32, f32)> + use<'a> {
        let (features, effects, width) = (self.reason_features, self.reason_effects, self.contributions as usize);
        (slot * width..(slot + 1) * width)
            .filter(move |index| *index < features.len())
            .map(move |index| (features.get(index), effects.get(index)))
            .filter(|(feature, _)| *feature != NO_FEATURE)
    }
}

/// Whether an offer is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferStatus {
    /// The arm is to be offered.
    Offered,
    /// The user is held out, whatever would have been offered.
    HeldOut,
    /// Nothing is offered.
    None(NoOffer),
}

/// Why nothing is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u16)]
pub enum NoOffer {
    /// The bundle has no such campaign, or none at all.
    NoCampaign = 1,
    /// Before the campaign, after it, or outside its hours.
    OutsideWindow = 2,
    /// The user is not eligible.
    NotEligible = 3,
    /// A cap has been reached.
    Capped = 4,
    /// No arm can be paid: there is no price, or too little is left.
    NoBudget = 5,
    /// No arm leaves the margin that must be left.
    MarginFloor = 6,
    /// No arm is worth its price.
    NotWorthIt = 7,
    /// Nothing is known of the user: there was no ranking either.
    Fallback = 8,
    /// Exploration drew no offer.
    Drawn = 9,
}

impl OfferStatus {
    const NAMES: [&'static str; 9] = [
        "no-campaign",
        "outside-window",
        "not-eligible",
        "capped",
        "no-budget",
        "margin-floor",
        "not-worth-it",
        "fallback",
        "drawn",
    ];

    /// Status and reason, as they are written.
    #[must_use]
    pub const fn codes(self) -> (u16, u16) {
        match self {
            Self::Offered => (0, 0),
            Self::HeldOut => (1, 0),
            Self::None(reason) => (2, reason as u16),
        }
    }

    /// The status of these codes, if there is one.
    #[must_use]
    pub fn from_codes(status: u16, reason: u16) -> Option<Self> {
        Some(match (status, reason) {
            (0, 0) => Self::Offered,
            (1, 0) => Self::HeldOut,
            (2, 1) => Self::None(NoOffer::NoCampaign),
            (2, 2) => Self::None(NoOffer::OutsideWindow),
            (2, 3) => Self::None(NoOffer::NotEligible),
            (2, 4) => Self::None(NoOffer::Capped),
            (2, 5) => Self::None(NoOffer::NoBudget),
            (2, 6) => Self::None(NoOffer::MarginFloor),
            (2, 7) => Self::None(NoOffer::NotWorthIt),
            (2, 8) => Self::None(NoOffer::Fallback),
            (2, 9) => Self::None(NoOffer::Drawn),
            _ => return None,
        })
    }

    /// Name of the status, and of the reason if there is one.
    #[must_use]
    pub const fn names(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Offered => ("offered", None),
            Self::HeldOut => ("held-out", None),
            Self::None(reason) => ("none", Some(Self::NAMES[reason as usize - 1])),
        }
    }
}

/// Bits that say why an arm cannot be offered.
pub mod arm {
    /// A budget has no price, or too little left for the arm's face.
    pub const NO_BUDGET: u32 = 1;
    /// It leaves less than the margin that must be left.
    pub const MARGIN_FLOOR: u32 = 1 << 1;
}

/// What one arm would do and cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ArmParts {
    /// Bits of [`arm`]; 0 where it can be offered.
    pub masked: u32,
    /// Chance of a response.
    pub response: f32,
    /// Incremental value, in minor units.
    pub value: f32,
    /// Expected cost, in minor units.
    pub cost: f32,
    /// Value minus the price of the cost: what the arms are compared by.
    pub score: f32,
}

/// The answer to the question for an offer.
///
/// `campaign u64, epoch i64, status u16, reason u16, arm u32, best arm u32, flags u32 (bit 0: drawn, not a preview),
/// propensity f32, arms u32`, then per arm, no offer first, `masked u32, response f32, value f32, cost f32, score f32`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OfferParts<'a> {
    /// Key of the campaign; 0 where there is none.
    pub campaign: u64,
    /// The epoch in which it was decided.
    pub epoch: i64,
    /// Whether an offer is made.
    pub status: OfferStatus,
    /// The arm; 0 is no offer.
    pub arm: u32,
    /// The arm with the best score: what is offered without hold-out and exploration.
    pub best: u32,
    /// Whether a draw was given; else this is a preview.
    pub drawn: bool,
    /// Probability of the arm for this user, over hold-out and exploration; NaN in a preview.
    pub propensity: f32,
    /// By arm; empty where none was looked at.
    pub arms: &'a [ArmParts],
}

impl OfferParts<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let (status, reason) = self.status.codes();
        append(out, &self.campaign.to_le_bytes());
        append(out, &self.epoch.to_le_bytes());
        integers(out, &[u32::from(status) | u32::from(reason) << 16, self.arm, self.best, u32::from(self.drawn)]);
        floats(out, &[self.propensity]);
        integers(out, &[self.arms.len() as u32]);
        for arm in self.arms {
            integers(out, &[arm.masked]);
            floats(out, &[arm.response, arm.value, arm.cost, arm.score]);
        }
    }
}

/// A validated answer to the question for an offer.
#[derive(Clone, Copy, Debug)]
pub struct OfferView<'a> {
    /// Key of the campaign; 0 where there is none.
    pub campaign: u64,
    /// The epoch in which it was decided.
    pub epoch: i64,
    /// Whether an offer is made.
    pub status: OfferStatus,
    /// The arm; 0 is no offer.
    pub arm: u32,
    /// The arm with the best score.
    pub best: u32,
    /// Whether a draw was given; else this is a preview.
    pub drawn: bool,
    /// Probability of the arm for this user; NaN in a preview.
    pub propensity: f32,
    arms: &'a [u8],
}

impl<'a> OfferView<'a> {
    fn parse(block: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(block, "decision offer");
        let (campaign, epoch) = (reader.u64()?, reader.u64()? as i64);
        let status = OfferStatus::from_codes(reader.u16()?, reader.u16()?);
        let (arm, best, flags) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let propensity = f32::from_bits(reader.u32()?);
        let count = reader.u32()?;
        let arms = reader.array(count as usize, ARM_LEN)?;
        reader.finish()?;
        let invalid = DecodeError::invalid("decision offer", 0);
        let status = status.ok_or(invalid)?;
        let in_range = |arm: u32| arm == 0 || arm < count;
        let offered = status == OfferStatus::Offered;
        if !in_range(arm) || !in_range(best) || flags > 1 || offered != (arm != 0) {
            return Err(invalid);
        }
        Ok(Self { campaign, epoch, status, arm, best, drawn: flags == 1, propensity, arms })
    }

    /// What the arms would do and cost, no offer first.
    pub fn arms(&self) -> impl ExactSizeIterator<Item = ArmParts> + use<'a> {
        self.arms.chunks_exact(ARM_LEN).map(|bytes| {
            let word = |at: usize| u32::from_le_bytes(crate::read::fixed(&bytes[at..at + 4]));
            let float = |at| f32::from_bits(word(at));
            ArmParts { masked: word(0), response: float(4), value: float(8), cost: float(12), score: float(16) }
        })
    }
}

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
//! | 7 offer | reserved |

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
    /// Deliberately not personalised.
    Control(ControlReason),
    /// The input order, because something was wrong.
    Fallback(FallbackReason),
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
    /// Status and reason, as they are written.
    #[must_use]
    pub const fn codes(self) -> (u16, u16) {
        match self {
            Self::Personalized => (0, 0),
            Self::Control(reason) => (1, reason as u16),
            Self::Fallback(reason) => (2, reason as u16),
        }
    }

    fn from_codes(status: u16, reason: u16) -> Option<Self> {
        Some(match (status, reason) {
            (0, 0) => Self::Personalized,
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
}

impl DecisionParts<'_> {
    /// Writes the decision into `out`, which is cleared. Allocates only if `out` is too small.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut writer = MessageWriter::new(out, KIND, 6, |out| {
            let (status, reason) = self.status.codes();
            out.extend_from_slice(&self.request_id);
            out.extend_from_slice(&self.bundle_id);
            out.extend_from_slice(&self.shared_id);
            out.extend_from_slice(&status.to_le_bytes());
            out.extend_from_slice(&reason.to_le_bytes());
            out.extend_from_slice(&self.candidates.to_le_bytes());
            out.extend_from_slice(&(self.slots.len() as u32).to_le_bytes());
            out.extend_from_slice(&self.contributions.to_le_bytes());
            out.extend_from_slice(&self.cost.to_le_bytes());
            out.extend_from_slice(&self.error.to_le_bytes());
            out.extend_from_slice(&[0; 2]);
            out.extend_from_slice(&canonical(self.base));
        });
        let tag = |tag| BlockHeader { tag, ..BlockHeader::default() };
        let integers =
            |values: &[u32], out: &mut Vec<u8>| out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let floats = |values: &[f32], out: &mut Vec<u8>| out.extend(values.iter().flat_map(|value| canonical(*value)));
        writer.block(tag(1), |out| integers(self.slots, out));
        writer.block(tag(2), |out| floats(self.scores, out));
        writer.block(tag(3), |out| floats(self.propensities, out));
        writer.block(tag(4), |out| integers(self.rules, out));
        writer.block(tag(5), |out| integers(self.reason_features, out));
        writer.block(tag(6), |out| floats(self.reason_effects, out));
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
}

impl<'a> DecisionView<'a> {
    /// Validates `bytes`.
    ///
    /// # Errors
    /// Any deviation from the layout above.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let message = MessageView::parse(bytes, KIND, |tag| (1..=6).contains(&tag))?;
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

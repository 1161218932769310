//! Exploration: how the first free slot is drawn.
//!
//! ```text
//! 0   4  kind: 1 epsilon-greedy, 2 softmax
//! 4   4  f32: epsilon, above 0, at most 1; or temperature, in units of the score, above 0, finite
//! 8   8  seed of the draws
//! ```
//!
//! A bundle without this section does not explore.

use crate::DecodeError;
use crate::read::fixed;

/// Section tag of exploration in a bundle.
pub const TAG: u32 = 0x06;
/// Version of [`ExploreV1`].
pub const VERSION: u16 = 1;
/// Bytes of the section.
pub const LEN: usize = 16;

const PLACE: &str = "exploration";

/// How the first free slot is drawn; the others take the best candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExploreV1 {
    /// Over what the draw is.
    pub kind: ExploreKindV1,
    /// Key of the draws: another seed draws otherwise for the same requests.
    pub seed: u64,
}

/// The distribution of the draw over the candidates that may stand in the slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ExploreKindV1 {
    /// With probability `epsilon` a candidate at random, otherwise the best.
    EpsilonGreedy {
        /// Above 0, at most 1.
        epsilon: f32,
    },
    /// Each with a probability proportional to `e^(score / temperature)`.
    Softmax {
        /// In units of the score, above 0, finite.
        temperature: f32,
    },
}

impl ExploreV1 {
    /// Decodes and validates the section.
    ///
    /// # Errors
    /// Another length, an unknown kind, a parameter out of range.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() != LEN {
            return Err(DecodeError::invalid(PLACE, 0));
        }
        let parameter = f32::from_le_bytes(fixed(&bytes[4..8]));
        let kind = match u32::from_le_bytes(fixed(&bytes[..4])) {
            1 => ExploreKindV1::EpsilonGreedy { epsilon: parameter },
            2 => ExploreKindV1::Softmax { temperature: parameter },
            _ => return Err(DecodeError::invalid(PLACE, 0)),
        };
        let valid = match kind {
            ExploreKindV1::EpsilonGreedy { epsilon } => epsilon > 0.0 && epsilon <= 1.0,
            ExploreKindV1::Softmax { temperature } => temperature > 0.0 && temperature.is_finite(),
        };
        if !valid {
            return Err(DecodeError::invalid(PLACE, 4));
        }
        Ok(Self { kind, seed: u64::from_le_bytes(fixed(&bytes[8..])) })
    }

    /// The section's bytes.
    #[cfg(feature = "id")]
    #[must_use]
    pub fn encode(&self) -> alloc::vec::Vec<u8> {
        let (kind, parameter) = match self.kind {
            ExploreKindV1::EpsilonGreedy { epsilon } => (1_u32, epsilon),
            ExploreKindV1::Softmax { temperature } => (2, temperature),
        };
        [&kind.to_le_bytes()[..], &parameter.to_le_bytes(), &self.seed.to_le_bytes()].concat()
    }
}

#[cfg(all(test, feature = "id"))]
mod tests {
    use super::*;

    const EPSILON: ExploreV1 = ExploreV1 { kind: ExploreKindV1::EpsilonGreedy { epsilon: 0.25 }, seed: 7 };

    #[test]
    fn the_bytes_are_those_of_the_page() {
        assert_eq!(EPSILON.encode(), [1, 0, 0, 0, 0, 0, 0x80, 0x3e, 7, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_written_is_read() {
        let softmax = ExploreV1 { kind: ExploreKindV1::Softmax { temperature: 0.5 }, seed: u64::MAX };
        for explore in [EPSILON, softmax] {
            assert_eq!(ExploreV1::decode(&explore.encode()), Ok(explore));
        }
    }

    #[test]
    fn a_parameter_out_of_range_is_refused() {
        let with = |kind: u32, parameter: f32| {
            let mut bytes = EPSILON.encode();
            bytes[..4].copy_from_slice(&kind.to_le_bytes());
            bytes[4..8].copy_from_slice(&parameter.to_le_bytes());
            ExploreV1::decode(&bytes)
        };
        for parameter in [0.0, -0.5, f32::NAN, f32::INFINITY] {
            assert!(with(1, parameter).is_err(), "epsilon {parameter}");
            assert!(with(2, parameter).is_err(), "temperature {parameter}");
        }
        assert!(with(1, 1.5).is_err());
        assert!(with(2, 1.5).is_ok());
        assert!(with(3, 0.5).is_err());
        assert!(ExploreV1::decode(&EPSILON.encode()[..15]).is_err());
    }
}

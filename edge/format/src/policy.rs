//! The slate policy: how scores become a list.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::packed::Packed;
use crate::program::{FieldType, ProgramV1, Scope};
use crate::{DecodeError, program};

/// Section tag of the policy in a bundle.
pub const TAG: u32 = 0x04;
/// Version of [`PolicyV1`].
pub const VERSION: u16 = 1;

/// Largest slate.
pub const MAX_SLATE: u32 = 500;
/// Most rules of one kind.
pub const MAX_RULES: usize = 16;

/// Rules and diversity of a bundle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyV1 {
    /// Slots in a slate when the request does not say, 1 to [`MAX_SLATE`].
    pub slate_size: u32,
    /// Candidates that never enter a slate.
    pub exclude: Vec<ExcludeV1>,
    /// Caps on equal values.
    pub at_most: Vec<AtMostV1>,
    /// Diversity, if any.
    pub diversity: Option<DiversityV1>,
}

/// Candidates whose `field` has this value never enter a slate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcludeV1 {
    /// Position of an item string field in the program.
    pub field: u16,
    /// Key of the value.
    pub value: u64,
}

/// At most `count` candidates with the same value of `field` in any `window` consecutive slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtMostV1 {
    /// Position of an item string field in the program.
    pub field: u16,
    /// The cap, at least 1.
    pub count: u32,
    /// Number of consecutive slots; 0 is the whole slate.
    pub window: u32,
}

/// Maximal marginal relevance (Carbonell and Goldstein, 1998): each slot takes the candidate with the largest
/// `lambda * relevance - (1 - lambda) * max similarity to those above`.
///
/// Relevance is the score scaled to 0..1 over the eligible candidates. Similarity is the weighted share of `fields`
/// with equal values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiversityV1 {
    /// 1 is relevance alone, 0 is difference alone.
    pub lambda: f32,
    /// Item string fields and their weights, which sum to 1.
    pub fields: Vec<(u16, f32)>,
}

impl PolicyV1 {
    /// Decodes and validates the section against the program whose fields it names.
    ///
    /// # Errors
    /// Not canonical postcard, or a rule out of range.
    pub fn decode(bytes: &[u8], program: &ProgramV1) -> Result<Self, DecodeError> {
        let mut packed = Packed::new(bytes, "slate policy")?;
        let policy = Self::read(&mut packed);
        packed.finish()?;
        policy.validate(program)?;
        Ok(policy)
    }

    #[inline(never)]
    fn read(packed: &mut Packed<'_>) -> Self {
        let at_most =
            |packed: &mut Packed<'_>| AtMostV1 { field: packed.u16(), count: packed.u32(), window: packed.u32() };
        Self {
            slate_size: packed.u32(),
            exclude: packed.list(|packed| ExcludeV1 { field: packed.u16(), value: packed.u64() }),
            at_most: packed.list(at_most),
            diversity: packed.is_some().then(|| DiversityV1 {
                lambda: packed.f32(),
                fields: packed.list(|packed| (packed.u16(), packed.f32())),
            }),
        }
    }

    /// The section's bytes.
    #[cfg(feature = "id")]
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        crate::container::encode(self)
    }

    /// Proves that every rule names an item string field and has values in range.
    ///
    /// # Errors
    /// The first part that does not.
    pub fn validate(&self, program: &ProgramV1) -> Result<(), DecodeError> {
        let is_item_string = |field: u16| {
            program
                .fields
                .get(usize::from(field))
                .is_some_and(|field| field.ty == FieldType::String && field.scope == Scope::Item)
        };
        let size = (1..=MAX_SLATE).contains(&self.slate_size);
        let rules = self.exclude.len() <= MAX_RULES && self.at_most.len() <= MAX_RULES;
        let exclude = self.exclude.iter().all(|rule| is_item_string(rule.field));
        let at_most = self.at_most.iter().all(|rule| is_item_string(rule.field) && rule.count > 0);
        let diversity = self.diversity.as_ref().is_none_or(|diversity| {
            (0.0..=1.0).contains(&diversity.lambda)
                && (1..=8).contains(&diversity.fields.len())
                && diversity.fields.iter().all(|(field, weight)| is_item_string(*field) && (0.0..=1.0).contains(weight))
        });
        for (valid, place) in [
            (size, "slate size"),
            (rules, "number of slate rules"),
            (exclude, "exclude rule"),
            (at_most, "at-most rule"),
            (diversity, "diversity"),
        ] {
            if !valid {
                return Err(DecodeError::invalid(place, 0));
            }
        }
        Ok(())
    }

    /// Fields that the policy reads, with repetitions.
    pub fn fields(&self) -> impl Iterator<Item = u16> + '_ {
        let diversity = self.diversity.iter().flat_map(|diversity| diversity.fields.iter().map(|(field, _)| *field));
        let exclude = self.exclude.iter().map(|rule| rule.field);
        exclude.chain(self.at_most.iter().map(|rule| rule.field)).chain(diversity)
    }
}

const _: () = assert!(program::MAX_FIELDS <= u16::MAX as usize);

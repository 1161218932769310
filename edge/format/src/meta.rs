//! Names: everything that a person reads and a decision does not need.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::DecodeError;

/// Section tag of the names in a bundle. Optional: the engine never reads it.
pub const TAG: u32 = 0x01;
/// Version of [`MetaV1`].
pub const VERSION: u16 = 1;

/// Names and provenance of a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaV1 {
    /// Name of the model.
    pub name: String,
    /// Program and version that wrote the bundle.
    pub producer: String,
    /// Scope and name of each field of the program, as `scope.name`.
    pub fields: Vec<String>,
    /// Name and documentation of each feature of the program.
    pub features: Vec<FeatureName>,
    /// Names of the declared events.
    pub events: Vec<String>,
    /// Seconds between refreshes of the shared state, as declared.
    pub shared_refresh_s: u32,
}

/// What a feature is called and what it means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureName {
    /// Name, as declared.
    pub name: String,
    /// Kind of extractor, as declared.
    pub kind: String,
    /// Documentation, as declared; may be empty.
    pub doc: String,
}

impl MetaV1 {
    /// Decodes the section.
    ///
    /// # Errors
    /// Not canonical postcard.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        crate::container::metadata(bytes, "names")
    }

    /// The section's bytes.
    #[cfg(feature = "id")]
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        crate::container::encode(self)
    }
}

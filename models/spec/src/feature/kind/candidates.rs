//! `candidates`: how much choice there is.

use super::Kind;
use crate::feature::FeatureKind;

pub(super) const KIND: Kind = Kind {
    name: "candidates",
    doc: "The number of candidates in the request.",
    missing: None,
    default: f32::NAN,
    parameters: &[],
    example: "kind = \"candidates\"",
    parse: |_| Some(FeatureKind::Candidates),
};

//! `position`: where the candidate came in.

use super::Kind;
use crate::feature::FeatureKind;

pub(super) const KIND: Kind = Kind {
    name: "position",
    doc: "The candidate's place in the request, counted from 0.",
    missing: None,
    default: f32::NAN,
    parameters: &[],
    example: "kind = \"position\"",
    parse: |_| Some(FeatureKind::Position),
};

//! `lifetime_count`: a sum that never forgets.

use super::{BY, EVENT, Kind, MEASURE, SCOPE};
use crate::feature::FeatureKind;
use crate::feature::counter::{counter, lifetime};

pub(super) const KIND: Kind = Kind {
    name: "lifetime_count",
    doc: "A sum over all events under the candidate's key.",
    missing: Some("the candidate has no key (a key without events has the value 0)"),
    default: 0.0,
    parameters: &[SCOPE, EVENT, BY, MEASURE],
    example: "kind = \"lifetime_count\"\nscope = \"user\"\nevent = \"purchase\"\nby = \"all\"\nmeasure = \"value\"",
    parse: |parameters| counter(parameters, lifetime).map(FeatureKind::Count),
};

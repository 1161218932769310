//! `decayed_count`: a sum that fades.

use super::{BY, EVENT, Kind, MEASURE, Parameter, SCOPE};
use crate::feature::FeatureKind;
use crate::feature::counter::{counter, decayed};

pub(super) const KIND: Kind = Kind {
    name: "decayed_count",
    doc: "A sum over the events under the candidate's key, each weighing `2^(-age / half_life)`.",
    missing: Some("the candidate has no key (a key without events has the value 0)"),
    default: 0.0,
    parameters: &[
        SCOPE,
        EVENT,
        BY,
        MEASURE,
        Parameter::required("half_life", "a span of time: the age at which an event weighs one half"),
    ],
    example: "kind = \"decayed_count\"\nscope = \"user\"\nevent = \"purchase\"\nby = \"item\"\nhalf_life = \"30d\"",
    parse: |parameters| counter(parameters, decayed).map(FeatureKind::Count),
};

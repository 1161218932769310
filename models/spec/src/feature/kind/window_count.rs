//! `window_count`: a sum that forgets at a known age.

use super::{BY, EVENT, Kind, MEASURE, Parameter, SCOPE};
use crate::feature::FeatureKind;
use crate::feature::counter::{counter, window};

pub(super) const KIND: Kind = Kind {
    name: "window_count",
    doc: "A sum over the events under the candidate's key in the last `window`, whose edge moves in steps of `window / buckets`.",
    missing: Some("the candidate has no key (a key without events has the value 0)"),
    default: 0.0,
    parameters: &[
        SCOPE,
        EVENT,
        BY,
        MEASURE,
        Parameter::required("window", "a span of time, divisible by `buckets` in whole seconds"),
        Parameter::required("buckets", "1..=64: the steps in which the window moves"),
    ],
    example: "kind = \"window_count\"\nscope = \"global\"\nevent = \"purchase\"\nby = \"item\"\nwindow = \"28d\"\nbuckets = 4",
    parse: |parameters| counter(parameters, window).map(FeatureKind::Count),
};

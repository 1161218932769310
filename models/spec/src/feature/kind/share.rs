//! `share`: how much of the whole is this key's.

use super::{BUCKETS, EVENT, HALF_LIFE, Kind, LIFETIME, MEASURE, Parameter, SCOPE, WINDOW};
use crate::feature::FeatureKind;
use crate::feature::counter::{self, Subject, counted};
use crate::feature::declared::Parameters;

pub(super) const KIND: Kind = Kind {
    name: "share",
    doc: "A counter's value under the candidate's key, divided by the same counter summed over all keys. \
          Give exactly one of `half_life`, `window` with `buckets`, and `lifetime`.",
    missing: Some("the candidate has no key, or the sum is 0"),
    default: 0.0,
    parameters: &[
        SCOPE,
        EVENT,
        Parameter::required("by", "an item string field or `item`: the key events are counted under"),
        MEASURE,
        HALF_LIFE,
        WINDOW,
        BUCKETS,
        LIFETIME,
    ],
    example: "kind = \"share\"\nscope = \"user\"\nevent = \"purchase\"\nby = \"department\"\nlifetime = true",
    parse,
};

fn parse(parameters: &Parameters<'_>) -> Option<FeatureKind> {
    let scope = parameters.word("scope");
    let by = parameters.by_key("by", "the share of everything is always 1; name a field of the item, or `item`");
    let subject = scope.zip(by).map(|(scope, by)| Subject { scope, by });
    let forgetting = counter::any(parameters);
    counted(parameters, subject.as_ref(), forgetting).map(FeatureKind::Share)
}

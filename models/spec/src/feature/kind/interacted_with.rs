//! `interacted_with`: has this user just had to do with something like it?

use super::{EVENT, Kind, Parameter};
use crate::feature::FeatureKind;
use crate::feature::declared::Parameters;

pub(super) const KIND: Kind = Kind {
    name: "interacted_with",
    doc: "How many of the user's most recent events of one kind were on items that share the candidate's key.",
    missing: Some("the candidate has no key"),
    default: 0.0,
    parameters: &[
        EVENT,
        Parameter::required("by", "an item string field or `item`: what the items must share"),
        Parameter::optional("within", "a span of time: older events do not count", "any age"),
        Parameter::optional("last", "1..=`history.events`: only this many events of the kind", "`history.events`"),
    ],
    example: "kind = \"interacted_with\"\nevent = \"purchase\"\nby = \"brand\"\nwithin = \"30d\"\nlast = 32",
    parse,
};

fn parse(parameters: &Parameters<'_>) -> Option<FeatureKind> {
    let event = parameters.event("event");
    let by = parameters.by_key("by", "every event shares it; name a field of the item, or `item`");
    let within = parameters.optional("within").map(|value| value.duration());
    let last = parameters.last();
    // The outer option is presence, the inner one whether it could be read.
    let within = within.map_or(Some(None), |read| read.map(Some));
    Some(FeatureKind::InteractedWith { event: event?, by: by?, within: within?, last: last? })
}

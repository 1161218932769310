//! `recency`: how long ago it last happened.

use super::{BY, EVENT, Kind, Parameter, SCOPE};
use crate::feature::FeatureKind;
use crate::feature::counter::Subject;
use crate::feature::declared::Parameters;

pub(super) const KIND: Kind = Kind {
    name: "recency",
    doc: "The request's time minus the time of the last event under the candidate's key, in `unit`s with a fraction.",
    missing: Some("there was no such event"),
    default: f32::NAN,
    parameters: &[SCOPE, EVENT, BY, Parameter::required("unit", "`s`, `m`, `h`, `d` or `w`")],
    example: "kind = \"recency\"\nscope = \"user\"\nevent = \"purchase\"\nby = \"item\"\nunit = \"d\"",
    parse,
};

fn parse(parameters: &Parameters<'_>) -> Option<FeatureKind> {
    let subject = Subject::read(parameters);
    let event = parameters.event("event");
    let unit = parameters.word("unit");
    let Subject { scope, by } = subject?;
    Some(FeatureKind::Recency { scope, event: event?, by, unit: unit? })
}

//! `local_time`: the clock on the user's wall.

use super::{Kind, Parameter};
use crate::feature::FeatureKind;
use crate::feature::declared::Parameters;

pub(super) const KIND: Kind = Kind {
    name: "local_time",
    doc: "A part of the request's local date and time: its time in UTC plus its offset. Weekday 0 is Monday.",
    missing: None,
    default: f32::NAN,
    parameters: &[Parameter::required("part", "`minute_of_day`, `hour`, `weekday`, `day` (of the month) or `month`")],
    example: "kind = \"local_time\"\npart = \"weekday\"",
    parse,
};

fn parse(parameters: &Parameters<'_>) -> Option<FeatureKind> {
    Some(FeatureKind::LocalTime { part: parameters.word("part")? })
}

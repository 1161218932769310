//! `time_difference`: the age of something.

use super::{Kind, Parameter};
use crate::feature::FeatureKind;
use crate::feature::declared::Parameters;
use crate::vocabulary::FieldType;

pub(super) const KIND: Kind = Kind {
    name: "time_difference",
    doc: "The request's time minus a time field, in `unit`s with a fraction. Negative when the field lies ahead.",
    missing: Some("the field has no value"),
    default: f32::NAN,
    parameters: &[
        Parameter::required("field", "a time field"),
        Parameter::required("unit", "`s`, `m`, `h`, `d` or `w`"),
    ],
    example: "kind = \"time_difference\"\nfield = \"item.listed_at\"\nunit = \"d\"",
    parse,
};

fn parse(parameters: &Parameters<'_>) -> Option<FeatureKind> {
    let field = parameters.field("field", FieldType::Time);
    let unit = parameters.word("unit");
    Some(FeatureKind::TimeDifference { field: field?, unit: unit? })
}

//! `number`: a field as it is.

use super::{Kind, Parameter};
use crate::feature::FeatureKind;
use crate::feature::declared::Parameters;
use crate::vocabulary::FieldType;

pub(super) const KIND: Kind = Kind {
    name: "number",
    doc: "The value of a number field.",
    missing: Some("the field has no value"),
    default: f32::NAN,
    parameters: &[Parameter::required("field", "a number field")],
    example: "kind = \"number\"\nfield = \"item.price\"\ntransform = [\"log1p\"]",
    parse,
};

fn parse(parameters: &Parameters<'_>) -> Option<FeatureKind> {
    Some(FeatureKind::Number { field: parameters.field("field", FieldType::Number)? })
}

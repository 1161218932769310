//! `cross`: several categories as one.

use super::{Kind, Parameter};
use crate::feature::declared::Parameters;
use crate::feature::{FeatureKind, FieldRef};
use crate::reader::{Value, all, refuse_duplicates};
use crate::vocabulary::FieldType;

pub(super) const KIND: Kind = Kind {
    name: "cross",
    doc: "Several string fields hashed together, in the order given, modulo `buckets`.",
    missing: Some("one of the fields has no value"),
    default: f32::NAN,
    parameters: &[
        Parameter::required("fields", "a list of 2..=8 string fields"),
        Parameter::required("buckets", "1..=16,777,216: how many remainders"),
    ],
    example: "kind = \"cross\"\nfields = [\"user.home_store\", \"item.department\"]\nbuckets = 4096",
    parse,
};

fn parse(parameters: &Parameters<'_>) -> Option<FeatureKind> {
    let fields = parameters.required("fields").and_then(|value| fields(parameters, value));
    let buckets = parameters.buckets("buckets");
    Some(FeatureKind::Cross { fields: fields?, buckets: buckets? })
}

fn fields(parameters: &Parameters<'_>, value: Value<'_>) -> Option<Vec<FieldRef>> {
    let entries = value.list_of(2..=8)?;
    let fields = all(entries.iter().map(|entry| parameters.resolve(*entry, FieldType::String)));
    let texts = entries.iter().filter_map(|entry| Some((entry.as_text()?, entry.span)));
    refuse_duplicates("field", texts, parameters.problems());
    fields
}

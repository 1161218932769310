//! `combine`: arithmetic between columns.

use super::{Kind, Parameter};
use crate::feature::FeatureKind;
use crate::feature::declared::Parameters;
use crate::reader::{Value, all};

pub(super) const KIND: Kind = Kind {
    name: "combine",
    doc: "Arithmetic over two earlier features, taken as the model sees them: after their defaults and transforms.",
    missing: Some("either input is NaN, or a ratio's second input is 0"),
    default: f32::NAN,
    parameters: &[
        Parameter::required("op", "`ratio`, `product`, `difference`, `min` or `max`"),
        Parameter::required("inputs", "a list of two names of features declared earlier: left and right"),
    ],
    example: "kind = \"combine\"\nop = \"ratio\"\ninputs = [\"first\", \"second\"]",
    parse,
};

fn parse(parameters: &Parameters<'_>) -> Option<FeatureKind> {
    let op = parameters.word("op");
    let inputs = parameters.required("inputs").and_then(|value| inputs(parameters, value));
    Some(FeatureKind::Combine { op: op?, inputs: inputs? })
}

fn inputs(parameters: &Parameters<'_>, value: Value<'_>) -> Option<[usize; 2]> {
    let inputs = value.list_of(2..=2)?;
    all(inputs.into_iter().map(|entry| parameters.resolve_feature(entry)))?.try_into().ok()
}

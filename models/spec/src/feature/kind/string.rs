//! `string`: a category as a number.

use super::{Kind, Parameter};
use crate::error::{Problem, ProblemKind};
use crate::feature::declared::Parameters;
use crate::feature::{FeatureKind, FeatureSpec, StringEncoding};
use crate::reader::{Value, all, refuse_duplicates};
use crate::vocabulary::FieldType;

/// The longest list of values: beyond it a hash serves better.
const MAX_VALUES: usize = 4_096;

pub(super) const KIND: Kind = Kind {
    name: "string",
    doc: "A string field as its index in a list of `values`, or as its hash modulo `buckets`. Give one of the two.",
    missing: Some("the field has no value, or one that is not in the list"),
    default: f32::NAN,
    parameters: &[
        Parameter::required("field", "a string field"),
        Parameter::optional("values", "a list of 1..=4,096 strings; the first is 0", "-"),
        Parameter::optional("buckets", "1..=16,777,216: how many remainders", "-"),
    ],
    example: "kind = \"string\"\nfield = \"context.page\"\nvalues = [\"home\", \"search\", \"basket\"]",
    parse,
};

fn parse(parameters: &Parameters<'_>) -> Option<FeatureKind> {
    let field = parameters.field("field", FieldType::String);
    let encoding = encoding(parameters);
    Some(FeatureKind::String { field: field?, encoding: encoding? })
}

fn encoding(parameters: &Parameters<'_>) -> Option<StringEncoding> {
    match (parameters.optional("values"), parameters.optional("buckets")) {
        (Some(values), None) => list(parameters, values).map(StringEncoding::Values),
        (None, Some(buckets)) => buckets.integer(1..=FeatureSpec::MAX_BUCKETS).map(StringEncoding::Buckets),
        (Some(values), Some(buckets)) => {
            let message = format!("{} has both `values` and `buckets`", parameters.what());
            let problem = Problem::new(ProblemKind::Conflict, values.span, message, "either this");
            parameters.report(problem.beside(buckets.span, "or this"));
            None
        }
        (None, None) => {
            let message = format!("{} needs `values` or `buckets`", parameters.what());
            let problem =
                Problem::new(ProblemKind::MissingKey, parameters.span(), message, "which number for which string?");
            parameters.report(problem.help("give values = [\"a\", \"b\"] for an index, or buckets = 1024 for a hash"));
            None
        }
    }
}

fn list(parameters: &Parameters<'_>, values: Value<'_>) -> Option<Vec<String>> {
    let entries = values.list_of(1..=MAX_VALUES)?;
    let texts = all(entries.iter().map(|entry| entry.present_text()))?;
    refuse_duplicates(
        "value",
        texts.iter().copied().zip(entries.iter().map(|entry| entry.span)),
        parameters.problems(),
    );
    Some(texts.into_iter().map(str::to_owned).collect())
}

//! `token_overlap`: does the item's name have the words asked for, or those of what was bought before?

use super::{Kind, Parameter};
use crate::error::{Problem, ProblemKind};
use crate::feature::declared::Parameters;
use crate::feature::{FeatureKind, OverlapWith};
use crate::reader::Value;
use crate::vocabulary::{FieldScope, FieldType, OverlapMetric};

/// What `with` says for recent events.
const HISTORY: &str = "history";

pub(super) const KIND: Kind = Kind {
    name: "token_overlap",
    doc: "How much the words of an item have in common with those of the context, or with those of the items of the user's \
          most recent events. Both are sets; the size of their intersection is divided by that of their union for \
          `jaccard`, by that of the item's own set for `containment`.",
    missing: Some("either set is empty"),
    default: 0.0,
    parameters: &[
        Parameter::required("field", "a tokens field of the item"),
        Parameter::required("with", "a tokens field of the context, or `history` for the same field of recent items"),
        Parameter::optional("event", "a declared event; needed with `history` and only there", "-"),
        Parameter::optional(
            "last",
            "1..=`history.events`: only this many events; with `history` only",
            "`history.events`",
        ),
        Parameter::optional("metric", "`jaccard` or `containment`", "`jaccard`"),
    ],
    example: "kind = \"token_overlap\"\nfield = \"item.name\"\nwith = \"context.query\"\nmetric = \"containment\"",
    parse,
};

fn parse(parameters: &Parameters<'_>) -> Option<FeatureKind> {
    let field = parameters.field_of("field", FieldScope::Item, FieldType::Tokens);
    let with = other_side(parameters);
    let metric = parameters.word_or("metric", OverlapMetric::Jaccard);
    Some(FeatureKind::TokenOverlap { field: field?, with: with?, metric: metric? })
}

fn other_side(parameters: &Parameters<'_>) -> Option<OverlapWith> {
    let event = parameters.optional("event");
    let last = parameters.optional("last");
    let with = parameters.required("with")?;
    if with.as_text() == Some(HISTORY) {
        let event = parameters.event("event");
        let last = parameters.last();
        return Some(OverlapWith::History { event: event?, last: last? });
    }
    let field = parameters.resolve_of(with, FieldScope::Context, FieldType::Tokens);
    let stray = [event, last].into_iter().flatten().map(refuse_stray).count();
    (stray == 0).then_some(OverlapWith::Context(field?))
}

fn refuse_stray(value: Value<'_>) {
    let message = "`event` and `last` go with `with = \"history\"`";
    value.report(Problem::new(ProblemKind::Conflict, value.span, message, "nothing to look back at"));
}

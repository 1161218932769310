//! `recent_items`: what the user did last, one item after the other, for networks that read sequences.
//!
//! What such networks take (DIN, arXiv:1706.06978; Caser, arXiv:1809.07426) is a row of ids of one length, padded with 0. So
//! one declaration makes as many features as there are places, and the names say which: `history_0` is the newest.

use super::{Kind, Parameter};
use crate::feature::declared::Parameters;
use crate::feature::{FeatureKind, FeatureSpec, Recent};
use crate::reader::{Table, Value};

const NAME: &str = "recent_items";

pub(super) const KIND: Kind = Kind {
    name: NAME,
    doc: "The items of the user's most recent events, as numbers from 1 like those of `item_id`. This declares a feature for \
          each of `last` places, `NAME_0` for the newest, then `NAME_1` and so on. An input `NAME` of an ONNX model takes all \
          of them. An event without an item takes a place.",
    missing: Some("there is no such event, or it has no item"),
    default: 0.0,
    parameters: &[
        Parameter::optional("event", "a declared event", "events of every kind"),
        Parameter::optional("within", "a span of time: older events do not count", "any age"),
        Parameter::optional("last", "1..=`history.events`: how many places", "`history.events`"),
        Parameter::required("buckets", "1..=16,777,216: the largest number"),
        Parameter::optional(
            "length",
            "`true`: also a feature `NAME_length`, how many places are taken; it has no transforms",
            "`false`",
        ),
    ],
    example: "kind = \"recent_items\"\nevent = \"view\"\nlast = 8\nwithin = \"30d\"\nbuckets = 100000\nlength = true",
    parse,
};

/// The newest place; [`FeatureKind::of_place`] makes the others of it.
fn parse(parameters: &Parameters<'_>) -> Option<FeatureKind> {
    let event = parameters.optional("event").map(|_| parameters.event("event"));
    let within = parameters.optional("within").map(Value::duration);
    let last = parameters.last();
    let buckets = parameters.buckets("buckets");
    let length = parameters.optional_or("length", false, Value::boolean);
    // The outer option is presence, the inner one whether it could be read.
    let event = event.map_or(Some(None), |read| read.map(Some));
    let within = within.map_or(Some(None), |read| read.map(Some));
    let recent = Recent { event: event?, within: within? };
    (last.is_some() && length.is_some()).then_some(FeatureKind::RecentItem { recent, at: 0, buckets: buckets? })
}

/// What the names of the places have behind that of the declaration, and how many places there are; `None` for other kinds. It is
/// read before anything else, since features may refer to the names, and reports nothing: [`parse`] does.
pub(crate) fn places(declaration: &Table<'_>, history_events: Option<u16>) -> Option<(u16, Vec<String>)> {
    if declaration.optional("kind").and_then(Value::as_text) != Some(NAME) {
        return None;
    }
    let held = history_events.unwrap_or(FeatureSpec::MAX_HISTORY);
    let last = declaration.optional("last").and_then(Value::as_u32).and_then(|last| u16::try_from(last).ok());
    let last = last.filter(|last| *last <= held).unwrap_or(held);
    let length = declaration.optional("length").and_then(Value::as_boolean) == Some(true);
    let places = (0..last).map(|at| format!("_{at}"));
    Some((last, places.chain(length.then(|| "_length".to_owned())).collect()))
}

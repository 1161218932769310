//! The kinds of feature: one file each, and one line in [`KINDS`].
//!
//! A kind is data: its name, its documentation, its example and the function that reads its parameters. The parser, the
//! suggestions and the generated reference all come from the table, and the tests run over it. To add a kind, write its
//! file, add its line, and give [`FeatureKind`] the variant that the compiler then lowers.

mod candidates;
mod combine;
mod cross;
mod decayed_count;
mod interacted_with;
mod item_id;
mod lifetime_count;
mod local_time;
mod number;
mod position;
mod rate;
mod recency;
mod recent_items;
mod share;
mod string;
mod time_difference;
mod token_overlap;
mod window_count;

pub(crate) use recent_items::places;

use super::FeatureKind;
use super::declared::Parameters;

/// One kind of feature.
pub(crate) struct Kind {
    /// What `kind = "..."` says.
    pub(crate) name: &'static str,
    /// What is computed, in one or two sentences.
    pub(crate) doc: &'static str,
    /// When there is no value, so that the default stands in; `None` when there always is one.
    pub(crate) missing: Option<&'static str>,
    /// The default unless the feature declares one.
    pub(crate) default: f32,
    /// Every parameter beyond those that all features share.
    pub(crate) parameters: &'static [Parameter],
    /// The body of a `[[feature]]`, without its name. It must be valid in the reference's sample declaration.
    pub(crate) example: &'static str,
    /// Reads the parameters. Asks for all of them before it gives up on any.
    pub(crate) parse: fn(&Parameters<'_>) -> Option<FeatureKind>,
}

/// The documentation of one parameter.
pub(crate) struct Parameter {
    pub(crate) key: &'static str,
    /// What its value is, and what that means.
    pub(crate) doc: &'static str,
    /// What applies when it is left out; `None` when it must not be.
    pub(crate) default: Option<&'static str>,
}

impl Parameter {
    const fn required(key: &'static str, doc: &'static str) -> Self {
        Self { key, doc, default: None }
    }

    const fn optional(key: &'static str, doc: &'static str, default: &'static str) -> Self {
        Self { key, doc, default: Some(default) }
    }
}

const SCOPE: Parameter = Parameter::required("scope", "`user` or `global`: whose events");
const EVENT: Parameter = Parameter::required("event", "a declared event");
const BY: Parameter =
    Parameter::required("by", "an item string field, `item` or `all`: the key events are counted under");
const MEASURE: Parameter = Parameter::optional("measure", "`count` or `value`: what one event adds", "`count`");
// The ways of forgetting, for kinds that leave the choice open.
const HALF_LIFE: Parameter =
    Parameter::optional("half_life", "a span of time: the age at which an event weighs one half", "-");
const WINDOW: Parameter =
    Parameter::optional("window", "a span of time: how far back events count; needs `buckets`", "-");
const BUCKETS: Parameter = Parameter::optional("buckets", "1..=64: the steps in which the window moves", "-");
const LIFETIME: Parameter = Parameter::optional("lifetime", "`true`: every event counts for ever", "-");

/// Every kind, in the order of the reference.
pub(crate) static KINDS: &[Kind] = &[
    number::KIND,
    string::KIND,
    cross::KIND,
    time_difference::KIND,
    recency::KIND,
    local_time::KIND,
    position::KIND,
    candidates::KIND,
    interacted_with::KIND,
    item_id::KIND,
    recent_items::KIND,
    decayed_count::KIND,
    window_count::KIND,
    lifetime_count::KIND,
    share::KIND,
    rate::KIND,
    token_overlap::KIND,
    combine::KIND,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use toml::de::DeTable;

    use super::KINDS;
    use crate::error::Problems;
    use crate::feature::declared::{Declared, Parameters};
    use crate::reader::Table;

    /// Reads the example of each kind with nothing declared: what it asks for must not depend on what it finds.
    #[test]
    fn every_kind_documents_exactly_the_parameters_it_asks_for() {
        let declared =
            Declared { fields: Vec::new(), events: Vec::new(), history_events: Some(1), features: Vec::new() };
        for kind in KINDS {
            let example = DeTable::parse(kind.example).unwrap();
            let problems = Problems::default();
            let table = Table::new("the example".to_owned(), (0..0).into(), example.get_ref(), &problems);
            let parameters = Parameters::new(table, &declared, 0);
            (kind.parse)(&parameters);
            let asked: BTreeSet<_> = parameters.asked().into_iter().collect();
            let documented: BTreeSet<_> = kind.parameters.iter().map(|parameter| parameter.key).collect();
            assert_eq!(asked, documented, "{}", kind.name);
        }
    }
}

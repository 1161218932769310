//! The reference of `features.toml`, written from the same tables that the parser reads.

use std::fmt::{self, Write as _};

use crate::feature::{KINDS, Kind, Parameter, TRANSFORMS};
use crate::vocabulary::{FieldType, Word};

/// What the examples of the reference refer to. Every kind's example is valid after it.
pub(crate) const SAMPLE: &str = r#"version = 1

[fields.item]
price = "number"
department = "string"
brand = "string"
name = "tokens"
listed_at = "time"

[fields.user]
home_store = "string"

[fields.context]
query = "tokens"
page = "string"

[events]
view = { doc = "a product page was opened" }
purchase = { doc = "a line of a basket; its value is the amount paid" }

[shared]                    # the snapshot of item fields and global counters
refresh = "1d"              # default "1d"

[history]
events = 64                 # recent events kept per user, 0..=256; default 64

[[counters]]                # optional: how many keys a user's table holds
scope = "user"
event = "purchase"
by = "item"
capacity = 512              # 1..=4,096

[[feature]]
name = "first"
kind = "number"
field = "item.price"

[[feature]]
name = "second"
kind = "lifetime_count"
scope = "user"
event = "purchase"
by = "item"
"#;

const INTRODUCTION: &str = "\
<!-- Generated from models/spec. To change it, change the tables there and run its tests with SELVEDGE_BLESS=1. -->
# features.toml

A feature is a column of the model's input, computed for every candidate of a request. This file declares what the
features are made of (fields and events) and then the features themselves, in the order of the columns.

- Names are 1 to 64 of `a-z`, `0-9` and `_`. An item field cannot be called `item` or `all`.
- Fields belong to the `item`, the `user` or the `context` (the request); a reference names both: `item.price`.
- Spans of time are a whole number and a unit: `\"30s\"`, `\"5m\"`, `\"12h\"`, `\"30d\"`, `\"4w\"`, at most ten years.
- There are at most 64 fields of a scope, 64 events and 512 features.

The examples below refer to this declaration:
";

const COUNTERS: &str = "
## Counters

Several kinds count events. A counter has a `scope` (`user`: this user's events, up to date; `global`: everybody's, as old
as the last refresh of the shared snapshot), an `event`, a key (`by` a string field of the item, such as its brand, by
`item`, or by `all` for one key), and a `measure`: `count` adds 1 for each event, `value` adds the event's value. The
candidate's own key says which of the counts a feature reads.
";

const SHARED_PARAMETERS: &str = "
## Parameters of every feature

| key | value | default |
|---|---|---|
| `name` | the feature's name | required |
| `kind` | one of the kinds below | required |
| `doc` | what the feature means | empty |
| `default` | a number or `\"nan\"`: the value when there is none | the kind's own |
| `transform` | a list of at most 16 transforms, applied in order, also to the default | none |
";

/// The text of `docs/reference/features.md`, in Markdown.
pub fn reference_markdown() -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_reference(&mut text);
    text
}

fn write_reference(out: &mut String) -> fmt::Result {
    let types: Vec<_> = FieldType::ALL.iter().map(|ty| format!("`{ty}`")).collect();
    writeln!(out, "{INTRODUCTION}\n```toml\n{SAMPLE}```\n\nThe types of fields are {}.", types.join(", "))?;
    writeln!(out, "{COUNTERS}{SHARED_PARAMETERS}\n## Transforms\n\n| written | makes of x |\n|---|---|")?;
    for transform in TRANSFORMS {
        writeln!(out, "| `{}` | {} |", transform.usage, transform.doc)?;
    }
    writeln!(out, "\n## Kinds\n\n| kind | computes |\n|---|---|")?;
    for kind in KINDS {
        writeln!(out, "| [`{0}`](#{0}) | {1} |", kind.name, first_sentence(kind.doc))?;
    }
    KINDS.iter().try_for_each(|kind| write_kind(out, kind))
}

fn first_sentence(doc: &str) -> &str {
    doc.split_once(". ").map_or(doc.trim_end_matches('.'), |(first, _)| first)
}

fn write_kind(out: &mut String, kind: &Kind) -> fmt::Result {
    writeln!(out, "\n### {}\n\n{}\n", kind.name, kind.doc)?;
    match kind.missing {
        Some(when) => writeln!(out, "Missing when {when}; the default is then {}.\n", default(kind.default))?,
        None => writeln!(out, "Never missing.\n")?,
    }
    if !kind.parameters.is_empty() {
        writeln!(out, "| key | value | default |\n|---|---|---|")?;
        kind.parameters.iter().try_for_each(|parameter| write_parameter(out, parameter))?;
        writeln!(out)?;
    }
    writeln!(out, "```toml\n[[feature]]\nname = \"my_{}\"\n{}\n```", kind.name, kind.example)
}

fn write_parameter(out: &mut String, Parameter { key, doc, default }: &Parameter) -> fmt::Result {
    writeln!(out, "| `{key}` | {doc} | {} |", default.unwrap_or("required"))
}

fn default(value: f32) -> String {
    if value.is_nan() { "NaN".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{SAMPLE, reference_markdown};
    use crate::feature::{FeatureSpec, KINDS};

    #[test]
    fn the_committed_reference_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/features.md");
        if std::env::var_os("SELVEDGE_BLESS").is_some() {
            std::fs::write(&path, reference_markdown()).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == reference_markdown(),
            "docs/reference/features.md is stale: run this test with SELVEDGE_BLESS=1"
        );
    }

    #[test]
    fn the_example_of_every_kind_is_valid() {
        for kind in KINDS {
            let text = format!("{SAMPLE}\n[[feature]]\nname = \"example\"\n{}\n", kind.example);
            let spec =
                FeatureSpec::parse("features.toml", &text).unwrap_or_else(|error| panic!("{}: {error:?}", kind.name));
            assert!(spec.features[2].name.starts_with("example"), "{}", kind.name);
        }
    }
}

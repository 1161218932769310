//! What a feature may refer to, and the looking up of it.
//!
//! Things declared wrongly are still declared here, so that one mistake is reported once and not again at every use.

use std::ops::Deref;

use super::{By, FeatureSpec, FieldRef};
use crate::error::{Problem, ProblemKind};
use crate::reader::{Name, Table, Value, printable};
use crate::suggest;
use crate::vocabulary::{FieldScope, FieldType, Word};

/// Fields, events and features by name, before anything refers to them.
pub(crate) struct Declared {
    pub(crate) fields: Vec<DeclaredField>,
    pub(crate) events: Vec<String>,
    /// `None` when it was declared wrongly.
    pub(crate) history_events: Option<u16>,
    /// Features without a readable name are `None`, so that an index here is an index of the text's features.
    pub(crate) features: Vec<Option<Name>>,
}

/// A field as far as it could be read.
pub(crate) struct DeclaredField {
    pub(crate) scope: FieldScope,
    pub(crate) name: Name,
    /// `None` when the type was none.
    pub(crate) ty: Option<FieldType>,
}

impl DeclaredField {
    /// How features write it.
    fn path(&self) -> String {
        format!("{}.{}", self.scope, self.name.text)
    }
}

impl Declared {
    /// Looks up a reference such as `item.price`.
    fn field(&self, value: Value<'_>, wanted: FieldType) -> Option<FieldRef> {
        let text = value.text()?;
        let Some(field) = self.fields.iter().find(|field| field.path() == text) else {
            let paths: Vec<_> =
                self.fields.iter().filter(|field| field.ty == Some(wanted)).map(DeclaredField::path).collect();
            let paths: Vec<_> = paths.iter().map(String::as_str).collect();
            let help = match self.fields.iter().find(|field| field.name.text == text) {
                Some(field) => format!("a reference names its scope: `{}`", field.path()),
                None => suggest::help(text, &format!("{wanted} fields"), &paths),
            };
            return value.unknown(ProblemKind::UnknownField, "field", text, help);
        };
        check_type(value, field, wanted)?;
        Some(FieldRef { scope: field.scope, name: field.name.text.clone() })
    }

    /// Looks up a key of counters: `all`, `item`, or an item's string field.
    fn by(&self, value: Value<'_>) -> Option<By> {
        match value.text()? {
            "all" => return Some(By::All),
            "item" => return Some(By::Item),
            _ => {}
        }
        self.item_field(value, &["item", "all"]).map(By::Field)
    }

    /// Looks up the bare name of an item's string field. `others` are words that would also have done.
    fn item_field(&self, value: Value<'_>, others: &[&str]) -> Option<String> {
        let text = value.text()?;
        let mut of_items = self.fields.iter().filter(|field| field.scope == FieldScope::Item);
        let Some(field) = of_items.clone().find(|field| field.name.text == text) else {
            let strings = of_items.clone().filter(|field| field.ty == Some(FieldType::String));
            let known: Vec<_> = strings.map(|field| field.name.text.as_str()).chain(others.iter().copied()).collect();
            let help = match of_items.find(|field| field.path() == text) {
                Some(field) => format!("the field is always one of the item: write `{}`", field.name.text),
                None => suggest::help(text, "keys", &known),
            };
            return value.unknown(ProblemKind::UnknownField, "item field", text, help);
        };
        check_type(value, field, FieldType::String)?;
        Some(field.name.text.clone())
    }

    fn event(&self, value: Value<'_>) -> Option<String> {
        let text = value.text()?;
        self.events.iter().find(|event| *event == text).cloned().or_else(|| {
            let known: Vec<_> = self.events.iter().map(String::as_str).collect();
            value.unknown(ProblemKind::UnknownEvent, "event", text, suggest::help(text, "events", &known))
        })
    }

    /// Looks up the index of a feature declared before the one at `index`.
    fn earlier_feature(&self, value: Value<'_>, index: usize) -> Option<usize> {
        let text = value.text()?;
        let named = |name: &Option<Name>| name.as_ref().is_some_and(|name| name.text == text);
        if let Some(earlier) = self.features.iter().take(index).position(named) {
            return Some(earlier);
        }
        let Some(later) = self.features.iter().flatten().find(|name| name.text == text) else {
            let earlier: Vec<_> = self.features.iter().take(index).flatten().map(|name| name.text.as_str()).collect();
            let help = suggest::help(text, "features before this one", &earlier);
            return value.unknown(ProblemKind::UnknownFeature, "feature", text, help);
        };
        value.report(
            Problem::new(
                ProblemKind::LaterFeature,
                value.span,
                format!("feature `{text}` is not declared before its use"),
                "used here",
            )
            .beside(later.span, "declared here")
            .help("features are computed in the order of the text: move the declaration above its use"),
        );
        None
    }
}

fn check_type(value: Value<'_>, field: &DeclaredField, wanted: FieldType) -> Option<()> {
    let found = field.ty?;
    if found == wanted {
        return Some(());
    }
    value.report(
        Problem::new(
            ProblemKind::FieldType,
            value.span,
            format!("`{}` is a {found} field where a {wanted} field is needed", printable(&field.path())),
            format!("needs a {wanted} field"),
        )
        .beside(field.name.span, format!("declared as {found} here")),
    );
    None
}

/// The parameters of a feature, or of anything else that refers to what is declared.
pub(crate) struct Parameters<'a> {
    table: Table<'a>,
    declared: &'a Declared,
    /// The feature's own index in the text; it may refer to smaller ones.
    index: usize,
}

impl<'a> Deref for Parameters<'a> {
    type Target = Table<'a>;

    fn deref(&self) -> &Table<'a> {
        &self.table
    }
}

impl<'a> Parameters<'a> {
    pub(crate) fn new(table: Table<'a>, declared: &'a Declared, index: usize) -> Self {
        Self { table, declared, index }
    }

    /// The parameters in the inline table under `key`.
    pub(crate) fn inner(&self, key: &'static str) -> Option<Self> {
        let table = self.required(key)?.table(format!("`{key}` of {}", self.what()))?;
        Some(Self::new(table, self.declared, self.index))
    }

    pub(crate) fn finish(self) {
        self.table.finish();
    }

    pub(crate) fn abandon(self) {
        self.table.abandon();
    }

    /// A reference to a field of type `wanted`.
    pub(crate) fn field(&self, key: &'static str, wanted: FieldType) -> Option<FieldRef> {
        self.required(key).and_then(|value| self.declared.field(value, wanted))
    }

    /// A reference to a field of type `wanted` and of `scope`.
    pub(crate) fn field_of(&self, key: &'static str, scope: FieldScope, wanted: FieldType) -> Option<FieldRef> {
        self.required(key).and_then(|value| self.resolve_of(value, scope, wanted))
    }

    /// Resolves a value that refers to a field of type `wanted`.
    pub(crate) fn resolve(&self, value: Value<'_>, wanted: FieldType) -> Option<FieldRef> {
        self.declared.field(value, wanted)
    }

    /// Resolves a value that refers to a field of type `wanted` and of `scope`.
    pub(crate) fn resolve_of(&self, value: Value<'_>, scope: FieldScope, wanted: FieldType) -> Option<FieldRef> {
        let field = self.declared.field(value, wanted)?;
        if field.scope == scope {
            return Some(field);
        }
        let message = format!("`{field}` stands where a field of `{scope}` is needed");
        value.report(Problem::new(ProblemKind::FieldType, value.span, message, format!("not a field of `{scope}`")));
        None
    }

    pub(crate) fn event(&self, key: &'static str) -> Option<String> {
        self.required(key).and_then(|value| self.declared.event(value))
    }

    pub(crate) fn by(&self, key: &'static str) -> Option<By> {
        self.required(key).and_then(|value| self.declared.by(value))
    }

    /// Like [`Parameters::by`], where one key for everything would say nothing; `why` explains.
    pub(crate) fn by_key(&self, key: &'static str, why: &str) -> Option<By> {
        let value = self.required(key)?;
        match self.declared.by(value)? {
            By::All => {
                let message = format!("{} cannot be over `all`", self.what());
                value.report(Problem::new(ProblemKind::Conflict, value.span, message, "needs a key").help(why));
                None
            }
            by => Some(by),
        }
    }

    pub(crate) fn word<W: Word>(&self, key: &'static str) -> Option<W> {
        self.required(key).and_then(Value::word)
    }

    pub(crate) fn word_or<W: Word>(&self, key: &'static str, default: W) -> Option<W> {
        self.optional_or(key, default, Value::word)
    }

    /// How many recent events to look at: `last`, or all that the history holds.
    pub(crate) fn last(&self) -> Option<u16> {
        let last = self.optional("last");
        let held = self.declared.history_events?;
        if held == 0 {
            let message = format!("{} looks at recent events, of which none are kept", self.what());
            let problem = Problem::new(ProblemKind::Conflict, self.span(), message, "needs a history");
            self.report(problem.help(format!("set `events` of [history] to 1..={}", FeatureSpec::MAX_HISTORY)));
            return None;
        }
        last.map_or(Some(held), |last| last.integer(1..=held))
    }

    pub(crate) fn buckets(&self, key: &'static str) -> Option<u32> {
        self.required(key).and_then(|value| value.integer(1..=FeatureSpec::MAX_BUCKETS))
    }

    /// Resolves a value that names an earlier feature, to its index.
    pub(crate) fn resolve_feature(&self, value: Value<'_>) -> Option<usize> {
        self.declared.earlier_feature(value, self.index)
    }
}

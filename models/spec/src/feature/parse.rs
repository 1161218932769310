//! From the text of `features.toml` to a [`FeatureSpec`]: first what is declared, then what refers to it.

use super::declared::{Declared, DeclaredField, Parameters};
use super::kind::{self, KINDS, Kind};
use super::{EventKind, Feature, FeatureSpec, Field, TableSettings, Transform};
use crate::document;
use crate::error::{Problem, ProblemKind, Problems, Source, SpecError};
use crate::reader::{Name, Table, Value, all, printable, refuse_duplicates};
use crate::seconds::Seconds;
use crate::suggest;
use crate::vocabulary::{CounterScope, FieldScope, Word};

/// One day: how often catalogues change.
const DEFAULT_REFRESH: Seconds = Seconds(86_400);
/// Enough to see a user's last few visits.
const DEFAULT_HISTORY: u16 = 64;
/// Names of item fields that would read as something else after `by`.
const RESERVED: [&str; 2] = ["item", "all"];

impl FeatureSpec {
    /// Reads the text of a `features.toml`; `name` is what messages call it.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text.
    ///
    /// ```
    /// use selvedge_spec::{FeatureKind, FeatureSpec};
    /// let spec = FeatureSpec::parse("features.toml", r#"
    ///     version = 1
    ///     [fields.item]
    ///     price = "number"
    ///     [[feature]]
    ///     name = "log_price"
    ///     kind = "number"
    ///     field = "item.price"
    ///     transform = ["log1p"]
    /// "#)?;
    /// assert!(matches!(&spec.features[0].kind, FeatureKind::Number { field } if field.name == "price"));
    /// # Ok::<(), selvedge_spec::SpecError>(())
    /// ```
    pub fn parse(name: &str, text: &str) -> Result<Self, SpecError> {
        document::parse(Source::new(name, text), Self::read)
    }

    fn read(root: Table<'_>, problems: &Problems) -> Option<Self> {
        document::version(&root);
        let fields = root.section("fields").map(|table| fields(table, problems)).unwrap_or_default();
        let events = root.section("events").map(|table| events(&table, problems)).unwrap_or_default();
        let shared_refresh = root.section("shared").map_or(Some(DEFAULT_REFRESH), refresh);
        let history_events = root.section("history").map_or(Some(DEFAULT_HISTORY), history);
        let counters = root.sections("counters", "[[counters]]");
        let entries = root.required("feature").and_then(|value| value.list_of(1..=Self::MAX_FEATURES));
        let entries = entries.unwrap_or_default().into_iter();
        let mut entries: Vec<_> = entries.filter_map(|entry| entry.table("this feature".to_owned())).collect();
        let names: Vec<_> = entries.iter_mut().map(|entry| feature_names(entry, history_events, problems)).collect();
        let declared = Declared {
            fields,
            events: events.iter().map(|event| event.name.clone()).collect(),
            history_events,
            features: names.iter().flat_map(|names| names.all.iter().cloned()).collect(),
        };
        refuse_too_many(&declared.features, entries.len(), problems);
        let all_names = declared.features.iter().flatten();
        refuse_duplicates("feature", all_names.map(|name| (name.text.as_str(), name.span)), problems);

        let tables = all(counters.into_iter().map(|entry| table_settings(Parameters::new(entry, &declared, 0))));
        let mut index = 0;
        let features = all(entries.into_iter().zip(&names).map(|(table, names)| {
            let parameters = Parameters::new(table, &declared, index);
            index += names.all.len();
            features(parameters, names)
        }));
        refuse_repeated_tables(tables.iter().flatten(), problems);
        root.finish();
        let fields = declared.fields.iter().map(field).collect::<Option<_>>();
        Some(Self {
            fields: fields?,
            events,
            shared_refresh: shared_refresh?,
            history_events: history_events?,
            tables: tables?,
            features: features?.into_iter().flatten().collect(),
        })
    }
}

fn limit(table: &Table<'_>, key: &'static str, found: usize, most: usize) {
    if found > most
        && let Some(value) = table.optional(key)
    {
        value.out_of_range::<()>(format_args!("at most {most} entries, not {found}"));
    }
}

fn fields(table: Table<'_>, problems: &Problems) -> Vec<DeclaredField> {
    let mut fields = Vec::new();
    for &scope in FieldScope::ALL {
        let Some(of_scope) = table.section(scope.as_str()) else { continue };
        let named = of_scope.named();
        limit(&table, scope.as_str(), named.len(), FeatureSpec::MAX_FIELDS);
        for (name, value) in named {
            name.check(problems);
            refuse_reserved(scope, &name, problems);
            fields.push(DeclaredField { scope, name, ty: value.word() });
        }
    }
    table.finish();
    fields
}

fn refuse_reserved(scope: FieldScope, name: &Name, problems: &Problems) {
    if scope == FieldScope::Item && RESERVED.contains(&name.text.as_str()) {
        let message = format!("an item field cannot be called `{}`", name.text);
        problems.report(
            Problem::new(ProblemKind::BadName, name.span, message, "reserved")
                .help("`by` gives this word another meaning"),
        );
    }
}

fn field(declared: &DeclaredField) -> Option<Field> {
    let DeclaredField { scope, name, ty } = declared;
    Some(Field { name: name.text.clone(), scope: *scope, ty: (*ty)?, span: name.span })
}

fn events(table: &Table<'_>, problems: &Problems) -> Vec<EventKind> {
    let named = table.named();
    if named.len() > FeatureSpec::MAX_EVENTS {
        let message = format!("there are {} kinds of event, at most {} may be", named.len(), FeatureSpec::MAX_EVENTS);
        problems.report(Problem::new(ProblemKind::OutOfRange, table.span(), message, "too many"));
    }
    named.into_iter().map(|(name, value)| event(name, value, problems)).collect()
}

/// An event whose settings could not be read is still declared.
fn event(name: Name, value: Value<'_>, problems: &Problems) -> EventKind {
    name.check(problems);
    let mut doc = None;
    if let Some(settings) = value.table(format!("event `{}`", name.text)) {
        doc = settings.optional("doc").and_then(Value::text);
        settings.finish();
    }
    EventKind { name: name.text, doc: doc.unwrap_or_default().to_owned(), span: name.span }
}

fn refresh(table: Table<'_>) -> Option<Seconds> {
    let refresh = table.optional_or("refresh", DEFAULT_REFRESH, Value::duration);
    table.finish();
    refresh
}

fn history(table: Table<'_>) -> Option<u16> {
    let events = table.optional_or("events", DEFAULT_HISTORY, |value| value.integer(0..=FeatureSpec::MAX_HISTORY));
    table.finish();
    events
}

fn table_settings(entry: Parameters<'_>) -> Option<TableSettings> {
    let scope = entry.required("scope");
    let event = entry.event("event");
    let by = entry.by_key("by", "counters over `all` have one key, so there is nothing to set");
    let capacity = entry.required("capacity").and_then(|value| value.integer(1..=FeatureSpec::MAX_CAPACITY));
    let span = entry.span();
    entry.finish();
    let scope = scope?;
    if scope.word::<CounterScope>()? == CounterScope::Global {
        let problem =
            Problem::new(ProblemKind::Conflict, scope.span, "global counters have no settings", "not \"user\"");
        scope.report(problem.help("they hold every key; only the tables in a user's state are bounded"));
        return None;
    }
    Some(TableSettings { event: event?, by: by?, capacity: capacity?, span })
}

fn refuse_repeated_tables<'t>(tables: impl Iterator<Item = &'t TableSettings>, problems: &Problems) {
    let named: Vec<_> = tables.map(|table| (format!("{} by {}", table.event, table.by), table.span)).collect();
    refuse_duplicates("the table of", named.iter().map(|(name, span)| (name.as_str(), *span)), problems);
}

/// Names of the features that a declaration makes.
struct Names {
    /// In the order of the features; at least one, which is `None` where it could not be read.
    all: Vec<Option<Name>>,
    /// How many of them are places of a sequence.
    places: u16,
}

/// The name of a declaration is from now on what messages call it.
fn feature_names(table: &mut Table<'_>, history_events: Option<u16>, problems: &Problems) -> Names {
    let Some(name) = table.required("name").and_then(Value::name) else { return Names { all: vec![None], places: 1 } };
    table.rename(format!("feature `{}`", printable(&name.text)), name.span);
    let Some((places, suffixes)) = kind::places(table, history_events) else {
        return Names { all: vec![Some(name)], places: 1 };
    };
    let each = suffixes.iter().map(|suffix| Name { text: format!("{}{suffix}", name.text), span: name.span });
    let all: Vec<_> = each.collect();
    if let Some(longest) = all.iter().max_by_key(|name| name.text.len()) {
        longest.check(problems);
    }
    Names { all: all.into_iter().map(Some).collect(), places }
}

/// As many declarations as there may be features can make more of them.
fn refuse_too_many(features: &[Option<Name>], declarations: usize, problems: &Problems) {
    let most = FeatureSpec::MAX_FEATURES;
    if let Some(name) = features.get(most).and_then(Option::as_ref)
        && declarations <= most
    {
        let message = format!("there are {} features, at most {most} may be", features.len());
        let problem = Problem::new(ProblemKind::OutOfRange, name.span, message, format!("`{}` is one more", name.text));
        problems.report(problem.help("each place of `recent_items` is a feature: give it a smaller `last`"));
    }
}

/// The features of one declaration.
fn features(parameters: Parameters<'_>, names: &Names) -> Option<Vec<Feature>> {
    let doc = parameters.optional_or("doc", "", Value::text);
    let default = parameters.optional("default").map(Value::single_or_nan);
    let transforms = parameters.optional_or("transform", Vec::new(), transforms);
    let Some(kind) = parameters.required("kind").and_then(known_kind) else {
        parameters.abandon();
        return None;
    };
    let computed = (kind.parse)(&parameters);
    parameters.finish();
    let (doc, transforms, computed) = (doc?, transforms?, computed?);
    let default = default.unwrap_or(Some(kind.default))?;
    let feature = |(place, name): (u16, &Option<Name>)| {
        let name = name.as_ref()?;
        let is_place = place < names.places;
        Some(Feature {
            name: name.text.clone(),
            doc: doc.to_owned(),
            default,
            transforms: if is_place { transforms.clone() } else { Vec::new() },
            kind: computed.of_place(place, names.places),
            span: name.span,
        })
    };
    (0..).zip(&names.all).map(feature).collect()
}

fn transforms(value: Value<'_>) -> Option<Vec<Transform>> {
    all(value.list_of(0..=FeatureSpec::MAX_TRANSFORMS)?.into_iter().map(Transform::read))
}

fn known_kind(value: Value<'_>) -> Option<&'static Kind> {
    let text = value.text()?;
    KINDS.iter().find(|kind| kind.name == text).or_else(|| {
        let known: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        value.unknown(ProblemKind::UnknownKind, "kind", text, suggest::help(text, "kinds", &known))
    })
}

//! The shared state: counters over all users from the event log, item fields from the catalogue.

use selvedge_engine::state::{Event, GlobalCounters, ItemKeys};
use selvedge_format::key;
use selvedge_format::program::{FieldType, ProgramV1, Scope, field_id};
use selvedge_format::shared::{FieldValues, SharedParts, SharedState};
use serde_json::{Map, Value};

/// Most items of a catalogue.
pub const MAX_ITEMS: usize = 1 << 20;
/// Longest id of an item in bytes.
pub const MAX_ID: usize = 256;

/// Why a catalogue is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct CatalogueError {
    /// Where, as a path in the document.
    pub place: String,
    /// What was wrong, and what is expected.
    pub what: String,
}

fn refused<T>(place: impl Into<String>, what: impl Into<String>) -> Result<T, CatalogueError> {
    Err(CatalogueError { place: place.into(), what: what.into() })
}

/// Items and their fields, as a program reads them.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    items: Vec<u64>,
    fields: Vec<(u64, FieldValues)>,
}

impl Catalogue {
    /// Reads `{"items": [{"id": "tea", "price": 1.2, "brand": "leaf"}]}`: of each item the fields that the program has.
    /// Others are passed over, since a catalogue serves more than one bundle.
    ///
    /// # Errors
    /// Not such a document; an id twice; a value of another type than the field's; too many items.
    pub fn read(program: &ProgramV1, document: &[u8]) -> Result<Self, CatalogueError> {
        let document: Value = match serde_json::from_slice(document) {
            Ok(document) => document,
            Err(error) => return refused("the document", error.to_string()),
        };
        let Some(list) = document.get("items").and_then(Value::as_array) else {
            return refused("items", "a list is expected: {\"items\": [{\"id\": …}]}");
        };
        if list.len() > MAX_ITEMS {
            return refused("items", format!("{} items are above the limit of {MAX_ITEMS}", list.len()));
        }
        let mut rows: Vec<(u64, usize, &Map<String, Value>)> = Vec::with_capacity(list.len());
        for (position, item) in list.iter().enumerate() {
            let id = item.get("id").and_then(Value::as_str).filter(|id| (1..=MAX_ID).contains(&id.len()));
            let (Some(id), Some(fields)) = (id, item.as_object()) else {
                return refused(format!("items[{position}].id"), format!("a text of 1 to {MAX_ID} bytes is expected"));
            };
            rows.push((key(id.as_bytes()), position, fields));
        }
        rows.sort_unstable_by_key(|(key, position, _)| (*key, *position));
        if let Some(twice) = rows.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let (first, second) = (twice[0].1, twice[1].1);
            return refused(format!("items[{second}].id"), format!("items[{first}] has this id as well"));
        }
        let names = rows.iter().flat_map(|(_, _, fields)| fields.keys()).filter(|name| *name != "id");
        let names: std::collections::BTreeSet<&String> = names.collect();
        let mut fields = Vec::new();
        for name in names {
            let id = field_id(Scope::Item, name);
            let declared = program.fields.iter().find(|field| field.id == id && field.scope == Scope::Item);
            if let Some(declared) = declared {
                fields.push((id, column(name, declared.ty, &rows)?));
            }
        }
        fields.sort_unstable_by_key(|(id, _)| *id);
        Ok(Self { items: rows.iter().map(|(key, ..)| *key).collect(), fields })
    }

    /// The items and fields of a shared state that somebody published.
    #[must_use]
    pub fn of(shared: &SharedState) -> Self {
        let parts = shared.of_items(|_| true);
        Self { items: parts.items, fields: parts.fields }
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is known of any item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The shared state as of a time: these items, and what was counted.
    #[must_use]
    pub fn shared_state(&self, program: &ProgramV1, counters: &GlobalCounters, as_of_ms: i64) -> Vec<u8> {
        let tables = counters.tables(program, as_of_ms);
        SharedParts { as_of_ms, items: self.items.clone(), fields: self.fields.clone(), tables }.encode()
    }
}

type Row<'a> = (u64, usize, &'a Map<String, Value>);

fn column(name: &str, ty: FieldType, rows: &[Row<'_>]) -> Result<FieldValues, CatalogueError> {
    fn values<T>(
        name: &str,
        rows: &[Row<'_>],
        missing: &T,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Vec<T>, CatalogueError>
    where
        T: Clone,
    {
        let value = |(_, position, fields): &Row<'_>| match fields.get(name) {
            None | Some(Value::Null) => Ok(missing.clone()),
            Some(value) => match read(value) {
                Some(value) => Ok(value),
                None => refused(format!("items[{position}].{name}"), format!("{expected} is expected")),
            },
        };
        rows.iter().map(value).collect()
    }
    let text = |value: &Value| value.as_str().map(|text| key(text.as_bytes()));
    Ok(match ty {
        FieldType::Number => FieldValues::Number(values(name, rows, &f32::NAN, "a number", |value| {
            value.as_f64().map(|number| number as f32).filter(|number| number.is_finite())
        })?),
        FieldType::Time => {
            FieldValues::Time(values(name, rows, &i64::MIN, "a time as RFC 3339 text or milliseconds", |value| {
                let text = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
                text.map(jiff::Timestamp::as_millisecond).or_else(|| value.as_i64())
            })?)
        }
        FieldType::String => FieldValues::String(values(name, rows, &0, "a text", text)?),
        FieldType::Tokens => FieldValues::Tokens(values(name, rows, &Vec::new(), "a list of texts", |value| {
            value.as_array()?.iter().map(text).collect()
        })?),
    })
}

/// Counts events over all users.
#[derive(Clone, Debug)]
pub struct SharedCounters {
    counters: GlobalCounters,
}

impl SharedCounters {
    /// Counters that have seen nothing.
    #[must_use]
    pub fn new(program: &ProgramV1) -> Self {
        Self { counters: GlobalCounters::new(program) }
    }

    /// What [`encode`](Self::encode) wrote, if it was of a program with the same counters.
    #[must_use]
    pub fn decode(program: &ProgramV1, bytes: &[u8]) -> Option<Self> {
        let (id, bytes) = bytes.split_first_chunk()?;
        if u64::from_le_bytes(*id) != tables_id(program) {
            return None;
        }
        Some(Self { counters: GlobalCounters::decode(program, bytes).ok()? })
    }

    /// The counters as bytes.
    #[must_use]
    pub fn encode(&self, program: &ProgramV1) -> Vec<u8> {
        let mut bytes = tables_id(program).to_le_bytes().to_vec();
        bytes.extend(self.counters.encode());
        bytes
    }

    /// Counts an event.
    pub fn apply(&mut self, program: &ProgramV1, items: &ItemKeys<'_>, event: &Event) {
        self.counters.apply(program, items, event);
    }

    /// The counters themselves.
    #[must_use]
    pub const fn counters(&self) -> &GlobalCounters {
        &self.counters
    }
}

/// Names the tables over all users that a program declares, and their columns.
fn tables_id(program: &ProgramV1) -> u64 {
    let tables = program.global_tables.iter();
    let ids = tables.flat_map(|table| std::iter::once(table.id).chain(table.columns.iter().map(|column| column.id)));
    key(&ids.flat_map(u64::to_le_bytes).collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use selvedge_format::AlignedBytes;

    const NOW_MS: i64 = 1_700_000_000_000;

    #[test]
    fn a_catalogue_and_counts_make_a_shared_state_that_an_engine_reads() {
        let program = sample::program();
        let document =
            br#"{"items": [{"id": "tea", "price": 2.5, "brand": "leaf", "colour": "green"}, {"id": "mug"}]}"#;
        let catalogue = Catalogue::read(&program, document).unwrap();
        let empty = catalogue.shared_state(&program, &GlobalCounters::new(&program), NOW_MS);
        let shared = SharedState::load(AlignedBytes::copy_of(&empty)).unwrap();
        let mut counters = SharedCounters::new(&program);
        let items = ItemKeys::new(&program, Some(&shared));
        let event = Event { event: key(b"purchase"), time_ms: NOW_MS, item: key(b"tea"), value: 1.0 };
        (0..3).for_each(|_| counters.apply(&program, &items, &event));
        let bytes = counters.encode(&program);
        let again = SharedCounters::decode(&program, &bytes).unwrap();
        let built = catalogue.shared_state(&program, again.counters(), NOW_MS);
        assert_eq!(built, catalogue.shared_state(&program, counters.counters(), NOW_MS));
        let shared = SharedState::load(AlignedBytes::copy_of(&built)).unwrap();
        let table = shared.table(0).unwrap();
        let row = table.row(key(b"leaf")).unwrap() as usize;
        assert_eq!(table.column(0)[row].to_bits(), 3.0_f32.to_bits());
        assert_eq!(Catalogue::of(&shared).len(), 2);
        for length in 0..bytes.len() {
            assert!(SharedCounters::decode(&program, &bytes[..length]).is_none(), "{length} bytes");
        }
    }

    #[test]
    fn mistakes_in_a_catalogue_are_told_with_their_place() {
        let program = sample::program();
        for (document, place) in [
            ("[]", "items"),
            ("{", "the document"),
            (r#"{"items": [{"price": 1}]}"#, "items[0].id"),
            (r#"{"items": [{"id": "a"}, {"id": "b"}, {"id": "a"}]}"#, "items[2].id"),
            (r#"{"items": [{"id": "a", "price": "1"}]}"#, "items[0].price"),
            (r#"{"items": [{"id": "a", "price": 1e99}]}"#, "items[0].price"),
            (r#"{"items": [{"id": "a", "brand": 3}]}"#, "items[0].brand"),
        ] {
            assert_eq!(Catalogue::read(&program, document.as_bytes()).unwrap_err().place, place, "{document}");
        }
    }
}

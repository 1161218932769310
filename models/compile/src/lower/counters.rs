//! Counter tables: counters that share scope, event and key share a row per key.

use selvedge_format::key;
use selvedge_format::program::{
    By, ColumnV1, CounterRef, Decay, MAX_CAPACITY, MAX_COLUMNS, MAX_TABLES, Measure, TableRef, TableV1, column_id,
    table_id,
};
use selvedge_spec::{self as spec, Counter, CounterKind, CounterScope, FeatureKind, FeatureSpec};

use super::Fields;
use crate::error::{CompileError, CompileErrorKind};

/// Keys that a user's table holds when the declaration does not say.
const DEFAULT_CAPACITY: u16 = 512;

/// The tables of all features, in the order of first use.
#[derive(Default)]
pub(super) struct Counters {
    user: Vec<TableV1>,
    global: Vec<TableV1>,
}

impl Counters {
    /// Everything that the features count.
    pub(super) fn collect(spec: &FeatureSpec, fields: &Fields<'_>) -> Result<Self, CompileError> {
        let mut counters = Self::default();
        for feature in &spec.features {
            let place = || format!("features.toml: feature `{}`", feature.name);
            match &feature.kind {
                FeatureKind::Recency { scope, event, by, .. } => {
                    counters.table_mut(spec, fields, (*scope, event, by), place)?;
                }
                FeatureKind::Count(counter) | FeatureKind::Share(counter) => {
                    counters.add(spec, fields, counter, place)?;
                }
                FeatureKind::Rate { numerator, denominator, .. } => {
                    counters.add(spec, fields, numerator, place)?;
                    counters.add(spec, fields, denominator, place)?;
                }
                _ => {}
            }
        }
        for table in &mut counters.user {
            put_evicting_column_first(table);
        }
        for table in counters.user.iter_mut().chain(&mut counters.global) {
            // A table that only a recency asks for; the time of the last event belongs to the row, not to a column.
            if table.columns.is_empty() {
                table.columns.push(lifetime());
            }
        }
        Ok(counters)
    }

    fn add(
        &mut self,
        spec: &FeatureSpec,
        fields: &Fields<'_>,
        counter: &Counter,
        place: impl Fn() -> String,
    ) -> Result<(), CompileError> {
        let table = self.table_mut(spec, fields, (counter.scope, &counter.event, &counter.by), &place)?;
        let column = column(counter);
        if table.columns.contains(&column) {
            return Ok(());
        }
        // One place stays free for the column that decides eviction.
        if table.columns.len() + 1 == MAX_COLUMNS {
            let message = format!("more than {} counters of `{}` by `{}`", MAX_COLUMNS - 1, counter.event, counter.by);
            let help = "let features share half-lives and windows";
            return Err(CompileError::new(CompileErrorKind::Limit, place(), message, help));
        }
        table.columns.push(column);
        Ok(())
    }

    fn table_mut(
        &mut self,
        spec: &FeatureSpec,
        fields: &Fields<'_>,
        (scope, event, by): (CounterScope, &str, &spec::By),
        place: impl Fn() -> String,
    ) -> Result<&mut TableV1, CompileError> {
        let tables = match scope {
            CounterScope::User => &mut self.user,
            CounterScope::Global => &mut self.global,
        };
        let id = identity(scope, event, by);
        let position = match tables.iter().position(|table| table.id == id) {
            Some(position) => position,
            None if tables.len() == MAX_TABLES => {
                let message = format!("more than {MAX_TABLES} pairs of event and key are counted per {scope}");
                let help = "count fewer kinds of event, or by fewer fields";
                return Err(CompileError::new(CompileErrorKind::Limit, place(), message, help));
            }
            None => {
                tables.push(TableV1 {
                    id,
                    event: key(event.as_bytes()),
                    by: fields.by(by),
                    capacity: capacity(spec, scope, event, by),
                    columns: Vec::new(),
                });
                tables.len() - 1
            }
        };
        Ok(&mut tables[position])
    }

    /// The table of a counter that was collected.
    pub(super) fn table(&self, scope: CounterScope, event: &str, by: &spec::By) -> TableRef {
        let position = |tables: &[TableV1]| {
            let id = identity(scope, event, by);
            // A table that was not collected gets a position that `ProgramV1::validate` refuses.
            tables.iter().position(|table| table.id == id).map_or(u16::MAX, |position| position as u16)
        };
        match scope {
            CounterScope::User => TableRef::User(position(&self.user)),
            CounterScope::Global => TableRef::Global(position(&self.global)),
        }
    }

    /// The column of a counter that was collected.
    pub(super) fn column(&self, counter: &Counter) -> CounterRef {
        let table = self.table(counter.scope, &counter.event, &counter.by);
        let columns = match table {
            TableRef::User(position) => self.user.get(usize::from(position)),
            TableRef::Global(position) => self.global.get(usize::from(position)),
        };
        let id = column(counter).id;
        let position = columns.and_then(|table| table.columns.iter().position(|column| column.id == id));
        CounterRef { table, column: position.map_or(u16::MAX, |position| position as u16) }
    }

    /// User tables and global tables.
    pub(super) fn into_tables(self) -> (Vec<TableV1>, Vec<TableV1>) {
        (self.user, self.global)
    }
}

fn lifetime() -> ColumnV1 {
    ColumnV1 { id: column_id(Measure::Count, Decay::Lifetime), measure: Measure::Count, decay: Decay::Lifetime }
}

fn identity(scope: CounterScope, event: &str, by: &spec::By) -> u64 {
    match by {
        spec::By::Field(field) => table_id(&scope.to_string(), event, &format!("item.{field}")),
        spec::By::All | spec::By::Item => table_id(&scope.to_string(), event, &by.to_string()),
    }
}

fn column(counter: &Counter) -> ColumnV1 {
    let measure = match counter.measure {
        spec::Measure::Count => Measure::Count,
        spec::Measure::Value => Measure::Value,
    };
    let decay = match counter.kind {
        CounterKind::Decayed { half_life } => Decay::HalfLife { half_life_s: half_life.get() },
        CounterKind::Window { window, buckets } => {
            Decay::Window { bucket_s: window.get() / u32::from(buckets), buckets }
        }
        CounterKind::Lifetime => Decay::Lifetime,
    };
    ColumnV1 { id: column_id(measure, decay), measure, decay }
}

fn capacity(spec: &FeatureSpec, scope: CounterScope, event: &str, by: &spec::By) -> u16 {
    match (scope, by) {
        // Global tables hold every key; the format asks for a number all the same.
        (CounterScope::Global, _) => MAX_CAPACITY,
        (CounterScope::User, spec::By::All) => 1,
        (CounterScope::User, _) => {
            let settings = spec.tables.iter().find(|table| table.event == event && table.by == *by);
            settings.map_or(DEFAULT_CAPACITY, |table| table.capacity)
        }
    }
}

/// A full table evicts the keys whose first column is least. The best measure of what a key is still worth is the count
/// that forgets slowest without keeping everything for ever: the longest half-life. Failing that, the lifetime count,
/// which is added where no feature asks for it, because a window is 0 for almost all keys and a sum of values may be
/// negative.
fn put_evicting_column_first(table: &mut TableV1) {
    if table.by == By::All {
        return;
    }
    let half_life = |column: &ColumnV1| match (column.measure, column.decay) {
        (Measure::Count, Decay::HalfLife { half_life_s }) => Some(half_life_s),
        _ => None,
    };
    let longest = table.columns.iter().copied().filter(|column| half_life(column).is_some()).max_by_key(half_life);
    let first = longest.unwrap_or_else(lifetime);
    table.columns.retain(|column| column.id != first.id);
    table.columns.insert(0, first);
}

//! The feature program: what the declared features became after lowering.
//!
//! A program is a flat list of operations, one per feature, over numbered fields and counter tables. Names are gone
//! (they are in [`crate::meta`]); strings are [keys](crate::key). Everything an index points at is checked by
//! [`ProgramV1::validate`], so the engine can index freely.

use alloc::format;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::DecodeError;
use crate::packed::Packed;

mod reading;

/// Section tag of the program in a bundle.
pub const TAG: u32 = 0x02;
/// Version of [`ProgramV1`].
pub const VERSION: u16 = 1;

/// Most features in a program.
pub const MAX_FEATURES: usize = 512;
/// Most fields in a program.
pub const MAX_FIELDS: usize = 256;
/// Most counter tables per scope.
pub const MAX_TABLES: usize = 64;
/// Most columns of one table.
pub const MAX_COLUMNS: usize = 32;
/// Most keys that one user table holds per device.
pub const MAX_CAPACITY: u16 = 4096;
/// Most events in the recent-event history of one device.
pub const MAX_HISTORY: u16 = 256;
/// Most words of one value of a tokens field.
pub const MAX_TOKENS: usize = 256;
/// Most buckets of a windowed counter.
pub const MAX_BUCKETS: u8 = 64;

/// Lowered features of one bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgramV1 {
    /// Fields that features read; a feature names them by position.
    pub fields: Vec<FieldV1>,
    /// Counters kept per user.
    pub user_tables: Vec<TableV1>,
    /// Counters over all users, read from the shared state.
    pub global_tables: Vec<TableV1>,
    /// Length of the recent-event history; 0 keeps none.
    pub history_events: u16,
    /// One operation per feature, in the order of the model's inputs.
    pub features: Vec<FeatureV1>,
}

/// A field that a request, a user profile or the shared state may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldV1 {
    /// [`field_id`] of scope and name.
    pub id: u64,
    /// Whose field it is.
    pub scope: Scope,
    /// Type of its values.
    pub ty: FieldType,
}

/// Whose a field or a counter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// One value per candidate.
    Item,
    /// One value per user.
    User,
    /// One value per request.
    Context,
}

/// Type of a field's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FieldType {
    /// `f32`; NaN is missing.
    Number,
    /// Text, compared by [`crate::key`]; empty is missing.
    String,
    /// A set of words, each compared by its key.
    Tokens,
    /// Milliseconds since 1970-01-01 UTC, `i64`; the smallest value is missing.
    Time,
}

/// What a counter table is keyed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum By {
    /// One row for everything.
    All,
    /// The item's id.
    Item,
    /// The value of an item field (string), by its position in [`ProgramV1::fields`].
    Field(u16),
}

/// A table of counters that share event and key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableV1 {
    /// [`table_id`]: stable across bundles, so that user state survives a retrain.
    pub id: u64,
    /// Key of the event's name.
    pub event: u64,
    /// What it is keyed by.
    pub by: By,
    /// Most keys kept per device; the least is evicted.
    pub capacity: u16,
    /// Its counters. The first decides eviction.
    pub columns: Vec<ColumnV1>,
}

/// One counter of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ColumnV1 {
    /// [`column_id`]: stable across bundles.
    pub id: u64,
    /// What an event adds.
    pub measure: Measure,
    /// How it forgets.
    pub decay: Decay,
}

/// What an event adds to a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Measure {
    /// 1.
    Count,
    /// The event's value.
    Value,
}

/// How a counter forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Decay {
    /// Never.
    Lifetime,
    /// Halves every `half_life_s` seconds.
    HalfLife {
        /// Seconds, above 0.
        half_life_s: u32,
    },
    /// Counts the last `buckets * bucket_s` seconds, in circular buckets aligned to the epoch.
    Window {
        /// Width of a bucket in seconds, above 0.
        bucket_s: u32,
        /// Number of buckets, 1 to [`MAX_BUCKETS`].
        buckets: u8,
    },
}

impl Decay {
    /// Number of `f32` cells that a counter occupies in a row.
    #[must_use]
    pub const fn width(self) -> usize {
        match self {
            Self::Lifetime | Self::HalfLife { .. } => 1,
            Self::Window { buckets, .. } => buckets as usize,
        }
    }

    /// Whether its numbers are in range.
    pub(crate) const fn is_valid(self) -> bool {
        match self {
            Self::Lifetime => true,
            Self::HalfLife { half_life_s } => half_life_s > 0,
            Self::Window { bucket_s, buckets } => bucket_s > 0 && 1 <= buckets && buckets <= MAX_BUCKETS,
        }
    }
}

/// A column of a user or global table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterRef {
    /// Where the table is.
    pub table: TableRef,
    /// Position of the column in it.
    pub column: u16,
}

/// A table by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableRef {
    /// In [`ProgramV1::user_tables`].
    User(u16),
    /// In [`ProgramV1::global_tables`].
    Global(u16),
}

/// One feature: an operation, the value when it has none, and what is done to the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureV1 {
    /// How the value is computed.
    pub op: OpV1,
    /// Value where the operation has none (NaN leaves it to the model).
    pub default: f32,
    /// Applied in order after the default.
    pub transforms: Vec<TransformV1>,
}

/// An elementwise function of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum TransformV1 {
    /// `ln(1 + x)`; below -1 it is missing (NaN).
    Log1p,
    /// Square root; below 0 it is missing (NaN).
    Sqrt,
    /// Absolute value.
    Abs,
    /// `-x`.
    Neg,
    /// `x * x`.
    Square,
    /// The nearest value in the closed range.
    Clip(f32, f32),
    /// `x * factor`.
    Scale(f32),
    /// `x + term`.
    Shift(f32),
}

/// An operation. Field, table and feature operands are positions in the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OpV1 {
    /// A number field.
    Number {
        /// The field.
        field: u16,
    },
    /// Position of a string field's value in a declared list.
    Category {
        /// The field.
        field: u16,
        /// Keys and positions, ascending by key.
        values: Vec<(u64, u32)>,
    },
    /// Hash of one or several string fields, modulo the number of buckets.
    Bucket {
        /// The fields, in order.
        fields: Vec<u16>,
        /// Number of buckets.
        buckets: u32,
    },
    /// Now minus a time field.
    TimeDifference {
        /// The field.
        field: u16,
        /// Seconds in a unit.
        unit_s: u32,
    },
    /// Now minus the last event with the candidate's key.
    Recency {
        /// The table.
        table: TableRef,
        /// Seconds in a unit.
        unit_s: u32,
    },
    /// A part of the user's local time.
    LocalTime {
        /// Which part.
        part: TimePart,
    },
    /// Position of the candidate in the request, from 0.
    Position,
    /// Number of candidates in the request.
    Candidates,
    /// How many of the user's last events were on items that share the candidate's key.
    InteractedWith {
        /// Key of the event's name.
        event: u64,
        /// What must be shared.
        by: By,
        /// Oldest event that counts, in seconds before now.
        within_s: u32,
        /// How many of the last events of this kind count.
        last: u16,
    },
    /// A counter's value.
    Counter(CounterRef),
    /// A counter's value over the same counter summed over all keys.
    Share(CounterRef),
    /// `(a + weight * prior) / (n + weight)`.
    Rate {
        /// a.
        numerator: CounterRef,
        /// n.
        denominator: CounterRef,
        /// Weight of the prior, in events.
        weight: f32,
        /// Rate when nothing is known.
        prior: f32,
    },
    /// Overlap of the candidate's words with the query's, or with those of recent items.
    TokenOverlap {
        /// The candidate's field.
        field: u16,
        /// What it is compared with.
        with: TokensOf,
        /// How.
        metric: Overlap,
    },
    /// Two earlier features.
    Combine {
        /// How.
        op: CombineOp,
        /// Position of the left feature.
        left: u16,
        /// Position of the right feature.
        right: u16,
    },
    /// The candidate's id as a number from 1: its key, modulo the number of buckets, plus 1.
    ItemId {
        /// Number of buckets.
        buckets: u32,
    },
    /// The item of one of the user's last events, as such a number. Places after each other pass over the history once.
    RecentItem {
        /// Place in a sequence: at 0 is the item of the newest event; every other takes that of the next event behind the
        /// one of the last recent item before this feature.
        at: u16,
        /// Key of the event's name; 0 is any event.
        event: u64,
        /// Oldest event that counts, in seconds before now.
        within_s: u32,
        /// Number of buckets.
        buckets: u32,
    },
}

/// Parts of local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimePart {
    /// 0 to 1439.
    MinuteOfDay,
    /// 0 to 23.
    Hour,
    /// 0 (Monday) to 6.
    Weekday,
    /// 1 to 31.
    Day,
    /// 1 to 12.
    Month,
}

/// The right side of a token overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokensOf {
    /// A context field.
    Context {
        /// The field.
        field: u16,
    },
    /// The same field of the items of recent events.
    History {
        /// Key of the event's name.
        event: u64,
        /// How many of the last events of this kind count.
        last: u16,
    },
}

/// Measure of overlap of two sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overlap {
    /// Intersection over union.
    Jaccard,
    /// Intersection over the candidate's set.
    Containment,
}

/// A function of two features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CombineOp {
    /// `a / b`; missing where b is 0.
    Ratio,
    /// `a * b`.
    Product,
    /// `a - b`.
    Difference,
    /// The smaller; missing if either is.
    Min,
    /// The larger; missing if either is.
    Max,
}

/// Identity of a field: the key of `scope.name`.
#[must_use]
pub fn field_id(scope: Scope, name: &str) -> u64 {
    let scope = match scope {
        Scope::Item => "item",
        Scope::User => "user",
        Scope::Context => "context",
    };
    crate::key(format!("{scope}.{name}").as_bytes())
}

/// Identity of a counter table: the key of `scope|event|by`, where scope is `user` or `global` and by is `all`, `item`
/// or `item.field`.
#[must_use]
pub fn table_id(scope: &str, event: &str, by: &str) -> u64 {
    crate::key(format!("{scope}|{event}|{by}").as_bytes())
}

/// Identity of a counter within its table: the key of `measure|decay`, for example `count|halflife|2592000`,
/// `value|window|604800|4` or `count|lifetime`.
#[must_use]
pub fn column_id(measure: Measure, decay: Decay) -> u64 {
    let measure = match measure {
        Measure::Count => "count",
        Measure::Value => "value",
    };
    let text = match decay {
        Decay::Lifetime => format!("{measure}|lifetime"),
        Decay::HalfLife { half_life_s } => format!("{measure}|halflife|{half_life_s}"),
        Decay::Window { bucket_s, buckets } => format!("{measure}|window|{bucket_s}|{buckets}"),
    };
    crate::key(text.as_bytes())
}

impl ProgramV1 {
    /// Decodes and validates a program section.
    ///
    /// # Errors
    /// Not canonical postcard, or any operand out of range.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut packed = Packed::new(bytes, "feature program")?;
        let program = Self::read(&mut packed);
        packed.finish()?;
        program.validate()?;
        Ok(program)
    }

    /// The section's bytes.
    #[cfg(feature = "id")]
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        crate::container::encode(self)
    }

    /// Proves that every operand is in range and of the right type.
    ///
    /// # Errors
    /// The first operand that is not; the offset is the position of the feature, table or field.
    pub fn validate(&self) -> Result<(), DecodeError> {
        limit("fields", self.fields.len(), MAX_FIELDS)?;
        limit("features", self.features.len(), MAX_FEATURES)?;
        limit("history events", self.history_events.into(), MAX_HISTORY.into())?;
        for (index, field) in self.fields.iter().enumerate() {
            if self.fields[..index].iter().any(|earlier| earlier.id == field.id) {
                return Err(DecodeError::invalid("field declared twice", index));
            }
        }
        self.validate_tables(&self.user_tables, "user table")?;
        self.validate_tables(&self.global_tables, "global table")?;
        for (index, feature) in self.features.iter().enumerate() {
            let valid = self.op_is_valid(&feature.op, index)
                && feature.transforms.len() <= 16
                && feature.transforms.iter().all(transform_is_valid)
                && !feature.default.is_infinite();
            if !valid {
                return Err(DecodeError::invalid("feature", index));
            }
        }
        Ok(())
    }

    fn validate_tables(&self, tables: &[TableV1], place: &'static str) -> Result<(), DecodeError> {
        limit("tables", tables.len(), MAX_TABLES)?;
        for (index, table) in tables.iter().enumerate() {
            let columns = &table.columns;
            // The size first: it bounds the quadratic search for duplicates.
            let valid = (1..=MAX_CAPACITY).contains(&table.capacity)
                && (1..=MAX_COLUMNS).contains(&columns.len())
                && tables[..index].iter().all(|earlier| earlier.id != table.id)
                && columns.iter().enumerate().all(|(at, column)| {
                    column.decay.is_valid() && columns[..at].iter().all(|other| other.id != column.id)
                })
                && self.by_is_valid(table.by);
            if !valid {
                return Err(DecodeError::invalid(place, index));
            }
        }
        Ok(())
    }

    fn field_is(&self, field: u16, ty: FieldType) -> bool {
        self.fields.get(usize::from(field)).is_some_and(|field| field.ty == ty)
    }

    fn by_is_valid(&self, by: By) -> bool {
        match by {
            By::All | By::Item => true,
            By::Field(field) => {
                self.field_is(field, FieldType::String) && self.fields[usize::from(field)].scope == Scope::Item
            }
        }
    }

    /// The table that a reference names, if it is in range.
    #[must_use]
    pub fn table(&self, table: TableRef) -> Option<&TableV1> {
        match table {
            TableRef::User(index) => self.user_tables.get(usize::from(index)),
            TableRef::Global(index) => self.global_tables.get(usize::from(index)),
        }
    }

    fn counter_is_valid(&self, counter: CounterRef) -> bool {
        self.table(counter.table).is_some_and(|table| usize::from(counter.column) < table.columns.len())
    }

    fn op_is_valid(&self, op: &OpV1, index: usize) -> bool {
        match op {
            OpV1::Number { field } => self.field_is(*field, FieldType::Number),
            OpV1::Category { field, values } => {
                self.field_is(*field, FieldType::String) && values.windows(2).all(|pair| pair[0].0 < pair[1].0)
            }
            OpV1::Bucket { fields, buckets } => {
                (1..=8).contains(&fields.len())
                    && fields.iter().all(|field| self.field_is(*field, FieldType::String))
                    && buckets_are_valid(*buckets)
            }
            OpV1::TimeDifference { field, unit_s } => self.field_is(*field, FieldType::Time) && *unit_s > 0,
            OpV1::Recency { table, unit_s } => self.table(*table).is_some() && *unit_s > 0,
            OpV1::LocalTime { .. } | OpV1::Position | OpV1::Candidates => true,
            OpV1::InteractedWith { by, last, .. } => self.by_is_valid(*by) && *last <= self.history_events,
            OpV1::Counter(counter) | OpV1::Share(counter) => self.counter_is_valid(*counter),
            OpV1::Rate { numerator, denominator, weight, prior } => {
                self.counter_is_valid(*numerator)
                    && self.counter_is_valid(*denominator)
                    && *weight >= 0.0
                    && weight.is_finite()
                    && prior.is_finite()
            }
            OpV1::TokenOverlap { field, with, .. } => {
                self.field_is(*field, FieldType::Tokens)
                    && match with {
                        TokensOf::Context { field } => {
                            self.field_is(*field, FieldType::Tokens)
                                && self.fields[usize::from(*field)].scope == Scope::Context
                        }
                        TokensOf::History { last, .. } => {
                            *last <= self.history_events && self.fields[usize::from(*field)].scope == Scope::Item
                        }
                    }
            }
            OpV1::Combine { left, right, .. } => usize::from(*left) < index && usize::from(*right) < index,
            OpV1::ItemId { buckets } => buckets_are_valid(*buckets),
            OpV1::RecentItem { at, buckets, .. } => *at < self.history_events && buckets_are_valid(*buckets),
        }
    }
}

fn buckets_are_valid(buckets: u32) -> bool {
    // f32 holds every integer up to 2^24.
    (1..=1 << 24).contains(&buckets)
}

fn transform_is_valid(transform: &TransformV1) -> bool {
    match *transform {
        TransformV1::Clip(low, high) => low <= high,
        TransformV1::Scale(number) | TransformV1::Shift(number) => number.is_finite(),
        TransformV1::Log1p | TransformV1::Sqrt | TransformV1::Abs | TransformV1::Neg | TransformV1::Square => true,
    }
}

fn limit(place: &'static str, found: usize, limit: usize) -> Result<(), DecodeError> {
    if found <= limit { Ok(()) } else { Err(DecodeError::too_large(place, limit as u64, found as u64)) }
}

//! The typed form of `features.toml`: what the fields, events and features are, with every reference resolved.
//!
//! This is the whole contract between the text and what is made of it. It knows names, types and parameters; it refuses to
//! know bytes, hashes, slots or how anything is computed: lowering is the compiler's work, arithmetic the engine's.

mod counter;
mod declared;
mod kind;
mod parse;
mod transform;

use std::fmt;

use miette::SourceSpan;

pub(crate) use kind::{KINDS, Kind, Parameter};
pub(crate) use transform::TRANSFORMS;

use crate::seconds::Seconds;
use crate::vocabulary::{
    CombineOp, CounterScope, FieldScope, FieldType, LocalTimePart, Measure, OverlapMetric, TimeUnit,
};

/// A whole `features.toml`. Order is the order of the text everywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureSpec {
    /// Every declared field, at most [`FeatureSpec::MAX_FIELDS`] of a scope; names are unique within their scope.
    pub fields: Vec<Field>,
    /// Every declared kind of event, at most [`FeatureSpec::MAX_EVENTS`], names unique.
    pub events: Vec<EventKind>,
    /// How often the shared snapshot (item fields and global counters) is made anew. One day unless declared.
    pub shared_refresh: Seconds,
    /// Length of the ring of a user's recent events, 0..=256; 64 unless declared.
    pub history_events: u16,
    /// Settings of counter tables, at most one for each (event, by).
    pub tables: Vec<TableSettings>,
    /// The features, at most [`FeatureSpec::MAX_FEATURES`], names unique; the order is the order of the model's columns.
    pub features: Vec<Feature>,
}

/// One declared field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// `[a-z0-9_]{1,64}`.
    pub name: String,
    /// Whose property it is.
    pub scope: FieldScope,
    /// The type of its value.
    pub ty: FieldType,
    /// The name in the text.
    pub span: SourceSpan,
}

/// One declared kind of event, such as `purchase`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventKind {
    /// `[a-z0-9_]{1,64}`.
    pub name: String,
    /// What the event means, for the reader; may be empty.
    pub doc: String,
    /// The name in the text.
    pub span: SourceSpan,
}

/// Settings of the table in a user's state that holds the counters of one (event, by). Global tables hold every key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSettings {
    /// Name of the declared event it counts.
    pub event: String,
    /// What the keys of the table are; never [`By::All`], which has one key.
    pub by: By,
    /// Keys held at most, 1..=4,096; beyond it the smallest are evicted.
    pub capacity: u16,
    /// The whole entry in the text.
    pub span: SourceSpan,
}

/// One feature: a column of the model's input.
#[derive(Clone, Debug, PartialEq)]
pub struct Feature {
    /// `[a-z0-9_]{1,64}`.
    pub name: String,
    /// What the feature means, for the reader; may be empty.
    pub doc: String,
    /// Stands for a missing value, before the transforms: finite or NaN. The declared one, else the kind's own.
    pub default: f32,
    /// Applied in order to the value or its default; at most [`FeatureSpec::MAX_TRANSFORMS`].
    pub transforms: Vec<Transform>,
    /// What is computed.
    pub kind: FeatureKind,
    /// The value of `name` in the text.
    pub span: SourceSpan,
}

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Transform {
    /// `ln(1 + x)`; NaN below -1.
    Log1p,
    /// The square root; NaN below 0.
    Sqrt,
    /// |x|.
    Abs,
    /// -x.
    Neg,
    /// x².
    Square,
    /// x kept within `lo..=hi`, both finite, `lo <= hi`; NaN stays NaN.
    Clip {
        /// Lower bound.
        lo: f32,
        /// Upper bound.
        hi: f32,
    },
    /// x times a finite factor.
    Scale(f32),
    /// x plus a finite term.
    Shift(f32),
}

/// A declared field, looked up and found to be of the type its place asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldRef {
    /// Whose property it is.
    pub scope: FieldScope,
    /// Name within the scope.
    pub name: String,
}

/// What the keys of a counter are: which items one event is counted for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// One key: every event counts, whatever its item.
    All,
    /// The item itself.
    Item,
    /// The value of this string field of the item, such as its brand.
    Field(String),
}

/// Something counted over events: `event` x `measure`, per user or for all, per key, with a way of forgetting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter {
    /// Whose events.
    pub scope: CounterScope,
    /// Name of the declared event.
    pub event: String,
    /// What the keys are.
    pub by: By,
    /// What one event adds.
    pub measure: Measure,
    /// How old events lose weight.
    pub kind: CounterKind,
}

/// How old events lose weight in a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CounterKind {
    /// An event of age t weighs `2^(-t / half_life)`.
    Decayed {
        /// The age at which an event weighs one half.
        half_life: Seconds,
    },
    /// Events of the last `window` weigh 1, older ones nothing; the edge moves in steps of `window / buckets`.
    Window {
        /// Length; a multiple of `buckets` seconds.
        window: Seconds,
        /// Steps, 1..=64.
        buckets: u8,
    },
    /// Every event weighs 1 for ever.
    Lifetime,
}

/// How a string becomes a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StringEncoding {
    /// Its index in this list, which holds no value twice; any other value is missing.
    Values(Vec<String>),
    /// Its hash modulo this number, 1..=2^24 (so that an `f32` holds every bucket exactly).
    Buckets(u32),
}

/// What a field of tokens is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverlapWith {
    /// A tokens field of the context, such as the query.
    Context(FieldRef),
    /// The same field of the items of the user's most recent events.
    History {
        /// Name of the declared event.
        event: String,
        /// How many of them at most, 1..=`history_events`.
        last: u16,
    },
}

/// Which of a user's most recent events are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recent {
    /// Name of the declared event; `None` for all of them.
    pub event: Option<String>,
    /// Only events at most this old; `None` for any age.
    pub within: Option<Seconds>,
}

/// What a feature computes, with its parameters. `docs/reference/features.md` describes each kind at length.
#[derive(Clone, Debug, PartialEq)]
pub enum FeatureKind {
    /// `number`: the value of a number field.
    Number {
        /// A number field.
        field: FieldRef,
    },
    /// `string`: a string field as an index or a bucket.
    String {
        /// A string field.
        field: FieldRef,
        /// How it becomes a number.
        encoding: StringEncoding,
    },
    /// `cross`: several string fields hashed together into one bucket; missing when one of them is.
    Cross {
        /// 2..=8 string fields, none twice.
        fields: Vec<FieldRef>,
        /// 1..=2^24.
        buckets: u32,
    },
    /// `time_difference`: now minus a time field; negative when the field lies ahead.
    TimeDifference {
        /// A time field.
        field: FieldRef,
        /// The unit of the result.
        unit: TimeUnit,
    },
    /// `recency`: now minus the time of the last event with the candidate's key; missing when there was none.
    Recency {
        /// Whose events.
        scope: CounterScope,
        /// Name of the declared event.
        event: String,
        /// What the key is.
        by: By,
        /// The unit of the result.
        unit: TimeUnit,
    },
    /// `local_time`: a part of the request's local date and time.
    LocalTime {
        /// Which part.
        part: LocalTimePart,
    },
    /// `position`: the candidate's place in the request, from 0.
    Position,
    /// `candidates`: how many candidates the request has.
    Candidates,
    /// `interacted_with`: how many of the user's recent events were on items that share the candidate's key.
    InteractedWith {
        /// Name of the declared event.
        event: String,
        /// What the key is; never [`By::All`].
        by: By,
        /// Only events at most this old; `None` for any age.
        within: Option<Seconds>,
        /// Only this many of the most recent events of the kind, 1..=`history_events`.
        last: u16,
    },
    /// `decayed_count`, `window_count`, `lifetime_count`: the value of a counter; its [`CounterKind`] tells which.
    Count(Counter),
    /// `share`: a counter's value over the sum of the same counter over all keys; missing when the sum is 0.
    Share(Counter),
    /// `rate`: `(a + weight x prior) / (n + weight)`, a ratio drawn towards its prior while evidence is thin.
    Rate {
        /// a; same scope, key and forgetting as the denominator.
        numerator: Counter,
        /// n.
        denominator: Counter,
        /// How many denominators' worth of evidence the prior is, >= 0.
        weight: f32,
        /// The ratio assumed before any evidence.
        prior: f32,
    },
    /// `token_overlap`: how much two sets of tokens have in common, 0..=1.
    TokenOverlap {
        /// A tokens field of the item.
        field: FieldRef,
        /// What it is compared with.
        with: OverlapWith,
        /// How.
        metric: OverlapMetric,
    },
    /// `item_id`: the candidate's id as a number from 1; missing when it has none.
    ItemId {
        /// The largest number, 1..=2^24.
        buckets: u32,
    },
    /// `recent_items`, one place: the item of a recent event as a number from 1; missing when there is none.
    RecentItem {
        /// Which events.
        recent: Recent,
        /// The place, 0 for the newest; below `history_events`. The feature before has the next newer place.
        at: u16,
        /// The largest number, 1..=2^24.
        buckets: u32,
    },
    /// `recent_items` with `length`: how many of its places are taken.
    RecentCount {
        /// Which events.
        recent: Recent,
        /// How many places there are, 1..=`history_events`.
        last: u16,
    },
    /// `combine`: arithmetic over the final values of earlier features.
    Combine {
        /// Which.
        op: CombineOp,
        /// Left and right: indices into [`FeatureSpec::features`], each smaller than the feature's own.
        inputs: [usize; 2],
    },
}

/// Writes the reference as a declaration does: `item.price`.
impl fmt::Display for FieldRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.scope, self.name)
    }
}

/// Writes the key as a declaration does.
impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Item => "item",
            Self::Field(field) => field,
        })
    }
}

impl FeatureSpec {
    /// Fields of one scope, at most.
    pub const MAX_FIELDS: usize = 64;
    /// Kinds of event, at most.
    pub const MAX_EVENTS: usize = 64;
    /// Features, at most.
    pub const MAX_FEATURES: usize = 512;
    /// The longest ring of recent events.
    pub const MAX_HISTORY: u16 = 256;
    /// The most buckets of a hash: every index up to 2^24 is an exact `f32`.
    pub const MAX_BUCKETS: u32 = 1 << 24;
    /// The most keys of a user's table of counters.
    pub const MAX_CAPACITY: u16 = 4_096;
    /// Transforms of one feature, at most.
    pub const MAX_TRANSFORMS: usize = 16;

    /// The fields that the feature at this position reads, by itself or through the features that it combines.
    pub fn fields_read(&self, position: usize) -> Vec<FieldRef> {
        // Inputs come before what combines them, so one pass from the back reaches each of them once.
        let mut reached = vec![false; position + 1];
        reached[position] = true;
        let mut fields = Vec::new();
        for at in (0..=position).rev() {
            if !reached[at] {
                continue;
            }
            let kind = &self.features[at].kind;
            fields.extend(kind.fields());
            if let FeatureKind::Combine { inputs, .. } = kind {
                inputs.iter().for_each(|input| reached[*input] = true);
            }
        }
        fields
    }
}

impl FeatureKind {
    /// Of a declaration that makes several features the one at `place`; behind the `last` is how many are taken. Other kinds
    /// have one place.
    fn of_place(&self, place: u16, last: u16) -> Self {
        match self.clone() {
            Self::RecentItem { recent, buckets, .. } if place < last => Self::RecentItem { recent, at: place, buckets },
            Self::RecentItem { recent, .. } => Self::RecentCount { recent, last },
            other => other,
        }
    }

    /// The fields that it reads itself.
    fn fields(&self) -> Vec<FieldRef> {
        let by = |by: &By| match by {
            By::Field(name) => vec![FieldRef { scope: FieldScope::Item, name: name.clone() }],
            By::All | By::Item => Vec::new(),
        };
        match self {
            Self::Number { field }
            | Self::String { field, .. }
            | Self::TimeDifference { field, .. }
            | Self::TokenOverlap { field, with: OverlapWith::History { .. }, .. } => vec![field.clone()],
            Self::TokenOverlap { field, with: OverlapWith::Context(with), .. } => vec![field.clone(), with.clone()],
            Self::Cross { fields, .. } => fields.clone(),
            Self::Recency { by: key, .. } | Self::InteractedWith { by: key, .. } => by(key),
            Self::Count(counter) | Self::Share(counter) => by(&counter.by),
            Self::Rate { numerator, .. } => by(&numerator.by),
            Self::LocalTime { .. } | Self::Position | Self::Candidates | Self::Combine { .. } => Vec::new(),
            Self::ItemId { .. } | Self::RecentItem { .. } | Self::RecentCount { .. } => Vec::new(),
        }
    }
}

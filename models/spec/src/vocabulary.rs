//! The closed sets of words a declaration may use, each an enum.
//!
//! Every set is written once, as `Variant = "word"`; the parser, the "did you mean" suggestions and the generated
//! reference all read the same list. Open sets (names of fields, events, features) are not here: the user declares those.

use std::fmt;

/// An enum whose variants are spelled as fixed words in TOML.
pub trait Word: Copy + Eq + 'static {
    /// What one of the words is, such as `unit`.
    const NOUN: &'static str;
    /// What several of them are.
    const PLURAL: &'static str;
    /// Every variant, in the order the reference lists them.
    const ALL: &'static [Self];

    /// How the variant is spelled in TOML.
    fn as_str(self) -> &'static str;

    /// The variant spelled `word`, if there is one.
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.as_str() == word)
    }
}

macro_rules! words {
    ($($(#[$doc:meta])* pub enum $name:ident: $noun:literal, $plural:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl Word for $name {
            const NOUN: &'static str = $noun;
            const PLURAL: &'static str = $plural;
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )+};
}

words! {
    /// A day of the week.
    pub enum Weekday: "day", "days" {
        /// ISO 8601 begins the week with it.
        Monday = "mon",
        /// Day 2.
        Tuesday = "tue",
        /// Day 3.
        Wednesday = "wed",
        /// Day 4.
        Thursday = "thu",
        /// Day 5.
        Friday = "fri",
        /// Day 6.
        Saturday = "sat",
        /// Day 7.
        Sunday = "sun",
    }

    /// Whose offers a cap counts.
    pub enum CapBy: "owner of a cap", "owners of caps" {
        /// The user's, on whatever device.
        User = "user",
        /// The device's, whoever uses it.
        Device = "device",
    }

    /// What a campaign seeks.
    pub enum Goal: "goal", "goals" {
        /// Incremental value; the budget is there to be spent.
        Revenue = "revenue",
        /// Incremental value minus what it costs.
        Profit = "profit",
    }

    /// The price that an offer looks at.
    pub enum PriceOf: "price", "prices" {
        /// Before any offer.
        List = "list",
        /// What earlier offers left.
        Discounted = "discounted",
    }

    /// How a rule compares a feature with a number.
    pub enum Comparison: "comparison", "comparisons" {
        /// Below it.
        Less = "<",
        /// Below it or equal.
        AtMost = "<=",
        /// Above it.
        More = ">",
        /// Above it or equal.
        AtLeast = ">=",
        /// Equal.
        Equal = "==",
    }

    /// Whose property a declared field is.
    pub enum FieldScope: "scope of fields", "scopes of fields" {
        /// The candidate being ranked; its fields travel in the shared snapshot or with the request.
        Item = "item",
        /// The user the slate is for.
        User = "user",
        /// The request itself: query, page, device.
        Context = "context",
    }

    /// The type of a field's value.
    pub enum FieldType: "type of field", "types of field" {
        /// One `f32`.
        Number = "number",
        /// One categorical value, known to the edge only by its hash.
        String = "string",
        /// A list of words, each known only by its hash.
        Tokens = "tokens",
        /// An instant, milliseconds since the epoch in UTC.
        Time = "time",
    }

    /// Whose events a counter counts.
    pub enum CounterScope: "scope of counters", "scopes of counters" {
        /// The user of the request; kept in the user's own state.
        User = "user",
        /// All users; kept in the shared snapshot and as old as its last refresh.
        Global = "global",
    }

    /// What one event adds to a counter.
    pub enum Measure: "measure", "measures" {
        /// One.
        Count = "count",
        /// The event's value, an `f32` that is 1 unless the event says otherwise.
        Value = "value",
    }

    /// The unit in which a span of time becomes a number.
    pub enum TimeUnit: "unit", "units" {
        /// 1 s.
        Second = "s",
        /// 60 s.
        Minute = "m",
        /// 3,600 s.
        Hour = "h",
        /// 86,400 s.
        Day = "d",
        /// 604,800 s.
        Week = "w",
    }

    /// A part of the request's local date and time.
    pub enum LocalTimePart: "part of local time", "parts of local time" {
        /// 0..=1439.
        MinuteOfDay = "minute_of_day",
        /// 0..=23.
        Hour = "hour",
        /// 0 is Monday, 6 is Sunday (ISO 8601 order).
        Weekday = "weekday",
        /// Day of the month, 1..=31.
        Day = "day",
        /// 1..=12.
        Month = "month",
    }

    /// How two sets of tokens A (the field) and B (what it is compared with) become a number.
    pub enum OverlapMetric: "overlap metric", "overlap metrics" {
        /// |A ∩ B| / |A ∪ B|.
        Jaccard = "jaccard",
        /// |A ∩ B| / |A|: how much of the field the other set covers.
        Containment = "containment",
    }

    /// Arithmetic over the final values of earlier features.
    pub enum CombineOp: "operation", "operations" {
        /// `a / b`; missing when `b` is 0.
        Ratio = "ratio",
        /// `a * b`.
        Product = "product",
        /// `a - b`.
        Difference = "difference",
        /// The smaller; missing when either is NaN.
        Min = "min",
        /// The larger; missing when either is NaN.
        Max = "max",
    }

    /// The kinds of model.
    pub enum LearnerKind: "kind of model", "kinds of model" {
        /// Gradient-boosted regression trees.
        Trees = "trees",
        /// A weighted sum of the features.
        Linear = "linear",
        /// A network of layers, trained elsewhere and exported as ONNX.
        Graph = "graph",
    }

    /// What a model is trained to do.
    pub enum Objective: "objective", "objectives" {
        /// LambdaMART: gradients weighted by the change in NDCG when two candidates of a query swap.
        LambdaRank = "lambdarank",
        /// The probability that a candidate is relevant, each row on its own.
        Logistic = "logistic",
    }
}

impl TimeUnit {
    /// Seconds in one unit.
    pub const fn seconds(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 604_800,
        }
    }
}

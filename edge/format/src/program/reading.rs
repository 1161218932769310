//! Programs from their bytes, field by field in the order of the structs: see [`crate::packed`] for why by hand.

use crate::packed::Packed;

use super::{
    By, ColumnV1, CombineOp, CounterRef, Decay, FeatureV1, FieldType, FieldV1, Measure, OpV1, Overlap, ProgramV1,
    Scope, TableRef, TableV1, TimePart, TokensOf, TransformV1,
};

impl ProgramV1 {
    pub(super) fn read(packed: &mut Packed<'_>) -> Self {
        Self {
            fields: packed.list(FieldV1::read),
            user_tables: packed.list(TableV1::read),
            global_tables: packed.list(TableV1::read),
            history_events: packed.u16(),
            features: packed.list(FeatureV1::read),
        }
    }
}

impl FieldV1 {
    fn read(packed: &mut Packed<'_>) -> Self {
        Self {
            id: packed.u64(),
            scope: packed.one_of(&[Scope::Item, Scope::User, Scope::Context]),
            ty: FieldType::read(packed),
        }
    }
}

impl FieldType {
    pub(crate) fn read(packed: &mut Packed<'_>) -> Self {
        packed.one_of(&[Self::Number, Self::String, Self::Tokens, Self::Time])
    }
}

impl By {
    fn read(packed: &mut Packed<'_>) -> Self {
        match packed.variant(3) {
            0 => Self::All,
            1 => Self::Item,
            _ => Self::Field(packed.u16()),
        }
    }
}

impl TableV1 {
    #[inline(never)]
    fn read(packed: &mut Packed<'_>) -> Self {
        Self {
            id: packed.u64(),
            event: packed.u64(),
            by: By::read(packed),
            capacity: packed.u16(),
            columns: packed.list(ColumnV1::read),
        }
    }
}

impl ColumnV1 {
    fn read(packed: &mut Packed<'_>) -> Self {
        Self { id: packed.u64(), measure: packed.one_of(&[Measure::Count, Measure::Value]), decay: Decay::read(packed) }
    }
}

impl Decay {
    #[inline(never)]
    pub(crate) fn read(packed: &mut Packed<'_>) -> Self {
        match packed.variant(3) {
            0 => Self::Lifetime,
            1 => Self::HalfLife { half_life_s: packed.u32() },
            _ => Self::Window { bucket_s: packed.u32(), buckets: packed.byte() },
        }
    }
}

impl CounterRef {
    #[inline(never)]
    fn read(packed: &mut Packed<'_>) -> Self {
        Self { table: TableRef::read(packed), column: packed.u16() }
    }
}

impl TableRef {
    fn read(packed: &mut Packed<'_>) -> Self {
        match packed.variant(2) {
            0 => Self::User(packed.u16()),
            _ => Self::Global(packed.u16()),
        }
    }
}

impl FeatureV1 {
    fn read(packed: &mut Packed<'_>) -> Self {
        Self { op: OpV1::read(packed), default: packed.f32(), transforms: packed.list(TransformV1::read) }
    }
}

impl TransformV1 {
    fn read(packed: &mut Packed<'_>) -> Self {
        match packed.variant(8) {
            0 => Self::Log1p,
            1 => Self::Sqrt,
            2 => Self::Abs,
            3 => Self::Neg,
            4 => Self::Square,
            5 => Self::Clip(packed.f32(), packed.f32()),
            6 => Self::Scale(packed.f32()),
            _ => Self::Shift(packed.f32()),
        }
    }
}

impl OpV1 {
    #[inline(never)]
    fn read(packed: &mut Packed<'_>) -> Self {
        match packed.variant(16) {
            0 => Self::Number { field: packed.u16() },
            1 => Self::Category { field: packed.u16(), values: packed.list(|packed| (packed.u64(), packed.u32())) },
            2 => Self::Bucket { fields: packed.list(Packed::u16), buckets: packed.u32() },
            3 => Self::TimeDifference { field: packed.u16(), unit_s: packed.u32() },
            4 => Self::Recency { table: TableRef::read(packed), unit_s: packed.u32() },
            5 => Self::LocalTime {
                part: packed.one_of(&[
                    TimePart::MinuteOfDay,
                    TimePart::Hour,
                    TimePart::Weekday,
                    TimePart::Day,
                    TimePart::Month,
                ]),
            },
            6 => Self::Position,
            7 => Self::Candidates,
            8 => Self::InteractedWith {
                event: packed.u64(),
                by: By::read(packed),
                within_s: packed.u32(),
                last: packed.u16(),
            },
            9 => Self::Counter(CounterRef::read(packed)),
            10 => Self::Share(CounterRef::read(packed)),
            11 => Self::Rate {
                numerator: CounterRef::read(packed),
                denominator: CounterRef::read(packed),
                weight: packed.f32(),
                prior: packed.f32(),
            },
            12 => Self::TokenOverlap {
                field: packed.u16(),
                with: match packed.variant(2) {
                    0 => TokensOf::Context { field: packed.u16() },
                    _ => TokensOf::History { event: packed.u64(), last: packed.u16() },
                },
                metric: packed.one_of(&[Overlap::Jaccard, Overlap::Containment]),
            },
            13 => Self::Combine {
                op: packed.one_of(&[
                    CombineOp::Ratio,
                    CombineOp::Product,
                    CombineOp::Difference,
                    CombineOp::Min,
                    CombineOp::Max,
                ]),
                left: packed.u16(),
                right: packed.u16(),
            },
            14 => Self::ItemId { buckets: packed.u32() },
            _ => Self::RecentItem {
                at: packed.u16(),
                event: packed.u64(),
                within_s: packed.u32(),
                buckets: packed.u32(),
            },
        }
    }
}

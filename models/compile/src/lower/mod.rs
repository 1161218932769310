//! Lowering: declarations become the flat program and policy of a bundle.
//!
//! Names turn into positions and keys here and nowhere else. Identities (of fields, tables, columns) are functions of
//! the declaration alone, never of its place in the file, so that a retrained bundle finds the state an older one left.

mod campaign;
mod counters;
mod policy;

use std::collections::HashMap;

use selvedge_format::key;
use selvedge_format::meta::FeatureName;
use selvedge_format::program::{
    self, By, Decay, FeatureV1, FieldV1, OpV1, ProgramV1, Scope, TokensOf, TransformV1, field_id,
};
use selvedge_spec::{
    self as spec, Feature, FeatureKind, FeatureSpec, FieldRef, FieldScope, OverlapWith, Recent, StringEncoding,
    Transform,
};

use crate::error::{CompileError, CompileErrorKind};
use counters::Counters;

pub(crate) use campaign::{Lowered, lower_campaigns};
pub(crate) use policy::lower_explore;
pub use policy::lower_policy;

/// Lowers features to a program with one operation per feature, in the order of the declaration.
///
/// Every declared field is part of the program, used or not: which fields a request may carry depends on the
/// declaration and not on what a feature happens to read.
///
/// # Errors
/// More counter tables, or more counters in one table, than a bundle holds.
pub fn lower_program(spec: &FeatureSpec) -> Result<ProgramV1, CompileError> {
    let fields = Fields::of(spec);
    let counters = Counters::collect(spec, &fields)?;
    let lowering = Lowering { fields: &fields, counters: &counters };
    let features = spec
        .features
        .iter()
        .map(|feature| {
            let transforms = feature.transforms.iter().map(transform).collect();
            FeatureV1 { op: lowering.op(feature), default: feature.default, transforms }
        })
        .collect();
    let declared = spec.fields.iter();
    let fields = declared.map(|field| field_v1(field.scope, &field.name, field.ty)).collect();
    let (user_tables, global_tables) = counters.into_tables();
    let program = ProgramV1 { fields, user_tables, global_tables, history_events: spec.history_events, features };
    program.validate().map_err(|error| {
        let help = "declare less: docs/format/bundle.md has the limits of a program";
        CompileError::new(CompileErrorKind::Limit, "features.toml", error.to_string(), help)
    })?;
    Ok(program)
}

/// Names of the features of `program`, which was lowered from `spec`, for people.
pub(crate) fn feature_names(spec: &FeatureSpec, program: &ProgramV1) -> Vec<FeatureName> {
    let name = |(feature, lowered): (&Feature, &FeatureV1)| FeatureName {
        name: feature.name.clone(),
        kind: kind_name(&lowered.op, program).to_owned(),
        doc: feature.doc.clone(),
    };
    spec.features.iter().zip(&program.features).map(name).collect()
}

/// Positions of declared fields in the program.
struct Fields<'a>(HashMap<(FieldScope, &'a str), u16>);

impl<'a> Fields<'a> {
    fn of(spec: &'a FeatureSpec) -> Self {
        let names = spec.fields.iter().map(|field| (field.scope, field.name.as_str()));
        Self(names.zip(0..).collect())
    }

    fn get(&self, scope: FieldScope, name: &str) -> Option<u16> {
        self.0.get(&(scope, name)).copied()
    }

    /// Position of a reference that the parser has resolved. Were it not declared, the position is one that
    /// [`ProgramV1::validate`] refuses.
    fn position(&self, scope: FieldScope, name: &str) -> u16 {
        self.get(scope, name).unwrap_or(u16::MAX)
    }

    fn of_ref(&self, field: &FieldRef) -> u16 {
        self.position(field.scope, &field.name)
    }

    fn by(&self, by: &spec::By) -> By {
        match by {
            spec::By::All => By::All,
            spec::By::Item => By::Item,
            spec::By::Field(name) => By::Field(self.position(FieldScope::Item, name)),
        }
    }
}

struct Lowering<'a> {
    fields: &'a Fields<'a>,
    counters: &'a Counters,
}

impl Lowering<'_> {
    fn op(&self, feature: &Feature) -> OpV1 {
        match &feature.kind {
            FeatureKind::Number { field } => OpV1::Number { field: self.fields.of_ref(field) },
            FeatureKind::String { field, encoding } => self.string(field, encoding),
            FeatureKind::Cross { fields, buckets } => OpV1::Bucket {
                fields: fields.iter().map(|field| self.fields.of_ref(field)).collect(),
                buckets: *buckets,
            },
            FeatureKind::TimeDifference { field, unit } => {
                OpV1::TimeDifference { field: self.fields.of_ref(field), unit_s: unit.seconds() }
            }
            FeatureKind::Recency { scope, event, by, unit } => {
                OpV1::Recency { table: self.counters.table(*scope, event, by), unit_s: unit.seconds() }
            }
            FeatureKind::LocalTime { part } => OpV1::LocalTime { part: time_part(*part) },
            FeatureKind::Position => OpV1::Position,
            FeatureKind::Candidates => OpV1::Candidates,
            FeatureKind::InteractedWith { event, by, within, last } => OpV1::InteractedWith {
                event: key(event.as_bytes()),
                by: self.fields.by(by),
                within_s: within_s(*within),
                last: *last,
            },
            FeatureKind::Count(counter) => OpV1::Counter(self.counters.column(counter)),
            FeatureKind::Share(counter) => OpV1::Share(self.counters.column(counter)),
            FeatureKind::Rate { numerator, denominator, weight, prior } => OpV1::Rate {
                numerator: self.counters.column(numerator),
                denominator: self.counters.column(denominator),
                weight: *weight,
                prior: *prior,
            },
            FeatureKind::TokenOverlap { field, with, metric } => OpV1::TokenOverlap {
                field: self.fields.of_ref(field),
                with: self.tokens_of(with),
                metric: overlap(*metric),
            },
            FeatureKind::Combine { op, inputs: [left, right] } => {
                OpV1::Combine { op: combine(*op), left: *left as u16, right: *right as u16 }
            }
            FeatureKind::ItemId { buckets } => OpV1::ItemId { buckets: *buckets },
            FeatureKind::RecentItem { recent, at, buckets } => OpV1::RecentItem {
                at: *at,
                event: event_of(recent),
                within_s: within_s(recent.within),
                buckets: *buckets,
            },
            FeatureKind::RecentCount { recent, last } => OpV1::InteractedWith {
                event: event_of(recent),
                by: By::All,
                within_s: within_s(recent.within),
                last: *last,
            },
        }
    }

    fn string(&self, field: &FieldRef, encoding: &StringEncoding) -> OpV1 {
        let field = self.fields.of_ref(field);
        match encoding {
            StringEncoding::Buckets(buckets) => OpV1::Bucket { fields: vec![field], buckets: *buckets },
            StringEncoding::Values(values) => {
                let mut values: Vec<_> = values.iter().map(|value| key(value.as_bytes())).zip(0..).collect();
                values.sort_unstable();
                OpV1::Category { field, values }
            }
        }
    }

    fn tokens_of(&self, with: &OverlapWith) -> TokensOf {
        match with {
            OverlapWith::Context(field) => TokensOf::Context { field: self.fields.of_ref(field) },
            OverlapWith::History { event, last } => TokensOf::History { event: key(event.as_bytes()), last: *last },
        }
    }
}

/// Key of the event's name; 0 is any event.
fn event_of(recent: &Recent) -> u64 {
    recent.event.as_ref().map_or(0, |event| key(event.as_bytes()))
}

fn within_s(within: Option<spec::Seconds>) -> u32 {
    within.map_or(u32::MAX, spec::Seconds::get)
}

fn field_v1(scope: FieldScope, name: &str, ty: spec::FieldType) -> FieldV1 {
    let scope = match scope {
        FieldScope::Item => Scope::Item,
        FieldScope::User => Scope::User,
        FieldScope::Context => Scope::Context,
    };
    let ty = match ty {
        spec::FieldType::Number => program::FieldType::Number,
        spec::FieldType::String => program::FieldType::String,
        spec::FieldType::Tokens => program::FieldType::Tokens,
        spec::FieldType::Time => program::FieldType::Time,
    };
    FieldV1 { id: field_id(scope, name), scope, ty }
}

/// The kind of feature that an operation was lowered from, as it is declared.
pub(crate) fn kind_name(op: &OpV1, program: &ProgramV1) -> &'static str {
    match op {
        OpV1::Number { .. } => "number",
        OpV1::Category { .. } => "string",
        OpV1::Bucket { fields, .. } if fields.len() == 1 => "string",
        OpV1::Bucket { .. } => "cross",
        OpV1::TimeDifference { .. } => "time_difference",
        OpV1::Recency { .. } => "recency",
        OpV1::LocalTime { .. } => "local_time",
        OpV1::Position => "position",
        OpV1::Candidates => "candidates",
        // Declared by itself it has a key.
        OpV1::InteractedWith { by: By::All, .. } => "recent_items",
        OpV1::InteractedWith { .. } => "interacted_with",
        OpV1::Counter(counter) => {
            let columns = program.table(counter.table).map(|table| &table.columns);
            match columns.and_then(|columns| columns.get(usize::from(counter.column))).map(|column| column.decay) {
                Some(Decay::HalfLife { .. }) => "decayed_count",
                Some(Decay::Window { .. }) => "window_count",
                Some(Decay::Lifetime) | None => "lifetime_count",
            }
        }
        OpV1::Share(_) => "share",
        OpV1::Rate { .. } => "rate",
        OpV1::TokenOverlap { .. } => "token_overlap",
        OpV1::Combine { .. } => "combine",
        OpV1::ItemId { .. } => "item_id",
        OpV1::RecentItem { .. } => "recent_items",
    }
}

fn transform(transform: &Transform) -> TransformV1 {
    match *transform {
        Transform::Log1p => TransformV1::Log1p,
        Transform::Sqrt => TransformV1::Sqrt,
        Transform::Abs => TransformV1::Abs,
        Transform::Neg => TransformV1::Neg,
        Transform::Square => TransformV1::Square,
        Transform::Clip { lo, hi } => TransformV1::Clip(lo, hi),
        Transform::Scale(factor) => TransformV1::Scale(factor),
        Transform::Shift(term) => TransformV1::Shift(term),
    }
}

fn time_part(part: spec::LocalTimePart) -> program::TimePart {
    match part {
        spec::LocalTimePart::MinuteOfDay => program::TimePart::MinuteOfDay,
        spec::LocalTimePart::Hour => program::TimePart::Hour,
        spec::LocalTimePart::Weekday => program::TimePart::Weekday,
        spec::LocalTimePart::Day => program::TimePart::Day,
        spec::LocalTimePart::Month => program::TimePart::Month,
    }
}

fn overlap(metric: spec::OverlapMetric) -> program::Overlap {
    match metric {
        spec::OverlapMetric::Jaccard => program::Overlap::Jaccard,
        spec::OverlapMetric::Containment => program::Overlap::Containment,
    }
}

fn combine(op: spec::CombineOp) -> program::CombineOp {
    match op {
        spec::CombineOp::Ratio => program::CombineOp::Ratio,
        spec::CombineOp::Product => program::CombineOp::Product,
        spec::CombineOp::Difference => program::CombineOp::Difference,
        spec::CombineOp::Min => program::CombineOp::Min,
        spec::CombineOp::Max => program::CombineOp::Max,
    }
}

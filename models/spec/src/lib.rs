//! Declarations of features, models and slates: TOML text in, typed trees with source spans out.
//!
//! Everything a person writes by hand passes through here once, so this is where mistakes are explained: all of them at
//! once, each with a stable code, a label at the offending token and, where a word is nearly right, a suggestion. What
//! comes out needs no further checking of names, types or ranges.
//!
//! The crate knows the grammar and nothing else: no bytes, no arithmetic, no files. It depends on no other crate of the
//! workspace.

mod campaign;
mod document;
mod error;
mod feature;
mod model;
mod reader;
mod reference;
mod seconds;
mod suggest;
mod vocabulary;

pub use campaign::{Benefit, Budget, Campaign, CampaignSpec, Cap, Hours, LineTest, Margin, Offer, Test};
pub use error::{Problem, ProblemKind, SpecError};
pub use feature::{
    By, Counter, CounterKind, EventKind, Feature, FeatureKind, FeatureSpec, Field, FieldRef, OverlapWith, Recent,
    StringEncoding, TableSettings, Transform,
};
pub use model::{
    AtMost, Diversity, Exclude, Explore, ExploreKind, Learner, LinearTraining, ModelOutput, ModelSpec, Quantise,
    SimilarityTerm, SlateSpec, StageSpec, TreeTraining,
};
pub use reference::reference_markdown;
pub use seconds::Seconds;
pub use vocabulary::{
    CapBy, CombineOp, Comparison, CounterScope, FieldScope, FieldType, Goal, LearnerKind, LocalTimePart, Measure,
    Objective, OverlapMetric, PriceOf, TimeUnit, Weekday, Width, Word,
};

//! The typed form of `model.toml`: what is trained, how, and what the slate made of its scores must obey.
//!
//! Parsing checks everything that the file alone can tell. Names of fields are checked by [`ModelSpec::check`] once the
//! features the model is trained on have been read.

mod check;
mod parse;

use miette::SourceSpan;

use crate::error::Source;
use crate::vocabulary::{LearnerKind, Objective, Width};

/// A whole `model.toml`.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// `[a-z0-9_]{1,64}`.
    pub name: String,
    /// Path of the `features.toml`, relative to the directory of this file.
    pub features: String,
    /// What the model is trained to do.
    pub objective: Objective,
    /// Which kind of model, and how it is trained.
    pub learner: Learner,
    /// Which number ranks, where a trained model of another library has several.
    pub output: Option<ModelOutput>,
    /// Cheaper models that candidates pass before this one, in order; at most 3.
    pub stages: Vec<StageSpec>,
    /// From scores to slate.
    pub slate: SlateSpec,
    /// How the weights of a network are stored; `f32` unless declared.
    pub quantise: Option<Quantise>,
    /// Kept so that [`ModelSpec::check`] can point into it.
    source: Source,
}

/// Which number of a trained model with several ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelOutput {
    /// The raw score of this class, below 1,024, counted from 0 in the library's order: written `class:2`.
    Class(u32),
}

/// The kind of model, with the hyper-parameters that this kind understands.
#[derive(Clone, Debug, PartialEq)]
pub enum Learner {
    /// Gradient-boosted regression trees.
    Trees(TreeTraining),
    /// A weighted sum of the features, each standardised.
    Linear(LinearTraining),
    /// A network of layers, trained elsewhere.
    Graph,
}

/// A stage of a cascade before the model itself. The first scores all candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageSpec {
    /// Path of the trained model, relative to the directory of this file.
    pub trained: String,
    /// Which number of it ranks, where it has several.
    pub output: Option<ModelOutput>,
    /// How many of the best candidates the next stage scores, 1..=2,000; at most as many as the stage before keeps.
    pub keep: u32,
}

impl Learner {
    /// Which kind of model.
    pub fn kind(&self) -> LearnerKind {
        match self {
            Self::Trees(_) => LearnerKind::Trees,
            Self::Linear(_) => LearnerKind::Linear,
            Self::Graph => LearnerKind::Graph,
        }
    }
}

/// Hyper-parameters of boosted trees, under XGBoost's names and meanings.
#[derive(Clone, Debug, PartialEq)]
pub struct TreeTraining {
    /// Trees, 1..=2,000.
    pub rounds: u32,
    /// Depth of a tree, 1..=12.
    pub max_depth: u32,
    /// Learning rate, above 0, at most 1.
    pub eta: f64,
    /// The least sum of second derivatives in a leaf, >= 0.
    pub min_child_weight: f64,
    /// The least gain of a split, >= 0.
    pub gamma: f64,
    /// L2 penalty on leaf weights, >= 0.
    pub lambda: f64,
    /// L1 penalty on leaf weights, >= 0.
    pub alpha: f64,
    /// Share of the rows each tree sees, above 0, at most 1.
    pub subsample: f64,
    /// Share of the features each tree sees, above 0, at most 1.
    pub colsample: f64,
    /// Share of those that each split chooses from, above 0, at most 1.
    pub colsample_node: f64,
    /// Histogram bins per feature, 2..=1,024.
    pub max_bin: u32,
    /// LambdaMART pairs each of this many best candidates of a query with every lower one, 1..=1,000.
    pub pairs: u32,
    /// Share of the irrelevant candidates that are learned from, above 0, at most 1.
    pub negatives: f64,
    /// Seed of the sampling.
    pub seed: u64,
}

/// Hyper-parameters of a linear model.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearTraining {
    /// Passes over the data, 1..=10,000.
    pub rounds: u32,
    /// Learning rate, above 0, at most 1.
    pub eta: f64,
    /// L2 penalty on the weights, >= 0.
    pub lambda: f64,
    /// Share of the irrelevant candidates that are learned from, above 0, at most 1.
    pub negatives: f64,
    /// Seed of the sampling.
    pub seed: u64,
}

/// How the weights of a network are stored in less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantise {
    /// What they become.
    pub weights: Width,
    /// The share of a ranking metric, or of the correlation of ranks, that may be lost: 0 to 1, 0.001 unless declared.
    pub max_loss: f64,
}

/// How scored candidates become a slate.
#[derive(Clone, Debug, PartialEq)]
pub struct SlateSpec {
    /// Places, 1..=1,000; 20 unless declared.
    pub size: u16,
    /// Hard limits on items that share a value.
    pub at_most: Vec<AtMost>,
    /// Items never shown.
    pub exclude: Vec<Exclude>,
    /// Trades score against likeness to what is already on the slate.
    pub diversity: Option<Diversity>,
    /// Draws the first place.
    pub explore: Option<Explore>,
}

/// How the first place that is not pinned is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Explore {
    /// The distribution.
    pub kind: ExploreKind,
    /// Another seed draws otherwise for the same requests.
    pub seed: u64,
}

/// The distribution of a draw over the items that the rules allow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ExploreKind {
    /// With this probability, above 0 and at most 1, an item at random, otherwise the best.
    Epsilon(f32),
    /// Proportional to `e^(score / temperature)`; the temperature is in units of the score, above 0, finite.
    Temperature(f32),
}

/// At most `max` items with the same value of `field` in any `window` consecutive places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtMost {
    /// Name of an item string field.
    pub field: String,
    /// 1..=1,000.
    pub max: u16,
    /// 0 is the whole slate; otherwise larger than `max`.
    pub window: u16,
    /// The value of `field` in the text.
    pub span: SourceSpan,
}

/// Never show an item whose `field` is `value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclude {
    /// Name of an item string field.
    pub field: String,
    /// The value excluded.
    pub value: String,
    /// The value of `field` in the text.
    pub span: SourceSpan,
}

/// Maximal marginal relevance (Carbonell and Goldstein, 1998): each place goes to the candidate with the largest
/// `lambda x score - (1 - lambda) x likeness to the most similar item placed before it`.
#[derive(Clone, Debug, PartialEq)]
pub struct Diversity {
    /// 1 is score alone, 0 is difference alone.
    pub lambda: f32,
    /// Likeness of two items: the sum of the weights of the fields on which they agree. At least one, at most 8.
    pub similarity: Vec<SimilarityTerm>,
}

/// The part of a likeness that one field brings.
#[derive(Clone, Debug, PartialEq)]
pub struct SimilarityTerm {
    /// Name of an item string field.
    pub field: String,
    /// Above 0, finite.
    pub weight: f32,
    /// The name in the text.
    pub span: SourceSpan,
}

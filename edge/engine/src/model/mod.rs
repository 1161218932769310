//! Models: from a feature matrix to a score per candidate, and from a candidate to the reasons for its score.

mod graph;
mod linear;
mod trees;

use selvedge_format::DecodeError;
use selvedge_format::model::{LinearWeights, Link, ModelKindV1, ModelV1};

use crate::feature;
use crate::math;

use graph::GraphScratch;

pub use graph::{Graph, step_cost};
pub use linear::Linear;
pub use trees::Trees;
use trees::{Sum, TreesScratch};

/// A validated model over a fixed number of features.
#[derive(Debug)]
pub struct Model {
    form: Form,
    link: Link,
}

#[derive(Debug)]
enum Form {
    Linear(Linear),
    Trees(Trees),
    Graph(Graph),
}

/// Buffers that a model needs besides its input and output.
#[derive(Debug, Default)]
pub struct ModelScratch {
    trees: TreesScratch,
    graph: GraphScratch,
}

impl Model {
    /// Validates a model's weights for `features` features and lowers it for evaluation.
    ///
    /// # Errors
    /// The weights are not those of such a model.
    pub fn load(declared: &ModelV1, weights: &[u8], features: usize) -> Result<Self, DecodeError> {
        let trees = |sum| Trees::load(sum, weights, features).map(Form::Trees);
        let form = match declared.kind {
            ModelKindV1::Linear { bias } => Form::Linear(Linear::new(bias, LinearWeights::parse(weights, features)?)),
            ModelKindV1::Trees { base } => trees(Sum::Single { base })?,
            ModelKindV1::DoubleTrees(finish) => trees(Sum::Double(finish))?,
            ModelKindV1::Graph => Form::Graph(Graph::load(weights, features)?),
        };
        Ok(Self { form, link: declared.link })
    }

    /// Raw scores of `rows` rows, before the link: `matrix` holds columns of [`feature::stride`] of so many values, `scores` has
    /// as many places. Those behind the rows hold anything afterwards.
    pub fn raw_scores(&self, matrix: &[f32], rows: usize, scratch: &mut ModelScratch, scores: &mut [f32]) {
        let stride = feature::stride(rows);
        match &self.form {
            Form::Linear(linear) => linear.scores(matrix, stride, scores),
            Form::Trees(trees) => trees.scores(matrix, rows, &mut scratch.trees, scores),
            Form::Graph(graph) => graph.scores(matrix, stride, &mut scratch.graph, &mut scores[..rows]),
        }
    }

    /// Scores after the link.
    pub fn scores(&self, matrix: &[f32], rows: usize, scratch: &mut ModelScratch, scores: &mut [f32]) {
        self.raw_scores(matrix, rows, scratch, scores);
        if self.link == Link::Logistic {
            for score in scores {
                *score = math::sigmoid(*score);
            }
        }
    }

    /// Adds to `effects` what each feature contributed to the raw score of each row; returns the raw score that a
    /// candidate of which nothing is known would have. `rows` and `effects` are `[row][feature]`.
    pub fn contributions(&self, features: usize, rows: &[f32], effects: &mut [f32]) -> f32 {
        match &self.form {
            Form::Linear(linear) => linear.contributions(features, rows, effects),
            Form::Trees(trees) => trees.contributions(features, rows, effects),
            // A layer mixes its inputs: no sum of parts would be true.
            Form::Graph(_) => 0.0,
        }
    }

    /// Cost units per candidate.
    #[must_use]
    pub fn cost(&self) -> u64 {
        match &self.form {
            Form::Linear(linear) => linear.cost(),
            Form::Trees(trees) => trees.cost(),
            Form::Graph(graph) => graph.cost(),
        }
    }

    /// Cost units of a request besides those of each of its candidates: what is done once, and for each pair of candidates.
    #[must_use]
    pub fn request_cost(&self, candidates: u64) -> u64 {
        match &self.form {
            Form::Graph(graph) => graph.request_cost(candidates),
            _ => 0,
        }
    }

    /// Kind, as it is shown.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.form {
            Form::Linear(_) => "linear",
            Form::Trees(_) => "trees",
            Form::Graph(_) => "graph",
        }
    }
}

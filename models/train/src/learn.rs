//! Learning to rank: boosted trees by LambdaMART, and a linear model by listwise softmax.
//!
//! Trees are grown by `hessboost`, which trains on histograms deterministically on any number of threads and writes
//! XGBoost JSON: what the compiler reads. The linear model is our own few lines, since it needs only a gradient.

use std::ops::ControlFlow;

use hessboost::model::ModelFormat;
use hessboost::objective::{LambdaRank, Objective as Loss};
use hessboost::prelude::{DMatrix, Trainer, TrainingParams, TreeMethod};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use selvedge_spec::{LinearTraining, Objective, TreeTraining};
use thiserror::Error;

use crate::dataset::Progress;

/// Rows of many queries, to learn from.
#[derive(Clone, Debug, Default)]
pub struct TrainingSet {
    /// Number of features of a row.
    pub features: usize,
    /// `[row][feature]`, query after query; NaN is missing.
    pub values: Vec<f32>,
    /// Gain per row, at least 0.
    pub labels: Vec<f32>,
    /// Rows of each query.
    pub groups: Vec<usize>,
}

impl TrainingSet {
    /// An empty set of rows of this many features.
    #[must_use]
    pub fn new(features: usize) -> Self {
        Self { features, ..Self::default() }
    }

    /// Adds a query: `values` as `[candidate][feature]`, and which candidates are relevant. Of the irrelevant ones the
    /// share `negatives` is kept, drawn by the seed and `query`, a number of the query: a ranker learns as much from
    /// fewer, and whichever other queries are in the set, the same candidates of this one are.
    pub fn push(&mut self, query: u32, values: &[f32], relevant: &[bool], negatives: f64, seed: u64) {
        let mut draw = ChaCha8Rng::seed_from_u64(seed ^ u64::from(query) << 32);
        let mut rows = 0;
        for (row, relevant) in values.chunks_exact(self.features).zip(relevant) {
            if *relevant || draw.random_bool(negatives) {
                self.values.extend_from_slice(row);
                self.labels.push(f32::from(u8::from(*relevant)));
                rows += 1;
            }
        }
        self.groups.push(rows);
    }
}

/// Why no model came out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LearnError {
    /// There is nothing to learn from.
    #[error("no training rows: no query of the training weeks and households has a relevant candidate")]
    Empty,
    /// The objective needs another learner.
    #[error(
        "objective `{0}` does not fit this learner; `lambdarank` and `logistic` are the objectives of trees, `lambdarank` is the objective of linear models"
    )]
    Objective(String),
    /// The booster refused parameters or rows.
    #[error("the booster refused the training: {0}")]
    Booster(#[from] hessboost::error::HessboostError),
}

/// Grows trees; returns the model as XGBoost JSON.
///
/// # Errors
/// The set is empty, or the booster refuses it or the parameters.
pub fn trees(
    set: &TrainingSet,
    objective: Objective,
    training: &TreeTraining,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Vec<u8>, LearnError> {
    let loss = match objective {
        Objective::LambdaRank => Loss::RankNdcg(LambdaRank::new(training.pairs as usize)?),
        Objective::Logistic => Loss::BinaryLogistic(Default::default()),
    };
    grow(set, loss, training, progress)
}

/// Grows trees of a number by least squares; labels may be anything finite. Returns the model as XGBoost JSON.
///
/// # Errors
/// As [`trees`].
pub fn regression_trees(set: &TrainingSet, training: &TreeTraining) -> Result<Vec<u8>, LearnError> {
    grow(set, Loss::SquaredError(Default::default()), training, &mut |_| {})
}

fn grow(
    set: &TrainingSet,
    loss: Loss,
    training: &TreeTraining,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Vec<u8>, LearnError> {
    if set.groups.is_empty() {
        return Err(LearnError::Empty);
    }
    let data = DMatrix::from_dense(&set.values, set.labels.len(), set.features)?
        .with_labels(&set.labels)?
        .with_group_sizes(&set.groups)?;
    let params = TrainingParams::builder()
        .objective(loss)
        .tree_method(TreeMethod::Hist)
        .seed(training.seed)
        .eta(training.eta)
        .max_depth(training.max_depth as usize)
        .min_child_weight(training.min_child_weight)
        .gamma(training.gamma)
        .lambda(training.lambda)
        .alpha(training.alpha)
        .subsample(training.subsample)
        .colsample_bytree(training.colsample)
        .colsample_bynode(training.colsample_node)
        .max_bin(training.max_bin as usize)
        .build()?;
    let total = u64::from(training.rounds);
    let trained = Trainer::new(&params, &data, training.rounds as usize)
        .on_round(|round| {
            progress(Progress { stage: "growing trees", done: round.iteration() as u64 + 1, total });
            ControlFlow::Continue(())
        })
        .train()?;
    Ok(trained.model.encode(ModelFormat::XgboostJson)?)
}

/// A linear model: the score is `bias + sum weight * x`, where a missing x is its centre.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearWeights {
    /// The constant term; 0 for a ranker, whose scores matter only against each other.
    pub bias: f32,
    /// By feature.
    pub weights: Vec<f32>,
    /// Mean of the known values, by feature.
    pub centres: Vec<f32>,
}

/// Learns a linear ranker: maximises the likelihood of the relevant candidates under a softmax over each query
/// (conditional logit; McFadden 1974, ListNet's top-one loss) by Adam over all queries, on standardised features.
///
/// # Errors
/// The set is empty, or the objective is not a ranking one.
pub fn linear(
    set: &TrainingSet,
    objective: Objective,
    training: &LinearTraining,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<LinearWeights, LearnError> {
    if set.groups.is_empty() || set.features == 0 {
        return Err(LearnError::Empty);
    }
    if objective != Objective::LambdaRank {
        return Err(LearnError::Objective(objective.to_string()));
    }
    let (centres, scales) = moments(set);
    let standardised: Vec<f32> = set
        .values
        .iter()
        .enumerate()
        .map(|(at, x)| {
            let feature = at % set.features;
            if x.is_nan() { 0.0 } else { (x - centres[feature]) / scales[feature] }
        })
        .collect();
    let mut weights = vec![0.0_f64; set.features];
    let (mut first, mut second) = (vec![0.0; set.features], vec![0.0; set.features]);
    for round in 1..=training.rounds {
        let gradient = softmax_gradient(set, &standardised, &weights, training.lambda);
        adam(&mut weights, &gradient, &mut first, &mut second, training.eta, round);
        progress(Progress { stage: "fitting weights", done: round.into(), total: training.rounds.into() });
    }
    let weights = weights.iter().zip(&scales).map(|(weight, scale)| *weight as f32 / scale).collect();
    Ok(LinearWeights { bias: 0.0, weights, centres })
}

/// Mean and standard deviation of the known values of each feature; a constant feature has the deviation 1.
fn moments(set: &TrainingSet) -> (Vec<f32>, Vec<f32>) {
    let mut sums = vec![(0.0_f64, 0.0_f64, 0.0_f64); set.features];
    for row in set.values.chunks_exact(set.features) {
        for ((count, sum, squares), x) in sums.iter_mut().zip(row).filter(|(_, x)| !x.is_nan()) {
            *count += 1.0;
            *sum += f64::from(*x);
            *squares += f64::from(*x) * f64::from(*x);
        }
    }
    sums.iter()
        .map(|(count, sum, squares)| {
            let mean = if *count > 0.0 { sum / count } else { 0.0 };
            let variance = if *count > 0.0 { squares / count - mean * mean } else { 0.0 };
            let deviation = variance.max(0.0).sqrt();
            (mean as f32, if deviation > 1e-6 { deviation as f32 } else { 1.0 })
        })
        .unzip()
}

/// Gradient of the mean negative log-likelihood per query, plus `lambda` times the weights.
fn softmax_gradient(set: &TrainingSet, rows: &[f32], weights: &[f64], lambda: f64) -> Vec<f64> {
    let mut gradient = vec![0.0; set.features];
    let mut start = 0;
    for group in &set.groups {
        let rows = &rows[start * set.features..(start + group) * set.features];
        let labels = &set.labels[start..start + group];
        start += group;
        let relevant: f64 = labels.iter().map(|label| f64::from(*label)).sum();
        if relevant <= 0.0 {
            continue;
        }
        let score = |row: &[f32]| row.iter().zip(weights).map(|(x, weight)| f64::from(*x) * weight).sum::<f64>();
        let scores: Vec<f64> = rows.chunks_exact(set.features).map(score).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exponentials: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
        let sum: f64 = exponentials.iter().sum();
        for ((row, exponential), label) in rows.chunks_exact(set.features).zip(&exponentials).zip(labels) {
            let residual = exponential / sum - f64::from(*label) / relevant;
            for (gradient, x) in gradient.iter_mut().zip(row) {
                *gradient += residual * f64::from(*x);
            }
        }
    }
    let queries = set.groups.len() as f64;
    gradient.iter().zip(weights).map(|(gradient, weight)| gradient / queries + lambda * weight).collect()
}

/// One step of Adam (Kingma and Ba, 2015) with its usual constants.
fn adam(weights: &mut [f64], gradient: &[f64], first: &mut [f64], second: &mut [f64], eta: f64, round: u32) {
    const MOMENTUM: f64 = 0.9;
    const VARIANCE: f64 = 0.999;
    let steps = f64::from(round);
    for (at, weight) in weights.iter_mut().enumerate() {
        first[at] = MOMENTUM * first[at] + (1.0 - MOMENTUM) * gradient[at];
        second[at] = VARIANCE * second[at] + (1.0 - VARIANCE) * gradient[at] * gradient[at];
        let mean = first[at] / (1.0 - MOMENTUM.powf(steps));
        let spread = second[at] / (1.0 - VARIANCE.powf(steps));
        *weight -= eta * mean / (spread.sqrt() + 1e-8);
    }
}

//! A weighted sum of features.

use alloc::vec::Vec;

use selvedge_format::model::LinearWeights;

/// `bias + sum weight * x`; a missing x is its centre.
#[derive(Debug)]
pub struct Linear {
    bias: f32,
    /// Weight and centre by feature.
    terms: Vec<(f32, f32)>,
}

impl Linear {
    pub(super) fn new(bias: f32, weights: LinearWeights<'_>) -> Self {
        Self { bias, terms: weights.weight.iter().zip(weights.centre.iter()).collect() }
    }

    /// Column by column, in the order of the features: each score adds its terms in that order on every machine.
    pub(super) fn scores(&self, matrix: &[f32], stride: usize, scores: &mut [f32]) {
        scores.fill(self.bias);
        for (column, (weight, centre)) in matrix.chunks_exact(stride.max(1)).zip(&self.terms) {
            for (score, x) in scores.iter_mut().zip(column) {
                let x = if x.is_nan() { *centre } else { *x };
                *score += weight * x;
            }
        }
    }

    pub(super) fn contributions(&self, features: usize, rows: &[f32], effects: &mut [f32]) -> f32 {
        let features = features.max(1);
        for (row, effects) in rows.chunks_exact(features).zip(effects.chunks_exact_mut(features)) {
            for ((x, effect), (weight, centre)) in row.iter().zip(effects).zip(&self.terms) {
                *effect += if x.is_nan() { 0.0 } else { weight * (x - centre) };
            }
        }
        self.terms.iter().fold(self.bias, |base, (weight, centre)| base + weight * centre)
    }

    pub(super) fn cost(&self) -> u64 {
        (self.terms.len() as u64).div_ceil(8)
    }
}

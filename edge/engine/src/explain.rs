//! Reasons: for each slot, the features that moved its score most.

use alloc::vec::Vec;

use selvedge_format::decision::NO_FEATURE;

use crate::buffer::refill;
use crate::model::Model;

/// Contributions of a slate, `[slot][contribution]`.
#[derive(Debug, Default)]
pub(crate) struct Reasons {
    pub(crate) base: f32,
    pub(crate) features: Vec<u32>,
    pub(crate) effects: Vec<f32>,
    /// Feature values and effects, `[slot][feature]`.
    rows: Vec<f32>,
    all: Vec<f32>,
}

impl Reasons {
    pub(crate) fn clear(&mut self) {
        self.base = 0.0;
        self.features.clear();
        self.effects.clear();
    }

    /// The `count` largest contributions of each slot; equal ones in the order of the features. `slots` are candidates with
    /// their scores; what is below the floor, the third, was not scored by this model and has none.
    pub(crate) fn explain(
        &mut self,
        model: &Model,
        matrix: &[f32],
        stride: usize,
        (slots, scores, floor): (&[u32], &[f32], f32),
        count: usize,
    ) {
        let features = matrix.len().checked_div(stride).unwrap_or(0);
        self.rows.clear();
        for slot in slots {
            self.rows.extend((0..features).map(|feature| matrix[feature * stride + *slot as usize]));
        }
        refill(&mut self.all, self.rows.len(), 0.0);
        self.base = model.contributions(features, &self.rows, &mut self.all);
        for (effects, score) in self.all.chunks_exact_mut(features.max(1)).zip(scores) {
            if *score < floor {
                effects.fill(0.0);
            }
            for _ in 0..count {
                let mut largest = (NO_FEATURE, 0.0_f32);
                for (feature, effect) in effects.iter().enumerate() {
                    if effect.abs() > largest.1.abs() {
                        largest = (feature as u32, *effect);
                    }
                }
                self.features.push(largest.0);
                self.effects.push(largest.1);
                // Taken: an effect of 0 is none.
                if let Some(taken) = effects.get_mut(largest.0 as usize) {
                    *taken = 0.0;
                }
            }
        }
    }
}

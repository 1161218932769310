//! Reasons: for each slot, the features that moved its score most.

use alloc::vec::Vec;

use selvedge_format::decision::NO_FEATURE;

use crate::model::Model;

/// Contributions of a slate, `[slot][contribution]`.
#[derive(Debug, Default)]
pub(crate) struct Reasons {
    pub(crate) base: f32,
    pub(crate) features: Vec<u32>,
    pub(crate) effects: Vec<f32>,
    all: Vec<f32>,
    order: Vec<u32>,
}

impl Reasons {
    pub(crate) fn clear(&mut self) {
        self.base = 0.0;
        self.features.clear();
        self.effects.clear();
    }

    /// The `count` largest contributions of each slot; equal ones in the order of the features.
    pub(crate) fn explain(&mut self, model: &Model, matrix: &[f32], stride: usize, slots: &[u32], count: usize) {
        self.clear();
        let features = if stride == 0 { 0 } else { matrix.len() / stride };
        self.all.clear();
        self.all.resize(slots.len() * features, 0.0);
        self.base = model.contributions(matrix, stride, slots, &mut self.all);
        for all in self.all.chunks_exact(features.max(1)) {
            self.order.clear();
            self.order.extend((0..features as u32).filter(|feature| all[*feature as usize] != 0.0));
            let effect = |feature: &u32| all[*feature as usize].abs();
            self.order.sort_unstable_by(|a, b| effect(b).total_cmp(&effect(a)).then(a.cmp(b)));
            for at in 0..count {
                let feature = self.order.get(at).copied();
                self.features.push(feature.unwrap_or(NO_FEATURE));
                self.effects.push(feature.map_or(0.0, |feature| all[feature as usize]));
            }
        }
    }
}

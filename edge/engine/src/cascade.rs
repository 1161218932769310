//! Cascades: a cheap model scores all candidates, dearer ones the best of them (Wang, Lin and Metzler, "A cascade ranking
//! model for efficient ranked retrieval", 2011).
//!
//! Features are computed once, for all stages: a stage gets the rows of its candidates. What it has not seen keeps the order of
//! the stage before, below everything that it has seen. Scores say the same, so that neither the next stage nor what makes a
//! slate need know which stage saw whom: two models have no common scale, and so the candidates below get the numbers next
//! below the lowest score of the stage, one after the other.
//!
//! A stage that would cost more than is left is not run, nor is any after it.

use alloc::vec::Vec;

use crate::buffer::refill;
use crate::feature;
use crate::model::{Model, ModelScratch};
use crate::rank;

/// One stage.
#[derive(Debug)]
pub(crate) struct Stage {
    /// How many of the best candidates so far it scores; of the first stage, all.
    pub(crate) keep: usize,
    /// Cost units of its model per candidate: counting them may take longer than a decision.
    pub(crate) cost: u64,
    pub(crate) model: Model,
}

/// What the stages have made of a request, and their buffers.
#[derive(Debug, Default)]
pub(crate) struct Cascade {
    /// Position of the last stage that ran.
    pub(crate) last: usize,
    /// The lowest score that it gave, where it has not seen all: candidates below were scored by an earlier one.
    pub(crate) floor: f32,
    /// Sort keys with the candidates in their lower halves.
    order: Vec<u64>,
    matrix: Vec<f32>,
    scores: Vec<f32>,
}

impl Cascade {
    /// Runs the first stage, and of the others what `limit` allows. `cost` is what was spent with the first, and then in all.
    pub(crate) fn run(
        &mut self,
        stages: &[Stage],
        (matrix, candidates): (&[f32], usize),
        scratch: &mut ModelScratch,
        scores: &mut [f32],
        (cost, limit): (&mut u64, u64),
    ) {
        // Most bundles are no cascade: nothing is put in order, nothing is copied.
        if let [only] = stages {
            (self.last, self.floor) = (0, f32::NEG_INFINITY);
            return only.model.scores(matrix, candidates, scratch, scores);
        }
        self.order.clear();
        self.order.extend(0..candidates as u64);
        for (at, stage) in stages.iter().enumerate() {
            let mut rows = matrix;
            let seen = candidates.min(stage.keep);
            if at > 0 {
                let spent = *cost + seen as u64 * stage.cost;
                let spent = spent.saturating_add(stage.model.request_cost(seen as u64));
                if spent > limit {
                    break;
                }
                *cost = spent;
                rank::sort_by_score(&mut self.order, scores);
                self.gather(matrix, candidates, seen);
                rows = &self.matrix;
            }
            self.last = at;
            refill(&mut self.scores, feature::stride(seen), 0.0);
            stage.model.scores(rows, seen, scratch, &mut self.scores);
            self.floor = f32::INFINITY;
            let mut below = f32::INFINITY;
            // First what the stage has seen, then the others.
            for (at, key) in self.order.iter().enumerate() {
                let mut score = below.next_down();
                if let Some(seen) = self.scores.get(at).filter(|_| at < seen) {
                    score = *seen;
                    if score < self.floor {
                        self.floor = score;
                    }
                }
                if score < below {
                    below = score;
                }
                if let Some(to) = scores.get_mut(candidate(*key)) {
                    *to = score;
                }
            }
        }
    }

    /// The rows of the first of the order.
    fn gather(&mut self, matrix: &[f32], candidates: usize, seen: usize) {
        let (wide, narrow) = (feature::stride(candidates), feature::stride(seen));
        // Never more than all rows.
        refill(&mut self.matrix, matrix.len(), 0.0);
        let (mut from, mut to) = (0, 0);
        while from < matrix.len() {
            for (at, key) in self.order.iter().enumerate().take(seen) {
                if let (Some(to), Some(from)) = (self.matrix.get_mut(to + at), matrix.get(from + candidate(*key))) {
                    *to = *from;
                }
            }
            (from, to) = (from + wide, to + narrow);
        }
    }
}

/// The candidate of a sort key.
const fn candidate(key: u64) -> usize {
    key as u32 as usize
}

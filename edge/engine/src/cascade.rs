//! Cascades: a cheap model scores all candidates, dearer ones the best of them (Wang, Lin and Metzler, "A cascade ranking
//! model for efficient ranked retrieval", 2011).
//!
//! Features are computed once, for all stages: a stage gets the rows of its candidates. What it has not seen keeps the order of
//! the stage before, below everything that it has seen. Scores say the same, so that what makes a slate of them need not
//! know of stages: the models' scores are no common scale, and so the candidates below get the numbers next below the lowest
//! score of the last stage, one after the other.
//!
//! A stage that would cost more than is left is not run, nor is any after it.

use alloc::vec::Vec;

use crate::feature::{self, LANES};
use crate::model::{Model, ModelScratch};
use crate::rank;

/// One stage.
#[derive(Debug)]
pub(crate) struct Stage {
    /// How many of the best candidates so far it scores.
    pub(crate) keep: usize,
    pub(crate) model: Model,
}

/// What the stages have made of a request, and their buffers.
#[derive(Debug, Default)]
pub(crate) struct Cascade {
    /// Position of the last stage that ran.
    pub(crate) last: usize,
    /// The lowest score that it gave, where it has not seen all: candidates below were scored by an earlier one.
    pub(crate) floor: f32,
    /// Sort keys with the candidates in their lower halves: first those of the last stage, then the others, best first.
    order: Vec<u64>,
    matrix: Vec<f32>,
    scores: Vec<f32>,
}

impl Cascade {
    /// Runs the first stage, and of the others what `limit` allows. `cost` is what was spent with the first, and then in all.
    // The work is in the models: the compiler shall not grow what is between them for speed.
    #[cold]
    pub(crate) fn run(
        &mut self,
        stages: &[Stage],
        (matrix, candidates): (&[f32], usize),
        scratch: &mut ModelScratch,
        scores: &mut [f32],
        (cost, limit): (&mut u64, u64),
    ) {
        self.order.clear();
        self.order.extend(0..candidates as u64);
        let mut seen = candidates;
        for (at, Stage { keep, model }) in stages.iter().enumerate() {
            let mut rows = matrix;
            if at > 0 {
                let keep = seen.min(*keep);
                let spent = *cost + keep as u64 * model.cost() + model.request_cost();
                if spent > limit {
                    break;
                }
                *cost = spent;
                rank::sort_by_score(&mut self.order[..seen], scores);
                seen = keep;
                self.matrix.clear();
                for column in matrix.chunks_exact(feature::stride(candidates)) {
                    self.matrix.extend(self.order[..seen].iter().map(|key| column[candidate(*key)]));
                    self.matrix.resize(self.matrix.len().next_multiple_of(LANES), 0.0);
                }
                rows = &self.matrix;
            }
            self.scores.clear();
            self.scores.resize(feature::stride(seen), 0.0);
            model.scores(rows, feature::stride(seen), scratch, &mut self.scores);
            for (key, score) in self.order[..seen].iter().zip(&self.scores) {
                scores[candidate(*key)] = *score;
            }
            self.last = at;
        }
        self.sink(scores, seen);
    }

    /// Puts what the last stage has not seen below what it has.
    fn sink(&mut self, scores: &mut [f32], seen: usize) {
        let mut below = f32::INFINITY;
        for score in &self.scores[..seen] {
            if *score < below {
                below = *score;
            }
        }
        self.floor = below;
        for key in &self.order[seen..] {
            below = below.next_down();
            scores[candidate(*key)] = below;
        }
    }
}

/// The candidate of a sort key.
const fn candidate(key: u64) -> usize {
    key as u32 as usize
}

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

/// A stage after the first.
#[derive(Debug)]
pub(crate) struct Stage {
    /// How many of the best candidates so far it scores.
    pub(crate) keep: usize,
    pub(crate) model: Model,
}

/// What the stages after the first have made of a request, and their buffers.
#[derive(Debug, Default)]
pub(crate) struct Cascade {
    /// How many of them ran.
    pub(crate) ran: usize,
    /// The lowest score that the last one gave: candidates below it were scored by an earlier one.
    pub(crate) floor: f32,
    /// Sort keys with the candidates in their lower halves: first those of the last stage, then the others, best first.
    order: Vec<u64>,
    matrix: Vec<f32>,
    scores: Vec<f32>,
}

impl Cascade {
    /// Runs what `limit` allows. `scores` has those of the first stage; `cost` what was spent so far, and then spent in all.
    pub(crate) fn run(
        &mut self,
        stages: &[Stage],
        (matrix, candidates): (&[f32], usize),
        scratch: &mut ModelScratch,
        scores: &mut [f32],
        (cost, limit): (&mut u64, u64),
    ) {
        self.ran = 0;
        self.floor = f32::NEG_INFINITY;
        self.order.clear();
        self.order.extend(0..candidates as u64);
        let mut seen = candidates;
        for Stage { keep, model } in stages {
            let keep = seen.min(*keep);
            let spent = *cost + keep as u64 * model.cost() + model.request_cost();
            if spent > limit {
                break;
            }
            *cost = spent;
            rank::sort_by_score(&mut self.order[..seen], scores);
            seen = keep;
            self.score(model, matrix, feature::stride(candidates), scratch, &mut scores[..], seen);
            self.ran += 1;
        }
        if self.ran > 0 {
            self.sink(scores, seen);
        }
    }

    /// Scores the first of the order.
    fn score(
        &mut self,
        model: &Model,
        matrix: &[f32],
        stride: usize,
        scratch: &mut ModelScratch,
        scores: &mut [f32],
        seen: usize,
    ) {
        let order = &self.order[..seen];
        self.matrix.clear();
        for column in matrix.chunks_exact(stride) {
            self.matrix.extend(order.iter().map(|key| column[candidate(*key)]));
            self.matrix.resize(self.matrix.len().next_multiple_of(LANES), 0.0);
        }
        let stride = feature::stride(seen);
        self.scores.clear();
        self.scores.resize(stride, 0.0);
        model.scores(&self.matrix, stride, scratch, &mut self.scores);
        for (key, score) in order.iter().zip(&self.scores) {
            scores[candidate(*key)] = *score;
        }
    }

    /// Puts what the last stage has not seen below what it has.
    fn sink(&mut self, scores: &mut [f32], seen: usize) {
        let (seen, others) = self.order.split_at(seen);
        let mut floor = f32::INFINITY;
        for key in seen {
            let score = scores[candidate(*key)];
            if score < floor {
                floor = score;
            }
        }
        self.floor = floor;
        for key in others {
            floor = floor.next_down();
            scores[candidate(*key)] = floor;
        }
    }
}

/// The candidate of a sort key.
const fn candidate(key: u64) -> usize {
    key as u32 as usize
}

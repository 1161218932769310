//! Steps of a list, where candidates meet: attention among them, and what is reduced over them.
//!
//! All columns of all candidates are there, in blocks of [`ROWS`]. For eight candidates who ask, the weights of all who are asked
//! are outputs of a dense layer whose weights are the keys, and what they get is the outputs of another, whose weights are the
//! values and whose inputs are what came out of the first. Both are the kernel of dense layers, for which eight weights are packed
//! at a time. Weights of a pair are there for eight rows at a time, so memory grows with the list and not with its square (Rabe and
//! Staats, 2112.05682).
//!
//! What one candidate gets is a sum over all in the order of the request, in one accumulator: the same bits with and without SIMD.

use selvedge_format::graph::{Function, Meet, PANEL};

use super::kernels::{self, ROWS, UNIT};
use super::{Graph, GraphScratch, Run};
use crate::buffer::refill_long;

impl Run<'_> {
    #[inline(never)]
    pub(super) fn meet(&mut self, meet: &Meet) {
        let graph = self.graph;
        let (candidates, width) = (self.candidates, meet.width as usize);
        let GraphScratch { columns, weights, .. } = &mut *self.memory;
        for head in 0..meet.heads {
            let [query, key] = [meet.query, meet.key].map(|first| first + head * meet.width);
            let [value, out] = [meet.value, meet.out].map(|first| first + head * meet.value_width);
            for row in (0..candidates).step_by(ROWS).filter(|_| width > 0) {
                refill_long(weights, candidates.next_multiple_of(PANEL) * ROWS, 0.0);
                let asking = &columns[graph.place(row, query)..][..width * ROWS];
                let (units, _) = weights.as_chunks_mut();
                for (panel, scores) in units.iter_mut().enumerate() {
                    add(&columns[graph.place(panel * PANEL, key)..], (ROWS, 1), asking, scores);
                }
                // What fills the last panel is no candidate.
                weights.truncate(candidates * ROWS);
                let mut most = [f32::NEG_INFINITY; ROWS];
                for scores in weights.chunks_exact(ROWS) {
                    let held = most;
                    kernels::apply(Function::Max, &mut most, &held, scores);
                }
                for scores in weights.chunks_exact_mut(ROWS) {
                    let mut below = [0.0; ROWS];
                    kernels::apply(Function::Subtract, &mut below, scores, &most);
                    kernels::apply(Function::Exp, scores, &below, &below);
                }
                for first in (0..meet.value_width).step_by(PANEL) {
                    let mut sums = [0.0; UNIT];
                    for (block, weights) in weights.chunks(ROWS * ROWS).enumerate() {
                        add(&columns[graph.place(block * ROWS, value + first)..], (1, ROWS), weights, &mut sums);
                    }
                    columns[graph.place(row, out + first)..][..UNIT].copy_from_slice(&sums);
                }
            }
            for column in (0..meet.value_width).filter(|_| width == 0) {
                // Functions are of vectors of four.
                let value = |row: usize| [columns[graph.place(row, value + column)]; PANEL];
                let mut held = value(0);
                for row in 1..candidates {
                    let before = held;
                    kernels::apply(meet.function, &mut held, &before, &value(row));
                }
                (0..candidates).for_each(|row| columns[graph.place(row, out + column)] = held[0]);
            }
        }
    }
}

impl Graph {
    /// Where a column of a candidate is among the columns of all.
    #[inline(never)]
    fn place(&self, row: usize, column: u32) -> usize {
        (row / ROWS * self.columns + column as usize) * ROWS + row % ROWS
    }
}

/// Adds the products of inputs with weights: how far it is to those of the next input, and to that of the next output.
#[inline(never)]
fn add(weights: &[f32], (step, distance): (usize, usize), inputs: &[f32], sums: &mut [f32; UNIT]) {
    for (part, inputs) in inputs.chunks(ROWS * ROWS).enumerate() {
        let mut packed = [[0.0; PANEL]; ROWS];
        for (input, packed) in packed.iter_mut().enumerate().take(inputs.len() / ROWS) {
            for (output, weight) in packed.iter_mut().enumerate() {
                *weight = weights[(part * ROWS + input) * step + output * distance];
            }
        }
        super::add(&packed[..inputs.len() / ROWS], inputs, ROWS, &[], sums);
    }
}

//! Tensor programs: dense layers, embeddings and everything between, over all candidates.
//!
//! Steps are interpreted for a tile of [`TILE`] candidates at a time, column by column, so that one step's dispatch is
//! shared by the tile, all values of a tile stay in the processor's cache, and memory does not grow with the request. What
//! is the same for all candidates is done once, before the first tile. The candidates of a tile never meet: a score does
//! not depend on who else is ranked, down to its bits.
//!
//! All loops are over whole vectors of rows. Sums run over inputs in their order, each in one accumulator, which gives one
//! answer with and without SIMD. Everything that could fail was refused by [`selvedge_format::graph::Graph::parse`].

mod kernels;

use alloc::vec::Vec;

use selvedge_format::DecodeError;
use selvedge_format::graph::{self, Combination, Each, Function, Gather, MAX_DIMS, Memory, Product, Step, View};

use crate::buffer::refill;
use kernels::{Column, ROWS, TILE};

/// A validated program.
#[derive(Debug)]
pub struct Graph {
    columns: usize,
    score: usize,
    request: usize,
    /// Done once per request, in order.
    of_request: Vec<Step>,
    /// Done for every tile, in order.
    of_candidates: Vec<Step>,
    constants: Vec<f32>,
}

/// The memories of a running program.
#[derive(Debug, Default)]
pub(super) struct GraphScratch {
    request: Vec<f32>,
    columns: Vec<Column>,
}

/// A value of one candidate moved, added or multiplied, in cost units of 1/64: about 0.5 ns on the machine where eight tree
/// tests take 2.
const MOVED: u64 = 16;
/// The same for a function that is a polynomial or worse.
const TRANSCENDENTAL: u64 = 48;
/// A product and its addition in a dense layer.
const MULTIPLIED: u64 = 2;

impl Graph {
    #[cold]
    pub(super) fn load(weights: &[u8], features: usize) -> Result<Self, DecodeError> {
        let parsed = graph::Graph::parse(weights, features)?;
        let (of_request, of_candidates) = parsed.steps.into_iter().partition(Step::is_of_request);
        Ok(Self {
            columns: parsed.columns,
            score: parsed.score,
            request: parsed.request,
            of_request,
            of_candidates,
            constants: parsed.constants.iter().collect(),
        })
    }

    pub(super) fn scores(&self, matrix: &[f32], stride: usize, scratch: &mut GraphScratch, scores: &mut [f32]) {
        let mut run = Run { constants: &self.constants, matrix, stride, start: 0, lanes: ROWS, memory: scratch };
        refill(&mut run.memory.request, self.request, 0.0);
        run.steps(&self.of_request);
        for (tile, scores) in scores.chunks_mut(TILE).enumerate() {
            run.start = tile * TILE;
            run.lanes = scores.len();
            // What is read before it is written must not tell of another request.
            refill(&mut run.memory.columns, self.columns, [0.0; TILE]);
            run.steps(&self.of_candidates);
            scores.copy_from_slice(&run.memory.columns[self.score][..run.lanes]);
        }
    }

    /// Cost units per candidate.
    pub(super) fn cost(&self) -> u64 {
        cost(&self.of_candidates)
    }

    /// Cost units per request.
    pub(super) fn request_cost(&self) -> u64 {
        cost(&self.of_request)
    }
}

#[inline(never)]
fn cost(steps: &[Step]) -> u64 {
    steps.iter().map(step_cost).sum::<u64>().div_ceil(64)
}

/// Cost of a step in 1/64 of a unit.
#[must_use]
pub fn step_cost(step: &Step) -> u64 {
    let unit = match step {
        Step::Product(_) => MULTIPLIED,
        Step::Each(each) if each.function >= Function::Exp => TRANSCENDENTAL,
        _ => MOVED,
    };
    step.work() * unit
}

/// A program on the way through a tile, or through what comes before all tiles.
struct Run<'a> {
    constants: &'a [f32],
    matrix: &'a [f32],
    stride: usize,
    /// First row of the tile.
    start: usize,
    /// Its rows, a multiple of [`ROWS`]; of a step of the request only the first counts.
    lanes: usize,
    memory: &'a mut GraphScratch,
}

impl Run<'_> {
    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Each(each) => self.each(each),
                Step::Product(product) => self.product(product),
                Step::Gather(gather) => self.gather(gather),
            }
        }
    }

    // Called from many places and long, as it copies a column.
    #[inline(never)]
    fn read(&self, memory: Memory, at: u32, column: &mut Column) {
        let at = at as usize;
        let all = match memory {
            Memory::Constants => self.constants[at],
            Memory::Request => self.memory.request[at],
            Memory::Candidates => {
                *column = self.memory.columns[at];
                return;
            }
            Memory::Features => {
                let values = &self.matrix[at * self.stride + self.start..][..self.lanes.min(self.stride)];
                column[..values.len()].copy_from_slice(values);
                return;
            }
        };
        column.fill(all);
    }

    #[inline(never)]
    fn write(&mut self, memory: Memory, at: u32, column: &Column) {
        match memory {
            Memory::Request => self.memory.request[at as usize] = column[0],
            _ => self.memory.columns[at as usize] = *column,
        }
    }

    fn each(&mut self, each: &Each) {
        const INNER: usize = MAX_DIMS - 1;
        let views = [&each.out, &each.left, &each.right];
        let mut at = views.map(|view| view.offset);
        let mut index = [0; MAX_DIMS];
        let (mut result, mut left, mut right) = ([0.0; TILE], [0.0; TILE], [0.0; TILE]);
        let is_unary = each.function == Function::Left || each.function >= Function::Exp;
        let needs_right = !is_unary || each.combination == Combination::Select;
        loop {
            let mut inner = at;
            for step in 0..each.sizes[INNER] {
                // A sum over the innermost dimension stays where it is.
                let is_kept = each.out.strides[INNER] == 0;
                if each.combination != Combination::Store && (step == 0 || !is_kept) {
                    self.read(each.out.memory, inner[0], &mut result);
                }
                self.read(each.left.memory, inner[1], &mut left);
                if needs_right {
                    self.read(each.right.memory, inner[2], &mut right);
                }
                kernels::apply(each.function, &mut left[..self.lanes], &right[..self.lanes]);
                kernels::combine(
                    each.combination,
                    &mut result[..self.lanes],
                    &left[..self.lanes],
                    &right[..self.lanes],
                );
                if !is_kept || step + 1 == each.sizes[INNER] {
                    self.write(each.out.memory, inner[0], &result);
                }
                advance(&mut inner, views, INNER);
            }
            // The next index of the outer dimensions, as an odometer counts.
            let mut dim = INNER;
            loop {
                if dim == 0 {
                    return;
                }
                dim -= 1;
                index[dim] += 1;
                advance(&mut at, views, dim);
                if index[dim] < each.sizes[dim] {
                    break;
                }
                for (at, view) in at.iter_mut().zip(views) {
                    *at -= view.strides[dim] * index[dim];
                }
                index[dim] = 0;
            }
        }
    }

    fn product(&mut self, product: &Product) {
        let Product { inputs, outputs, .. } = *product;
        let (inputs, outputs) = (inputs as usize, outputs as usize);
        let weights = &self.constants[product.weights as usize..][..inputs * outputs.next_multiple_of(graph::PANEL)];
        let (weights, _) = weights.as_chunks::<{ graph::PANEL }>();
        for position in 0..product.positions {
            let place = |view: &View<1>| (view.offset + view.strides[0] * position) as usize;
            let (out, input, start) = (place(&product.out), place(&product.input), place(&product.start));
            for (panel, weights) in weights.chunks_exact(inputs).enumerate() {
                let first = panel * graph::PANEL;
                let mut sums = [[0.0; TILE]; graph::PANEL];
                let count = graph::PANEL.min(outputs - first);
                for (at, sum) in sums[..count].iter_mut().enumerate() {
                    self.read(product.start.memory, (start + first + at) as u32, sum);
                }
                if product.out.memory == Memory::Request {
                    kernels::add_products_of_row(weights, &self.memory.request[input..input + inputs], &mut sums);
                } else {
                    let columns = &self.memory.columns[input..input + inputs];
                    kernels::add_products(weights, columns, self.lanes, &mut sums);
                }
                for (at, sum) in sums[..count].iter_mut().enumerate() {
                    kernels::apply(product.function, &mut sum[..self.lanes], &[0.0; TILE]);
                    self.write(product.out.memory, (out + first + at) as u32, sum);
                }
            }
        }
    }

    fn gather(&mut self, gather: &Gather) {
        let width = gather.width as usize;
        let table = &self.constants[gather.table as usize..][..gather.rows as usize * width];
        let mut ids = [0.0; TILE];
        for at in 0..gather.ids {
            self.read(gather.from.memory, gather.from.offset + gather.from.strides[0] * at, &mut ids);
            let out = (gather.out.offset + gather.out.strides[0] * at) as usize;
            let lanes = if gather.out.memory == Memory::Request { 1 } else { self.lanes };
            for (lane, id) in ids[..lanes].iter().enumerate() {
                let id = if *id < 0.0 { *id + gather.rows as f32 } else { *id };
                // A float becomes the nearest index; NaN becomes 0, so it is asked for by name.
                let row = table.chunks_exact(width).nth(id as usize).filter(|_| id >= 0.0);
                for value in 0..width {
                    let value_there = row.map_or(f32::NAN, |row| row[value]);
                    match gather.out.memory {
                        Memory::Request => self.memory.request[out + value] = value_there,
                        _ => self.memory.columns[out + value][lane] = value_there,
                    }
                }
            }
        }
    }
}

fn advance(at: &mut [u32; 3], views: [&View<MAX_DIMS>; 3], dim: usize) {
    for (at, view) in at.iter_mut().zip(views) {
        *at += view.strides[dim];
    }
}

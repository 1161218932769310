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

use selvedge_format::graph::{
    self, Combination, Each, Function, Gather, MAX_DIMS, Memory, Numbers, PANEL, Product, Step, View,
};
use selvedge_format::{DecodeError, U16s};

use kernels::{Column, ROWS, TILE, UNIT};

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
    /// With [`UNIT`] zeros at the end, as the memories have: what is read may be more than what is used.
    constants: Vec<f32>,
    /// Packed weights of layers of whole numbers, in pairs of inputs.
    pairs: Vec<[i32; PANEL]>,
    bytes: Vec<u8>,
}

/// The memories of a running program.
#[derive(Debug, Default)]
pub(super) struct GraphScratch {
    request: Vec<f32>,
    /// For each block of candidates its columns.
    columns: Vec<f32>,
    /// Inputs of a layer of whole numbers.
    pairs: Vec<i32>,
}

/// A value of one candidate moved, added or multiplied, in cost units of 1/64: about 0.5 ns on the machine where eight tree
/// tests take 2.
const MOVED: u64 = 16;
/// The same for a function that is a polynomial or worse.
const TRANSCENDENTAL: u64 = 48;
/// A product and its addition in a dense layer, and the same of bytes.
const MULTIPLIED: u64 = 2;
const BYTES_MULTIPLIED: u64 = 1;

impl Graph {
    #[cold]
    pub(super) fn load(weights: &[u8], features: usize) -> Result<Self, DecodeError> {
        let mut parsed = graph::Graph::parse(weights, features)?;
        let mut constants: Vec<f32> = parsed.constants.iter().collect();
        let mut pairs = Vec::new();
        for step in &mut parsed.steps {
            let Step::Product(product) = step else { continue };
            let (at, count) = (product.weights as usize, product.stored() as usize);
            match product.numbers {
                Numbers::Single => {}
                Numbers::Half => {
                    product.weights = constants.len() as u32;
                    product.numbers = Numbers::Single;
                    let halves = U16s::new(&parsed.bytes[at..][..2 * count]);
                    constants.extend(halves.iter().map(graph::widen));
                }
                Numbers::Byte { .. } => {
                    product.weights = pairs.len() as u32;
                    let (panels, _) = parsed.bytes[at..][..count].as_chunks::<{ 2 * PANEL }>();
                    let pair = |panel: &[u8; 2 * PANEL], at: usize| {
                        let [low, high] = [panel[2 * at], panel[2 * at + 1]].map(|byte| i32::from(byte as i8));
                        low & 0xffff | high << 16
                    };
                    pairs.extend(panels.iter().map(|panel| core::array::from_fn(|at| pair(panel, at))));
                }
            }
        }
        constants.resize(constants.len() + UNIT, 0.0);
        let (of_request, of_candidates) = parsed.steps.into_iter().partition(Step::is_of_request);
        Ok(Self {
            columns: parsed.columns,
            score: parsed.score,
            request: parsed.request,
            of_request,
            of_candidates,
            constants,
            pairs,
            bytes: parsed.bytes.to_vec(),
        })
    }

    /// Scores of as many rows as there are places for.
    pub(super) fn scores(&self, matrix: &[f32], stride: usize, scratch: &mut GraphScratch, scores: &mut [f32]) {
        let mut run = Run { graph: self, matrix, stride, start: 0, rows: 1, lanes: 1, memory: scratch };
        run.memory.request.clear();
        run.memory.request.resize(self.request + UNIT, 0.0);
        run.steps(&self.of_request);
        for (tile, scores) in scores.chunks_mut(TILE).enumerate() {
            run.start = tile * TILE;
            // A row alone is computed alone.
            run.rows = if scores.len() == 1 { 1 } else { ROWS };
            run.lanes = scores.len().next_multiple_of(run.rows);
            // What is read before it is written must not tell of another request.
            run.memory.columns.clear();
            run.memory.columns.resize(self.columns * run.lanes + UNIT, 0.0);
            run.steps(&self.of_candidates);
            let mut column = [0.0; TILE];
            run.read(Memory::Candidates, self.score as u32, &mut column);
            scores.copy_from_slice(&column[..scores.len()]);
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

fn cost(steps: &[Step]) -> u64 {
    let units = |step: &Step| {
        let unit = match step {
            Step::Product(Product { numbers: Numbers::Byte { .. }, .. }) => BYTES_MULTIPLIED,
            Step::Product(_) => MULTIPLIED,
            Step::Each(each) if each.function >= Function::Exp => TRANSCENDENTAL,
            _ => MOVED,
        };
        step.work() * unit
    };
    steps.iter().map(units).sum::<u64>().div_ceil(64)
}

/// A program on the way through a tile, or through what comes before all tiles.
struct Run<'a> {
    graph: &'a Graph,
    matrix: &'a [f32],
    stride: usize,
    /// First row of the tile.
    start: usize,
    /// Rows of a block: [`ROWS`], or 1.
    rows: usize,
    /// Rows of the tile, a multiple of those of a block; of a step of the request only the first counts.
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
            Memory::Constants => self.graph.constants[at],
            Memory::Request => self.memory.request[at],
            Memory::Candidates => {
                let blocks = self.memory.columns.chunks_exact(self.graph.columns * self.rows);
                for (lanes, block) in column.chunks_exact_mut(self.rows).zip(blocks) {
                    lanes.copy_from_slice(&block[at * self.rows..][..self.rows]);
                }
                return;
            }
            Memory::Features => {
                let values = &self.matrix[at * self.stride + self.start..][..self.lanes];
                column[..values.len()].copy_from_slice(values);
                return;
            }
        };
        column.fill(all);
    }

    #[inline(never)]
    fn write(&mut self, memory: Memory, at: u32, column: &Column) {
        let at = at as usize;
        if memory == Memory::Request {
            self.memory.request[at] = column[0];
            return;
        }
        let blocks = self.memory.columns.chunks_exact_mut(self.graph.columns * self.rows);
        for (lanes, block) in column.chunks_exact(self.rows).zip(blocks) {
            block[at * self.rows..][..self.rows].copy_from_slice(lanes);
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
        // Functions are of whole vectors, though one row alone is of interest.
        let lanes = self.lanes.next_multiple_of(ROWS);
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
                kernels::apply(each.function, &mut left[..lanes], &right[..lanes]);
                kernels::combine(each.combination, &mut result[..lanes], &left[..lanes], &right[..lanes]);
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
        let of_request = product.out.memory == Memory::Request;
        let (rows, blocks) = if of_request { (1, 1) } else { (self.rows, self.lanes / self.rows) };
        for position in 0..product.positions {
            for block in 0..blocks {
                self.layer(product, position, rows, block * self.graph.columns * rows);
            }
        }
    }

    /// A layer at one position, for the rows of a block, whose columns begin at `base`.
    fn layer(&mut self, product: &Product, position: u32, rows: usize, base: usize) {
        let Graph { constants, pairs, .. } = self.graph;
        let GraphScratch { request, columns, pairs: wholes } = &mut *self.memory;
        let of_request = product.out.memory == Memory::Request;
        let outputs = product.outputs as usize;
        let place = |view: &View<1>| (view.offset + view.strides[0] * position) as usize;
        let (inputs, input) = (product.inputs as usize, base + place(&product.input) * rows);
        let input = input..input + inputs * rows;
        if let Numbers::Byte { scales } = product.numbers {
            let input = if of_request { &request[input.clone()] } else { &columns[input.clone()] };
            kernels::quantise(input, rows, constants[scales as usize], wholes);
        }
        for first in (0..outputs).step_by(UNIT / rows) {
            let count = (UNIT / rows).min(outputs - first);
            let values = count * rows;
            let start = place(&product.start) + first;
            let (starts, own) = match product.start.memory {
                Memory::Candidates => (&columns[base + start * rows..], true),
                Memory::Request => (&request[start..], rows == 1),
                _ => (&constants[start..], rows == 1),
            };
            let mut sums = [0.0; UNIT];
            if own {
                sums.copy_from_slice(&starts[..UNIT]);
            } else {
                let (all, _) = sums.as_chunks_mut::<ROWS>();
                all.iter_mut().zip(starts).for_each(|(sums, start)| *sums = [*start; ROWS]);
            }
            let panels = count.div_ceil(PANEL);
            if let Numbers::Byte { scales } = product.numbers {
                let mut totals = [0; UNIT];
                let inputs = wholes.len() / rows;
                let weights = &pairs[product.weights as usize + first / PANEL * inputs..][..panels * inputs];
                add(weights, wholes, rows, &mut totals);
                let scales = &constants[scales as usize + 1 + first..][..count];
                let outputs = sums.chunks_exact_mut(rows).zip(totals.chunks_exact(rows));
                for ((sums, totals), scale) in outputs.zip(scales) {
                    sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum += *total as f32 * scale);
                }
            } else {
                let input = if of_request { &request[input.clone()] } else { &columns[input.clone()] };
                let weights = &constants[product.weights as usize + first * inputs..][..panels * PANEL * inputs];
                add(weights.as_chunks().0, input, rows, &mut sums);
            }
            kernels::apply(product.function, &mut sums, &[0.0; UNIT]);
            let memory = if of_request { &mut *request } else { &mut *columns };
            let out = &mut memory[base + (place(&product.out) + first) * rows..];
            // Copies of a size that is known are a few instructions.
            if values == UNIT {
                out[..UNIT].copy_from_slice(&sums);
            } else {
                out[..values].copy_from_slice(&sums[..values]);
            }
        }
    }

    fn gather(&mut self, gather: &Gather) {
        let (width, rows) = (gather.width as usize, gather.rows as usize);
        let Graph { constants, bytes, columns, .. } = self.graph;
        let table = gather.table as usize;
        let stored = |row: usize, value: usize| {
            let at = row * width + value;
            match gather.numbers {
                Numbers::Single => constants[table + at],
                Numbers::Half => graph::widen(U16s::new(&bytes[table..]).get(at)),
                Numbers::Byte { scales } => f32::from(bytes[table + at] as i8) * constants[scales as usize + row],
            }
        };
        let mut ids = [0.0; TILE];
        for at in 0..gather.ids {
            self.read(gather.from.memory, gather.from.offset + gather.from.strides[0] * at, &mut ids);
            let out = (gather.out.offset + gather.out.strides[0] * at) as usize;
            let lanes = if gather.out.memory == Memory::Request { 1 } else { self.lanes };
            for (lane, id) in ids[..lanes].iter().enumerate() {
                let id = if *id < 0.0 { *id + rows as f32 } else { *id };
                // A float becomes the nearest index; NaN becomes 0, so it is asked for by name.
                let row = Some(id as usize).filter(|row| *row < rows && id >= 0.0);
                for value in 0..width {
                    let value_there = row.map_or(f32::NAN, |row| stored(row, value));
                    let place = out + value;
                    match gather.out.memory {
                        Memory::Request => self.memory.request[place] = value_there,
                        _ => {
                            let block = lane / self.rows * columns + place;
                            self.memory.columns[block * self.rows + lane % self.rows] = value_there;
                        }
                    }
                }
            }
        }
    }
}

fn add<N: kernels::Number>(weights: &[[N; PANEL]], inputs: &[N], rows: usize, sums: &mut [N; UNIT]) {
    if rows == 1 {
        kernels::add_products_of_row(weights, inputs, sums);
    } else {
        kernels::add_products(weights, inputs, sums);
    }
}

fn advance(at: &mut [u32; 3], views: [&View<MAX_DIMS>; 3], dim: usize) {
    for (at, view) in at.iter_mut().zip(views) {
        *at += view.strides[dim];
    }
}

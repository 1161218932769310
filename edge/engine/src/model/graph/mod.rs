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

use crate::buffer::refill;
use kernels::{ROWS, RUN, TILE, UNIT, VECTOR};

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
    /// Outputs of a layer for a block, on their way.
    sums: Vec<f32>,
    /// Inputs of a layer of whole numbers, its sums, and what they are multiplied with.
    wholes: Vec<i32>,
    totals: Vec<i32>,
    scaled: Vec<f32>,
}

/// The innermost dimension of a function over an index space.
const INNER: usize = MAX_DIMS - 1;

/// A memory, the first value there, and the way to the next.
type Place = (Memory, usize, usize);

/// A value of one candidate moved, added or multiplied, in cost units of 1/64: about 0.5 ns on the machine where eight tree
/// tests take 2.
const MOVED: u64 = 16;
/// The same for a function that is a polynomial or worse.
const TRANSCENDENTAL: u64 = 48;
/// A product and its addition in a dense layer; those of bytes save a seventh, which is not worth a unit of their own.
const MULTIPLIED: u64 = 2;

impl Graph {
    #[cold]
    pub(super) fn load(weights: &[u8], features: usize) -> Result<Self, DecodeError> {
        let mut parsed = graph::Graph::parse(weights, features)?;
        let (mut constants, pairs) = parsed.unpack();
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
        refill(&mut run.memory.request, self.request + UNIT, 0.0);
        run.steps(&self.of_request);
        for (tile, scores) in scores.chunks_mut(TILE).enumerate() {
            run.start = tile * TILE;
            // A row alone is computed alone.
            run.rows = if scores.len() == 1 { 1 } else { ROWS };
            run.lanes = scores.len().next_multiple_of(run.rows);
            // What is read before it is written must not tell of another request.
            refill(&mut run.memory.columns, self.columns * run.lanes + UNIT, 0.0);
            run.steps(&self.of_candidates);
            for (block, scores) in scores.chunks_mut(run.rows).enumerate() {
                let mut column = [0.0; ROWS];
                run.read((Memory::Candidates, self.score, 1), (block, run.rows), run.rows, &mut column[..run.rows]);
                scores.copy_from_slice(&column[..scores.len()]);
            }
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

    /// Rows of a block, and how many blocks there are for a result in that memory.
    const fn blocks(&self, out: Memory) -> (usize, usize) {
        match out {
            Memory::Request => (1, 1),
            _ => (self.rows, self.lanes / self.rows),
        }
    }

    /// Reads values of a block one after the other into places of `pitch`; of a value that is there once, all are that.
    #[inline(never)]
    fn read(&self, (memory, at, stride): Place, (block, rows): (usize, usize), pitch: usize, values: &mut [f32]) {
        let columns = &self.memory.columns;
        let from = match memory {
            Memory::Constants | Memory::Request => {
                let from = if memory == Memory::Request { &self.memory.request } else { &self.graph.constants };
                let mut at = at;
                for value in values.chunks_exact_mut(pitch) {
                    value.fill(from[at]);
                    at += stride;
                }
                return;
            }
            Memory::Candidates if stride == 1 && pitch == rows => {
                let from = (block * self.graph.columns + at) * rows;
                values.copy_from_slice(&columns[from..from + values.len()]);
                return;
            }
            Memory::Candidates => (columns.as_slice(), (block * self.graph.columns + at) * rows, stride * rows),
            Memory::Features => (self.matrix, at * self.stride + self.start + block * rows, stride * self.stride),
        };
        let (from, mut at, stride) = from;
        for value in values.chunks_exact_mut(pitch) {
            move_rows(value, &from[at..], rows);
            at += stride;
        }
    }

    #[inline(never)]
    fn write(&mut self, (memory, at, stride): Place, (block, rows): (usize, usize), pitch: usize, values: &[f32]) {
        let (to, mut at) = match memory {
            Memory::Request => (&mut self.memory.request, at),
            _ => (&mut self.memory.columns, (block * self.graph.columns + at) * rows),
        };
        if stride == 1 && pitch == rows {
            to[at..at + values.len()].copy_from_slice(values);
            return;
        }
        for value in values.chunks_exact(pitch) {
            move_rows(&mut to[at..], value, rows);
            at += stride * rows;
        }
    }

    fn each(&mut self, each: &Each) {
        let views = [&each.out, &each.left, &each.right];
        let mut at = views.map(|view| view.offset);
        let mut index = [0; MAX_DIMS];
        let mut buffers = [[0.0; RUN]; 3];
        let (rows, blocks) = self.blocks(each.out.memory);
        loop {
            for block in 0..blocks {
                self.run(each, at, (block, rows), &mut buffers);
            }
            // The next index of the outer dimensions, as an odometer counts.
            let mut dim = INNER;
            loop {
                if dim == 0 {
                    return;
                }
                dim -= 1;
                index[dim] += 1;
                for (at, view) in at.iter_mut().zip(views) {
                    *at += view.strides[dim];
                }
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

    /// The innermost dimension, for a block: as many values at once as a buffer holds.
    fn run(&mut self, each: &Each, at: [u32; 3], block: (usize, usize), buffers: &mut [[f32; RUN]; 3]) {
        let [result, left, right] = buffers;
        let place = |view: &View<MAX_DIMS>, at: u32| (view.memory, at as usize, view.strides[INNER] as usize);
        let (mut out, mut from_left, mut from_right) =
            (place(&each.out, at[0]), place(&each.left, at[1]), place(&each.right, at[2]));
        let is_unary = each.function == Function::Left || each.function >= Function::Exp;
        let needs_right = !is_unary || each.combination == Combination::Select;
        let needs_held = each.combination != Combination::Store;
        // A sum over the innermost dimension stays where it is. Functions are of whole vectors, though one row alone is of interest.
        let is_kept = out.2 == 0;
        let pitch = if is_kept { block.1.max(VECTOR) } else { block.1 };
        let size = each.sizes[INNER] as usize;
        // What reads its own results goes one by one.
        let overlaps = |from: Place| {
            from.0 == out.0 && from != out && from.1 <= out.1 + out.2 * size && out.1 <= from.1 + from.2 * size
        };
        let most = if overlaps(from_left) || overlaps(from_right) { 1 } else { RUN / pitch };
        if is_kept && needs_held {
            self.read(out, block, pitch, &mut result[..pitch]);
        }
        let mut rest = size;
        while rest > 0 {
            let count = most.min(rest);
            let values = count * pitch;
            let whole = values.next_multiple_of(VECTOR);
            self.read(from_left, block, pitch, &mut left[..values]);
            if needs_right {
                self.read(from_right, block, pitch, &mut right[..values]);
            }
            kernels::apply(each.function, &mut left[..whole], &right[..whole]);
            if !is_kept && needs_held {
                self.read(out, block, pitch, &mut result[..values]);
            }
            if is_kept || needs_held {
                let held = if is_kept { pitch } else { whole };
                kernels::combine(each.combination, &mut result[..held], &left[..whole], &right[..whole]);
            }
            if !is_kept {
                let value = if needs_held { &result } else { &left };
                self.write(out, block, pitch, &value[..values]);
            }
            for place in [&mut out, &mut from_left, &mut from_right] {
                place.1 += place.2 * count;
            }
            rest -= count;
        }
        if is_kept {
            self.write(out, block, pitch, &result[..pitch]);
        }
    }

    fn product(&mut self, product: &Product) {
        let (rows, blocks) = self.blocks(product.out.memory);
        let (inputs, outputs) = (product.inputs as usize, product.outputs as usize);
        let values = outputs * rows;
        let panels = outputs.div_ceil(PANEL);
        let Graph { constants, pairs, columns, .. } = self.graph;
        let GraphScratch { request, columns: candidates, sums, wholes, totals, scaled } = &mut *self.memory;
        // With what fills the last unit.
        let width = values.next_multiple_of(UNIT);
        sums.resize(width, 0.0);
        for position in 0..product.positions {
            let at = |view: &View<1>| (view.offset + view.strides[0] * position) as usize;
            let places = [&product.out, &product.input, &product.start].map(at);
            for block in 0..blocks {
                let [out, input, start] = places.map(|place| (block * columns + place) * rows);
                match product.start.memory {
                    Memory::Candidates => sums[..values].copy_from_slice(&candidates[start..][..values]),
                    Memory::Request => spread(&request[places[2]..], rows, sums),
                    _ => spread(&constants[places[2]..], rows, sums),
                }
                let memory = if product.out.memory == Memory::Request { &mut *request } else { &mut *candidates };
                let from = &memory[input..][..inputs * rows];
                if let Numbers::Byte { scales } = product.numbers {
                    let scales = &constants[scales as usize..];
                    kernels::quantise(from, rows, scales[0], wholes);
                    refill(totals, width, 0);
                    let weights = &pairs[product.weights as usize..][..panels * inputs.div_ceil(2)];
                    add(weights, wholes, rows, totals);
                    scaled.resize(width, 0.0);
                    spread(&scales[1..], rows, scaled);
                    for ((sum, total), scale) in sums.iter_mut().zip(&*totals).zip(&*scaled) {
                        *sum += *total as f32 * scale;
                    }
                } else {
                    let weights = &constants[product.weights as usize..][..panels * PANEL * inputs];
                    add(weights.as_chunks().0, from, rows, sums);
                }
                for sums in sums.chunks_mut(RUN) {
                    kernels::apply(product.function, sums, &[0.0; RUN][..sums.len()]);
                }
                memory[out..][..values].copy_from_slice(&sums[..values]);
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
        let (block_rows, blocks) = self.blocks(gather.out.memory);
        let mut ids = [0.0; TILE];
        for at in 0..gather.ids {
            let from = (gather.from.memory, (gather.from.offset + gather.from.strides[0] * at) as usize, 1);
            for (block, ids) in ids.chunks_mut(block_rows).enumerate().take(blocks) {
                self.read(from, (block, block_rows), block_rows, ids);
            }
            let out = (gather.out.offset + gather.out.strides[0] * at) as usize;
            for (lane, id) in ids[..blocks * block_rows].iter().enumerate() {
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

/// A value for each output and all `rows` of a block; those behind the last output stay as they are.
#[inline(never)]
fn spread(values: &[f32], rows: usize, outputs: &mut [f32]) {
    if rows == 1 {
        outputs.iter_mut().zip(values).for_each(|(output, value)| *output = *value);
    } else {
        let (outputs, _) = outputs.as_chunks_mut::<ROWS>();
        outputs.iter_mut().zip(values).for_each(|(rows, value)| *rows = [*value; ROWS]);
    }
}

/// Moves the first of so many rows: of the two numbers that there are, one copy is of a size that is known.
#[inline]
fn move_rows(to: &mut [f32], from: &[f32], rows: usize) {
    match (to.first_chunk_mut::<ROWS>(), from.first_chunk()) {
        (Some(to), Some(from)) if rows == ROWS => *to = *from,
        _ => to[0] = from[0],
    }
}

/// Adds the products of all panels, of which as many as make a unit are done at once.
fn add<N: kernels::Number>(weights: &[[N; PANEL]], inputs: &[N], rows: usize, sums: &mut [N]) {
    let (sums, _) = sums.as_chunks_mut::<4>();
    let (sums, _) = sums.as_chunks_mut::<8>();
    if rows == 1 {
        for (weights, sums) in weights.chunks(8 * inputs.len()).zip(sums) {
            kernels::add_products_of_row(weights, inputs, sums);
        }
    } else {
        kernels::add_products(weights, inputs, sums);
    }
}

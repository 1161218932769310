//! Tensor programs: dense layers, embeddings and everything between, over all candidates.
//!
//! Steps are interpreted for a block of [`ROWS`] candidates at a time: where values lie next to each other, a function is called
//! for a run of them, and memory does not grow with the request. What is the same for all candidates is done once, before the
//! first block. The candidates of a block never meet, so a score does not depend on who else is ranked, down to its bits, unless the
//! program has steps of a list.
//!
//! The columns of such a program are kept for all blocks instead of used again. Each of its steps is done for all blocks before the
//! next, those of the list ([`list`]) for all candidates at once. Rows that only fill a vector take no part.
//!
//! All loops are over whole vectors of rows. Sums run over inputs in their order, each in one accumulator, which gives one
//! answer with and without SIMD. Everything that could fail was refused by [`selvedge_format::graph::Graph::parse`].

mod kernels;
mod list;

use alloc::vec::Vec;

use selvedge_format::graph::{
    self, Combination, Each, Function, Gather, MAX_DIMS, Memory, Numbers, PANEL, Product, Step, View,
};
use selvedge_format::{DecodeError, U16s};

use crate::buffer::{refill_long, resize};
use kernels::{ROWS, RUN, UNIT, VECTOR};

/// A validated program.
#[derive(Debug)]
pub struct Graph {
    columns: usize,
    score: usize,
    request: usize,
    /// Done once per request, in order.
    of_request: Vec<Step>,
    /// Done for every block, in order, or for all candidates at once.
    of_candidates: Vec<Step>,
    /// Whether candidates meet.
    is_of_list: bool,
    /// Cost of what is done for each pair of candidates, in 1/64 of a unit.
    pair_cost: u64,
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
    /// What a function makes, and what it reads where that lies otherwise than it must; sums of a layer on their way.
    buffers: Vec<[f32; RUN]>,
    /// Inputs of a layer of whole numbers.
    wholes: Vec<i32>,
    /// Of eight rows that attend to the list: by candidate.
    weights: Vec<f32>,
}

/// The innermost dimension of a function over an index space.
const INNER: usize = MAX_DIMS - 1;

/// Buffers of a function: its value, what that is combined to, and its three operands.
const BUFFERS: usize = 5;

/// A memory, the first value there, and the way to the next.
type Place = (Memory, usize, usize);

/// A value of one candidate moved, added or multiplied, in cost units of 1/64: about 0.5 ns on the machine where eight tree
/// tests take 2.
const MOVED: u64 = 16;
/// The same for a function that is a polynomial or worse.
const TRANSCENDENTAL: u64 = 48;
/// A product and its addition in a dense layer; those of bytes save a seventh, which is not worth a unit of their own.
const MULTIPLIED: u64 = 2;
/// The same among candidates, whose weights are packed for every eight rows.
const ATTENDED: u64 = 8;
/// What the weight of a pair of candidates is for a head, besides its products.
const WEIGHED: u64 = 160;

impl Graph {
    #[cold]
    pub(super) fn load(weights: &[u8], features: usize) -> Result<Self, DecodeError> {
        let mut parsed = graph::Graph::parse(weights, features)?;
        let (mut constants, pairs) = parsed.unpack();
        constants.resize(constants.len() + UNIT, 0.0);
        let (mut is_of_list, mut pair_cost) = (false, 0);
        for step in &parsed.steps {
            if let Step::Meet(meet) = step {
                is_of_list = true;
                pair_cost += if meet.width > 0 { step_cost(step) } else { 0 };
            }
        }
        let (of_request, of_candidates) = parsed.steps.into_iter().partition(Step::is_of_request);
        Ok(Self {
            columns: parsed.columns,
            score: parsed.score,
            request: parsed.request,
            of_request,
            of_candidates,
            is_of_list,
            pair_cost,
            constants,
            pairs,
            bytes: parsed.bytes.to_vec(),
        })
    }

    /// Scores of as many rows as there are places for.
    pub(super) fn scores(&self, matrix: &[f32], stride: usize, scratch: &mut GraphScratch, scores: &mut [f32]) {
        let mut run = Run { graph: self, matrix, stride, start: 0, first: 0, candidates: 1, rows: 1, memory: scratch };
        refill_long(&mut run.memory.request, self.request + UNIT, 0.0);
        resize(&mut run.memory.buffers, BUFFERS, [0.0; RUN]);
        self.of_request.iter().for_each(|step| run.step(step));
        let together = if self.is_of_list { scores.len() } else { ROWS };
        for (group, scores) in scores.chunks_mut(together).enumerate() {
            // A row alone is computed alone, unless it is a list.
            run.rows = if scores.len() == 1 && !self.is_of_list { 1 } else { ROWS };
            let lanes = scores.len().next_multiple_of(run.rows);
            // What is read before it is written must not tell of another request.
            refill_long(&mut run.memory.columns, self.columns * lanes + UNIT, 0.0);
            run.candidates = scores.len();
            for step in &self.of_candidates {
                for first in (0..lanes).step_by(ROWS) {
                    run.start = group * ROWS + first;
                    run.first = first * self.columns;
                    run.step(step);
                }
            }
            for (block, scores) in scores.chunks_mut(run.rows).enumerate() {
                let at = (block * self.columns + self.score) * run.rows;
                scores.copy_from_slice(&run.memory.columns[at..][..scores.len()]);
            }
        }
    }

    /// Cost units per candidate.
    pub(super) fn cost(&self) -> u64 {
        (cost(&self.of_candidates) - self.pair_cost).div_ceil(64)
    }

    /// Cost units of a request besides those of each of its candidates: what is done once, and for each pair.
    #[inline(never)]
    pub(super) fn request_cost(&self, candidates: u64) -> u64 {
        // Exact as far as any limit reaches, and more than all of them beyond.
        let of_pairs = candidates as f64 * candidates as f64 * self.pair_cost as f64;
        cost(&self.of_request).saturating_add(of_pairs as u64).div_ceil(64)
    }
}

/// Cost in 1/64 of a unit.
#[inline(never)]
fn cost(steps: &[Step]) -> u64 {
    steps.iter().map(step_cost).sum()
}

/// Cost of a step in 1/64 of a unit, each time that it is done.
#[must_use]
pub fn step_cost(step: &Step) -> u64 {
    let (unit, more) = match step {
        Step::Product(_) => (MULTIPLIED, 0),
        Step::Meet(meet) if meet.width > 0 => (ATTENDED, u64::from(meet.heads) * WEIGHED),
        Step::Each(each) if each.function >= Function::Exp => (TRANSCENDENTAL, 0),
        Step::Meet(_) => (TRANSCENDENTAL, 0),
        _ => (MOVED, 0),
    };
    step.work() * unit + more
}

/// A program on the way through a block of candidates, or through what comes before them.
struct Run<'a> {
    graph: &'a Graph,
    matrix: &'a [f32],
    stride: usize,
    /// First row of the block.
    start: usize,
    /// Where its columns begin.
    first: usize,
    /// Those whose columns are there.
    candidates: usize,
    /// How many rows it has: [`ROWS`], or 1.
    rows: usize,
    memory: &'a mut GraphScratch,
}

impl Run<'_> {
    #[inline(never)]
    fn step(&mut self, step: &Step) {
        match step {
            Step::Each(each) => self.each(each),
            Step::Product(product) => self.product(product),
            Step::Gather(gather) => self.gather(gather),
            // The first block's turn is that of all.
            Step::Meet(meet) if self.first == 0 => self.meet(meet),
            Step::Meet(_) => {}
        }
    }

    /// Rows of a result in that memory.
    fn rows(&self, out: Memory) -> usize {
        if out == Memory::Request { 1 } else { self.rows }
    }

    /// Values one after the other, each of so many rows: where they lie like that, or copied.
    #[inline(never)]
    fn values<'v>(&'v self, (memory, at, stride): Place, rows: usize, copy: &'v mut [f32]) -> &'v [f32] {
        // The first value, how far the next is from it, and how many rows it has: where it has one, that holds for all.
        let (from, mut at, stride, there) = match memory {
            Memory::Constants => (self.graph.constants.as_slice(), at, stride, 1),
            Memory::Request => (self.memory.request.as_slice(), at, stride, 1),
            Memory::Candidates => (self.memory.columns.as_slice(), self.first + at * rows, stride * rows, rows),
            Memory::Features => (self.matrix, at * self.stride + self.start, stride * self.stride, rows),
        };
        if there == rows && stride == rows && at + copy.len() <= from.len() {
            return &from[at..][..copy.len()];
        }
        if there < rows && stride == 1 {
            spread(&from[at..], rows, copy);
        } else if rows == ROWS {
            // Of a size that is known: a few instructions each.
            let (values, _) = copy.as_chunks_mut::<ROWS>();
            for value in values {
                *value = match from[at..].first_chunk() {
                    Some(from) if there == ROWS => *from,
                    _ => [from[at]; ROWS],
                };
                at += stride;
            }
        } else {
            // The last vector of a row alone may reach past the features.
            for value in &mut *copy {
                *value = from.get(at).copied().unwrap_or_default();
                at += stride;
            }
        }
        copy
    }

    #[inline(never)]
    fn write(&mut self, (memory, at, stride): Place, rows: usize, values: &[f32]) {
        let to = match memory {
            Memory::Request => &mut self.memory.request[at..],
            _ => &mut self.memory.columns[self.first + at * rows..],
        };
        if stride == 1 {
            to[..values.len()].copy_from_slice(values);
            return;
        }
        for (at, value) in values.chunks_exact(rows).enumerate() {
            let to = &mut to[at * stride * rows..];
            match (to.first_chunk_mut::<ROWS>(), value.first_chunk()) {
                (Some(to), Some(value)) if rows == ROWS => *to = *value,
                _ => to[0] = value[0],
            }
        }
    }

    fn each(&mut self, each: &Each) {
        let views = [&each.out, &each.left, &each.right];
        let mut at = views.map(|view| view.offset);
        let mut index = [0; MAX_DIMS];
        let mut buffers = core::mem::take(&mut self.memory.buffers);
        'all: loop {
            self.run(each, at, &mut buffers);
            // The next index of the outer dimensions, as an odometer counts.
            let mut dim = INNER;
            loop {
                if dim == 0 {
                    break 'all;
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
        self.memory.buffers = buffers;
    }

    /// The innermost dimension: as many values at once as a buffer holds.
    fn run(&mut self, each: &Each, at: [u32; 3], buffers: &mut [[f32; RUN]]) {
        let [result, value, copy_of_left, copy_of_right, copy_of_held] = buffers else { return };
        let place = |view: &View<MAX_DIMS>, at: u32| (view.memory, at as usize, view.strides[INNER] as usize);
        let (mut out, mut left, mut right) =
            (place(&each.out, at[0]), place(&each.left, at[1]), place(&each.right, at[2]));
        let rows = self.rows(out.0);
        let is_unary = each.function == Function::Left || each.function >= Function::Exp;
        if is_unary && each.combination != Combination::Select {
            right = left;
        }
        let size = each.sizes[INNER] as usize;
        // What reads its own results goes one by one, as what is summed in one place does.
        let overlaps = |from: Place| {
            from.0 == out.0 && from != out && from.1 <= out.1 + out.2 * size && out.1 <= from.1 + from.2 * size
        };
        let most = if out.2 == 0 || overlaps(left) || overlaps(right) { 1 } else { RUN / rows };
        let mut rest = size;
        while rest > 0 {
            let count = most.min(rest);
            // Functions are of whole vectors, though one row alone is of interest.
            let whole = (count * rows).next_multiple_of(VECTOR);
            let from_left = self.values(left, rows, &mut copy_of_left[..whole]);
            let from_right = self.values(right, rows, &mut copy_of_right[..whole]);
            kernels::apply(each.function, &mut value[..whole], from_left, from_right);
            let mut written = &*value;
            if each.combination != Combination::Store {
                let held = self.values(out, rows, &mut copy_of_held[..whole]);
                kernels::combine(each.combination, &mut result[..whole], held, &value[..whole], from_right);
                written = result;
            }
            self.write(out, rows, &written[..count * rows]);
            for place in [&mut out, &mut left, &mut right] {
                place.1 += place.2 * count;
            }
            rest -= count;
        }
    }

    fn product(&mut self, product: &Product) {
        let rows = self.rows(product.out.memory);
        let (inputs, outputs) = (product.inputs as usize, product.outputs as usize);
        let Graph { constants, pairs, .. } = self.graph;
        let GraphScratch { request, columns, wholes, buffers, .. } = &mut *self.memory;
        let [sums, totals, with_addend, ..] = buffers.as_mut_slice() else { return };
        let totals: &mut [i32; RUN] = bytemuck::cast_mut(totals);
        let (request, candidates) = (request.as_mut_slice(), &mut columns[self.first..]);
        for position in 0..product.positions {
            let at = |view: &View<1>| (view.offset + view.strides[0] * position) as usize;
            let [out, input, start, addend] = [&product.out, &product.input, &product.start, &product.addend].map(at);
            // As many outputs at once as a buffer holds: their sums never leave the nearest cache.
            for first in (0..outputs).step_by(RUN / rows) {
                let values = (outputs - first).min(RUN / rows) * rows;
                // With what fills the last panel.
                let panels = first / PANEL..(first + values / rows).div_ceil(PANEL);
                let from = match product.start.memory {
                    Memory::Candidates => &candidates[(start + first) * rows..],
                    Memory::Request => &request[start + first..],
                    _ => &constants[start + first..],
                };
                let memory = if product.out.memory == Memory::Request { &*request } else { &*candidates };
                let inputs_there = &memory[input * rows..][..inputs * rows];
                let weights = |inputs: usize| panels.start * inputs..panels.end * inputs;
                if let Numbers::Byte { scales } = product.numbers {
                    let scales = &constants[scales as usize..];
                    if first == 0 {
                        kernels::quantise(inputs_there, rows, scales[0], wholes);
                    }
                    *totals = [0; RUN];
                    let weights = &pairs[product.weights as usize..][weights(inputs.div_ceil(2))];
                    add(weights, wholes, rows, &[], &mut totals[..]);
                    begin(product.start.memory, from, rows, &mut sums[..values]);
                    let whole = values.next_multiple_of(VECTOR);
                    kernels::add_scaled(&scales[1 + first..], rows, totals, &mut sums[..whole]);
                } else {
                    let all = if product.numbers == Numbers::Request { &*request } else { constants };
                    let packed = &all[product.weights as usize..][weights(PANEL * inputs)];
                    let mut starts = from;
                    // One number for each output is spread by the kernel itself.
                    if rows == 1 || product.start.memory == Memory::Candidates {
                        begin(product.start.memory, from, rows, &mut sums[..values]);
                        starts = &[];
                    }
                    add(packed.as_chunks().0, inputs_there, rows, starts, &mut sums[..]);
                }
                let whole = values.next_multiple_of(VECTOR);
                let mut sums = &*sums;
                if product.addend.memory == Memory::Candidates {
                    kernels::apply(
                        Function::Add,
                        &mut with_addend[..whole],
                        sums,
                        &candidates[(addend + first) * rows..],
                    );
                    sums = with_addend;
                }
                // Of a row alone the last vector may reach into what lies behind, which stays as it is.
                let memory = if product.out.memory == Memory::Request { &mut *request } else { &mut *candidates };
                let out = &mut memory[(out + first) * rows..][..values + VECTOR];
                let mut behind = [0.0; VECTOR];
                behind.copy_from_slice(&out[values..]);
                match product.function {
                    Function::Max => kernels::relu(&mut out[..whole], &sums[..whole]),
                    function => kernels::apply(function, &mut out[..whole], &sums[..whole], &[0.0; RUN]),
                }
                out[values..].copy_from_slice(&behind);
            }
        }
    }

    fn gather(&mut self, gather: &Gather) {
        let (width, rows) = (gather.width as usize, gather.rows as usize);
        let Graph { constants, bytes, .. } = self.graph;
        let table = gather.table as usize;
        let stored = |row: usize, value: usize| {
            let at = row * width + value;
            match gather.numbers {
                Numbers::Single | Numbers::Request => constants[table + at],
                Numbers::Half => graph::widen(U16s::new(&bytes[table..]).get(at)),
                Numbers::Byte { scales } => f32::from(bytes[table + at] as i8) * constants[scales as usize + row],
            }
        };
        let lanes = self.rows(gather.out.memory);
        let mut copy = [0.0; ROWS];
        for at in 0..gather.ids {
            let from = (gather.from.memory, (gather.from.offset + gather.from.strides[0] * at) as usize, 1);
            let out = (gather.out.offset + gather.out.strides[0] * at) as usize;
            let mut ids = [0.0; ROWS];
            ids[..lanes].copy_from_slice(self.values(from, lanes, &mut copy[..lanes]));
            for (lane, id) in ids[..lanes].iter().enumerate() {
                let id = if *id < 0.0 { *id + rows as f32 } else { *id };
                // A float becomes the nearest index; NaN becomes 0, so it is asked for by name.
                let row = Some(id as usize).filter(|row| *row < rows && id >= 0.0);
                for value in 0..width {
                    let value_there = row.map_or(f32::NAN, |row| stored(row, value));
                    let place = out + value;
                    match gather.out.memory {
                        Memory::Request => self.memory.request[place] = value_there,
                        _ => self.memory.columns[self.first + place * lanes + lane] = value_there,
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

/// What sums start from: numbers of a block, or of each output.
fn begin(memory: Memory, from: &[f32], rows: usize, sums: &mut [f32]) {
    if memory == Memory::Candidates {
        sums.copy_from_slice(&from[..sums.len()]);
    } else {
        spread(from, rows, sums);
    }
}

/// Adds the products of all panels, of which as many as make a unit are done at once, to the sums or to what they start from.
fn add<N: kernels::Number>(weights: &[[N; PANEL]], inputs: &[N], rows: usize, starts: &[N], sums: &mut [N]) {
    let (sums, _) = sums.as_chunks_mut::<4>();
    let (sums, _) = sums.as_chunks_mut::<8>();
    if rows == 1 {
        for (weights, sums) in weights.chunks(8 * inputs.len()).zip(sums) {
            kernels::add_products_of_row(weights, inputs, sums);
        }
    } else {
        kernels::add_products(weights, inputs, starts, sums);
    }
}

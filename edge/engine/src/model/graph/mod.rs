//! Tensor programs: dense layers, embeddings and everything between, over all candidates.
//!
//! Steps are interpreted for a tile of [`TILE`] candidates at a time, column by column, so that one step's dispatch is
//! shared by the tile, all values of a tile stay in the processor's cache, and memory does not grow with the request. What
//! is the same for all candidates is done once, before the first tile. The candidates of a tile never meet, so a score does not
//! depend on who else is ranked, down to its bits, unless the program has steps of a list.
//!
//! The columns of such a program are kept for all tiles instead of used again. Each of its steps is done for all tiles before the
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

use crate::buffer::refill;
use kernels::{Column, ROWS, TILE, UNIT};

/// A validated program.
#[derive(Debug)]
pub struct Graph {
    columns: usize,
    score: usize,
    request: usize,
    /// Done once per request, in order.
    of_request: Vec<Step>,
    /// Done for every tile, in order, or for all candidates at once.
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
    /// Inputs of a layer of whole numbers.
    pairs: Vec<i32>,
    /// Of eight rows that attend to the list: by candidate.
    weights: Vec<f32>,
}

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
        let mut run =
            Run { graph: self, matrix, stride, start: 0, first: 0, candidates: 1, rows: 1, lanes: 1, memory: scratch };
        refill(&mut run.memory.request, self.request + UNIT, 0.0);
        self.of_request.iter().for_each(|step| run.step(step));
        let together = if self.is_of_list { scores.len() } else { TILE };
        for (group, scores) in scores.chunks_mut(together).enumerate() {
            // A row alone is computed alone, unless it is a list.
            run.rows = if scores.len() == 1 && !self.is_of_list { 1 } else { ROWS };
            let lanes = scores.len().next_multiple_of(run.rows);
            // What is read before it is written must not tell of another request.
            refill(&mut run.memory.columns, self.columns * lanes + UNIT, 0.0);
            run.candidates = scores.len();
            for step in &self.of_candidates {
                for first in (0..lanes).step_by(TILE) {
                    run.start = group * TILE + first;
                    run.first = first * self.columns;
                    run.lanes = TILE.min(lanes - first);
                    run.step(step);
                }
            }
            for (tile, scores) in scores.chunks_mut(TILE).enumerate() {
                run.first = tile * TILE * self.columns;
                let mut column = [0.0; TILE];
                run.read(Memory::Candidates, self.score as u32, &mut column);
                scores.copy_from_slice(&column[..scores.len()]);
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

/// A program on the way through a tile, or through what comes before all tiles.
struct Run<'a> {
    graph: &'a Graph,
    matrix: &'a [f32],
    stride: usize,
    /// First row of the tile.
    start: usize,
    /// Where its columns begin.
    first: usize,
    /// Those whose columns are there.
    candidates: usize,
    /// Rows of a block: [`ROWS`], or 1.
    rows: usize,
    /// Rows of the tile, a multiple of those of a block; of a step of the request only the first counts.
    lanes: usize,
    memory: &'a mut GraphScratch,
}

impl Run<'_> {
    #[inline(never)]
    fn step(&mut self, step: &Step) {
        match step {
            Step::Each(each) => self.each(each),
            Step::Product(product) => self.product(product),
            Step::Gather(gather) => self.gather(gather),
            // The first tile's turn is that of all.
            Step::Meet(meet) if self.first == 0 => self.meet(meet),
            Step::Meet(_) => {}
        }
    }

    /// Whether features of a row that is alone go side by side where the row's values are, as most programs begin.
    fn is_copy_of_row(&self, each: &Each) -> bool {
        self.stride == 1
            && (each.function, each.combination) == (Function::Left, Combination::Store)
            && each.left.memory == Memory::Features
            && each.sizes[..MAX_DIMS - 1].iter().all(|size| *size == 1)
            && each.left.strides[MAX_DIMS - 1] == 1
            && each.out.strides[MAX_DIMS - 1] == 1
    }

    fn copy_row(&mut self, each: &Each) {
        let count = each.sizes[MAX_DIMS - 1] as usize;
        let memory = &mut *self.memory;
        let memory = if each.out.memory == Memory::Request { &mut memory.request } else { &mut memory.columns };
        memory[each.out.offset as usize..][..count].copy_from_slice(&self.matrix[each.left.offset as usize..][..count]);
    }

    // Called from many places and long, as it copies a column.
    #[inline(never)]
    fn read(&self, memory: Memory, at: u32, column: &mut Column) {
        let at = at as usize;
        let all = match memory {
            Memory::Constants => self.graph.constants[at],
            Memory::Request => self.memory.request[at],
            Memory::Candidates => {
                let blocks = self.memory.columns[self.first..].chunks_exact(self.graph.columns * self.rows);
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
        let blocks = self.memory.columns[self.first..].chunks_exact_mut(self.graph.columns * self.rows);
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
        let Graph { constants, .. } = self.graph;
        let memory = &mut *self.memory;
        for position in 0..product.positions {
            let at = |view: &View<1>| (view.offset + view.strides[0] * position) as usize;
            let mut layer = Layer {
                graph: self.graph,
                product,
                first: self.first,
                rows,
                places: [&product.out, &product.input, &product.start].map(at),
                memory: &mut *memory,
            };
            if let Numbers::Byte { scales } = product.numbers {
                layer.memory.pairs.clear();
                for block in 0..blocks {
                    layer.quantise(block, constants[scales as usize]);
                }
            }
            for first in (0..product.outputs as usize).step_by(UNIT / rows) {
                for block in 0..blocks {
                    layer.unit(first, block);
                }
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
                            self.memory.columns[self.first + block * self.rows + lane % self.rows] = value_there;
                        }
                    }
                }
            }
        }
    }
}

/// A dense layer at one of its positions.
struct Layer<'a> {
    graph: &'a Graph,
    product: &'a Product,
    /// Where the tile's columns begin.
    first: usize,
    /// Of a block.
    rows: usize,
    /// Of result, input and start.
    places: [usize; 3],
    memory: &'a mut GraphScratch,
}

impl Layer<'_> {
    /// Where a place of a block is in its memory.
    fn at(&self, block: usize, place: usize) -> usize {
        self.first + (block * self.graph.columns + place) * self.rows
    }

    fn inputs(&self, block: usize) -> &[f32] {
        let from = self.at(block, self.places[1]);
        let memory =
            if self.product.out.memory == Memory::Request { &self.memory.request } else { &self.memory.columns };
        &memory[from..from + self.product.inputs as usize * self.rows]
    }

    /// Adds a block's inputs as whole numbers to those of the blocks before it.
    fn quantise(&mut self, block: usize, multiplier: f32) {
        let mut pairs = core::mem::take(&mut self.memory.pairs);
        kernels::quantise(self.inputs(block), self.rows, multiplier, &mut pairs);
        self.memory.pairs = pairs;
    }

    /// As many outputs from the `first` on as are computed at once, for the rows of a block.
    fn unit(&mut self, first: usize, block: usize) {
        let Graph { constants, pairs, .. } = self.graph;
        let (product, rows) = (self.product, self.rows);
        let (inputs, outputs) = (product.inputs as usize, product.outputs as usize);
        let count = (UNIT / rows).min(outputs - first);
        let (values, panels) = (count * rows, count.div_ceil(PANEL));
        let start = self.places[2] + first;
        let mut sums = match product.start.memory {
            Memory::Candidates => spread(&self.memory.columns[self.at(block, start)..], 1),
            Memory::Request => spread(&self.memory.request[start..], rows),
            _ => spread(&constants[start..], rows),
        };
        if let Numbers::Byte { scales } = product.numbers {
            let inputs = inputs.div_ceil(2);
            let weights = &pairs[product.weights as usize + first / PANEL * inputs..][..panels * inputs];
            let wholes = &self.memory.pairs[block * inputs * rows..][..inputs * rows];
            let mut totals = [0; UNIT];
            add(weights, wholes, rows, &mut totals);
            let scales = spread(&constants[scales as usize + 1 + first..], rows);
            for at in 0..UNIT {
                sums[at] += totals[at] as f32 * scales[at];
            }
        } else {
            let weights = &constants[product.weights as usize + first * inputs..][..panels * PANEL * inputs];
            add(weights.as_chunks().0, self.inputs(block), rows, &mut sums);
        }
        kernels::apply(product.function, &mut sums, &[0.0; UNIT]);
        let out = self.at(block, self.places[0] + first);
        let memory = &mut *self.memory;
        let memory = if product.out.memory == Memory::Request { &mut memory.request } else { &mut memory.columns };
        // A copy of a size that is known is a few instructions.
        if values == UNIT {
            memory[out..][..UNIT].copy_from_slice(&sums);
        } else {
            memory[out..][..values].copy_from_slice(&sums[..values]);
        }
    }
}

/// Values for a unit: one for each output and all `rows` of a block, or where there is one for each row, as they are.
#[inline(never)]
fn spread(values: &[f32], rows: usize) -> [f32; UNIT] {
    let mut unit = [0.0; UNIT];
    if rows == 1 {
        unit.copy_from_slice(&values[..UNIT]);
    } else {
        let (outputs, _) = unit.as_chunks_mut::<ROWS>();
        outputs.iter_mut().zip(values).for_each(|(rows, value)| *rows = [*value; ROWS]);
    }
    unit
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

//! A tensor program as plainly as can be: one number after the other, for one candidate after the other; where candidates
//! meet, once all have come as far.
//!
//! It is what the proof of a quantised program compares the engine with, bit for bit, and what shows the inputs of layers while they
//! are calibrated. It shares nothing with the engine but the transcendental functions, of which there is one kind on purpose.

use selvedge_engine::math;
use selvedge_format::U16s;
use selvedge_format::graph::{
    Combination, Each, Function, Gather, Graph, INPUT_MOST, MAX_DIMS, Meet, Memory, Numbers, PANEL, Product, Step,
    View, widen,
};
use wide::f32x4;

/// A program and its memories.
pub(super) struct Reference<'a> {
    graph: &'a Graph<'a>,
    request: Vec<f32>,
    candidates: Vec<Vec<f32>>,
    /// Whose turn it is.
    candidate: usize,
}

/// Who is told the inputs of every layer, with the position of its step.
pub(super) type Seen<'s> = dyn FnMut(usize, &[f32]) + 's;

impl<'a> Reference<'a> {
    pub(super) const fn new(graph: &'a Graph<'a>) -> Self {
        Self { graph, request: Vec::new(), candidates: Vec::new(), candidate: 0 }
    }

    /// Scores of the candidates of a request, whose features are `[candidate][feature]`.
    pub(super) fn scores(&mut self, rows: &[Vec<f32>], seen: &mut Seen<'_>) -> Vec<f32> {
        let Some(first) = rows.first() else { return Vec::new() };
        let graph = self.graph;
        self.request = vec![0.0; graph.request];
        self.candidates = vec![vec![0.0; graph.columns]; rows.len()];
        let (of_request, of_candidates): (Vec<_>, Vec<_>) =
            graph.steps.iter().enumerate().partition(|(_, step)| step.is_of_request());
        self.run(first, &of_request, seen);
        for part in of_candidates.split_inclusive(|(_, step)| step.is_of_list()) {
            for (candidate, row) in rows.iter().enumerate() {
                self.candidate = candidate;
                self.run(row, part, seen);
            }
            match part.last() {
                Some((_, Step::Meet(meet))) if meet.width > 0 => self.attend(meet),
                Some((_, Step::Meet(meet))) => self.reduce(meet),
                _ => {}
            }
        }
        self.candidates.iter().map(|columns| columns[graph.score]).collect()
    }

    fn run(&mut self, features: &[f32], steps: &[(usize, &Step)], seen: &mut Seen<'_>) {
        for (at, step) in steps {
            match step {
                Step::Each(each) => self.each(each, features),
                Step::Product(product) => self.product(product, features, &mut |inputs| seen(*at, inputs)),
                Step::Gather(gather) => self.gather(gather, features),
                Step::Meet(_) => {}
            }
        }
    }

    fn attend(&mut self, meet: &Meet) {
        let Meet { heads, width, value_width, .. } = *meet;
        let candidates = self.candidates.len();
        for (head, asking) in (0..heads).flat_map(|head| (0..candidates).map(move |asking| (head, asking))) {
            let column = |first: u32, width: u32, at: u32| (first + head * width + at) as usize;
            let score = |asked: &Vec<f32>| {
                let factors = (0..width).map(|at| {
                    let query = self.candidates[asking][column(meet.query, width, at)];
                    asked[column(meet.key, width, at)] * query
                });
                factors.fold(0.0, |sum, product| sum + product)
            };
            let scores: Vec<f32> = self.candidates.iter().map(score).collect();
            let most = scores.iter().fold(f32::NEG_INFINITY, |most, score| function(Function::Max, most, *score));
            let weights: Vec<f32> = scores.iter().map(|score| function(Function::Exp, score - most, 0.0)).collect();
            for at in 0..value_width {
                let values = self.candidates.iter().map(|asked| asked[column(meet.value, value_width, at)]);
                let whole = values.zip(&weights).fold(0.0, |sum, (value, weight)| sum + value * weight);
                self.candidates[asking][column(meet.out, value_width, at)] = whole;
            }
        }
    }

    fn reduce(&mut self, meet: &Meet) {
        for at in 0..meet.heads * meet.value_width {
            let mut values = self.candidates.iter().map(|columns| columns[(meet.value + at) as usize]);
            let first = values.next().unwrap_or(0.0);
            let whole = values.fold(first, |held, value| function(meet.function, held, value));
            self.candidates.iter_mut().for_each(|columns| columns[(meet.out + at) as usize] = whole);
        }
    }

    fn read(&self, memory: Memory, at: usize, features: &[f32]) -> f32 {
        match memory {
            Memory::Constants => self.graph.constants.get(at),
            Memory::Request => self.request[at],
            Memory::Candidates => self.candidates[self.candidate][at],
            Memory::Features => features[at],
        }
    }

    fn write(&mut self, memory: Memory, at: usize, value: f32) {
        match memory {
            Memory::Request => self.request[at] = value,
            _ => self.candidates[self.candidate][at] = value,
        }
    }

    fn each(&mut self, each: &Each, features: &[f32]) {
        let count: usize = each.sizes.iter().map(|size| *size as usize).product();
        for number in 0..count {
            let [out, left, right] = [&each.out, &each.left, &each.right].map(|view| place(view, &each.sizes, number));
            let l = self.read(each.left.memory, left, features);
            let r = self.read(each.right.memory, right, features);
            let held = self.read(each.out.memory, out, features);
            let value = combined(each.combination, held, function(each.function, l, r), r);
            self.write(each.out.memory, out, value);
        }
    }

    fn product(&mut self, product: &Product, features: &[f32], seen: &mut dyn FnMut(&[f32])) {
        let (inputs, outputs) = (product.inputs as usize, product.outputs as usize);
        for position in 0..product.positions as usize {
            let at = |view: &View<1>| view.offset as usize + view.strides[0] as usize * position;
            let from = at(&product.input);
            let values: Vec<f32> =
                (from..from + inputs).map(|at| self.read(product.input.memory, at, features)).collect();
            seen(&values);
            for output in 0..outputs {
                let start = self.read(product.start.memory, at(&product.start) + output, features);
                let sum = match product.numbers {
                    Numbers::Byte { scales } => start + self.whole(product, scales, &values, output),
                    _ => values
                        .iter()
                        .enumerate()
                        .fold(start, |sum, (input, x)| sum + self.weight(product, input, output) * x),
                };
                let sum = match product.addend.memory {
                    Memory::Constants => sum,
                    memory => sum + self.read(memory, at(&product.addend) + output, features),
                };
                self.write(product.out.memory, at(&product.out) + output, function(product.function, sum, 0.0));
            }
        }
    }

    fn weight(&self, product: &Product, input: usize, output: usize) -> f32 {
        let at = (output / PANEL * product.inputs as usize + input) * PANEL + output % PANEL;
        match product.numbers {
            Numbers::Half => widen(U16s::new(&self.graph.bytes[product.weights as usize..]).get(at)),
            Numbers::Request => self.request[product.weights as usize + at],
            _ => self.graph.constants.get(product.weights as usize + at),
        }
    }

    /// The sum of an output in whole numbers, times its scale.
    fn whole(&self, product: &Product, scales: u32, values: &[f32], output: usize) -> f32 {
        let multiplier = self.graph.constants.get(scales as usize);
        let pairs = values.len().div_ceil(2);
        let terms = values.iter().enumerate().map(|(input, x)| {
            let at = ((output / PANEL * pairs + input / 2) * PANEL + output % PANEL) * 2 + input % 2;
            i32::from(self.graph.bytes[product.weights as usize + at] as i8) * whole(x * multiplier)
        });
        terms.sum::<i32>() as f32 * self.graph.constants.get(scales as usize + 1 + output)
    }

    fn gather(&mut self, gather: &Gather, features: &[f32]) {
        let (rows, width) = (gather.rows as usize, gather.width as usize);
        for number in 0..gather.ids as usize {
            let at = |view: &View<1>| view.offset as usize + view.strides[0] as usize * number;
            let id = self.read(gather.from.memory, at(&gather.from), features);
            let id = if id < 0.0 { id + rows as f32 } else { id };
            let row = (id >= 0.0 && (id as usize) < rows).then_some(id as usize);
            for value in 0..width {
                let there = row.map_or(f32::NAN, |row| self.row(gather, row, value));
                self.write(gather.out.memory, at(&gather.out) + value, there);
            }
        }
    }

    fn row(&self, gather: &Gather, row: usize, value: usize) -> f32 {
        let (table, at) = (gather.table as usize, row * gather.width as usize + value);
        match gather.numbers {
            Numbers::Single | Numbers::Request => self.graph.constants.get(table + at),
            Numbers::Half => widen(U16s::new(&self.graph.bytes[table..]).get(at)),
            Numbers::Byte { scales } => {
                f32::from(self.graph.bytes[table + at] as i8) * self.graph.constants.get(scales as usize + row)
            }
        }
    }
}

fn combined(combination: Combination, held: f32, value: f32, r: f32) -> f32 {
    match combination {
        Combination::Store => value,
        Combination::Add => held + value,
        Combination::Multiply => held * value,
        Combination::Max => function(Function::Max, held, value),
        Combination::Min => function(Function::Min, held, value),
        Combination::Select if value == 0.0 => held,
        Combination::Select => r,
    }
}

/// The whole number that an input becomes.
pub(super) fn whole(x: f32) -> i32 {
    let most = f32::from(INPUT_MOST);
    // NaN becomes 0.
    x.clamp(-most, most).round_ties_even() as i32
}

fn place(view: &View<MAX_DIMS>, sizes: &[u32; MAX_DIMS], mut number: usize) -> usize {
    let mut place = view.offset as usize;
    for dim in (0..MAX_DIMS).rev() {
        place += number % sizes[dim] as usize * view.strides[dim] as usize;
        number /= sizes[dim] as usize;
    }
    place
}

fn function(function: Function, l: f32, r: f32) -> f32 {
    let all = f32x4::splat;
    let first = |vector: f32x4| vector.to_array()[0];
    let larger = |l: f32, r: f32| if l < r || r.is_nan() { r } else { l };
    let power = |x: f32| math::power(all(x));
    match function {
        Function::Left => l,
        Function::Add => l + r,
        Function::Subtract => l - r,
        Function::Multiply => l * r,
        Function::Divide => l / r,
        Function::Max => larger(l, r),
        Function::Min => -larger(-l, -r),
        Function::Less => f32::from(l < r),
        Function::Equal => f32::from(l == r),
        Function::Exp => first(power(l)),
        Function::Log => math::ln(l),
        Function::Sqrt => l.sqrt(),
        Function::Abs => l.abs(),
        Function::Floor => l.floor(),
        Function::Round => l.round_ties_even(),
        Function::Sigmoid => 1.0 / (1.0 + first(power(-l))),
        Function::Tanh => first(math::tanh_by_power(all(l), power(2.0 * l.abs()))),
        Function::Erf => first(math::erf_by_power(all(l), power(-l * l))),
    }
}

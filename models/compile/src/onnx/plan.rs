//! Where values lie: the memories of a finished program, used again and again.
//!
//! While a program is written, every value has a place of its own. Here the steps that nothing reads are left out, and values
//! that are never needed together share their place: a value lives from the step that writes it to the last one that reads
//! it, and the first gap that is wide enough takes it (linear scan, Poletto and Sarkar 1999). A block's columns then
//! stay in the cache, and a loop of many turns needs the memory of one. A step that goes through its operand and its result in
//! the same order may write over what nothing reads after it.
//!
//! Memories start as zeros, and sums are added to that. A value of which something is read before it was written therefore
//! gets a place that nothing had before it.

use std::ops::Range;

use selvedge_format::graph::{Each, MAX_DIMS, Meet, Memory, Numbers, Step, View};

/// The steps with their final places, and how much the memories hold.
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) request: usize,
    pub(super) columns: usize,
    /// Column of the score.
    pub(super) score: usize,
}

/// A memory while values get their places.
struct Buffers {
    memory: Memory,
    /// By value, ascending: where it was written first.
    from: Vec<Range<usize>>,
    lives: Vec<Option<Life>>,
    to: Vec<usize>,
    length: usize,
}

/// Steps that need a value.
#[derive(Clone, Copy)]
struct Life {
    first: usize,
    last: usize,
    /// Whether something is read before it was written.
    needs_zeros: bool,
}

/// What a step does to memories: places that it reads, and places that it writes.
struct Access {
    memory: Memory,
    offset: usize,
    /// Sizes and strides of the index space, but for sizes of 1.
    axes: Vec<(usize, usize)>,
    is_read: bool,
    is_written: bool,
}

/// Plans steps whose values are `buffers` of the request's memory and of the candidates'.
pub(super) fn plan(steps: Vec<Step>, buffers: [Vec<Range<usize>>; 2], score: usize) -> Plan {
    // In the order in which they are done.
    let (mut steps, of_candidates): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(Step::is_of_request);
    let of_request = steps.len();
    steps.extend(of_candidates);
    let [request, columns] = buffers;
    let mut memories = [Buffers::new(Memory::Request, request), Buffers::new(Memory::Candidates, columns)];
    let kept = needed(&steps, &memories, score);
    let of_request = kept[..of_request].iter().filter(|kept| **kept).count();
    let mut kept = kept.into_iter();
    steps.retain(|_| kept.next().unwrap_or(false));
    for memory in &mut memories {
        memory.live(&steps, of_request, score);
        memory.place(&steps);
    }
    let [request, columns] = memories;
    for step in &mut steps {
        move_places(step, &request, &columns);
    }
    let score = columns.moved(score);
    Plan { steps, request: request.length, columns: columns.length, score }
}

/// Which steps the score needs.
fn needed(steps: &[Step], memories: &[Buffers; 2], score: usize) -> Vec<bool> {
    let mut read = memories.each_ref().map(|memory| vec![false; memory.from.len()]);
    if let Some(at) = memories[1].find(score) {
        read[1][at] = true;
    }
    let mut kept = vec![false; steps.len()];
    for (step, kept) in steps.iter().zip(&mut kept).rev() {
        let accesses = accesses(step);
        let value = |access: &Access| {
            let of = memories.iter().position(|memory| memory.memory == access.memory)?;
            Some((of, memories[of].find(access.offset)?))
        };
        *kept = accesses.iter().filter(|access| access.is_written).filter_map(value).any(|(of, at)| read[of][at]);
        if *kept {
            for (of, at) in accesses.iter().filter(|access| access.is_read).filter_map(value) {
                read[of][at] = true;
            }
        }
    }
    kept
}

impl Buffers {
    fn new(memory: Memory, from: Vec<Range<usize>>) -> Self {
        let number = from.len();
        Self { memory, from, lives: vec![None; number], to: vec![0; number], length: 0 }
    }

    /// The value that a place belongs to.
    fn find(&self, offset: usize) -> Option<usize> {
        let after = self.from.partition_point(|range| range.start <= offset);
        after.checked_sub(1).filter(|at| self.from[*at].contains(&offset))
    }

    fn moved(&self, offset: usize) -> usize {
        self.find(offset).map_or(offset, |at| self.to[at] + offset - self.from[at].start)
    }

    /// Finds from where to where each value lives. Of the request's, what a step of the candidates reads lives for ever.
    fn live(&mut self, steps: &[Step], of_request: usize, score: usize) {
        let mut written: Vec<Vec<bool>> = self.from.iter().map(|range| vec![false; range.len()]).collect();
        for (step, all) in steps.iter().enumerate() {
            let accesses = accesses(all);
            // All that a step reads is there before it writes; but for what it adds to itself.
            for access in accesses.iter().filter(|access| access.memory == self.memory) {
                let Some(at) = self.find(access.offset) else { continue };
                let start = self.from[at].start;
                let life = self.lives[at].get_or_insert(Life { first: step, last: step, needs_zeros: false });
                life.last =
                    if self.memory == Memory::Request && step >= of_request { usize::MAX } else { step.max(life.last) };
                access.for_each(|place| {
                    let written = &mut written[at][place - start];
                    life.needs_zeros |= access.is_read && !*written;
                    *written |= access.is_written;
                });
            }
        }
        if self.memory == Memory::Candidates
            && let Some(at) = self.find(score)
            && let Some(life) = &mut self.lives[at]
        {
            life.last = usize::MAX;
        }
    }

    /// Gives every value the place of one that its step replaces, or the first gap that is wide enough among those that live
    /// with it.
    fn place(&mut self, steps: &[Step]) {
        let lives = self.lives.iter().enumerate();
        let mut order: Vec<(usize, Life)> = lives.filter_map(|(at, life)| Some((at, (*life)?))).collect();
        order.sort_by_key(|(_, life)| life.first);
        // Places that are taken, ascending, each with the step after which it is free.
        let mut taken: Vec<(Range<usize>, usize)> = Vec::new();
        for (at, life) in order {
            taken.retain(|(_, last)| *last >= life.first);
            let size = self.from[at].len();
            if let Some(replaced) = self.replaced(&steps[life.first], at, life) {
                let place = self.to[replaced];
                let held = taken.iter_mut().find(|(range, last)| range.start == place && *last == life.first);
                if let Some((_, last)) = held {
                    *last = life.last;
                    self.to[at] = place;
                    continue;
                }
            }
            let mut place = if life.needs_zeros { self.length } else { 0 };
            if !life.needs_zeros {
                for (range, _) in &taken {
                    if place + size <= range.start {
                        break;
                    }
                    place = place.max(range.end);
                }
            }
            let index = taken.partition_point(|(range, _)| range.start < place);
            taken.insert(index, (place..place + size, life.last));
            self.length = self.length.max(place + size);
            self.to[at] = place;
        }
    }

    /// A value of the same size that is read for the last time by the step that writes this one, place by place.
    fn replaced(&self, step: &Step, at: usize, life: Life) -> Option<usize> {
        // What a list reads is read for other candidates after it was written for some.
        if step.is_of_list() {
            return None;
        }
        let mut accesses = accesses(step);
        let out = accesses.pop().filter(|out| !out.is_read && !life.needs_zeros)?;
        let start = self.from[at].start;
        if out.memory != self.memory || self.find(out.offset) != Some(at) {
            return None;
        }
        // A layer reads its inputs again after it has written some outputs.
        let again = if matches!(step, Step::Product(_)) { Some(accesses.remove(0)) } else { None };
        let value = |access: &Access| self.find(access.offset).filter(|_| access.memory == self.memory);
        let mut others = accesses.iter().filter_map(value);
        others.find(|other| {
            let is_same_way = |access: &Access| {
                value(access) != Some(*other)
                    || (access.axes == out.axes && access.offset - self.from[*other].start == out.offset - start)
            };
            let is_last = self.lives[*other].is_some_and(|life_of_other| life_of_other.last == life.first);
            is_last
                && self.from[*other].len() == self.from[at].len()
                && again.as_ref().and_then(value) != Some(*other)
                && accesses.iter().all(is_same_way)
        })
    }
}

impl Access {
    fn of<const N: usize>(view: &View<N>, sizes: &[u32; N], width: u32, is_written: bool) -> Self {
        let axes = sizes.iter().zip(view.strides).map(|(size, stride)| (*size as usize, stride as usize));
        let axes = axes.chain([(width as usize, 1)]).filter(|(size, _)| *size > 1).collect();
        Self { memory: view.memory, offset: view.offset as usize, axes, is_read: !is_written, is_written }
    }

    /// Columns that lie next to each other.
    fn columns(first: u32, width: u32, is_written: bool) -> Self {
        Self::of(&View { memory: Memory::Candidates, offset: first, strides: [] }, &[], width, is_written)
    }

    /// Every place, at least once.
    fn for_each(&self, mut visit: impl FnMut(usize)) {
        let moving = self.axes.iter().filter(|(_, stride)| *stride > 0);
        let number: usize = moving.clone().map(|(size, _)| size).product();
        for mut at in 0..number {
            let mut place = self.offset;
            for (size, stride) in moving.clone().rev() {
                place += at % size * stride;
                at /= size;
            }
            visit(place);
        }
    }
}

/// What a step reads, and then what it writes.
fn accesses(step: &Step) -> Vec<Access> {
    match step {
        Step::Each(each) => {
            let view = |view: &View<MAX_DIMS>| Access::of(view, &each.sizes, 1, false);
            let is_read = each.combination != selvedge_format::graph::Combination::Store;
            let out = Access { is_read, ..Access::of(&each.out, &each.sizes, 1, true) };
            vec![view(&each.left), view(&each.right), out]
        }
        Step::Product(product) => {
            let sizes = [product.positions];
            let weights = View { memory: Memory::Request, offset: product.weights, strides: [0] };
            let is_of_request = product.numbers == Numbers::Request;
            let weights = is_of_request.then(|| Access::of(&weights, &[1], product.stored() as u32, false));
            let mut all = vec![
                Access::of(&product.input, &sizes, product.inputs, false),
                Access::of(&product.start, &sizes, product.outputs, false),
                Access::of(&product.addend, &sizes, product.outputs, false),
            ];
            all.extend(weights);
            all.push(Access::of(&product.out, &sizes, product.outputs, true));
            all
        }
        Step::Gather(gather) => vec![
            Access::of(&gather.from, &[gather.ids], 1, false),
            Access::of(&gather.out, &[gather.ids], gather.width, true),
        ],
        Step::Meet(Meet { heads, width, value_width, out, query, key, value, .. }) => {
            let keys = [*query, *key].into_iter().filter(|_| *width > 0);
            let read = keys.map(|first| Access::columns(first, heads * width, false));
            let values = |first, is_written| Access::columns(first, heads * value_width, is_written);
            read.chain([values(*value, false), values(*out, true)]).collect()
        }
    }
}

fn move_places(step: &mut Step, request: &Buffers, columns: &Buffers) {
    let place = |memory: Memory, offset: &mut u32| match memory {
        Memory::Request => *offset = request.moved(*offset as usize) as u32,
        Memory::Candidates => *offset = columns.moved(*offset as usize) as u32,
        Memory::Constants | Memory::Features => {}
    };
    match step {
        Step::Each(Each { out, left, right, .. }) => {
            [out, left, right].into_iter().for_each(|view| place(view.memory, &mut view.offset));
        }
        Step::Product(product) => {
            let views = [&mut product.out, &mut product.input, &mut product.start, &mut product.addend];
            views.into_iter().for_each(|view| place(view.memory, &mut view.offset));
            if product.numbers == Numbers::Request {
                place(Memory::Request, &mut product.weights);
            }
        }
        Step::Gather(gather) => {
            [&mut gather.out, &mut gather.from].into_iter().for_each(|view| place(view.memory, &mut view.offset));
        }
        Step::Meet(Meet { out, query, key, value, .. }) => {
            [out, query, key, value].into_iter().for_each(|column| place(Memory::Candidates, column));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use selvedge_format::graph::{Combination, Function, Product};

    use super::*;

    const SIZE: usize = 4;

    /// `out[at * stride] = combination(.., left[at] + right[at])` over places of buffers of [`SIZE`].
    fn step(out: (Memory, usize), left: (Memory, usize), right: (Memory, usize), combination: Combination) -> Step {
        let sizes = [1, 1, 1, 1, 1, SIZE as u32];
        let view = |(memory, buffer): (Memory, usize), stride: u32| View {
            memory,
            offset: (buffer * SIZE) as u32,
            strides: [0, 0, 0, 0, 0, stride],
        };
        let stride = if combination == Combination::Add { 0 } else { 1 };
        let (out, left, right) = (view(out, stride), view(left, 1), view(right, 1));
        Step::Each(Each { function: Function::Add, combination, sizes, out, left, right })
    }

    /// The score of a program for one candidate, with features 1, 2, 3, 4.
    fn score(steps: &[Step], request: usize, columns: usize, score: usize) -> f32 {
        let mut memories = [vec![], vec![0.0; request], vec![0.0; columns], vec![1.0, 2.0, 3.0, 4.0]];
        let of_candidates = steps.iter().filter(|step| !step.is_of_request());
        for step in steps.iter().filter(|step| step.is_of_request()).chain(of_candidates) {
            let Step::Each(each) = step else { continue };
            for at in 0..SIZE {
                let place = |view: &View<MAX_DIMS>| {
                    (view.memory as usize, view.offset as usize + at * view.strides[MAX_DIMS - 1] as usize)
                };
                let [out, left, right] = [&each.out, &each.left, &each.right].map(place);
                let value = memories[left.0][left.1] + memories[right.0][right.1];
                let held = &mut memories[out.0][out.1];
                *held = if each.combination == Combination::Add { *held + value } else { value };
            }
        }
        memories[2][score]
    }

    fn buffers(number: usize) -> Vec<Range<usize>> {
        (0..number).map(|at| at * SIZE..(at + 1) * SIZE).collect()
    }

    proptest! {
        #[test]
        fn a_plan_changes_no_score(choices in prop::collection::vec((0_usize..64, 0_usize..64, any::<bool>(), any::<bool>()), 1..24)) {
            let mut steps = Vec::new();
            // A value is written by the step of its number; what it reads was written before, or is a feature.
            let mut known = vec![(Memory::Features, 0)];
            for (at, (left, right, is_sum, of_request)) in choices.iter().enumerate() {
                let (left, right) = (known[left % known.len()], known[right % known.len()]);
                let needs_candidate = left.0 == Memory::Candidates || right.0 == Memory::Candidates;
                let memory = if *of_request && !needs_candidate { Memory::Request } else { Memory::Candidates };
                let combination = if *is_sum { Combination::Add } else { Combination::Store };
                steps.push(step((memory, at), left, right, combination));
                known.push((memory, at));
            }
            let last = choices.len();
            steps.push(step((Memory::Candidates, last), known[last], known[last / 2], Combination::Add));
            let length = (last + 1) * SIZE;
            let wanted = score(&steps, length, length, last * SIZE);
            let plan = plan(steps, [buffers(last + 1), buffers(last + 1)], last * SIZE);
            prop_assert_eq!(score(&plan.steps, plan.request, plan.columns, plan.score), wanted);
            prop_assert!(plan.columns <= length && plan.request <= length);
        }
    }

    #[test]
    fn a_chain_of_values_needs_the_columns_of_one() {
        let place = |at| (Memory::Candidates, at);
        let mut steps = vec![step(place(0), (Memory::Features, 0), (Memory::Features, 0), Combination::Store)];
        steps.extend((1..50).map(|at| step(place(at), place(at - 1), place(at - 1), Combination::Store)));
        let plan = plan(steps, [vec![], buffers(50)], 49 * SIZE);
        assert_eq!((plan.columns, plan.steps.len()), (SIZE, 50));
    }

    #[test]
    fn a_layer_never_writes_over_its_inputs() {
        let view = |memory, offset| View { memory, offset, strides: [SIZE as u32] };
        let product = |out: u32, input: u32, start: u32| {
            Step::Product(Product {
                function: Function::Left,
                positions: 1,
                inputs: SIZE as u32,
                outputs: SIZE as u32,
                out: view(Memory::Candidates, out * SIZE as u32),
                input: view(Memory::Candidates, input * SIZE as u32),
                start: view(Memory::Candidates, start * SIZE as u32),
                addend: View::NONE,
                weights: 0,
                numbers: Numbers::Single,
            })
        };
        let features = (Memory::Features, 0);
        let steps = vec![
            step((Memory::Candidates, 0), features, features, Combination::Store),
            step((Memory::Candidates, 1), features, features, Combination::Store),
            product(2, 0, 1),
            product(3, 2, 2),
        ];
        let plan = plan(steps, [vec![], buffers(4)], 3 * SIZE);
        let places = |step: &Step| match step {
            Step::Product(product) => [product.out.offset, product.input.offset, product.start.offset],
            _ => [0; 3],
        };
        let [out, input, start] = places(&plan.steps[2]);
        assert!(out == start && out != input, "over its start, not over its input");
        let [out, input, _] = places(&plan.steps[3]);
        assert_ne!(out, input, "its input is its start");
    }

    #[test]
    fn a_step_that_nothing_reads_is_left_out() {
        let (first, second) = ((Memory::Candidates, 0), (Memory::Candidates, 1));
        let features = (Memory::Features, 0);
        let steps = vec![
            step(first, features, features, Combination::Store),
            step(second, features, features, Combination::Store),
        ];
        let plan = plan(steps, [vec![], buffers(2)], SIZE);
        assert_eq!((plan.columns, plan.steps.len(), plan.score), (SIZE, 1, 0));
    }
}

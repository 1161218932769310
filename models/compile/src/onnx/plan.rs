//! Where values lie: the memories of a finished program, used again and again.
//!
//! While a program is written, every value has a place of its own. Here the steps that nothing reads are left out, and values
//! that are never needed together share their place: a value lives from the step that writes it to the last one that reads
//! it, and the first gap that is wide enough takes it (linear scan, Poletto and Sarkar 1999). A tile's columns then
//! stay in the cache, and a loop of many turns needs the memory of one.
//!
//! Memories start as zeros, and sums are added to that. A value of which something is read before it was written therefore
//! gets a place that nothing had before it.

use std::ops::Range;

use selvedge_format::graph::{Each, MAX_DIMS, Memory, Step, View};

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
    /// Sizes and strides of the index space.
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
        memory.place();
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

    /// Gives every value the first gap that is wide enough among those that live with it.
    fn place(&mut self) {
        let lives = self.lives.iter().enumerate();
        let mut order: Vec<(usize, Life)> = lives.filter_map(|(at, life)| Some((at, (*life)?))).collect();
        order.sort_by_key(|(_, life)| life.first);
        // Places that are taken, ascending, each with the step after which it is free.
        let mut taken: Vec<(Range<usize>, usize)> = Vec::new();
        for (at, life) in order {
            taken.retain(|(_, last)| *last >= life.first);
            let size = self.from[at].len();
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
}

impl Access {
    fn of<const N: usize>(view: &View<N>, sizes: &[u32; N], width: u32, is_written: bool) -> Self {
        let axes = sizes.iter().zip(view.strides).map(|(size, stride)| (*size as usize, stride as usize));
        let axes = axes.chain([(width as usize, 1)]).filter(|(size, stride)| *size > 1 && *stride > 0).collect();
        Self { memory: view.memory, offset: view.offset as usize, axes, is_read: !is_written, is_written }
    }

    /// Every place, at least once.
    fn for_each(&self, mut visit: impl FnMut(usize)) {
        let number: usize = self.axes.iter().map(|(size, _)| size).product();
        for mut at in 0..number {
            let mut place = self.offset;
            for (size, stride) in self.axes.iter().rev() {
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
            vec![
                Access::of(&product.input, &sizes, product.inputs, false),
                Access::of(&product.start, &sizes, product.outputs, false),
                Access::of(&product.out, &sizes, product.outputs, true),
            ]
        }
        Step::Gather(gather) => vec![
            Access::of(&gather.from, &[gather.ids], 1, false),
            Access::of(&gather.out, &[gather.ids], gather.width, true),
        ],
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
            let views = [&mut product.out, &mut product.input, &mut product.start];
            views.into_iter().for_each(|view| place(view.memory, &mut view.offset));
        }
        Step::Gather(gather) => {
            [&mut gather.out, &mut gather.from].into_iter().for_each(|view| place(view.memory, &mut view.offset));
        }
    }
}

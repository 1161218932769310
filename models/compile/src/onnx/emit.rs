//! The program while it is written: memories that fill up, steps, and values as views of memories.
//!
//! A view has the shape that ONNX gave the value, and a stride for each axis. The axis of the candidates has none, because
//! a program computes for all of them at once: wherever that axis stands, the value lies in the same place. So transposing,
//! slicing, inserting axes and broadcasting change a view and write no step.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use selvedge_format::graph::{
    self, Combination, Each, Function, Gather, MAX_DIMS, Meet, Memory, Numbers, PANEL, Product, Step, View as Place,
};

use super::plan::plan;
use crate::error::{CompileError, CompileErrorKind};

/// A value: where it is, and how its axes lie there.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) source: Source,
    pub(super) offset: usize,
    /// Size by axis; that of the candidates' axis is 1.
    pub(super) shape: Vec<usize>,
    /// Step by axis.
    pub(super) strides: Vec<usize>,
    /// Which axis is that of the candidates.
    pub(super) rows: Option<usize>,
    /// The dense layer whose outputs these are, untouched since.
    pub(super) layer: Option<Layer>,
}

/// In which memory a value is; what the model has learnt is interned when a step reads it.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Constant(Arc<Vec<f32>>),
    Request,
    Candidates,
    /// A feature, and whether it is the same for all candidates.
    Features {
        of_request: bool,
    },
}

/// The products that compute a dense layer's outputs, by their steps.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    products: Vec<usize>,
}

/// Positions of a dense layer: the first one's place, and the step to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a> {
    pub(super) view: &'a View,
    pub(super) stride: usize,
}

/// What a dense layer's sums start from.
#[derive(Clone, Debug)]
pub(super) enum Start<'a> {
    /// One number for each output.
    Bias(Vec<f32>),
    /// Values of each position.
    Values(Rows<'a>),
}

/// A step before its constants have a place.
#[derive(Clone, Debug)]
enum Draft {
    Done(Step),
    Dense(Dense),
}

/// A product whose function may still be changed.
#[derive(Clone, Debug)]
struct Dense {
    product: Product,
    /// Among the weights, `[inputs][outputs]`.
    weights: usize,
    /// Where it starts, unless at a place.
    bias: Option<usize>,
}

/// Weights of layers, each once: the turns of a loop have the same.
#[derive(Debug, Default)]
struct Weights {
    all: Vec<Vec<f32>>,
    /// Which of them have a hash.
    known: HashMap<u64, Vec<usize>>,
}

impl Weights {
    fn hold(&mut self, values: Vec<f32>) -> usize {
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
        let mut hasher = DefaultHasher::new();
        bits(&values).hash(&mut hasher);
        let known = self.known.entry(hasher.finish()).or_default();
        if let Some(at) = known.iter().find(|at| bits(&self.all[**at]) == bits(&values)) {
            return *at;
        }
        known.push(self.all.len());
        self.all.push(values);
        self.all.len() - 1
    }
}

/// Most steps of a program while it is written.
const MAX_DRAFTS: usize = 1 << 18;
/// Longest axis that may become a step for each of its indices.
const MAX_SPLIT: usize = 16;
/// Most values of a program while each has a place of its own.
const MAX_VALUES: usize = 1 << 26;

#[derive(Debug, Default)]
pub(super) struct Emitter {
    request: usize,
    columns: usize,
    constants: Vec<f32>,
    interned: HashMap<*const Vec<f32>, (usize, Arc<Vec<f32>>)>,
    steps: Vec<Draft>,
    weights: Weights,
    /// What was allocated in the request's memory and in the candidates'.
    buffers: [Vec<Range<usize>>; 2],
}

/// Of an axis of the candidates the one index; of others all.
pub(super) fn count(shape: &[usize]) -> usize {
    shape.iter().fold(1, |count, size| count.saturating_mul(*size))
}

/// Strides of values that lie in the order of their axes.
pub(super) fn contiguous(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| count(&shape[axis + 1..])).collect()
}

impl View {
    pub(super) fn constant(values: Vec<f32>, shape: Vec<usize>) -> Self {
        let strides = contiguous(&shape);
        Self { source: Source::Constant(Arc::new(values)), offset: 0, shape, strides, rows: None, layer: None }
    }

    pub(super) fn scalar(value: f32, rank: usize) -> Self {
        Self::constant(vec![value], vec![1; rank])
    }

    pub(super) const fn is_constant(&self) -> bool {
        matches!(self.source, Source::Constant(_))
    }

    /// Whether it depends on the candidate.
    pub(super) const fn is_of_candidates(&self) -> bool {
        matches!(self.source, Source::Candidates | Source::Features { of_request: false })
    }

    pub(super) fn is_contiguous(&self) -> bool {
        let packed = contiguous(&self.shape);
        (0..self.shape.len()).all(|axis| self.shape[axis] == 1 || self.strides[axis] == packed[axis])
    }

    /// The values of a constant, in the order of its axes.
    pub(super) fn values(&self) -> Option<Vec<f32>> {
        let Source::Constant(all) = &self.source else { return None };
        let mut values = Vec::with_capacity(count(&self.shape));
        for mut at in 0..count(&self.shape) {
            let mut place = self.offset;
            for axis in (0..self.shape.len()).rev() {
                place += at % self.shape[axis] * self.strides[axis];
                at /= self.shape[axis];
            }
            values.push(all[place]);
        }
        Some(values)
    }

    /// The same values in a larger shape: an axis of one index is repeated.
    pub(super) fn broadcast(&self, shape: &[usize]) -> Self {
        let mut wide = self.clone();
        for (axis, size) in shape.iter().enumerate() {
            if wide.shape[axis] == 1 {
                wide.strides[axis] = 0;
            }
            wide.shape[axis] = *size;
        }
        wide.layer = None;
        wide
    }

    /// Some of the axes, at the first index of the others.
    pub(super) fn axes(&self, axes: Range<usize>) -> Self {
        let (shape, strides) = (self.shape[axes.clone()].to_vec(), self.strides[axes].to_vec());
        Self { shape, strides, rows: None, layer: None, ..self.clone() }
    }

    /// Whether it names the same values in the same order of axes.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let is_same_source = match (&self.source, &other.source) {
            (Source::Constant(left), Source::Constant(right)) => Arc::ptr_eq(left, right),
            (left, right) => std::mem::discriminant(left) == std::mem::discriminant(right),
        };
        let mut axes = self.strides.iter().zip(&other.strides).zip(&self.shape);
        is_same_source
            && self.offset == other.offset
            && self.shape == other.shape
            && axes.all(|((left, right), size)| *size == 1 || left == right)
    }

    pub(super) fn slice(&self, axis: usize, start: usize, len: usize) -> Self {
        let mut part = self.clone();
        part.offset += start * part.strides[axis];
        part.shape[axis] = len;
        part.layer = None;
        part
    }
}

impl Emitter {
    /// A fresh place for a value.
    pub(super) fn allocate(&mut self, of_candidates: bool, shape: &[usize], rows: Option<usize>) -> View {
        let length = if of_candidates { &mut self.columns } else { &mut self.request };
        let offset = *length;
        *length = length.saturating_add(count(shape));
        self.buffers[usize::from(of_candidates)].push(offset..*length);
        let source = if of_candidates { Source::Candidates } else { Source::Request };
        View { source, offset, shape: shape.to_vec(), strides: contiguous(shape), rows, layer: None }
    }

    /// Refuses a program that outgrows memory while it is written.
    pub(super) fn bounded(&self) -> Result<(), CompileError> {
        within(self.steps.len(), MAX_DRAFTS, "steps before any is left out")
    }

    fn intern(&mut self, values: &Arc<Vec<f32>>) -> usize {
        if let Some((place, _)) = self.interned.get(&Arc::as_ptr(values)) {
            return *place;
        }
        let place = self.constants.len();
        self.constants.extend_from_slice(values);
        self.interned.insert(Arc::as_ptr(values), (place, Arc::clone(values)));
        place
    }

    fn place(&mut self, view: &View) -> (Memory, u32) {
        let (memory, base) = match &view.source {
            Source::Constant(values) => (Memory::Constants, self.intern(&Arc::clone(values))),
            Source::Request => (Memory::Request, 0),
            Source::Candidates => (Memory::Candidates, 0),
            Source::Features { .. } => (Memory::Features, 0),
        };
        (memory, (base + view.offset) as u32)
    }

    fn strided(&mut self, view: &View, axes: &[usize]) -> Place<MAX_DIMS> {
        let (memory, offset) = self.place(view);
        let mut strides = [0; MAX_DIMS];
        for (stride, axis) in strides[MAX_DIMS - axes.len()..].iter_mut().zip(axes) {
            *stride = view.strides[*axis] as u32;
        }
        Place { memory, offset, strides }
    }

    /// A function for every index of the views' common shape.
    pub(super) fn each(
        &mut self,
        function: Function,
        combination: Combination,
        out: &View,
        left: &View,
        right: &View,
    ) -> Result<(), CompileError> {
        let axes: Vec<usize> = (0..left.shape.len()).filter(|axis| left.shape[*axis] > 1).collect();
        // An axis too many is a step for each of its indices.
        let few = axes.iter().copied().filter(|axis| left.shape[*axis] <= MAX_SPLIT);
        if axes.len() > MAX_DIMS
            && let Some(axis) = few.min_by_key(|axis| left.shape[*axis])
        {
            let part = |view: &View, at: usize| view.slice(axis, at, 1);
            return (0..left.shape[axis]).try_for_each(|at| {
                self.each(function, combination, &part(out, at), &part(left, at), &part(right, at))
            });
        }
        if axes.len() > MAX_DIMS {
            let message = format!("a step over {} axes", axes.len());
            let help = format!("a program has at most {MAX_DIMS} axes besides that of the candidates: reshape first");
            return Err(CompileError::new(CompileErrorKind::Unsupported, "", message, help));
        }
        let axes = in_order(axes, out);
        let mut sizes = [1; MAX_DIMS];
        for (size, axis) in sizes[MAX_DIMS - axes.len()..].iter_mut().zip(&axes) {
            *size = left.shape[*axis] as u32;
        }
        let (mut out, mut left, mut right) =
            (self.strided(out, &axes), self.strided(left, &axes), self.strided(right, &axes));
        join(&mut sizes, [&mut out.strides, &mut left.strides, &mut right.strides]);
        self.steps.push(Draft::Done(Step::Each(Each { function, combination, sizes, out, left, right })));
        Ok(())
    }

    pub(super) fn copy(&mut self, out: &View, from: &View) -> Result<(), CompileError> {
        self.each(Function::Left, Combination::Store, out, from, from)
    }

    /// The value in a place of its own, in the order of its axes.
    pub(super) fn contiguous(&mut self, view: &View) -> Result<View, CompileError> {
        if view.is_contiguous() && !matches!(view.source, Source::Features { .. }) {
            return Ok(view.clone());
        }
        let out = self.allocate(view.is_of_candidates(), &view.shape, view.rows);
        self.copy(&out, view)?;
        Ok(out)
    }

    /// A dense layer by weights `[inputs][outputs]`, of an input and for a result, to which columns may be added; its step is returned.
    pub(super) fn product(
        &mut self,
        (input, out, addend): (Rows<'_>, Rows<'_>, Option<Rows<'_>>),
        positions: usize,
        weights: Vec<f32>,
        start: Start<'_>,
    ) -> usize {
        let inputs = input.view.shape.last().copied().unwrap_or(1);
        let outputs = weights.len() / inputs;
        let (start, bias) = match start {
            Start::Values(values) => (self.rows(values), None),
            Start::Bias(bias) => (Place::NONE, Some(self.weights.hold(bias))),
        };
        let product = Product {
            function: Function::Left,
            positions: positions as u32,
            inputs: inputs as u32,
            outputs: outputs as u32,
            out: self.rows(out),
            input: self.rows(input),
            start,
            addend: addend.map_or(Place::NONE, |addend| self.rows(addend)),
            weights: 0,
            numbers: Numbers::Single,
        };
        let weights = self.weights.hold(weights);
        self.steps.push(Draft::Dense(Dense { product, weights, bias }));
        self.steps.len() - 1
    }

    /// A dense layer whose weights `[inputs][outputs]` the request tells: they are packed once, for all candidates.
    pub(super) fn product_by_request(
        &mut self,
        (input, out): (Rows<'_>, Rows<'_>),
        positions: usize,
        weights: &View,
    ) -> Result<(), CompileError> {
        let (inputs, outputs) = (weights.shape[0], weights.shape[1]);
        let packed = self.allocate(false, &[outputs.div_ceil(PANEL), inputs, PANEL], None);
        for lane in 0..PANEL.min(outputs) {
            // The lane of all panels that have it; what fills the last panel is never written, so it is 0.
            let panels = (outputs - lane).div_ceil(PANEL);
            let [step, stride] = [weights.strides[0], weights.strides[1]];
            let from = View {
                offset: weights.offset + lane * stride,
                shape: vec![panels, inputs],
                strides: vec![PANEL * stride, step],
                ..weights.clone()
            };
            let to = View { shape: vec![panels, inputs], strides: vec![inputs * PANEL, PANEL], ..packed.clone() };
            self.copy(&View { offset: packed.offset + lane, ..to }, &from)?;
        }
        let zeros = View::constant(vec![0.0; outputs], vec![outputs]);
        let product = Product {
            function: Function::Left,
            positions: positions as u32,
            inputs: inputs as u32,
            outputs: outputs as u32,
            out: self.rows(out),
            input: self.rows(input),
            start: self.rows(Rows { view: &zeros, stride: 0 }),
            addend: Place::NONE,
            weights: packed.offset as u32,
            numbers: Numbers::Request,
        };
        self.steps.push(Draft::Done(Step::Product(product)));
        Ok(())
    }

    fn rows(&mut self, rows: Rows<'_>) -> Place<1> {
        let (memory, offset) = self.place(rows.view);
        Place { memory, offset, strides: [rows.stride as u32] }
    }

    /// The layer of products, if each may have the same function.
    pub(super) const fn layer(products: Vec<usize>) -> Layer {
        Layer { products }
    }

    /// Gives a layer its function; false if it has one.
    pub(super) fn activate(&mut self, layer: &Layer, function: Function) -> bool {
        for step in &layer.products {
            match &mut self.steps[*step] {
                Draft::Dense(dense) if dense.product.function == Function::Left => dense.product.function = function,
                _ => return false,
            }
        }
        true
    }

    /// Rows of a table of `width` values, by contiguous ids.
    pub(super) fn gather(&mut self, table: &View, width: usize, ids: &View) -> View {
        let (_, table_place) = self.place(table);
        let (memory, offset) = self.place(ids);
        let (rows, number) = (count(&table.shape) / width, count(&ids.shape));
        let out = self.allocate(ids.is_of_candidates(), &[number, width], ids.rows);
        let out_memory = if ids.is_of_candidates() { Memory::Candidates } else { Memory::Request };
        self.steps.push(Draft::Done(Step::Gather(Gather {
            ids: number as u32,
            table: table_place,
            numbers: Numbers::Single,
            rows: rows as u32,
            width: width as u32,
            out: Place { memory: out_memory, offset: out.offset as u32, strides: [width as u32] },
            from: Place { memory, offset, strides: [1] },
        })));
        out
    }

    /// The value in columns of its own, in the order of its axes: where steps of a list read.
    pub(super) fn in_columns(&mut self, view: &View) -> Result<View, CompileError> {
        if view.is_contiguous() && matches!(view.source, Source::Candidates) {
            return Ok(view.clone());
        }
        let out = self.allocate(true, &view.shape, view.rows);
        self.copy(&out, view)?;
        Ok(out)
    }

    /// What every candidate gets from all: `heads` of queries and keys in columns, and of values `[heads, width]`. The answer
    /// is `[heads, width]`.
    pub(super) fn attend(&mut self, heads: usize, [query, key, value]: [&View; 3]) -> Result<View, CompileError> {
        let (width, value_width) = (count(&query.shape) / heads, value.shape[1]);
        // Behind each head's values a 1, whose sum is what the others are divided by.
        let wide = self.allocate(true, &[heads, (value_width + 1).next_multiple_of(PANEL)], None);
        let whole = wide.shape[1];
        self.copy(&wide.slice(1, 0, value_width), value)?;
        for (at, number) in (value_width..whole).zip([1.0, 0.0, 0.0, 0.0]) {
            self.copy(&wide.slice(1, at, 1), &View::scalar(number, 2).broadcast(&[heads, 1]))?;
        }
        let [heads_number, width, whole] = [heads, width, whole].map(|number| number as u32);
        let meet = Meet { heads: heads_number, width, value_width: whole, ..no_columns() };
        let sums = self.meet(meet, [query, key, &wide]);
        let out = self.allocate(true, &[heads, value_width], None);
        let whole = sums.slice(1, value_width, 1).broadcast(&out.shape);
        self.each(Function::Divide, Combination::Store, &out, &sums.slice(1, 0, value_width), &whole)?;
        Ok(out)
    }

    /// A value over all candidates.
    pub(super) fn pool(&mut self, function: Function, from: &View) -> Result<View, CompileError> {
        let number = count(&from.shape);
        let wide = self.allocate(true, &[number.next_multiple_of(PANEL)], None);
        let part = wide.slice(0, 0, number);
        self.copy(&View { shape: from.shape.clone(), strides: contiguous(&from.shape), ..part }, from)?;
        for at in number..wide.shape[0] {
            self.copy(&wide.slice(0, at, 1), &View::scalar(0.0, 1))?;
        }
        let out = self.meet(Meet { function, value_width: wide.shape[0] as u32, ..no_columns() }, [&wide; 3]);
        Ok(View { shape: from.shape.clone(), strides: contiguous(&from.shape), ..out })
    }

    fn meet(&mut self, meet: Meet, [query, key, value]: [&View; 3]) -> View {
        let out = self.allocate(true, &[meet.heads as usize, meet.value_width as usize], None);
        let [out_at, query, key, value] = [&out, query, key, value].map(|view| view.offset as u32);
        self.steps.push(Draft::Done(Step::Meet(Meet { out: out_at, query, key, value, ..meet })));
        out
    }

    /// The section's bytes, with the score in its column.
    pub(super) fn finish(mut self, score: &View) -> Result<Vec<u8>, CompileError> {
        let score = if matches!(score.source, Source::Candidates) {
            score.clone()
        } else {
            let out = self.allocate(true, &score.shape, score.rows);
            self.copy(&out, score)?;
            out
        };
        within(self.request.saturating_add(self.columns), MAX_VALUES, "values before they share places")?;
        let steps: Vec<Step> = self.steps.iter().enumerate().map(|(at, draft)| draft.step(at)).collect();
        let plan = plan(steps, self.buffers, score.offset);
        let is_of_list = plan.steps.iter().any(Step::is_of_list);
        let most_columns = if is_of_list { graph::MAX_LIST_COLUMNS } else { graph::MAX_COLUMNS };
        for (found, limit, what) in [
            (plan.request, graph::MAX_REQUEST, "numbers of the request"),
            (plan.columns, most_columns, "values of a candidate"),
            (plan.steps.len(), graph::MAX_STEPS, "steps"),
        ] {
            within(found, limit, what)?;
        }
        let (mut steps, mut constants) = (plan.steps, self.constants);
        // Where weights are, by their number, packed or not.
        let mut places: HashMap<(usize, bool), u32> = HashMap::new();
        let mut place = |at: usize, packed: Option<(usize, usize)>| {
            *places.entry((at, packed.is_some())).or_insert_with(|| {
                let place = constants.len() as u32;
                match packed {
                    Some((inputs, outputs)) => constants.extend(graph::pack(&self.weights.all[at], inputs, outputs)),
                    None => constants.extend_from_slice(&self.weights.all[at]),
                }
                place
            })
        };
        for step in &mut steps {
            if let Step::Product(product) = step
                && product.numbers != Numbers::Request
                && let Draft::Dense(dense) = &self.steps[product.weights as usize]
            {
                product.weights = place(dense.weights, Some((product.inputs as usize, product.outputs as usize)));
                if let Some(bias) = dense.bias {
                    product.start.offset = place(bias, None);
                }
            }
        }
        within(constants.len(), graph::MAX_CONSTANTS, "constants")?;
        if constants.iter().any(|value| value.is_nan()) {
            let help = "training diverged: lower the learning rate, and export again";
            return Err(CompileError::new(CompileErrorKind::Malformed, "", "a weight is not a number", help));
        }
        let [request, columns, score] = [plan.request, plan.columns, plan.score].map(|number| number as u32);
        Ok(graph::Graph::encode(request, columns, score, &steps, &constants, &[]))
    }
}

/// One head of nothing.
const fn no_columns() -> Meet {
    Meet { function: Function::Left, heads: 1, width: 0, value_width: 0, out: 0, query: 0, key: 0, value: 0 }
}

impl Draft {
    /// The step; in the place of its weights, a layer has the number of its draft.
    fn step(&self, at: usize) -> Step {
        match self {
            Self::Done(step) => *step,
            Self::Dense(dense) => Step::Product(Product { weights: at as u32, ..dense.product }),
        }
    }
}

fn within(found: usize, limit: usize, what: &str) -> Result<(), CompileError> {
    if found <= limit {
        return Ok(());
    }
    let message = format!("the model needs {found} {what}, of which a bundle has at most {limit}");
    Err(CompileError::new(CompileErrorKind::Limit, "", message, "make the model smaller"))
}

/// The axes with that innermost in which results lie side by side: the engine treats them as one run. Those that are summed over
/// keep their order, and with it the order of sums.
fn in_order(mut axes: Vec<usize>, out: &View) -> Vec<usize> {
    if let Some(at) = axes.iter().rposition(|axis| out.strides[*axis] == 1) {
        let axis = axes.remove(at);
        axes.push(axis);
    }
    axes
}

/// Makes one dimension of two that all views walk through as one.
fn join(sizes: &mut [u32; MAX_DIMS], mut strides: [&mut [u32; MAX_DIMS]; 3]) {
    for at in (1..MAX_DIMS).rev() {
        while sizes[at - 1] > 1 && strides.iter().all(|strides| strides[at - 1] == strides[at] * sizes[at]) {
            sizes[at] *= sizes[at - 1];
            // What is further out moves up.
            sizes[..at].rotate_right(1);
            sizes[0] = 1;
            for strides in &mut strides {
                strides[..at].rotate_right(1);
                strides[0] = 0;
            }
        }
    }
}

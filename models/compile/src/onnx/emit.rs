//! The program while it is written: memories that fill up, steps, and values as views of memories.
//!
//! A view has the shape that ONNX gave the value, and a stride for each axis. The axis of the candidates has none, because
//! a program computes for all of them at once: wherever that axis stands, the value lies in the same place. So transposing,
//! slicing, inserting axes and broadcasting change a view and write no step.

use std::collections::HashMap;
use std::sync::Arc;

use selvedge_format::graph::{
    self, Combination, Each, Function, Gather, MAX_DIMS, Memory, Numbers, Product, Step, View as Place,
};

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

/// Products that make a dense layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer {
    /// The last of them.
    pub(super) product: usize,
    /// The one that computes the request's share, where it starts from.
    pub(super) share: Option<usize>,
}

/// A step before its constants have a place.
#[derive(Clone, Debug)]
enum Draft {
    Done(Step),
    Dense(Dense),
}

/// A product whose weights and start may still be changed.
#[derive(Clone, Debug)]
struct Dense {
    product: Product,
    /// `[inputs][outputs]`.
    weights: Vec<f32>,
    /// Where it starts, unless at a place.
    bias: Option<Vec<f32>>,
}

#[derive(Debug, Default)]
pub(super) struct Emitter {
    request: usize,
    columns: usize,
    constants: Vec<f32>,
    interned: HashMap<*const Vec<f32>, (usize, Arc<Vec<f32>>)>,
    steps: Vec<Draft>,
}

/// Of an axis of the candidates the one index; of others all.
pub(super) fn count(shape: &[usize]) -> usize {
    shape.iter().product()
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
        *length += count(shape);
        let source = if of_candidates { Source::Candidates } else { Source::Request };
        View { source, offset, shape: shape.to_vec(), strides: contiguous(shape), rows, layer: None }
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

    /// A function for every index of the views' common shape; their last axis is the innermost.
    pub(super) fn each(
        &mut self,
        function: Function,
        combination: Combination,
        out: &View,
        left: &View,
        right: &View,
    ) -> Result<(), CompileError> {
        let axes: Vec<usize> = (0..left.shape.len()).filter(|axis| left.shape[*axis] > 1).collect();
        if axes.len() > MAX_DIMS {
            let message = format!("a step over {} axes", axes.len());
            let help = format!("a program has at most {MAX_DIMS} axes besides that of the candidates: reshape first");
            return Err(CompileError::new(CompileErrorKind::Unsupported, "", message, help));
        }
        let mut sizes = [1; MAX_DIMS];
        for (size, axis) in sizes[MAX_DIMS - axes.len()..].iter_mut().zip(&axes) {
            *size = left.shape[*axis] as u32;
        }
        let (out, left, right) = (self.strided(out, &axes), self.strided(left, &axes), self.strided(right, &axes));
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

    /// A dense layer over a contiguous input of `positions` times `inputs` values. It starts from the outputs of another
    /// layer, or from 0.
    pub(super) fn dense(
        &mut self,
        input: &View,
        positions: usize,
        weights: Vec<f32>,
        outputs: usize,
        share: Option<(&View, usize)>,
    ) -> View {
        let inputs = weights.len() / outputs;
        let out = self.allocate(input.is_of_candidates(), &[positions, outputs], input.rows);
        let row = |offset: usize, memory: Memory, stride: usize| Place {
            memory,
            offset: offset as u32,
            strides: [stride as u32],
        };
        let memory = if input.is_of_candidates() { Memory::Candidates } else { Memory::Request };
        let start = match share {
            Some((view, _)) => row(view.offset, Memory::Request, outputs),
            None => row(0, Memory::Constants, 0),
        };
        let product = Product {
            function: Function::Left,
            positions: positions as u32,
            inputs: inputs as u32,
            outputs: outputs as u32,
            out: row(out.offset, memory, outputs),
            input: row(input.offset, memory, inputs),
            start,
            weights: 0,
            numbers: Numbers::Single,
        };
        let bias = share.is_none().then(|| vec![0.0; outputs]);
        self.steps.push(Draft::Dense(Dense { product, weights, bias }));
        let layer = Layer { product: self.steps.len() - 1, share: share.map(|(_, step)| step) };
        View { layer: Some(layer), ..out }
    }

    fn dense_at(&mut self, step: usize) -> Option<&mut Dense> {
        match &mut self.steps[step] {
            Draft::Dense(dense) => Some(dense),
            Draft::Done(_) => None,
        }
    }

    /// Adds to the biases of a layer that has no function yet; false if it cannot be.
    pub(super) fn add_bias(&mut self, layer: Layer, values: &[f32]) -> bool {
        let is_plain = self.dense_at(layer.product).is_some_and(|dense| dense.product.function == Function::Left);
        let at = layer.share.unwrap_or(layer.product);
        let Some(bias) = self.dense_at(at).and_then(|dense| dense.bias.as_mut()).filter(|_| is_plain) else {
            return false;
        };
        bias.iter_mut().enumerate().for_each(|(at, bias)| *bias += values[at % values.len()]);
        true
    }

    /// Multiplies the outputs of a layer that has no function yet; false if it cannot be.
    pub(super) fn scale(&mut self, layer: Layer, values: &[f32]) -> bool {
        if self.dense_at(layer.product).is_none_or(|dense| dense.product.function != Function::Left) {
            return false;
        }
        for at in [Some(layer.product), layer.share].into_iter().flatten() {
            let Some(dense) = self.dense_at(at) else { return false };
            let outputs = dense.product.outputs as usize;
            let by = |at: usize| values[at % outputs % values.len()];
            dense.weights.iter_mut().enumerate().for_each(|(at, weight)| *weight *= by(at));
            dense.bias.iter_mut().flatten().enumerate().for_each(|(at, bias)| *bias *= by(at));
        }
        true
    }

    /// Gives a layer its function; false if it has one.
    pub(super) fn activate(&mut self, layer: Layer, function: Function) -> bool {
        let dense = self.dense_at(layer.product).filter(|dense| dense.product.function == Function::Left);
        dense.map(|dense| dense.product.function = function).is_some()
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

    /// The section's bytes, with the score in its column.
    pub(super) fn finish(mut self, score: &View) -> Result<Vec<u8>, CompileError> {
        let score = if matches!(score.source, Source::Candidates) {
            score.clone()
        } else {
            let out = self.allocate(true, &score.shape, score.rows);
            self.copy(&out, score)?;
            out
        };
        for (found, limit, what) in [
            (self.request, graph::MAX_REQUEST, "numbers of the request"),
            (self.columns, graph::MAX_COLUMNS, "values of a candidate"),
            (self.steps.len(), graph::MAX_STEPS, "steps"),
        ] {
            within(found, limit, what)?;
        }
        let mut constants = self.constants;
        let mut steps = Vec::with_capacity(self.steps.len());
        for draft in self.steps {
            steps.push(match draft {
                Draft::Done(step) => step,
                Draft::Dense(Dense { mut product, weights, bias }) => {
                    product.weights = constants.len() as u32;
                    constants.extend(graph::pack(&weights, product.inputs as usize, product.outputs as usize));
                    if let Some(bias) = bias {
                        product.start.offset = constants.len() as u32;
                        constants.extend(bias);
                    }
                    Step::Product(product)
                }
            });
        }
        within(constants.len(), graph::MAX_CONSTANTS, "constants")?;
        if constants.iter().any(|value| value.is_nan()) {
            let help = "training diverged: lower the learning rate, and export again";
            return Err(CompileError::new(CompileErrorKind::Malformed, "", "a weight is not a number", help));
        }
        Ok(graph::Graph::encode(self.request as u32, self.columns as u32, score.offset as u32, &steps, &constants, &[]))
    }
}

fn within(found: usize, limit: usize, what: &str) -> Result<(), CompileError> {
    if found <= limit {
        return Ok(());
    }
    let message = format!("the model needs {found} {what}, of which a bundle has at most {limit}");
    Err(CompileError::new(CompileErrorKind::Limit, "", message, "make the model smaller"))
}
